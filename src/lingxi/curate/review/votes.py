"""What verdicts come to: of each text of a row, what most reviewers said of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from lingxi.curate.review.verdicts import Said


def by_text(said: Iterable[Said]) -> dict[tuple[str, str], list[Said]]:
    """Verdicts by row and the text they were given on, the last of each reviewer.

    A row that nobody mended has one text, "".
    """
    listed = list(said)
    mended = {one.row for one in listed if one.verdict == "fix"}
    found: dict[tuple[str, str], dict[str, Said]] = defaultdict(dict)
    for one in listed:
        own = found[one.row, one.seen if one.row in mended else ""]
        own.pop(one.reviewer, None)
        own[one.reviewer] = one
    return {key: list(own.values()) for key, own in found.items()}


def final(verdicts: Sequence[Said]) -> list[Said]:
    """What most reviewers said of each text of a kept row; where as many accept as do not, nothing."""
    # Behind the mark are rows that a rule dropped: nothing of them is left to change.
    kept = [one for one in verdicts if not one.row.endswith("~")]
    texts = by_text(kept)
    menders: dict[str, set[str]] = defaultdict(set)
    for one in kept:
        if one.verdict == "fix":
            menders[one.row].add(one.reviewer)
    outcomes = (_outcome(own, menders[row]) for (row, _), own in texts.items())
    return [one for one in outcomes if one is not None]


def _outcome(own: Sequence[Said], menders: set[str]) -> Said | None:
    """What most say of one text of a row that these reviewers mended, here or as it read before."""
    counts = Counter(one.verdict for one in own)
    if 2 * counts["accept"] == len(own):
        return None
    # Who mends a row and who rejects it agree that it is wrong as it stands; who mended it stands for that.
    standing = len(menders - {one.reviewer for one in own if one.verdict != "fix"})
    wrong = "fix" if standing >= counts["reject"] else "reject"
    verdict = "accept" if 2 * counts["accept"] > len(own) else wrong
    return next((one for one in reversed(own) if one.verdict == verdict), None)
