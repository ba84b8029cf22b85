"""What verdicts say: the precision of each stratum with its interval, and how far reviewers agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lingxi.curate.review.sample import MOST_TEXT, Shown
from lingxi.curate.review.verdicts import Said


@dataclass(frozen=True, slots=True)
class Precision:
    """Share of accepted rows, 0 to 1, with its 95 % interval, and how many rows of the run it stands for."""

    stratum: str
    accepted: int
    judged: int
    value: float
    low: float
    high: float
    rows: int


def precisions(sample: Sequence[Shown], said: Sequence[Said]) -> list[Precision]:
    """The precision of all kept rows, of all dropped rows, and of each stratum; dropped strata are reasons.

    Strata have as many rows in the sample and very different numbers in the run, so the two totals weigh each
    stratum by its rows (`stratified`). Rows that nobody judged do not count.
    """
    strata: dict[str, list[bool]] = defaultdict(list)
    for shown, good in judged_rows(sample, said):
        strata[shown.stratum].append(good)
    rows = {shown.stratum: shown.rows for shown in sample}
    dropped = {shown.stratum for shown in sample if shown.dropped}
    totals = [
        stratified(name, {key: strata[key] for key in strata if (key in dropped) == gone}, rows)
        for name, gone in (("all kept", False), ("all dropped", True))
        if any((key in dropped) == gone for key in strata)
    ]
    order = sorted(strata, key=lambda key: (key not in dropped, key))
    return totals + [_precision(name, strata[name], rows[name]) for name in order]


def reviewed(sample: Sequence[Shown], said: Sequence[Said]) -> dict[str, tuple[int, int]]:
    """By language of the query, how many kept rows people judged, and how many of these they accepted."""
    judged: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    for shown, good in judged_rows(sample, said):
        if not shown.dropped:
            judged[shown.query_language] += 1
            accepted[shown.query_language] += good
    return {language: (count, accepted[language]) for language, count in judged.most_common()}


def judged_rows(sample: Sequence[Shown], said: Sequence[Said]) -> list[tuple[Shown, bool]]:
    """The rows that have verdicts, and whether more reviewers accepted than did not.

    A fix is no acceptance, but of a row that reads as it was mended.
    """
    votes: dict[str, list[Said]] = defaultdict(list)
    for one in said:
        votes[one.row].append(one)
    return [
        (shown, 2 * sum(_is_good(one, shown) for one in votes[shown.id]) > len(votes[shown.id]))
        for shown in sample
        if shown.id in votes
    ]


def _is_good(said: Said, shown: Shown) -> bool:
    mended = said.verdict == "fix" and (said.fixed or "").strip()[:MOST_TEXT] == shown.answer.strip()
    return said.verdict == "accept" or mended


def stratified(name: str, strata: Mapping[str, Sequence[bool]], rows: Mapping[str, int]) -> Precision:
    """The precision of several strata together: Σ W p with W a stratum's share of the rows.

    The interval is Wilson's for as many judged rows as a simple sample of the same variance would need,
    n = q (1 − q) / Σ W² q_h (1 − q_h) / n_h with q_h = (accepted + 1) / (n_h + 2) in each stratum and
    q = Σ W q_h: a stratum with no reject is not thereby certain. One stratum alone has its plain interval.
    """
    whole = sum(rows[key] for key in strata)
    value = middle = variance = 0.0
    for key, good in strata.items():
        weight, n = rows[key] / whole, len(good)
        careful = (sum(good) + 1) / (n + 2)
        value += weight * sum(good) / n
        middle += weight * careful
        variance += weight**2 * careful * (1 - careful) / n
    effective = middle * (1 - middle) / variance
    low, high = wilson(value * effective, effective)
    accepted, judged = sum(map(sum, strata.values())), sum(map(len, strata.values()))
    return Precision(name, accepted, judged, value, low, high, whole)


def wilson(good: float, total: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share (1927)."""
    share, square = good / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    half = z * (max(0.0, share * (1 - share) + square / 4) / total) ** 0.5 / (1 + square)
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


def _precision(name: str, good: Sequence[bool], rows: int) -> Precision:
    low, high = wilson(sum(good), len(good))
    return Precision(name, sum(good), len(good), sum(good) / len(good), low, high, rows)
