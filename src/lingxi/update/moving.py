"""An index under releases: opened with the one that serves, moved to its vectors, and back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lingxi.embedder import Embedder
from lingxi.errors import StoreError
from lingxi.index import Index
from lingxi.index import upgrade as upgrading
from lingxi.index.generations import is_index
from lingxi.index.store import LanceStore
from lingxi.update import releases
from lingxi.update.releases import LEARNT, TRYING, Release
from lingxi.update.served import Open, Served

_REFRESHED = "refreshed"


def opened(home: Path, index: Path, open_model: Open = Embedder) -> tuple[Index, Served]:
    """The index under the release that serves; what a killed `reindex` left undone is done first."""
    finish(home, index, open_model)
    served = Served(home, releases.serving(home), open_model)
    return Index.open(index, served), served


def reindex(
    home: Path, index: Path, open_model: Open = Embedder, progress: Callable[[int, int], None] | None = None
) -> Release:
    """Embed an index again with the serving release's model, and let that space serve.

    Until all is there the old vectors answer; between the two steps both releases can search. Raises
    StoreError where the stored vectors are the release's own already.
    """
    release = releases.serving(home)
    if release.space == release.model:
        raise StoreError(f"{home}: release {release.number} stored these vectors", "nothing needs to be done")
    upgrading.upgrade(index, open_model(release.model), progress)
    return _settled(home, release)


def refresh(home: Path, index: Path, open_model: Open = Embedder) -> int:
    """Embed again the files that the serving release learnt from, once; returns how many passages.

    The rest keeps its vectors. A kill in between leaves files of both kinds, which stay comparable, and the
    next call ends it.
    """
    release = releases.serving(home)
    place = releases.folder_of(home, release.number)
    files, done = release.said.get("learnt_files") or [], place / _REFRESHED
    if not files or done.exists() or not is_index(index):
        return 0
    count = upgrading.again(index, Served(home, release, open_model), files)
    done.touch()
    return count


def finish(home: Path, index: Path, open_model: Open = Embedder) -> None:
    """After a kill between the two steps of `reindex`: let the space serve that the index is in."""
    release = releases.serving(home)
    if release.space == release.model or not is_index(index):
        return
    made = LanceStore(index, None).fingerprint
    if not upgrading.differing(made, open_model(release.model).fingerprint()):
        _settled(home, release)


def back(home: Path, index: Path | None, open_model: Open = Embedder) -> Release:
    """Return to the release before, and an index with it where its vectors were changed."""
    now = releases.serving(home)
    release = releases.back(home)
    learnt = now.said.get("learnt_files") or []
    if index is not None and is_index(index) and learnt and now.space == release.space:
        upgrading.again(index, Served(home, release, open_model), learnt)
        (releases.folder_of(home, now.number) / _REFRESHED).unlink(missing_ok=True)
    if index is not None and is_index(index) and now.space != release.space:
        made = LanceStore(index, None).fingerprint
        if upgrading.differing(made, open_model(release.space).fingerprint()):
            upgrading.back(index)
    return release


def _settled(home: Path, release: Release) -> Release:
    """A release of the same model in its own space; the one before stays to go back to."""
    number = releases.next_number(home)
    folder = home / TRYING / "space"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    said = {"before": release.number, "reindexed": True}
    if (learnt := releases.folder_of(home, release.number) / LEARNT).exists():
        shutil.copy(learnt, folder / LEARNT)
    moved = replace(release, number=number, space=release.model, bridged=False, said=said)
    releases.write(folder, moved)
    return releases.promote(home, folder, release.number)
