"""Bring the index to what the folders hold: read what changed, embed it, commit it, take out what is gone.

Files go in in batches, each one commit of whole files. Whatever stops it, a batch is in or not; files that
are not in are found changed by the next `add`. So nothing committed is lost and nothing is there twice.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError, ModelError
from lingxi.index.store import FileState, Row, Store, in_words
from lingxi.index.whole import whole_vectors
from lingxi.index.words import search_words
from lingxi.parse import Skip, decode
from lingxi.parse.segments import Segment, segments
from lingxi.parse.walk import Found, Skipped, Walk, is_below, resolve, walk

# A batch holds about this many seconds of embedding: what a kill can cost, whatever the model's speed.
_SECONDS_A_BATCH = 5.0
_FEWEST, _FIRST, _MOST = 8, 64, 1024

Progress = Callable[[int, int], None]
Vectors = list[list[NDArray[np.float32]]]


class Embeds(Protocol):
    """What the index asks of an embedder."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    def encode_document(self, inputs: list[str], *, show_progress_bar: bool | None = None) -> NDArray[Any]:
        """Unit vectors [n, dim] of documents."""

    def encode_query(self, inputs: list[str], *, instruction: str | None = None) -> NDArray[Any]:
        """Unit vectors [n, dim] of queries."""

    def fingerprint(self) -> dict[str, str | int]:
        """What a stored vector depends on."""


@runtime_checkable
class EmbedsInContext(Embeds, Protocol):
    """What an index with late chunking asks beside that."""

    def encode_segments(
        self, documents: list[list[str]], *, show_progress_bar: bool | None = None
    ) -> list[NDArray[Any]]:
        """Unit vectors [segments, dim] of each document's segments, embedded in its context."""


@dataclass(slots=True)
class AddReport:
    """What `add` did, in files; `segments` counts those written, `skipped` holds (path, reason).

    `ignored` counts entries left out by `.gitignore` or because they are hidden.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    ignored: int = 0
    segments: int = 0
    seconds: float = 0.0


class NothingError(InputError):
    """There is no file with text below the paths."""


class _Plan(NamedTuple):
    """What a walk and the store's knowledge say together."""

    doubtful: list[Found]
    gone: list[str]
    settled: list[Found]


class Reading(NamedTuple):
    """One file as read: its hash and segments, or the reason why it has none."""

    found: Found
    hash: str
    parts: list[Segment]
    reason: str


def add(
    store: Store, embedder: Embeds, paths: Sequence[str | Path], on_progress: Progress | None = None
) -> AddReport:
    """Index what is new or changed below `paths` and remove what is gone.

    `on_progress(done, all)` counts the files read. Raises InputError for a missing, unreadable or
    empty path, StoreError for a full disk or a second writer; what was committed before stays.
    """
    started = time.perf_counter()
    roots = resolve(paths)
    seen = walk(roots)
    report = AddReport(skipped=seen.skipped, ignored=seen.ignored)
    plan = _plan(seen, store.files(), roots)
    if plan.doubtful or plan.gone or not store.is_settled():
        with store.writing():
            # Another process may have been at work before this one held the store.
            known = store.files()
            plan = _plan(seen, known, roots)
            _apply(plan, known, store, embedder, report, on_progress)
    after = store.files()
    marked = [(file.path, after[file.path].reason) for file in plan.settled if file.path in after]
    report.skipped += [Skipped(path, reason) for path, reason in marked if reason]
    report.unchanged += sum(not reason for _, reason in marked)
    if not (report.added or report.changed or report.unchanged or report.removed):
        raise NothingError(
            _why_nothing(report, list(roots.values())), "name a folder with text, code, HTML or PDF files"
        )
    report.seconds = time.perf_counter() - started
    return report


def remove(store: Store, paths: Sequence[str | Path]) -> int:
    """Take files out, or all files below folders (which may be gone from disk); returns how many."""
    places = [str(Path(path).expanduser().resolve()) for path in paths]
    with store.writing():
        known = [path for path in store.files() if any(is_below(path, place) for place in places)]
        if known:
            with in_words(store.path):
                store.delete(known)
                store.settle()
    return len(known)


def _plan(seen: Walk, known: Mapping[str, FileState], roots: Iterable[str]) -> _Plan:
    doubtful: list[Found] = []
    settled: list[Found] = []
    for found in seen.files.values():
        state = known.get(found.path)
        is_same = state is not None and (state.size, state.mtime_ns) == (found.size, found.mtime_ns)
        (settled if is_same else doubtful).append(found)
    gone = [
        path
        for path in known
        if path not in seen.files
        and any(is_below(path, root) for root in roots)
        and not any(is_below(path, folder) for folder in seen.blocked)
    ]
    return _Plan(doubtful, gone, settled)


def _apply(
    plan: _Plan,
    known: Mapping[str, FileState],
    store: Store,
    embedder: Embeds,
    report: AddReport,
    on_progress: Progress | None,
) -> None:
    if plan.gone:
        with in_words(store.path):
            store.delete(plan.gone)
        report.removed = sum(not known[path].reason for path in plan.gone)
    readings = _readings(plan.doubtful, report.skipped)
    commit(readings, len(plan.doubtful), known, store, embedder, report, on_progress)


def commit(
    readings: Iterator[Reading],
    total: int,
    known: Mapping[str, FileState],
    store: Store,
    embedder: Embeds,
    report: AddReport,
    on_progress: Progress | None = None,
) -> None:
    """Embed what was read and put it in, batch by batch, each one commit of whole files; counts in `report`.

    The store is held for writing by the caller; `known` are its files, `total` those that may come.
    """
    target, done = _FIRST, 0
    while batch := _batch(readings, target):
        began = time.perf_counter()
        _commit(batch, known, store, embedder)
        _count(batch, known, report)
        done += len(batch)
        if on_progress:
            on_progress(done, total)
        speed = sum(len(r.parts) for r in batch) / max(time.perf_counter() - began, 1e-3)
        target = int(min(max(speed * _SECONDS_A_BATCH, _FEWEST), _MOST))
    with in_words(store.path):
        store.settle()


def _readings(files: Iterable[Found], skipped: list[Skipped]) -> Iterator[Reading]:
    for found in files:
        try:
            data = Path(found.path).read_bytes()
        except OSError as error:
            skipped.append(Skipped(found.path, f"cannot be read ({error.strerror})"))
            continue
        content = decode(Path(found.path), data)
        parts = [] if isinstance(content, Skip) else segments(content)
        reason = content.reason if isinstance(content, Skip) else "" if parts else "empty"
        yield Reading(found, hashlib.sha256(data).hexdigest(), parts, reason)


def _batch(readings: Iterator[Reading], target: int) -> list[Reading]:
    """Whole files, until they hold the wanted number of segments (or that many hold none)."""
    batch: list[Reading] = []
    size = 0
    for reading in readings:
        batch.append(reading)
        size += max(1, len(reading.parts))
        if size >= target:
            break
    return batch


def _commit(batch: list[Reading], known: Mapping[str, FileState], store: Store, embedder: Embeds) -> None:
    """Embed a batch and put it in."""
    before = [reading.found.path for reading in batch if reading.found.path in known]
    embed = _in_context if store.late_chunking else _alone
    vectors = embed(batch, known, store, embedder)
    if not all(np.isfinite(vector).all() for of_file in vectors for vector in of_file):
        raise ModelError("the embedder made vectors that are not numbers", "check it with `lingxi check`")
    rows = [row for reading, own in zip(batch, vectors, strict=True) for row in _rows(reading, own)]
    with in_words(store.path):
        store.replace(rows, before)


def _alone(batch: list[Reading], known: Mapping[str, FileState], store: Store, embedder: Embeds) -> Vectors:
    """Each segment's vector by itself. Segments of a changed file that stayed the same keep theirs."""
    before = [reading.found.path for reading in batch if reading.found.path in known]
    with in_words(store.path):
        vectors = store.vectors(before) if before else {}
    parts = {(p.title, p.text): p for r in batch for p in r.parts if (p.title, p.text) not in vectors}
    if parts:
        fresh = whole_vectors(embedder, [p.for_embedding() for p in parts.values()])
        vectors = {**vectors, **dict(zip(parts, fresh, strict=True))}
    return [[vectors[p.title, p.text] for p in reading.parts] for reading in batch]


def _in_context(
    batch: list[Reading], known: Mapping[str, FileState], store: Store, embedder: Embeds
) -> Vectors:
    """Each segment's vector after all before it: a file is embedded whole, or is the same as it was."""
    same = [r.found.path for r in batch if r.found.path in known and known[r.found.path].hash == r.hash]
    with in_words(store.path):
        kept = store.vectors_in_order(same) if same else {}
    kept = {
        r.found.path: kept[r.found.path] for r in batch if len(kept.get(r.found.path, ())) == len(r.parts)
    }
    fresh = [r for r in batch if r.found.path not in kept]
    documents = [[part.for_embedding() for part in reading.parts] for reading in fresh]
    made = cast(EmbedsInContext, embedder).encode_segments(documents, show_progress_bar=False)
    by_path = kept | {r.found.path: list(own) for r, own in zip(fresh, made, strict=True)}
    return [by_path[reading.found.path] for reading in batch]


def _rows(reading: Reading, vectors: list[NDArray[np.float32]]) -> list[Row]:
    found = reading.found
    shared = {"path": found.path, "hash": reading.hash, "size": found.size, "mtime_ns": found.mtime_ns}
    if not reading.parts:
        empty = {"start": 0, "end": 0, "first_line": 0, "last_line": 0, "title": "", "text": ""}
        mark = {
            "key": f"{found.path}#0",
            "ordinal": 0,
            "words": None,
            "vector": None,
            "reason": reading.reason,
        }
        return [shared | empty | mark]
    return [
        shared
        | {name: getattr(part, name) for name in ("start", "end", "first_line", "last_line", "title", "text")}
        | {
            "key": f"{found.path}#{ordinal}",
            "ordinal": ordinal,
            "words": search_words(f"{Path(found.path).name} {part.title}\n{part.text}"),
            "vector": vectors[ordinal],
            "reason": "",
        }
        for ordinal, part in enumerate(reading.parts)
    ]


def _count(batch: list[Reading], known: Mapping[str, FileState], report: AddReport) -> None:
    for reading in batch:
        state = known.get(reading.found.path)
        if reading.reason:
            report.skipped.append(Skipped(reading.found.path, reading.reason))
        elif state is None:
            report.added += 1
        elif state.hash == reading.hash:
            report.unchanged += 1
            continue
        else:
            report.changed += 1
        report.segments += len(reading.parts)


def _why_nothing(report: AddReport, roots: list[str]) -> str:
    where = ", ".join(roots)
    if not report.skipped:
        return f"{where}: no files to index" + (
            f" ({report.ignored} hidden or ignored)" if report.ignored else ""
        )
    path, reason = report.skipped[0]
    return f"{where}: {len(report.skipped)} files, none can be read (the first, {path}: {reason})"
