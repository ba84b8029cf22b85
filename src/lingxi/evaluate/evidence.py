"""How sure a number is, and whether two systems differ: bootstrap replicates with common random numbers.

Items are drawn with replacement inside each group (one set in one language), by a seed that the set's name
fixes. So two systems, measured on the same items, have paired replicates: the difference of two is a
replicate of the difference. And a set that asks the same questions in many languages draws the same
questions in all of them, so the interval of its mean is not too narrow.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lingxi.errors import InputError
from lingxi.evaluate.measure import is_mean, statistic
from lingxi.evaluate.report import Score
from lingxi.evaluate.results import Group, main_of
from lingxi.evaluate.tasks import CONTROL

Replicates = npt.NDArray[np.float64]
MEANS = "mean of"
# Numbers that are no means take longer, and their intervals need no more replicates than these.
_FEWER = 300
# Indices drawn at a time.
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True)
class Drawn:
    """A group's number and its bootstrap replicates; `values` where the number is their mean."""

    group: Group
    value: float
    replicates: Replicates


@dataclass(frozen=True, slots=True)
class Difference:
    """New minus old on the same items: its interval, and how often chance alone makes one as large."""

    value: float
    low: float
    high: float
    p: float
    n: int


def value_of(group: Group) -> float:
    """A group's number, as it is reported."""
    return statistic(group.metric)(group.values, group.gold)


def pooled(groups: Iterable[Group], resamples: int) -> tuple[float, float, float] | None:
    """Mean over sets of each set's main number (languages averaged first, no controls), with its interval."""
    sets: dict[str, list[Drawn]] = {}
    for group in main_of(groups):
        if not group.head.language.endswith(CONTROL):
            sets.setdefault(group.head.name, []).append(draw(group, resamples, 0))
    if not sets:
        return None
    value = float(np.mean([np.mean([item.value for item in own]) for own in sets.values()]))
    replicates = np.mean([np.mean([d.replicates for d in own], axis=0) for own in sets.values()], axis=0)
    return value, *interval(replicates)


def draw(group: Group, resamples: int, seed: int) -> Drawn:
    """Replicates of a group's number; the same group and seed draw the same items for every system."""
    number, rng, count = statistic(group.metric), generator(group, seed), len(group.values)
    if is_mean(group.metric):
        return Drawn(group, number(group.values, None), _means(group.values, resamples, rng))
    replicates = np.empty(min(resamples, _FEWER))
    for i in range(len(replicates)):
        rows = rng.integers(0, count, count)
        replicates[i] = number(group.values[rows], group.gold[rows] if group.gold is not None else None)
    value = number(group.values, group.gold)
    if group.metric == "v_measure":
        # An item drawn twice agrees with itself, so replicates of clusters lie too high: they are moved back.
        replicates += value - replicates.mean()
    # The others' replicates are as many: these are repeated in turn, which keeps their quantiles.
    return Drawn(group, value, np.resize(replicates, resamples))


def generator(group: Group, seed: int) -> np.random.Generator:
    """The random numbers that draw the items of a set."""
    return np.random.default_rng([seed, zlib.crc32(group.head.name.encode())])


def _means(values: Replicates, resamples: int, rng: np.random.Generator) -> Replicates:
    count = len(values)
    step = max(1, _CHUNK // max(1, count))
    parts = [
        values[rng.integers(0, count, (min(step, resamples - start), count))].mean(axis=1)
        for start in range(0, resamples, step)
    ]
    return np.concatenate(parts)


def interval(replicates: Replicates, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of replicates (Efron 1979)."""
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def scores(groups: Iterable[Group], resamples: int = 1000, seed: int = 0) -> list[Score]:
    """One score a group, and for sets in many languages the mean of the languages first."""
    drawn = [draw(group, resamples, seed) for group in groups]
    rows: list[Score] = []
    for name in dict.fromkeys(item.group.head.name for item in drawn):
        own = [item for item in drawn if item.group.head.name == name]
        rows += _means_of_languages(own)
        rows += [_score(item, item.group.head.language, [item]) for item in own]
    return rows


def _means_of_languages(own: Sequence[Drawn]) -> list[Score]:
    """One row a system and metric: the mean over languages, without English to English and controls."""
    crossing = [
        item
        for item in own
        if item.group.head.language != "en>en" and not item.group.head.language.endswith(CONTROL)
    ]
    rows = []
    for key in dict.fromkeys((item.group.system, item.group.metric) for item in crossing):
        same = [item for item in crossing if (item.group.system, item.group.metric) == key]
        if len(same) > 1:
            rows.append(_score(same[0], f"{MEANS} {len(same)}", same))
    return rows


def _score(like: Drawn, language: str, items: Sequence[Drawn]) -> Score:
    low, high = interval(np.mean([item.replicates for item in items], axis=0))
    value = float(np.mean([item.value for item in items]))
    group, count = like.group, sum(len(item.group.values) for item in items)
    return Score(group.head.name, language, group.system, group.metric, value, low, high, count)


def difference(new: Group, old: Group, resamples: int = 2000, seed: int = 0) -> Difference:
    """New minus old with a paired bootstrap interval and a randomisation test (Fisher; Smucker 2007).

    Raises InputError where the two were not measured on the same items.
    """
    check_paired(new, old)
    first, second = draw(new, resamples, seed), draw(old, resamples, seed)
    low, high = interval(first.replicates - second.replicates)
    value = first.value - second.value
    if new.metric == "v_measure":
        # Numbers of clusters mean nothing across systems, so nothing can be exchanged between them.
        below = float(np.mean(first.replicates <= second.replicates))
        chance = min(1.0, 2 * min(below, 1 - below) + 1 / resamples)
    else:
        chance = _chance(new, old, abs(value), resamples, seed)
    return Difference(value, low, high, chance, len(new.values))


def check_paired(new: Group, old: Group) -> None:
    """Raise InputError where two groups do not hold the same items under the same metric."""
    if (new.head, new.metric, new.items) != (old.head, old.metric, old.items):
        raise InputError(
            f"{new.system} and {old.system} were not measured on the same items of {new.head.name!r}",
            "measure both with the same suite, sampling and seed",
        )


def rank(values: Replicates) -> Replicates:
    """Ranks from 0, equal values sharing the mean of theirs."""
    order = np.sort(values)
    first, last = np.searchsorted(order, values, "left"), np.searchsorted(order, values, "right")
    return np.asarray((first + last - 1) / 2, np.float64)


def _chance(new: Group, old: Group, seen: float, resamples: int, seed: int) -> float:
    """Share of random exchanges of the two systems' items whose difference is as large as the one seen."""
    number, rng = statistic(new.metric), np.random.default_rng(seed)
    count = len(new.values)
    if is_mean(new.metric):
        gaps = new.values - old.values
        step = max(1, _CHUNK // max(1, count))
        large = 0
        for start in range(0, resamples, step):
            signs = rng.integers(0, 2, (min(step, resamples - start), count)) * 2 - 1
            large += int((np.abs((signs * gaps).mean(axis=1)) >= seen - 1e-12).sum())
        return (large + 1) / (resamples + 1)
    # Scores of two systems have two scales: their ranks, which is all these numbers read, have one.
    ours, theirs = rank(new.values), rank(old.values)
    large, rounds = 0, min(resamples, _FEWER)
    for _ in range(rounds):
        swap = rng.integers(0, 2, count).astype(bool)
        one, two = np.where(swap, theirs, ours), np.where(swap, ours, theirs)
        large += abs(number(one, new.gold) - number(two, old.gold)) >= seen - 1e-12
    return (large + 1) / (rounds + 1)


@dataclass(frozen=True, slots=True)
class Miss:
    """An item that went worst: what was asked, what was found, what should have been."""

    set: str
    language: str
    item: str
    value: float
    text: str
    found: str
    expected: str


def worst(
    group: Group, items: Mapping[tuple[str, str, str], Mapping[str, str]], count: int = 10
) -> list[Miss]:
    """The items of a group with the lowest values (of a mean), lowest first, ties by id."""
    if not is_mean(group.metric):
        return []
    order = sorted(range(len(group.values)), key=lambda i: (group.values[i], group.items[i]))[:count]
    return [_miss(group, i, items) for i in order]


def _miss(group: Group, i: int, items: Mapping[tuple[str, str, str], Mapping[str, str]]) -> Miss:
    known = items[group.head.name, group.head.language, group.items[i]]
    return Miss(
        group.head.name,
        group.head.language,
        group.items[i],
        float(group.values[i]),
        known["text"],
        group.top[i],
        known["expected"],
    )
