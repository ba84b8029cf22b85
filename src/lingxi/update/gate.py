"""The gate of an update: what it costs old slices, against the release before and in sum since an anchor.

Small losses pass one by one; their sum is bounded against a release that stays: the first, or another that
`lingxi update anchor` names. What the anchor finds comes from vectors that were computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingxi.evaluate.gate import Decision
from lingxi.evaluate.suite import SuiteSettings
from lingxi.update import bridge, cost, releases
from lingxi.update.bridge import Bridge
from lingxi.update.cost import Cost, Way
from lingxi.update.releases import BRIDGE, Release
from lingxi.update.settings import UpdateSettings


@dataclass(frozen=True, slots=True)
class Keep:
    """What must not be forgotten: a suite of old slices, where its sets lie, and the cache of vectors."""

    suite: SuiteSettings
    root: Path | None
    cache: Path


def weigh(
    home: Path,
    before: Release,
    new: Path,
    found: Bridge,
    keep: Keep,
    settings: UpdateSettings,
    out: Path,
    say: Callable[[str], None],
) -> Cost:
    """Measure a model that was learnt from `before`, under its map, beside that release and the anchor."""
    anchor = releases.anchor(home)
    first = None if anchor.number == before.number else _way(home, anchor)
    bounds = settings.max_drop, settings.max_sum
    after = Way(new, Path(before.space), found)
    return cost.measure(_way(home, before), after, first, keep.suite, keep.root, out, keep.cache, bounds, say)


def passes(weighed: Cost, settings: UpdateSettings, strict: bool) -> bool:
    """Whether it may serve: no slice is proved worse and all are within bounds, by the step and in sum."""
    return _holds(weighed.decision, settings.max_drop, strict) and in_sum(weighed, settings, strict)


def in_sum(weighed: Cost, settings: UpdateSettings, strict: bool) -> bool:
    """The half of `passes` that asks for the sum since the anchor."""
    return weighed.since is None or _holds(weighed.since, settings.max_sum, strict)


def told(weighed: Cost | None, anchor: int, settings: UpdateSettings, strict: bool) -> list[str]:
    """What was measured and what the gate says, in lines of words."""
    if weighed is None:
        return ["there is no suite of old slices, so no gate"]
    lines = [*weighed.said(settings.enough), f"gate: {weighed.decision.verdict}", *weighed.decision.reasons]
    if weighed.since is not None:
        lines += [f"gate on the sum since release {anchor}: {weighed.since.verdict}", *weighed.since.reasons]
    if not in_sum(weighed, settings, strict):
        lines.append(
            f"the sum since release {anchor} stops it: old slices may lose {settings.max_sum:g} points "
            f"in all and stand at {_all(weighed.since)}; against the release before {_all(weighed.decision)}"
        )
    return lines


def shown(said: Mapping[str, Any]) -> list[str]:
    """What a release's record says of its old slices, in lines."""
    weighed = said.get("cost")
    if not weighed:
        return []
    rows = [(said["before"], weighed["decision"])]
    if weighed.get("since"):
        rows.append((said["anchor"], weighed["since"]))
    return [
        f"old slices since release {number}: {row['slices'][0]['difference']:+.2f} points "
        f"[{row['slices'][0]['low']:+.2f}, {row['slices'][0]['high']:+.2f}], {row['verdict']}"
        for number, row in rows
    ]


def _holds(decision: Decision, most: float, strict: bool) -> bool:
    if strict:
        return decision.verdict == "passes"
    return decision.verdict != "blocked" and decision.slices[0].difference >= -most


def _all(decision: Decision | None) -> str:
    if decision is None:
        return "nothing"
    part = decision.slices[0]
    return f"{part.difference:+.2f} [{part.low:+.2f}, {part.high:+.2f}]"


def _way(home: Path, release: Release) -> Way:
    path = releases.folder_of(home, release.number) / BRIDGE
    return Way(Path(release.model), Path(release.space), bridge.load(path) if release.bridged else None)
