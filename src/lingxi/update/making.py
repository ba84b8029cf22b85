"""A release in the making, in `HOME/trying/update`: its rows, what was learnt, merges of it, what it says.

A stopped update goes on there: each step is made once, and the folder is another update's where rows,
settings or code differ.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lingxi import manifest
from lingxi.merge.run import FILE
from lingxi.records import Pair, read_pairs, write_pairs
from lingxi.train.loop import Listener
from lingxi.update import blend, releases
from lingxi.update.anchors import Held
from lingxi.update.learn import learn
from lingxi.update.material import sampled, split
from lingxi.update.releases import EMBEDDER, LEARNT, SAID, TRYING, Release
from lingxi.update.settings import UpdateSettings

_BEGUN, _DONE, _TUNED, _SHARE = "begun.json", "learnt", "tuned", "share.json"
# Settings that change nothing of what is made.
_HOW = {"threads", "checkpoint_every", "max_drop", "max_sum", "enough"}
# Of so many updates as much is kept in mind as of this one.
_UPDATES = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """What is learnt, what is kept in mind, and what the merge is chosen on.

    `old` are pairs as the stored vectors have them; `learnt` are those of earlier updates, as the release
    before has them.
    """

    new: tuple[Pair, ...]
    old: tuple[Pair, ...]
    learnt: tuple[Pair, ...]
    new_dev: tuple[Pair, ...]
    old_dev: tuple[Pair, ...]

    def all(self) -> list[str]:
        """Ids of all rows."""
        parts = (self.new, self.old, self.learnt, self.new_dev, self.old_dev)
        return [row.id for part in parts for row in part]


@dataclass(frozen=True, slots=True)
class Making:
    """An update in progress: where, from which release, of which rows and settings."""

    folder: Path
    before: Release
    rows: Rows
    settings: UpdateSettings

    @property
    def model(self) -> Path:
        """The model that learns."""
        return Path(self.before.model)

    @property
    def space(self) -> Path:
        """The model whose vectors are stored."""
        return Path(self.before.space)


def begun(
    home: Path, before: Release, new: Sequence[Pair], replay: Sequence[Pair], settings: UpdateSettings
) -> Making:
    """Open the folder of this update: that of before where it is the same one, else an empty one.

    Raises InputError where there is too little to learn from.
    """
    rows = _rows(home, before, new, replay, settings)
    told = repr((before.number, before.model, rows.all(), settings.model_dump(mode="json", exclude=_HOW)))
    key = hashlib.sha256(f"{told} {manifest.hash_code('update', 'train')}".encode()).hexdigest()
    folder = home / TRYING / "update"
    file = folder / _BEGUN
    if not file.exists() or json.loads(file.read_text("utf-8"))["key"] != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        file.write_text(json.dumps({"key": key}), "utf-8")
    return Making(folder, before, rows, settings)


def stopped(home: Path) -> list[Path]:
    """The folders of finished releases that the gate did not let through in the last update."""
    return sorted(path.parent for path in (home / TRYING / "update").glob(f"*/{SAID}"))


def learn_new(making: Making, listeners: Sequence[Listener]) -> None:
    """Learn into `tuned`, unless that was done."""
    if (making.folder / _DONE).exists():
        return
    rows = making.rows
    old = [Held(rows.old, making.space), Held(rows.learnt, making.model)]
    learn(making.model, rows.new, old, making.settings, making.folder, _card(making), listeners)
    (making.folder / _DONE).touch()


def share_of(making: Making, say: Callable[[str], None]) -> float:
    """How much of what was learnt is merged, as it is set or searched, once; 0 where the old is best."""
    file, rows, settings = making.folder / _SHARE, making.rows, making.settings
    if settings.share is not None:
        return settings.share
    if not file.exists():
        old = Held(rows.old_dev, making.space)
        share, tried = blend.search(making.model, making.folder / _TUNED, rows.new_dev, old, settings)
        scores = ", ".join(f"{one.share:g} {one.score:.4f} (old {-one.lost:+.4f})" for one in tried)
        say(f"share of what was learnt: {share:g}; scores {scores}")
        file.write_text(json.dumps(share), "utf-8")
    return float(json.loads(file.read_text("utf-8")))


def merge(making: Making, name: str, share: float) -> Path:
    """Merge a share of what was learnt into a release's folder `name`, once."""
    folder = making.folder / name
    out = folder / EMBEDDER
    if not (out / FILE).exists():
        folder.mkdir(exist_ok=True)
        blend.write(making.model, making.folder / _TUNED, share, making.settings, out, _card(making))
    return folder


def finish(home: Path, making: Making, folder: Path, bridged: bool, said: dict[str, object]) -> Release:
    """Write what the release is; its paths are those that it will have once it serves."""
    rows, asked = making.rows, making.settings
    recalled = [*rows.learnt, *sampled(rows.new, asked.recalled, asked.seed)]
    if recalled:
        write_pairs(sampled(recalled, _UPDATES * asked.recalled, asked.seed), folder / LEARNT)
    number = releases.next_number(home)
    place = releases.folder_of(home, number) / EMBEDDER
    release = Release(number, str(place), making.before.space, bridged, said)
    releases.write(folder, release)
    return release


def _rows(
    home: Path, before: Release, new: Sequence[Pair], replay: Sequence[Pair], settings: UpdateSettings
) -> Rows:
    parts = split(new, settings.dev, settings.dev_rows, settings.seed)
    old = sampled(replay, settings.replay + settings.dev_rows, settings.seed)
    ranked = [row for row in old[: settings.dev_rows] if row.task in ("retrieval", "code", "bitext")]
    path = releases.folder_of(home, before.number) / LEARNT
    learnt = tuple(read_pairs(path)) if path.exists() else ()
    return Rows(parts.train, tuple(old[settings.dev_rows :]), learnt, parts.dev, tuple(ranked))


def _card(making: Making) -> str:
    rows, before, steps = making.rows, making.before.number, making.settings.steps
    return (
        "---\nlibrary_name: sentence-transformers\npipeline_tag: feature-extraction\n---\n\n"
        f"# Updated model\n\nRelease {before} taught {len(rows.new):,} new pairs in {steps} steps, "
        f"with {len(rows.old) + len(rows.learnt):,} old pairs kept in mind (`lingxi update`). Documents "
        "that were stored by the model before stay searchable by its queries; `release.json` says what that "
        "costs.\n"
    )
