"""One update from end to end: read, learn, blend, fit a map, weigh the cost, ask the gate, promote.

Everything is made in `HOME/trying`, which a stopped update goes on in; nothing that serves is touched before
the last step.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lingxi import manifest
from lingxi.errors import InputError
from lingxi.evaluate.suite import SuiteSettings
from lingxi.merge.run import FILE
from lingxi.model.files import read_decoder
from lingxi.model.tokens import read_tokens
from lingxi.records import Pair
from lingxi.train.feeding import text_ids
from lingxi.train.loop import Listener
from lingxi.update import bridge as bridges
from lingxi.update import cost, releases
from lingxi.update.anchors import vectors_of
from lingxi.update.blend import blend, share_of, with_share
from lingxi.update.bridge import Bridge
from lingxi.update.learn import learn
from lingxi.update.material import read_rows, sampled, split
from lingxi.update.releases import BRIDGE, EMBEDDER, TRYING, Release
from lingxi.update.settings import UpdateSettings

_BEGUN, _LEARNT = "begun.json", "learnt"
# Settings that change nothing of what is made.
_HOW = {"threads", "checkpoint_every", "max_drop", "enough"}
# Documents that a map is fitted on.
_MAPPED = 1000


@dataclass(frozen=True, slots=True)
class Keep:
    """What must not be forgotten: a suite of old slices, where its sets lie, and the cache of vectors."""

    suite: SuiteSettings
    root: Path | None
    cache: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an update did; `lines` say it in words."""

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


def update(
    home: Path,
    new: Sequence[Pair],
    replay: Sequence[Pair],
    keep: Keep | None,
    settings: UpdateSettings,
    *,
    strict: bool = False,
    files: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
    listeners: Sequence[Listener] = (),
) -> Outcome:
    """Teach the serving release new pairs; the outcome serves where the gate does not stop it.

    `replay` are old pairs, `files` those of an index that the new pairs were made of. Without `keep` there is
    no gate, and the outcome is not promoted. What the gate stops is merged once more with half of what was
    learnt, and asked again. Stopped, the same call goes on. Raises InputError where there is too little to
    learn from, TrainingError, GuardError.
    """
    clock, before = _Clock(), releases.serving(home)
    rows = _rows(new, replay, settings)
    trying = _trying(home, before, rows, settings)
    folder = trying / "release"

    def measured() -> tuple[Bridge, cost.Cost | None]:
        found = _bridge(Path(before.space), folder / EMBEDDER, rows.old, settings)
        bridges.save(found, folder / BRIDGE)
        clock.done("map")
        weighed = _weighed(home, before, folder / EMBEDDER, found, keep, settings, trying, say)
        clock.done("gate")
        return found, weighed

    _make(before, rows, settings, trying, listeners, clock, say)
    found, weighed = measured()
    half = share_of(folder / EMBEDDER) / 2
    if half and weighed is not None and not passes(weighed, settings, strict):
        say(f"the gate stops it; once more with {half:.3f} of what was learnt")
        folder = trying / "half"
        _make_half(before, rows, half, settings, trying, clock)
        found, weighed = measured()
    said = {
        "before": before.number, "pairs": len(rows.new), "kept": len(rows.old),
        "map": {"name": found.name, "cosine_before": found.cosine_before, "cosine": found.cosine},
        "share": share_of(folder / EMBEDDER), "cost": asdict(weighed) if weighed else None,
        "seconds": clock.wall, "cpu_seconds": clock.cpu,
        "settings": settings.model_dump(mode="json"), "learnt_files": list(files),
    }  # fmt: skip
    release = _finished(home, folder, before, weighed, said)
    promoted = weighed is not None and passes(weighed, settings, strict)
    lines = _told(weighed, settings)
    if promoted:
        releases.promote(home, folder, before.number)
        releases.tidy(home)
        shutil.rmtree(trying, ignore_errors=True)
        lines.append(f"release {release.number} serves; `lingxi update back` returns to {before.number}")
    else:
        lines.append(f"not promoted; it lies in {folder}, release {before.number} serves on")
    return Outcome(promoted, release, clock.wall, clock.cpu, tuple(lines))


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is learnt and kept in mind, and what the merge is chosen on."""

    new: tuple[Pair, ...]
    old: tuple[Pair, ...]
    new_dev: tuple[Pair, ...]
    old_dev: tuple[Pair, ...]

    def all(self) -> list[str]:
        """Ids of all rows."""
        return [row.id for row in (*self.new, *self.old, *self.new_dev, *self.old_dev)]


def _rows(new: Sequence[Pair], replay: Sequence[Pair], settings: UpdateSettings) -> _Rows:
    parts = split(new, settings.dev, settings.dev_rows, settings.seed)
    old = sampled(replay, settings.replay + settings.dev_rows, settings.seed)
    ranked = [row for row in old[: settings.dev_rows] if row.task in ("retrieval", "code", "bitext")]
    return _Rows(parts.train, tuple(old[settings.dev_rows :]), parts.dev, tuple(ranked))


def _make(
    before: Release,
    rows: _Rows,
    settings: UpdateSettings,
    trying: Path,
    listeners: Sequence[Listener],
    clock: _Clock,
    say: Callable[[str], None],
) -> None:
    """Learn and merge into `trying/release`; what a stopped update has done is not done again."""
    model, out = Path(before.model), trying / "release" / EMBEDDER
    card = _card(before, len(rows.new), len(rows.old), settings)
    if not (trying / _LEARNT).exists():
        learn(model, rows.new, rows.old, settings, trying, card, listeners)
        (trying / _LEARNT).touch()
    clock.done("learn")
    if not (out / FILE).exists():
        out.parent.mkdir(exist_ok=True)
        merged = blend(model, trying / "tuned", rows.new_dev, rows.old_dev, settings, out, card)
        say(f"merged: {merged.search.said() if merged.search else merged.weights}")
    clock.done("blend")


def _make_half(
    before: Release, rows: _Rows, share: float, settings: UpdateSettings, trying: Path, clock: _Clock
) -> None:
    """Merge once more, with `share` of what was learnt, into `trying/half`."""
    model, out = Path(before.model), trying / "half" / EMBEDDER
    if not (out / FILE).exists():
        out.parent.mkdir(exist_ok=True)
        card = _card(before, len(rows.new), len(rows.old), settings)
        with_share(model, trying / "tuned", share, settings, out, card)
    clock.done("blend")


def _told(weighed: cost.Cost | None, settings: UpdateSettings) -> list[str]:
    if weighed is None:
        return ["there is no suite of old slices, so no gate"]
    return [
        *weighed.said(settings.enough),
        f"gate: {weighed.decision.verdict}",
        *weighed.decision.reasons,
    ]


def passes(weighed: cost.Cost, settings: UpdateSettings, strict: bool) -> bool:
    """Whether the gate lets it serve: no slice is proved worse, and all together are within bounds."""
    decision = weighed.decision
    if strict:
        return decision.verdict == "passes"
    return decision.verdict != "blocked" and decision.slices[0].difference >= -settings.max_drop


def _trying(home: Path, before: Release, rows: _Rows, settings: UpdateSettings) -> Path:
    """The folder that this update is made in: the one of before where it is the same update."""
    told = repr((before.number, before.model, rows.all(), settings.model_dump(mode="json", exclude=_HOW)))
    key = hashlib.sha256(f"{told} {manifest.hash_code('update', 'train')}".encode()).hexdigest()
    trying = home / TRYING / "update"
    begun = trying / _BEGUN
    if not begun.exists() or json.loads(begun.read_text("utf-8"))["key"] != key:
        shutil.rmtree(trying, ignore_errors=True)
        trying.mkdir(parents=True)
        begun.write_text(json.dumps({"key": key}), "utf-8")
    return trying


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


def _weighed(
    home: Path,
    before: Release,
    new: Path,
    found: Bridge,
    keep: Keep | None,
    settings: UpdateSettings,
    trying: Path,
    say: Callable[[str], None],
) -> cost.Cost | None:
    if keep is None:
        return None
    earlier = bridges.load(releases.folder_of(home, before.number) / BRIDGE) if before.bridged else None
    return cost.measure(
        Path(before.model), Path(before.space), new, (earlier, found), keep.suite, keep.root,
        trying / f"gate-{new.parent.name}", keep.cache, settings.max_drop, say,
    )  # fmt: skip


def _finished(
    home: Path, folder: Path, before: Release, weighed: cost.Cost | None, said: dict[str, object]
) -> Release:
    """Write what the release is; its paths are those that it will have once it serves."""
    number = releases.next_number(home)
    place = releases.folder_of(home, number) / EMBEDDER
    bridged = weighed is not None and weighed.served == cost.BRIDGED
    release = Release(number, str(place), before.space, bridged, said)
    releases.write(folder, release)
    return release


def _card(before: Release, new: int, old: int, settings: UpdateSettings) -> str:
    return (
        "---\nlibrary_name: sentence-transformers\npipeline_tag: feature-extraction\n---\n\n"
        f"# Updated model\n\nRelease {before.number} taught {new:,} new pairs in {settings.steps} steps, "
        f"with {old:,} old pairs kept in mind (`lingxi update`). Documents that were stored by the model "
        "before stay searchable by its queries; `release.json` says what that costs.\n"
    )


def rows_of(paths: Sequence[Path], language: str) -> list[Pair]:
    """The pairs of several files and folders."""
    return [row for path in paths for row in read_rows(path, language)]
