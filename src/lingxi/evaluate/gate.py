"""May the new model replace the old one? A paired answer over all items and every slice at once.

Each slice (all items, each set, task, language, and length of the query) has a difference new − old with
paired bootstrap replicates. The bounds hold for all slices together by the max-T method (Romano and Wolf
2005): the critical value is a quantile, over replicates, of the largest studentised deviation of any slice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lingxi.errors import InputError
from lingxi.evaluate.evidence import check_paired, draw, generator
from lingxi.evaluate.measure import is_mean
from lingxi.evaluate.results import Group, main_of
from lingxi.evaluate.tasks import CONTROL

Verdict = Literal["passes", "blocked", "undecided"]
ALL = "all"
_RESAMPLES = 2000
# A slice of fewer items says too little to stop a release on its own.
_FEWEST = 20


@dataclass(frozen=True, slots=True)
class Slice:
    """New minus old over some items, in points of 100, with bounds that hold for all slices together."""

    name: str
    difference: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says. `smallest` is the least drop, in points, that it could have proved overall."""

    verdict: Verdict
    reasons: tuple[str, ...]
    slices: tuple[Slice, ...]
    smallest: float


@dataclass(frozen=True, slots=True)
class _Part:
    """Items of one group that share a length: the difference of their mean, and its replicates."""

    names: tuple[str, ...]
    value: float
    replicates: npt.NDArray[np.float64]
    n: int


def decide(
    new: Iterable[Group],
    old: Iterable[Group],
    lengths: Mapping[tuple[str, str, str], str],
    *,
    max_drop: float = 0.5,
    confidence: float = 0.95,
    strict: bool = False,
    seed: int = 0,
) -> Decision:
    """Compare two systems measured on the same items, each set by its first metric.

    `lengths` says the length slice of an item by set, language and id. Blocked: some slice has dropped by
    more than `max_drop` points, proved at `confidence` for all slices together. Passes: the items together
    have not, proved likewise (with `strict`, no slice has). Else undecided. Raises InputError where the
    two have no items in common.
    """
    slices = simultaneous(_parts(new, old, lengths, seed), confidence)
    overall = slices[0]
    down = [s for s in slices if s.high < -max_drop]
    smallest = round((overall.high - overall.low) / 2 + max_drop, 2)
    if down:
        return Decision("blocked", tuple(_said(s, "has dropped") for s in down), tuple(slices), smallest)
    open_ = [s for s in (slices if strict else slices[:1]) if s.low <= -max_drop]
    if open_:
        return Decision(
            "undecided", tuple(_said(s, "may have dropped") for s in open_), tuple(slices), smallest
        )
    return Decision("passes", (_said(overall, "has not dropped"),), tuple(slices), smallest)


def simultaneous(parts: Sequence[_Part], confidence: float) -> list[Slice]:
    """Every slice of the parts, `all` first, with max-T bounds."""
    members: dict[str, list[_Part]] = defaultdict(list)
    for part in parts:
        for name in part.names:
            members[name].append(part)
    names = [n for n, own in members.items() if n == ALL or sum(p.n for p in own) >= _FEWEST]
    values = np.array([_pooled([p.value for p in members[n]], members[n]) for n in names])
    drawn = np.stack([_pooled(np.stack([p.replicates for p in members[n]]), members[n]) for n in names])
    spread = drawn.std(axis=1)
    deviation = np.abs(drawn - values[:, None]) / np.maximum(spread, 1e-12)[:, None]
    critical = (
        float(np.quantile(deviation[spread > 0].max(axis=0), confidence)) if (spread > 0).any() else 0.0
    )
    half = critical * spread
    return [
        Slice(name, _points(v), _points(v - h), _points(v + h), sum(p.n for p in members[name]))
        for name, v, h in zip(names, values, half, strict=True)
    ]


def _points(share: float) -> float:
    return round(100 * float(share), 3)


def _parts(
    new: Iterable[Group],
    old: Iterable[Group],
    lengths: Mapping[tuple[str, str, str], str],
    seed: int,
) -> list[_Part]:
    before = {(g.head, g.metric): g for g in old}
    parts: list[_Part] = []
    for group in main_of(new):
        # What was measured only to compare another with it is no quality that may fall.
        if group.head.language.endswith(CONTROL) or (group.head, group.metric) not in before:
            continue
        other = before[group.head, group.metric]
        check_paired(group, other)
        parts += (
            _by_length(group, other, lengths, seed) if is_mean(group.metric) else [_whole(group, other, seed)]
        )
    if not parts:
        raise InputError("the two systems have no set in common", "measure both on the same suite")
    return parts


def _whole(new: Group, old: Group, seed: int) -> _Part:
    first, second = draw(new, _RESAMPLES, seed), draw(old, _RESAMPLES, seed)
    gaps = first.replicates - second.replicates
    return _Part(_names(new), first.value - second.value, gaps, len(new.values))


def _by_length(new: Group, old: Group, lengths: Mapping[tuple[str, str, str], str], seed: int) -> list[_Part]:
    own = np.array([lengths[new.head.name, new.head.language, item] for item in new.items])
    gaps, count = new.values - old.values, len(new.values)
    drawn = generator(new, seed).integers(0, count, (_RESAMPLES, count), dtype=np.int32)
    parts = []
    for name in dict.fromkeys(own.tolist()):
        inside = own == name
        total = np.where(inside, gaps, 0.0)[drawn].sum(axis=1)
        # A draw without any item of this length says nothing of it.
        means = total / np.maximum(inside[drawn].sum(axis=1), 1)
        names = (*_names(new), f"length {name}")
        parts.append(_Part(names, float(gaps[inside].mean()), means, int(inside.sum())))
    return parts


def _names(group: Group) -> tuple[str, ...]:
    head = group.head
    return (ALL, f"set {head.name}", f"task {head.type}", f"language {head.language}")


def _pooled(values: npt.ArrayLike, parts: Sequence[_Part]) -> npt.NDArray[np.float64]:
    """Mean over items: parts weigh by how many they have."""
    weights = np.array([part.n for part in parts], np.float64)
    return np.asarray(np.tensordot(weights / weights.sum(), np.asarray(values), axes=1))


def _said(part: Slice, what: str) -> str:
    return (
        f"{part.name} {what}: {part.difference:+.2f} points [{part.low:+.2f}, {part.high:+.2f}] "
        f"over {part.n:,} items"
    )
