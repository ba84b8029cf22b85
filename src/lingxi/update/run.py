"""One update from end to end: learn, merge, fit a map, ask the gate, promote.

Everything is made in `HOME/trying`, which a stopped update goes on in; nothing that serves is touched before
the last step.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lingxi.errors import InputError
from lingxi.model.files import read_decoder
from lingxi.model.tokens import read_tokens
from lingxi.records import Pair
from lingxi.train.feeding import text_ids
from lingxi.train.loop import Listener
from lingxi.update import bridge as bridges
from lingxi.update import cost, gate, making, releases
from lingxi.update.anchors import vectors_of
from lingxi.update.bridge import Bridge
from lingxi.update.gate import Keep
from lingxi.update.making import Making
from lingxi.update.material import read_rows
from lingxi.update.releases import BRIDGE, EMBEDDER, Release
from lingxi.update.settings import UpdateSettings

# Documents that a map is fitted on.
_MAPPED = 1000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an update did; `lines` say it in words. `release` is what it made, or the one that serves on where
    nothing was learnt.
    """

    promoted: bool
    release: Release
    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    lines: tuple[str, ...]


class _Clock:
    """Seconds of each step, by the clock and of the CPU."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self._last = time.perf_counter(), time.process_time()

    def done(self, name: str) -> None:
        """Since the last step; a step that comes again adds to its time."""
        now = time.perf_counter(), time.process_time()
        for seconds, n, b in zip((self.wall, self.cpu), now, self._last, strict=True):
            seconds[name] = round(seconds.get(name, 0.0) + n - b, 1)
        self._last = now


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A merge with its map and, where there is a suite, its cost."""

    folder: Path
    share: float
    bridge: Bridge
    cost: cost.Cost | None


def update(
    home: Path,
    new: Sequence[Pair],
    replay: Sequence[Pair],
    keep: Keep | None,
    settings: UpdateSettings,
    *,
    strict: bool = False,
    files: Sequence[str] = (),
    say: Say = lambda line: None,
    listeners: Sequence[Listener] = (),
) -> Outcome:
    """Teach the serving release new pairs; the outcome serves where the gate does not stop it.

    `replay` are old pairs, `files` those of an index that the new pairs were made of. Without `keep` there is
    no gate, and the outcome is not promoted. What the gate stops is merged once more with half of what was
    learnt, and asked again; where the merge takes nothing of it there is no release to ask about. Stopped,
    the same call goes on. Raises InputError where there is too little to learn from, TrainingError,
    GuardError, StoreError where the release is gone that losses are summed against.
    """
    clock, before = _Clock(), releases.serving(home)
    anchor = releases.anchor(home).number
    made = making.begun(home, before, new, replay, settings)
    making.learn_new(made, listeners)
    clock.done("learn")
    share = making.share_of(made, say)
    clock.done("blend")
    if not share:
        return Outcome(False, before, clock.wall, clock.cpu, _nothing(before))
    found = _weighed(home, made, "release", share, keep, clock, say)
    if found.cost is not None and not gate.passes(found.cost, settings, strict):
        say(f"the gate stops it; once more with {share / 2:.3f} of what was learnt")
        found = _weighed(home, made, "half", share / 2, keep, clock, say)
    said = _said(made, found, anchor, clock) | {"learnt_files": list(files)}
    bridged = found.cost is not None and found.cost.served == cost.BRIDGED
    release = making.finish(home, made, found.folder, bridged, said)
    promoted = found.cost is not None and gate.passes(found.cost, settings, strict)
    lines = gate.told(found.cost, anchor, settings, strict)
    if promoted:
        releases.promote(home, found.folder, before.number)
        releases.tidy(home)
        shutil.rmtree(made.folder, ignore_errors=True)
        lines.append(f"release {release.number} serves; `lingxi update back` returns to {before.number}")
    else:
        lines.append(f"not promoted; it lies in {found.folder}, release {before.number} serves on")
    return Outcome(promoted, release, clock.wall, clock.cpu, tuple(lines))


def _weighed(
    home: Path, made: Making, name: str, share: float, keep: Keep | None, clock: _Clock, say: Say
) -> _Weighed:
    """Merge a share, fit its map, and weigh it."""
    folder = making.merge(made, name, share)
    embedder = folder / EMBEDDER
    clock.done("blend")
    found = _bridge(made.space, embedder, made.rows.old, made.settings)
    bridges.save(found, folder / BRIDGE)
    clock.done("map")
    out = made.folder / f"gate-{name}"
    weighed = gate.weigh(home, made.before, embedder, found, keep, made.settings, out, say) if keep else None
    clock.done("gate")
    return _Weighed(folder, share, found, weighed)


def _said(made: Making, found: _Weighed, anchor: int, clock: _Clock) -> dict[str, object]:
    """What the release's record tells of its making."""
    rows, bridge = made.rows, found.bridge
    return {
        "before": made.before.number, "anchor": anchor,
        "pairs": len(rows.new), "kept": len(rows.old), "recalled": len(rows.learnt),
        "map": {"name": bridge.name, "cosine_before": bridge.cosine_before, "cosine": bridge.cosine},
        "share": found.share, "cost": asdict(found.cost) if found.cost else None,
        "seconds": clock.wall, "cpu_seconds": clock.cpu, "settings": made.settings.model_dump(mode="json"),
    }  # fmt: skip


def _nothing(before: Release) -> tuple[str, ...]:
    return (
        "nothing was learnt: on the dev rows the model before scored above every merge with what was tuned",
        f"no release was made, release {before.number} serves on; give more pairs, or --set share=0.5",
    )


def _bridge(space: Path, new: Path, old: Sequence[Pair], settings: UpdateSettings) -> Bridge:
    """The map, fitted on old documents that the merge and the gate do not see."""
    texts = list(dict.fromkeys(row.positives[0].text for row in old))[:_MAPPED]
    if len(texts) < 20:
        raise InputError(f"{len(texts)} old documents to fit a map on", "give more old texts to keep")
    vectors = []
    for model in (space, new):
        decoder = read_decoder(model, torch.float32)
        tokens = read_tokens(model / "tokenizer.json", decoder.size.vocab)
        ids = text_ids(tokens, texts, [""] * len(texts), settings.max_tokens)
        vectors.append(vectors_of(decoder, ids).numpy())
    return bridges.fit(vectors[0], vectors[1])


def rows_of(paths: Sequence[Path], language: str) -> list[Pair]:
    """The pairs of several files and folders."""
    return [row for path in paths for row in read_rows(path, language)]
