"""Bring one store to what a tree of files holds: read what may have changed, embed what did.

A file lies in the store at `/LANGUAGE/PATH`, so that a language, a folder or both are one beginning to
search below; files that were read and left out lie at `/-/PATH`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.apps.code.languages import language_of
from lingxi.apps.code.sources import Listing, Source, Tree, unchanged
from lingxi.apps.code.units import Unit, units
from lingxi.apps.code.unwanted import by_text
from lingxi.index.build import AddReport, Embeds, Progress, Reading, commit
from lingxi.index.store import FileState, Store, in_words
from lingxi.index.whole import whole_vectors
from lingxi.parse import Skip, decode
from lingxi.parse.segments import Segment
from lingxi.parse.walk import Found, Skipped, is_below

LEFT_OUT = "-"


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What an update did, in files; `units` counts functions, types and code between them that were written.

    `skipped` holds (path, reason); `ignored` counts entries hidden or left out by `.gitignore`; `commit` is
    the commit that was read, None for the files as they lie.
    """

    added: int
    changed: int
    unchanged: int
    removed: int
    units: int
    skipped: tuple[Skipped, ...]
    ignored: int
    seconds: float
    commit: str | None = None


class Remembering:
    """An embedder that looks up what another index of the same model has embedded before."""

    def __init__(self, embedder: Embeds, known: Mapping[tuple[str, str], NDArray[np.float32]]) -> None:
        self._embedder = embedder
        units = {Unit(0, 0, 0, 0, *named): vector for named, vector in known.items()}
        self._known = {unit.for_embedding(): vector for unit, vector in units.items()}
        self.dim = embedder.dim

    def encode_document(self, inputs: list[str], *, show_progress_bar: bool | None = None) -> NDArray[Any]:
        """Unit vectors [n, dim], computed where they are not known."""
        fresh = [text for text in inputs if text not in self._known]
        vectors = dict(self._known)
        if fresh:
            vectors |= zip(fresh, whole_vectors(self._embedder, fresh), strict=True)
        return np.stack([vectors[text] for text in inputs])

    def encode_query(self, inputs: list[str], *, instruction: str | None = None) -> NDArray[Any]:
        """Unit vectors [n, dim] of queries."""
        return self._embedder.encode_query(inputs, instruction=instruction)

    def fingerprint(self) -> dict[str, str | int]:
        """That of the embedder."""
        return self._embedder.fingerprint()


def stored_path(language: str, path: str) -> str:
    """Where a file of a language lies in the store."""
    return f"/{language}/{path}"


def split_path(stored: str) -> tuple[str, str]:
    """Language and path of a file in the store."""
    _, language, path = stored.split("/", 2)
    return language, path


def update(
    store: Store, embedder: Embeds, tree: Tree, commit_id: str | None, on_progress: Progress | None = None
) -> UpdateReport:
    """Index what is new or changed in a tree and take out what is gone; raises as `index.build.add`.

    `on_progress(done, all)` counts the files read.
    """
    started = time.perf_counter()
    listing = tree.listing()
    report = AddReport(skipped=listing.skipped, ignored=listing.ignored)
    if _has_work(listing, store.files()) or not store.is_settled():
        with store.writing():
            # Another process may have been at work before this one held the store.
            _apply(tree, listing, store, embedder, report, on_progress)
    _tell(report, listing, store.files())
    seconds = time.perf_counter() - started
    counts = (report.added, report.changed, report.unchanged, report.removed, report.segments)
    return UpdateReport(*counts, tuple(report.skipped), report.ignored, seconds, commit_id)


def _has_work(listing: Listing, files: Mapping[str, FileState]) -> bool:
    known = {split_path(stored)[1]: state for stored, state in files.items()}
    return len(unchanged(listing, known)) < len(listing.sources) or bool(_gone(listing, files))


def _gone(listing: Listing, files: Iterable[str]) -> list[str]:
    """Files in the store that are no longer there, as far as all folders could be read."""
    paths = {stored: split_path(stored)[1] for stored in files}
    return [
        stored
        for stored, path in paths.items()
        if path not in listing.sources and not any(is_below(path, one) for one in listing.blocked)
    ]


def _apply(
    tree: Tree,
    listing: Listing,
    store: Store,
    embedder: Embeds,
    report: AddReport,
    on_progress: Progress | None,
) -> None:
    known = store.files()
    gone = _gone(listing, known)
    if gone:
        with in_words(store.path):
            store.delete(gone)
        report.removed = sum(not known[stored].reason for stored in gone)
    by_path = {split_path(stored)[1]: stored for stored in known if stored not in set(gone)}
    same = {one.path for one in unchanged(listing, {path: known[at] for path, at in by_path.items()})}
    doubtful = [one for path, one in listing.sources.items() if path not in same]
    readings = _readings(tree, doubtful, report.skipped)
    moved = _left_behind(readings, by_path, store)
    commit(moved, len(doubtful), known, store, embedder, report, on_progress)


def _readings(tree: Tree, sources: Sequence[Source], skipped: list[Skipped]) -> Iterator[Reading]:
    for source, data in tree.read(sources):
        if isinstance(data, str):
            skipped.append(Skipped(source.path, data))
        else:
            yield _reading(source, data)


def _reading(source: Source, data: bytes) -> Reading:
    language, parts, reason = _parts(source.path, data)
    stored = stored_path(LEFT_OUT if reason else language, source.path)
    return Reading(Found(stored, len(data), source.mtime_ns), source.blob, parts, reason)


def _parts(path: str, data: bytes) -> tuple[str, list[Segment], str]:
    language = language_of(path, data[:1024])
    if not language:
        return "", [], "no source file"
    content = decode(Path(path), data)
    if isinstance(content, Skip):
        return language, [], content.reason
    if reason := by_text(content.text):
        return language, [], reason
    parts = units(content.text, language, path)
    return language, parts, "" if parts else "empty"


def _left_behind(readings: Iterator[Reading], by_path: Mapping[str, str], store: Store) -> Iterator[Reading]:
    """The same readings; what lay in the store under another language, or as left out, is taken out there."""
    for reading in readings:
        before = by_path.get(split_path(reading.found.path)[1])
        if before not in (None, reading.found.path):
            with in_words(store.path):
                store.delete([str(before)])
        yield reading


def _tell(report: AddReport, listing: Listing, files: Mapping[str, FileState]) -> None:
    """Count what stayed as it was, and say again why files were left out."""
    report.skipped[:] = [
        Skipped(split_path(path)[1] if path.startswith("/") else path, why) for path, why in report.skipped
    ]
    said = {path for path, _ in report.skipped}
    for stored, state in files.items():
        path = split_path(stored)[1]
        if path in listing.sources and path not in said and state.reason:
            report.skipped.append(Skipped(path, state.reason))
    held = sum(not state.reason for state in files.values())
    report.unchanged = held - report.added - report.changed
