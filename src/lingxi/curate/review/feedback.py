"""What verdicts change: rejected rows go, mended rows stay as mended, kinds of rows often wrong go.

A kind is a stratum of the sample: source, languages and band of the margin. It is imprecise where even the
upper bound of its precision's interval lies below what is wanted. Where its rows have margins, a threshold is
looked for first: the least margin from which on the isotonic estimate of precision is as wanted.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lingxi.curate.review.figures import judged_rows, wilson
from lingxi.curate.review.sample import MOST_TEXT, Shown, band_of, group_of
from lingxi.curate.review.verdicts import Said
from lingxi.errors import InputError
from lingxi.records import Pair, passage

REJECTED, IMPRECISE = "rejected by a person", "imprecise by review"
# What is said of fewer rows says nothing of their kind.
_FEWEST = 5


@dataclass(frozen=True, slots=True)
class Feedback:
    """Rows to drop, to mend and to spare by id; least margins by source and languages; strata to drop."""

    wanted: float
    drops: frozenset[str]
    fixes: Mapping[str, str]
    accepted: frozenset[str]
    thresholds: Mapping[str, float]
    strata: frozenset[str]


def feedback(sample: Sequence[Shown], verdicts: Sequence[Said], wanted: float = 0.9) -> Feedback:
    """What the verdicts on a sample change, for a precision of `wanted`, 0 to 1.

    Raises InputError without verdicts, or for a precision out of range.
    """
    if not 0 < wanted <= 1:
        raise InputError(f"a precision of {wanted}", "want more than 0 and at most 1, for example 0.9")
    if not verdicts:
        raise InputError("nobody has given a verdict yet", "serve the page with `lingxi review RUN` first")
    final = _final(verdicts)
    thresholds, strata = _imprecise(sample, verdicts, wanted)
    return Feedback(
        wanted,
        frozenset(row for row, one in final.items() if one.verdict == "reject"),
        {row: one.fixed or "" for row, one in sorted(final.items()) if one.verdict == "fix"},
        frozenset(row for row, one in final.items() if one.verdict == "accept"),
        thresholds,
        strata,
    )


def apply_feedback(feedback: Feedback, row: Pair) -> Pair | str:
    """The row, mended where a person mended it, or the reason why it goes.

    The row is one that no rule dropped, with its scores. Of a positive longer than a reviewer sees, the part
    that was seen is replaced.
    """
    if row.id in feedback.drops:
        return REJECTED
    if (fixed := feedback.fixes.get(row.id)) is not None:
        first, *others = row.positives
        mended = passage(fixed + first.text[MOST_TEXT:], first.score)
        return replace(row, positives=(mended, *others))
    if row.id not in feedback.accepted and (feedback.strata or feedback.thresholds):
        group, margin = group_of(row), row.scores.get("margin")
        least = feedback.thresholds.get(group)
        if f"{group} {band_of(margin)}" in feedback.strata:
            return IMPRECISE
        if least is not None and margin is not None and margin < least:
            return IMPRECISE
    return row


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
        return Feedback(**{**table, **sets})
    except (ValueError, KeyError, TypeError) as problem:
        raise InputError(f"{path} is no feedback ({problem})", "write it with `lingxi review`") from None


def _final(verdicts: Sequence[Said]) -> dict[str, Said]:
    """What most reviewers said of each kept row; where as many accept a row as do not, nothing is final."""
    votes: dict[str, list[Said]] = defaultdict(list)
    for one in verdicts:
        # Behind the mark are rows that a rule dropped: nothing of them is left to change.
        if not one.row.endswith("~"):
            votes[one.row].append(one)
    final = {}
    for row, own in votes.items():
        counts = Counter(one.verdict for one in own)
        # Who mends a row and who rejects it agree that it is wrong as it stands.
        wrong = "fix" if counts["fix"] >= counts["reject"] else "reject"
        if 2 * counts["accept"] != len(own):
            verdict = "accept" if 2 * counts["accept"] > len(own) else wrong
            final[row] = next(one for one in reversed(own) if one.verdict == verdict)
    return final


def _imprecise(
    sample: Sequence[Shown], verdicts: Sequence[Said], wanted: float
) -> tuple[dict[str, float], frozenset[str]]:
    """Thresholds by source and languages, and the imprecise strata that no threshold mends."""
    kept = [(shown, good) for shown, good in judged_rows(sample, verdicts) if not shown.dropped]
    strata: dict[str, list[bool]] = defaultdict(list)
    points: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for shown, good in kept:
        strata[shown.stratum].append(good)
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


def _is_imprecise(good: Sequence[bool], wanted: float) -> bool:
    return len(good) >= _FEWEST and wilson(sum(good), len(good))[1] < wanted
