"""What verdicts change: rejected rows go, mended rows stay as mended, kinds of rows often wrong go.

A kind is a stratum of the sample: source, languages and band of the margin. It is imprecise where even the
upper bound of its precision's interval lies below what is wanted. Where its rows have margins, a threshold is
looked for first: the least margin from which on the isotonic estimate of precision is as wanted.
Kinds are judged by fresh rows alone; what earlier feedback dropped is in no fresh sample, and stays dropped.

Verdicts are on texts: who accepts a mended row is for the fix, and who mends it anew mends what was shown.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lingxi.curate.review.figures import evidence, wilson
from lingxi.curate.review.shown import MOST_TEXT, Shown, band_of, group_of
from lingxi.curate.review.verdicts import Said
from lingxi.curate.review.votes import final
from lingxi.errors import InputError
from lingxi.records import Pair, digest, passage

REJECTED, IMPRECISE = "rejected by a person", "imprecise by review"
# What is said of fewer rows says nothing of their kind.
_FEWEST = 5


@dataclass(frozen=True, slots=True)
class Feedback:
    """Rows to drop, to mend and to spare by id; least margins by source and languages; strata to drop.

    `fixes` holds of each row the text that takes the place of what was shown, by its digest (`Shown.seen`).
    """

    wanted: float
    drops: frozenset[str]
    fixes: Mapping[str, Mapping[str, str]]
    accepted: frozenset[str]
    thresholds: Mapping[str, float]
    strata: frozenset[str]


def feedback(
    sample: Sequence[Shown],
    verdicts: Sequence[Said],
    wanted: float = 0.9,
    earlier: Feedback | None = None,
) -> Feedback:
    """What the verdicts on a sample change, for a precision of `wanted`, 0 to 1.

    What `earlier` feedback says of kinds of rows holds on where the sample has no fresh row that it would
    drop. Raises InputError without verdicts, or for a precision out of range.
    """
    if not 0 < wanted <= 1:
        raise InputError(f"a precision of {wanted}", "want more than 0 and at most 1, for example 0.9")
    if not verdicts:
        raise InputError("nobody has given a verdict yet", "serve the page with `lingxi review RUN` first")
    thresholds, strata = _imprecise(sample, verdicts, wanted)
    if earlier is not None:
        thresholds, strata = _with_earlier(earlier, sample, thresholds, strata)
    fixes: dict[str, dict[str, str]] = defaultdict(dict)
    outcomes = sorted(final(verdicts), key=lambda one: (one.row, one.seen))
    for one in outcomes:
        if one.verdict == "fix":
            fixes[one.row][one.seen] = one.fixed or ""
    return Feedback(
        wanted,
        frozenset(one.row for one in outcomes if one.verdict == "reject"),
        dict(fixes),
        frozenset(one.row for one in outcomes if one.verdict == "accept"),
        thresholds,
        strata,
    )


def apply_feedback(feedback: Feedback, row: Pair) -> Pair | str:
    """The row, mended where a person mended it, or the reason why it goes.

    The row is one that no rule dropped, with its scores.
    """
    if row.id in feedback.drops:
        return REJECTED
    if fixes := feedback.fixes.get(row.id):
        first, *others = row.positives
        if (text := mend(first.text, fixes)) != first.text:
            return replace(row, positives=(passage(text, first.score), *others))
    if row.id not in feedback.accepted and (feedback.strata or feedback.thresholds):
        group, margin = group_of(row), row.scores.get("margin")
        least = feedback.thresholds.get(group)
        if f"{group} {band_of(margin)}" in feedback.strata:
            return IMPRECISE
        if least is not None and margin is not None and margin < least:
            return IMPRECISE
    return row


def mend(text: str, fixes: Mapping[str, str]) -> str:
    """The text after its fixes, each in place of exactly what was shown when it was made.

    One of which that is not known ("") is of the text as it was collected.
    """
    left, seen = dict(fixes), digest(text[:MOST_TEXT])
    fixed = left.pop(seen if seen in left else "", None)
    while fixed is not None:
        # Of a text longer than a reviewer sees, the part that was seen is replaced.
        text = fixed + text[MOST_TEXT:]
        fixed = left.pop(digest(text[:MOST_TEXT]), None)
    return text


def threshold(points: Iterable[tuple[float, bool]], wanted: float) -> float | None:
    """The least margin from which on precision is as wanted, of judged rows (margin, whether accepted).

    Precision as a function of the margin is estimated by isotonic regression (pool adjacent violators). None
    where no margin reaches it, or where fewer than five judged rows lie above.
    """
    blocks: list[tuple[float, int, int]] = []
    counted: dict[float, list[int]] = defaultdict(list)
    for margin, accepted in points:
        counted[margin].append(int(accepted))
    for margin, own in sorted(counted.items()):
        block = (margin, sum(own), len(own))
        while blocks and blocks[-1][1] * block[2] >= block[1] * blocks[-1][2]:
            start, good, count = blocks.pop()
            block = (start, good + block[1], count + block[2])
        blocks.append(block)
    reached = [block for block in blocks if block[1] >= wanted * block[2]]
    enough = sum(count for _, _, count in reached) >= _FEWEST
    return reached[0][0] if enough else None


def save_feedback(feedback: Feedback, path: Path) -> None:
    """Write it as JSON."""
    table = asdict(feedback) | {
        key: sorted(getattr(feedback, key)) for key in ("drops", "accepted", "strata")
    }
    path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", "utf-8")


def load_feedback(path: Path) -> Feedback:
    """Read it; raises InputError where the file is missing or none that `save_feedback` wrote."""
    if not path.is_file():
        raise InputError(f"no feedback at {path}", f"write it with `lingxi review RUN --feedback {path}`")
    try:
        table = json.loads(path.read_text("utf-8"))
        sets = {key: frozenset(table[key]) for key in ("drops", "accepted", "strata")}
        # A file of before fixes knew their text.
        fixes = {row: {"": own} if isinstance(own, str) else own for row, own in table["fixes"].items()}
        return Feedback(**{**table, **sets, "fixes": fixes})
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise InputError(f"{path} is no feedback ({problem})", "write it with `lingxi review`") from None


def _imprecise(
    sample: Sequence[Shown], verdicts: Sequence[Said], wanted: float
) -> tuple[dict[str, float], frozenset[str]]:
    """Thresholds by source and languages, and the imprecise strata that no threshold mends."""
    kept = [(shown, good) for shown, good in evidence(sample, verdicts) if not shown.dropped]
    strata: dict[str, list[bool]] = defaultdict(list)
    points: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for shown, good in kept:
        # Whatever the sample was drawn by.
        strata[f"{group_of(shown)} {band_of(shown.margin)}"].append(good)
        if shown.margin is not None:
            points[group_of(shown)].append((shown.margin, good))
    bad = {name for name, own in strata.items() if _is_imprecise(own, wanted)}
    thresholds = {}
    for group, own in points.items():
        bands = {f"{group} low", f"{group} high"} & bad
        least = threshold(own, wanted)
        if least is not None and (bands or _is_imprecise([good for _, good in own], wanted)):
            thresholds[group] = least
            bad -= bands
    return dict(sorted(thresholds.items())), frozenset(bad)


def _with_earlier(
    earlier: Feedback, sample: Sequence[Shown], thresholds: Mapping[str, float], strata: frozenset[str]
) -> tuple[dict[str, float], frozenset[str]]:
    """The thresholds and strata beside those of earlier feedback that the sample's files bear out."""
    fresh = [shown for shown in sample if not shown.again]
    there = {shown.stratum for shown in fresh}
    both = dict(thresholds)
    for group, least in earlier.thresholds.items():
        margins = (shown.margin for shown in fresh if group_of(shown) == group)
        if not any(margin is not None and margin < least for margin in margins):
            both[group] = max(least, both.get(group, least))
    return dict(sorted(both.items())), strata | (earlier.strata - there)


def _is_imprecise(good: Sequence[bool], wanted: float) -> bool:
    return len(good) >= _FEWEST and wilson(sum(good), len(good))[1] < wanted
