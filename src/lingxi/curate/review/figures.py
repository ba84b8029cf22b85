"""What verdicts say: the precision of each stratum with its interval, and how far reviewers agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lingxi.curate.review.sample import Shown
from lingxi.curate.review.verdicts import Said


@dataclass(frozen=True, slots=True)
class Precision:
    """Share of accepted rows of a stratum, 0 to 1, with its 95 % Wilson interval."""

    stratum: str
    accepted: int
    judged: int
    value: float
    low: float
    high: float


def precisions(sample: Sequence[Shown], said: Sequence[Said]) -> list[Precision]:
    """The precision of all kept rows, all dropped rows, and each stratum; rows nobody judged do not count.

    A row counts as accepted where more reviewers accepted it than did not (a fix is no acceptance).
    """
    votes: dict[str, list[bool]] = defaultdict(list)
    for one in said:
        votes[one.row].append(one.verdict == "accept")
    groups: dict[str, list[bool]] = defaultdict(list)
    for shown in sample:
        if shown.id in votes:
            good = sum(votes[shown.id]) * 2 > len(votes[shown.id])
            groups["all dropped" if shown.dropped else "all kept"].append(good)
            groups[shown.stratum].append(good)
    return [_precision(name, good) for name, good in sorted(groups.items())]


def wilson(good: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share (1927)."""
    share, square = good / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    half = z * ((share * (1 - share) + square / 4) / total) ** 0.5 / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def kappa(said: Sequence[Said]) -> float | None:
    """Cohen's kappa of the two reviewers that judged most rows in common; None where no two did."""
    by_reviewer: dict[str, dict[str, str]] = defaultdict(dict)
    for one in said:
        by_reviewer[one.reviewer][one.row] = one.verdict
    names = sorted(by_reviewer)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    best = max(pairs, key=lambda pair: len(_common(by_reviewer, pair)), default=None)
    if best is None or not (rows := _common(by_reviewer, best)):
        return None
    first, second = ([by_reviewer[name][row] for row in rows] for name in best)
    seen = sum(a == b for a, b in zip(first, second, strict=True)) / len(rows)
    left, right = Counter(first), Counter(second)
    chance = sum(left[verdict] * right[verdict] for verdict in left) / len(rows) ** 2
    return 1.0 if chance == 1 else (seen - chance) / (1 - chance)


def _common(by_reviewer: Mapping[str, Mapping[str, str]], pair: tuple[str, str]) -> list[str]:
    return sorted(set(by_reviewer[pair[0]]) & set(by_reviewer[pair[1]]))


def _precision(name: str, good: Sequence[bool]) -> Precision:
    low, high = wilson(sum(good), len(good))
    return Precision(name, sum(good), len(good), sum(good) / len(good), low, high)
