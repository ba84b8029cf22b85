"""Which rows a batch is made of: a weighted draw of one task, balanced over sources and languages.

A batch holds one task, so that its negatives are of one kind and its queries share one instruction; no two
of its rows share a group, so a translation of a positive is never a negative. A draw depends on its random
numbers alone, so a run resumes by its step's number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lingxi.collect.instructions import decides
from lingxi.errors import InputError
from lingxi.train.partners import with_partners
from lingxi.train.phases import MixtureSettings
from lingxi.train.store import Store, Stratum

# Tasks whose two sides are alike get the instruction on both, as in Qwen's evaluation.
SYMMETRIC = frozenset({"bitext", "sts", "pair", "classification"})
Weigh = Callable[[Stratum], float]
# A batch is drawn in so many rounds at most: rows of groups it already has are not taken.
_ROUNDS = 4
# Rows whose groups are looked at together.
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Kind:
    """The rows of one task with one instruction.

    `members` are row numbers (a part of the store's memory map), stratum after stratum; stratum s is
    `members[first[s]:first[s + 1]]` and is drawn with the chance by which `cumulative` rises there.
    """

    task: str
    instruction: str
    members: NDArray[np.uint32]
    first: NDArray[np.int64]
    cumulative: NDArray[np.float64]

    @property
    def drawable(self) -> int:
        """Rows that have a chance."""
        return int(np.diff(self.first)[np.diff(self.cumulative, prepend=0.0) > 0].sum())

    def draw(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """`size` row numbers, each a stratum by its chance, then a row of it, all alike."""
        stratum = np.searchsorted(self.cumulative, rng.random(size), side="right")
        places = rng.integers(self.first[stratum], self.first[stratum + 1])
        return self.members[places].astype(np.int64)


@dataclass(frozen=True, slots=True)
class Draw:
    """A batch: its kind and its row numbers.

    Of a `contrast_sampler` some rows have another instruction of the same task: read it off the rows.
    """

    kind: Kind
    numbers: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws batches: a kind by its `chances`, then rows of it by balanced strata.

    `left_out` holds the rows of kinds (task and instruction) that make no batch: they are all of one group.
    """

    store: Store
    kinds: tuple[Kind, ...]
    chances: NDArray[np.float64]
    mixed: bool
    left_out: Mapping[tuple[str, str], int]

    def draw(self, rng: np.random.Generator, size: int) -> Draw:
        """A kind and 2 to `size` of its rows, no two of one group but for a row and its contrast partner."""
        if size < 2:
            raise InputError(f"a batch of {size} has nothing to compare", "draw at least two rows")
        kind = self.kinds[int(rng.choice(len(self.kinds), p=self.chances))]
        numbers = _apart(self.store, kind, rng, size)
        if self.mixed:
            numbers = with_partners(self.store, numbers, rng, size)
        return Draw(kind, numbers)


def sampler(
    store: Store,
    mixture: Mapping[str, float],
    balance: float,
    emphasis: Mapping[str, float] = MappingProxyType({}),
    *,
    sources: Sequence[str] = ("*",),
    without: Callable[[str], bool] = lambda instruction: False,
) -> Sampler:
    """Prepare sampling by the mixture of tasks: the relative share of batches of each.

    In a task an instruction of n rows (weighed by emphasis) is drawn as n ** balance; within that a stratum
    (source and query language) likewise, times its `emphasis`: factors by source (names or patterns) and
    one by language, where "*" stands for the languages not named. Only sources that meet one of the patterns
    `sources` are drawn, and no instructions that `without` names. Raises InputError where a task has no rows,
    and where a weight is negative or none is above zero.
    """
    _check_weights("mixture", mixture)
    _check_weights("emphasis", emphasis)
    wanted = {task: weight for task, weight in mixture.items() if weight > 0}
    if not wanted:
        raise InputError("the mixture gives no task a weight above zero", "give one task at least a weight")
    matching = {s.source for s in store.strata if any(fnmatchcase(s.source, each) for each in sources)}
    named = {s for s in store.strata if s.source in matching and not without(s.instruction)}
    there = sorted({stratum.task for stratum in named})
    if absent := sorted(set(wanted) - set(there)):
        raise InputError(
            f"the mixture names {', '.join(absent)}, of which {', '.join(sources)} has no rows",
            f"tasks there: {there}",
        )
    return _sampler(
        store, wanted, balance, lambda s: _emphasis(s, emphasis) if s in named else 0.0, mixed=False
    )


def sampler_of(store: Store, mixture: MixtureSettings) -> Sampler:
    """The mixture over a store's rows; rows whose instruction decides are drawn as contrasts only."""
    return sampler(
        store,
        mixture.tasks,
        mixture.language_balance,
        mixture.emphasis,
        sources=mixture.sources,
        without=decides,
    )


def contrast_sampler(store: Store, balance: float) -> Sampler:
    """A sampler of rows whose query stands under several instructions of a task, each beside its partner.

    Raises InputError where there are no such rows.
    """
    numbers = np.unique(store.columns["strata"][store.columns["contrast_rows"]])
    contrasting = {store.strata[number] for number in numbers}
    if not contrasting:
        raise InputError(
            "no query of the pairs stands under two instructions of a task",
            "generate contrast rows ([generate.contrasts]), or set instruction_rate to 0",
        )
    tasks = dict.fromkeys(sorted({stratum.task for stratum in contrasting}), 1.0)
    return _sampler(store, tasks, balance, lambda s: float(s in contrasting), mixed=True)


def _check_weights(name: str, weights: Mapping[str, float]) -> None:
    wrong = [f"{key} {value}" for key, value in weights.items() if not 0 <= value < math.inf]
    if wrong:
        raise InputError(f"{name}: {', '.join(wrong)} is no weight", "give numbers of zero or above")


def _sampler(
    store: Store, wanted: Mapping[str, float], balance: float, weigh: Weigh, *, mixed: bool
) -> Sampler:
    kinds: list[Kind] = []
    chances: list[float] = []
    left_out: dict[tuple[str, str], int] = {}
    for task, weight in wanted.items():
        good, sizes = [], []
        for kind, size in _kinds(store, task, balance, weigh):
            if _has_two_groups(store, kind):
                good.append(kind)
                sizes.append(size**balance)
            elif kind.drawable:
                left_out[task, kind.instruction] = kind.drawable
        if not good:
            raise InputError(
                f"the rows of {task} that may be drawn are all of one group", "add pairs, or leave it out"
            )
        kinds += good
        chances += [weight * size / sum(sizes) for size in sizes]
    return Sampler(store, tuple(kinds), np.array(chances) / sum(chances), mixed, left_out)


def _kinds(store: Store, task: str, balance: float, weigh: Weigh) -> Iterator[tuple[Kind, float]]:
    """The kinds of a task and their weighed rows; the store has rows by stratum, in order of their names."""
    numbered = [pair for pair in store.in_order() if pair[0].task == task]
    for instruction, group in groupby(numbered, key=lambda pair: pair[0].instruction):
        part = list(group)
        first = np.concatenate(([0], np.cumsum([stratum.rows for stratum, _ in part])))
        members = store.columns["by_stratum"][part[0][1] : part[0][1] + first[-1]]
        factors = [weigh(s) for s, _ in part]
        weights = np.array([s.rows**balance * f for (s, _), f in zip(part, factors, strict=True)])
        # The last is exactly one, so that no draw falls behind it.
        rising = np.cumsum(weights)
        kind = Kind(task, instruction, members, first, rising / rising[-1] if rising[-1] else rising)
        yield kind, sum(s.rows * f for (s, _), f in zip(part, factors, strict=True))


def _emphasis(stratum: Stratum, emphasis: Mapping[str, float]) -> float:
    of_source = [f for name, f in emphasis.items() if name != "*" and fnmatchcase(stratum.source, name)]
    return math.prod(of_source) * emphasis.get(stratum.language, emphasis.get("*", 1.0))


def _groups(store: Store, kind: Kind) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """Rows that can be drawn, and their groups, a part at a time."""
    for stratum in np.flatnonzero(np.diff(kind.cumulative, prepend=0.0) > 0):
        for start in range(kind.first[stratum], kind.first[stratum + 1], _CHUNK):
            end = min(start + _CHUNK, kind.first[stratum + 1])
            rows = kind.members[start:end].astype(np.int64)
            yield rows, store.columns["groups"][rows]


def _has_two_groups(store: Store, kind: Kind) -> bool:
    first = next(_groups(store, kind), None)
    return first is not None and any((groups != first[1][0]).any() for _, groups in _groups(store, kind))


def _apart(store: Store, kind: Kind, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    """Up to `size` rows of a kind and two at least, no two of one group."""
    groups, drawn = store.columns["groups"], np.empty(0, np.int64)
    for _ in range(_ROUNDS):
        drawn = np.concatenate((drawn, kind.draw(rng, size * 2)))
        drawn = drawn[np.sort(np.unique(groups[drawn], return_index=True)[1])]
        if len(drawn) >= size:
            return drawn[:size]
    if len(drawn) == 1:  # one group holds nearly all: the nearest other rows take a part
        others = (rows[found != groups[drawn[0]]] for rows, found in _groups(store, kind))
        drawn = np.append(drawn, rng.choice(next(rows for rows in others if len(rows))))
    return drawn
