"""What verdicts say: the precision of each stratum with its interval, and how far reviewers agree."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lingxi.curate.review.shown import MOST_TEXT, Shown
from lingxi.curate.review.verdicts import Said
from lingxi.curate.review.votes import by_text

_Text = tuple[str, str]
"""A row, and the text of it."""


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
    stratum by its rows (`stratified`). Rows that nobody judged do not count, nor do those shown again.
    """
    strata: dict[str, list[bool]] = defaultdict(list)
    for shown, good in evidence(sample, said):
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


def evidence(sample: Sequence[Shown], said: Sequence[Said]) -> list[tuple[Shown, bool]]:
    """The judged rows that were drawn from these files: what earlier verdicts left tells only of them."""
    return judged_rows([shown for shown in sample if not shown.again], said)


def judged_rows(sample: Sequence[Shown], said: Sequence[Said]) -> list[tuple[Shown, bool]]:
    """The rows that have verdicts as they read, and whether more reviewers accepted than did not.

    A fix is no acceptance, but of a row that reads as it was mended.
    """
    votes: dict[str, list[Said]] = defaultdict(list)
    for one in said:
        votes[one.row].append(one)
    found = []
    for shown in sample:
        own = {one.reviewer: _is_good(one, shown) for one in votes[shown.id] if _is_on(one, shown)}
        if own:
            found.append((shown, 2 * sum(own.values()) > len(own)))
    return found


def _is_on(said: Said, shown: Shown) -> bool:
    return said.seen in ("", shown.seen) or _reads_as_mended(said, shown)


def _is_good(said: Said, shown: Shown) -> bool:
    return said.verdict == "accept" or _reads_as_mended(said, shown)


def _reads_as_mended(said: Said, shown: Shown) -> bool:
    fixed, answer = (said.fixed or "").strip()[:MOST_TEXT], shown.answer.strip()
    # Of a long row the part that nobody saw follows.
    longer = said.seen not in ("", shown.seen) and answer.startswith(fixed)
    return said.verdict == "fix" and (fixed == answer or longer)


def stratified(name: str, strata: Mapping[str, Sequence[bool]], rows: Mapping[str, int]) -> Precision:
    """The precision of several strata together, 0 to 1: Σ W p with W a stratum's share of the rows.

    The interval is Wilson's for as many judged rows as a simple sample of the same variance would need,
    n = q (1 − q) / Σ W² q_h (1 − q_h) / n_h with q_h = (accepted + 1) / (n_h + 2) in each stratum and
    q = Σ W q_h: a stratum with no reject is not thereby certain. One stratum alone has its plain interval.
    """
    whole = sum(rows[key] for key in strata)
    # Summed before it is divided: strata without a reject are exactly 1 together.
    value = math.fsum(rows[key] * (sum(good) / len(good)) for key, good in strata.items()) / whole
    middle = variance = 0.0
    for key, good in strata.items():
        weight, n = rows[key] / whole, len(good)
        careful = (sum(good) + 1) / (n + 2)
        middle += weight * careful
        variance += weight**2 * careful * (1 - careful) / n
    effective = middle * (1 - middle) / variance
    low, high = wilson(value * effective, effective)
    accepted, judged = sum(map(sum, strata.values())), sum(map(len, strata.values()))
    return Precision(name, accepted, judged, value, low, high, whole)


def wilson(good: float, total: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share (1927); it ends at 0 where there is none, and at 1 where there are all."""
    share, square = min(1.0, good / total), z * z / total
    middle = (share + square / 2) / (1 + square)
    half = z * (max(0.0, share * (1 - share) + square / 4) / total) ** 0.5 / (1 + square)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return 0.0 if share == 0 else low, 1.0 if share == 1 else high


def kappa(said: Sequence[Said]) -> float | None:
    """Cohen's kappa of the two reviewers that judged most texts in common; None where no two did."""
    by_reviewer: dict[str, dict[_Text, str]] = defaultdict(dict)
    for text, own in by_text(said).items():
        for one in own:
            by_reviewer[one.reviewer][text] = one.verdict
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


def _common(by_reviewer: Mapping[str, Mapping[_Text, str]], pair: tuple[str, str]) -> list[_Text]:
    return sorted(set(by_reviewer[pair[0]]) & set(by_reviewer[pair[1]]))


def _precision(name: str, good: Sequence[bool], rows: int) -> Precision:
    low, high = wilson(sum(good), len(good))
    return Precision(name, sum(good), len(good), sum(good) / len(good), low, high, rows)
