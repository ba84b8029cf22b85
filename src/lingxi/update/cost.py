"""What it costs not to embed again: old, stored, bridged and new on the same items of a suite.

    old        the model before, with its vectors
    first      an earlier release with its vectors, that losses are summed against
    stored     new queries against the vectors that are stored
    bridged    the same over the map
    new        everything embedded again

The gate asks of what would serve: `stored`, or `bridged` where that is better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lingxi.embedder import Embedder
from lingxi.evaluate.dense import Dense
from lingxi.evaluate.encoders import Own
from lingxi.evaluate.evidence import draw, interval
from lingxi.evaluate.gate import Decision, decide
from lingxi.evaluate.results import Group, groups_to_compare, main_of, read_groups
from lingxi.evaluate.run import evaluate
from lingxi.evaluate.suite import SuiteSettings
from lingxi.evaluate.tasks import CONTROL
from lingxi.update.bridge import Bridge
from lingxi.update.crossed import Crossed

OLD, FIRST, STORED, BRIDGED, NEW = "old", "first", "stored", "bridged", "new"
# What a map must bring to be put between: without one there is less to go wrong.
_WORTH_A_MAP = 0.005
# Sets of these compare two texts of equal standing: nothing of them is stored.
_NOT_STORED = ("bitext mining", "sts", "pair classification", "classification", "clustering")


@dataclass(frozen=True, slots=True)
class Share:
    """A quality as a share of another, with its 95 % interval (paired bootstrap over items)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Way:
    """A way to search: the model that asks, the model whose vectors are stored, and a map put between."""

    model: Path
    space: Path
    bridge: Bridge | None


@dataclass(frozen=True, slots=True)
class Cost:
    """Mean quality of each way over the sets (0 to 1), and what stored vectors give of embedding again.

    `decision` compares what would serve with the model before, `since` with an earlier release, if one was
    given.
    """

    means: dict[str, float]
    stored: Share
    bridged: Share | None
    decision: Decision
    served: str
    since: Decision | None = None

    def said(self, enough: float) -> list[str]:
        """The cost in lines of words."""
        best = self.bridged if self.served == BRIDGED and self.bridged else self.stored
        lines = [f"old slices: {name} {100 * value:.2f}" for name, value in self.means.items()]
        lines.append(
            f"without embedding again: {100 * best.value:.1f} % "
            f"[{100 * best.low:.1f}, {100 * best.high:.1f}] of what embedding again gives "
            f"({self.served} vectors)"
        )
        if best.value < enough:
            lines.append("embedding again pays: `lingxi update reindex`; until then the map bridges")
        return lines


def measure(
    old: Way,
    new: Way,
    first: Way | None,
    suite: SuiteSettings,
    root: Path | None,
    out: Path,
    cache: Path,
    bounds: tuple[float, float],
    say: Callable[[str], None],
) -> Cost:
    """Measure the ways on a suite; vectors that were computed once are read from `cache`.

    `old` and `new` share a space. `bounds` are the points that may be lost since `old`, and since `first`.
    """
    opened: dict[Path, Dense] = {}

    def dense(path: Path, name: str) -> Dense:
        return opened.setdefault(path, Dense(Own(Embedder(path), name), cache / "vectors"))

    before, stored, after = dense(old.model, "asked before"), dense(old.space, "space"), dense(new.model, NEW)
    systems = [Crossed(OLD, before, stored, old.bridge), Crossed(STORED, after, stored)]
    if first is not None:
        asked, there = dense(first.model, "asked first"), dense(first.space, "first space")
        systems.append(Crossed(FIRST, asked, there, first.bridge))
    if new.bridge is not None:
        systems.append(Crossed(BRIDGED, after, stored, new.bridge))
    evaluate(suite, root, [*systems, after], out, cache, say=say)
    return _cost(out, [*(system.name for system in systems), NEW], bounds)


def _cost(out: Path, names: Sequence[str], bounds: tuple[float, float]) -> Cost:
    groups = [g for g in main_of(read_groups(out)) if not g.head.language.endswith(CONTROL)]
    means = {name: _mean(groups, name) for name in (OLD, FIRST, STORED, BRIDGED, NEW) if name in names}
    stored = share(groups, STORED, NEW)
    over = share(groups, BRIDGED, NEW) if BRIDGED in names else None
    served = BRIDGED if over is not None and over.value > stored.value + _WORTH_A_MAP else STORED
    decision = _decision(out, OLD, served, bounds[0])
    since = _decision(out, FIRST, served, bounds[1]) if FIRST in names else None
    return Cost(means, stored, over, decision, served, since)


def _decision(out: Path, before: str, after: str, most: float) -> Decision:
    pair = groups_to_compare(out, out, before, after)
    return decide(pair.new, pair.old, pair.lengths, max_drop=most)


def share(groups: Sequence[Group], part: str, whole: str) -> Share:
    """One system's mean over sets as a share of another's, where documents are stored."""
    drawn: dict[str, list[np.ndarray]] = {part: [], whole: []}
    values: dict[str, list[float]] = {part: [], whole: []}
    for group in groups:
        if group.system in drawn and group.head.type not in _NOT_STORED:
            found = draw(group, 2000, 0)
            drawn[group.system].append(found.replicates)
            values[group.system].append(found.value)
    if not values[whole]:
        return Share(1.0, 1.0, 1.0)
    low, high = interval(np.mean(drawn[part], axis=0) / np.mean(drawn[whole], axis=0))
    return Share(float(np.mean(values[part]) / np.mean(values[whole])), low, high)


def _mean(groups: Sequence[Group], name: str) -> float:
    own = [draw(g, 1, 0).value for g in groups if g.system == name]
    return float(np.mean(own))
