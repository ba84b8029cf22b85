"""Move an index to another model while the old one answers: fill beside, switch in one step, go back.

The passages stand in the index, so no file is read. `upgrade` fills the next generation in commits of whole
files; stopped anywhere, it goes on there. Until the switch every search is answered by the old vectors; after
it an `Index` opened with the old model still searches those, until `forget` or the next upgrade.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lingxi.errors import ModelError, StoreError
from lingxi.index import generations
from lingxi.index.build import Embeds, EmbedsInContext
from lingxi.index.generations import Generations
from lingxi.index.lock import writing
from lingxi.index.store import FileState, Fingerprint, LanceStore, Row, drop_table, in_words
from lingxi.index.whole import whole_vectors
from lingxi.inputs import texts_alone
from lingxi.parse.segments import Segment

_LOCK = "upgrade.lock"
_SEGMENTS_A_COMMIT = 256

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class UpgradeReport:
    """What an upgrade did: segments embedded by this run and held in all, and the models' names."""

    embedded: int
    segments: int
    before: str
    now: str
    seconds: float


def upgrade(path: str | Path, embedder: Embeds, on_progress: Progress | None = None) -> UpgradeReport:
    """Embed every passage of an index with another model, then let the new vectors answer.

    `on_progress(done, all)` counts files. Stopped, it is called again and goes on; files added meanwhile are
    caught up with before the switch. Raises StoreError where the model made the index already, where an
    unfinished upgrade to a third model is there, or another process upgrades or (at the switch) adds.
    """
    place, began = Path(path).expanduser(), time.perf_counter()
    current, embedder = LanceStore(place, None), texts_alone(embedder)
    wanted = embedder.fingerprint()
    _check(current, wanted)
    embedded = 0
    with writing(place, _LOCK):
        is_done = False
        while not is_done:
            pairs = _pairs(current, wanted)
            embedded += sum(_filled(old, new, embedder, on_progress) for old, new in pairs)
            with writing(place):
                embedded += sum(_filled(old, new, embedder, None) for old, new in pairs)
                # A namespace that came meanwhile is filled like the others, before the switch.
                is_done = len(pairs) == len(generations.namespaces(place))
                if is_done:
                    _switch(current, [new for _, new in pairs])
    held = sum(new.counts()["segments"] for _, new in pairs)
    names = str(current.fingerprint["name"]), str(wanted["name"])
    return UpgradeReport(embedded, held, *names, time.perf_counter() - began)


def again(path: str | Path, embedder: Embeds, files: Collection[str]) -> int:
    """Embed the passages of some files again in place, batch by batch; returns how many passages.

    For a model whose vectors are comparable with the stored ones and that says so by their fingerprint
    (`lingxi.update`). Raises StoreError where another process writes.
    """
    store = LanceStore(Path(path).expanduser(), embedder.fingerprint())
    embedded, embedder = 0, texts_alone(embedder)
    with store.writing():
        there = sorted(set(files) & set(store.files()))
        for batch in _batches(store, there):
            _commit(store, batch, sorted({row["path"] for row in batch}), embedder)
            embedded += sum(not row["reason"] for row in batch)
        with in_words(store.path):
            store.settle()
    return embedded


def _switch(current: LanceStore, coming: Sequence[LanceStore]) -> None:
    for new in coming:
        with in_words(current.path):
            new.settle()
    generations.write(current.path, Generations(current.generation + 1, current.generation))
    _drop(current.path, lambda generation: generation < current.generation)


def back(path: str | Path) -> str:
    """Undo: an unfinished upgrade is dropped, else the model before answers again; returns its name.

    After a switch is undone the newer vectors stay, as an unfinished upgrade that can go on. Raises
    StoreError where there is nothing to undo.
    """
    place = Path(path).expanduser()
    with writing(place, _LOCK), writing(place):
        kept = generations.read(place)
        if _newer(place, kept.current):
            _drop(place, lambda generation: generation > kept.current)
        elif kept.before is None:
            raise StoreError(f"{place}: no upgrade to go back from", "nothing needs to be done")
        else:
            generations.write(place, Generations(kept.before))
    return str(LanceStore(place, None).fingerprint["name"])


def forget(path: str | Path) -> None:
    """Drop the vectors of the model before; raises StoreError where there are none."""
    place = Path(path).expanduser()
    with writing(place, _LOCK), writing(place):
        kept = generations.read(place)
        if kept.before is None:
            raise StoreError(f"{place}: keeps no model before", "nothing needs to be done")
        generations.write(place, Generations(kept.current))
        _drop(place, lambda generation: generation < kept.current)


def _check(current: LanceStore, wanted: Fingerprint) -> None:
    if not differing(current.fingerprint, wanted):
        raise StoreError(
            f"{current.path}: made by {wanted['name']!r} already", "name another model with --model"
        )


def differing(made: Fingerprint, wanted: Fingerprint) -> bool:
    """Whether two fingerprints are of different vectors."""
    return any(made[key] != wanted.get(key) for key in made if key != "name")


def _pairs(current: LanceStore, wanted: Fingerprint) -> list[tuple[LanceStore, LanceStore]]:
    """Each namespace as it is, and as it is to be."""
    place, coming = current.path, current.generation + 1
    names = generations.namespaces(place)
    return [
        (
            LanceStore(place, None, namespace=name, generation=current.generation),
            _coming(place, wanted, current.late_chunking, name, coming),
        )
        for name in names
    ]


def _coming(place: Path, wanted: Fingerprint, late: bool, name: str, generation: int) -> LanceStore:
    there = (generation, name) in generations.tables(place)
    if there:
        held = LanceStore(place, None, namespace=name, generation=generation)
        if differing(held.fingerprint, wanted):
            raise StoreError(
                f"{place}: an upgrade to {held.fingerprint['name']!r} is unfinished",
                "go on with that model, or drop it with `lingxi index upgrade --back`",
            )
        return held
    return LanceStore(place, wanted, late, namespace=name, generation=generation)


def _filled(old: LanceStore, new: LanceStore, embedder: Embeds, on_progress: Progress | None) -> int:
    """Bring the new table to what the old one holds; returns how many segments were embedded."""
    wanted, there = old.files(), new.files()
    gone = [path for path in there if path not in wanted]
    if gone:
        with in_words(new.path):
            new.delete(gone)
    waiting = sorted(path for path, state in wanted.items() if _stale(there.get(path), state))
    embedded, done = 0, len(wanted) - len(waiting)
    for batch in _batches(old, waiting):
        paths = sorted({row["path"] for row in batch})
        _commit(new, batch, [path for path in paths if path in there], embedder)
        embedded += sum(not row["reason"] for row in batch)
        done += len(paths)
        if on_progress:
            on_progress(done, len(wanted))
    return embedded


def _stale(there: FileState | None, wanted: FileState) -> bool:
    return there is None or there != wanted


def _batches(old: LanceStore, paths: Sequence[str]) -> Iterator[list[Row]]:
    """Rows of whole files, until they hold enough segments for a commit."""
    batch: list[Row] = []
    for start in range(0, len(paths), 16):
        batch += old.rows(paths[start : start + 16])
        if len(batch) >= _SEGMENTS_A_COMMIT:
            yield batch
            batch = []
    if batch:
        yield batch


def _commit(new: LanceStore, rows: list[Row], known: Sequence[str], embedder: Embeds) -> None:
    spoken = [row for row in rows if not row["reason"]]
    made = _in_context(spoken, embedder) if new.late_chunking else _alone(spoken, embedder)
    if not all(np.isfinite(vector).all() for vector in made):
        raise ModelError("the embedder made vectors that are not numbers", "check it with `lingxi check`")
    of_key = {row["key"]: vector for row, vector in zip(spoken, made, strict=True)}
    with in_words(new.path):
        new.replace([row | {"vector": of_key.get(row["key"])} for row in rows], known)


def _alone(rows: Sequence[Row], embedder: Embeds) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return whole_vectors(embedder, [_text(row) for row in rows])


def _in_context(
    rows: Sequence[Row], embedder: Embeds
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    documents: dict[str, list[str]] = {}
    for row in rows:
        documents.setdefault(row["path"], []).append(_text(row))
    if not isinstance(embedder, EmbedsInContext):
        raise ModelError("the embedder has no encode_segments", "give another; this index needs it")
    made = embedder.encode_segments(list(documents.values()), show_progress_bar=False)
    return [vector for own in made for vector in own]


def _text(row: Row) -> str:
    names = ("start", "end", "first_line", "last_line", "title", "text")
    return Segment(**{name: row[name] for name in names}).for_embedding()


def _newer(place: Path, current: int) -> bool:
    return any(generation > current for generation, _ in generations.tables(place))


def _drop(place: Path, which: Callable[[int], bool]) -> None:
    for (generation, _), name in generations.tables(place).items():
        # A reader on another system may hold a file; what is left is dropped by the next upgrade.
        if which(generation):
            with suppress(OSError):
                drop_table(place, name)
