"""Pictures, sound and pages of an index: files to vectors, kept in one file, found by words or by example.

Comes in: folders and files. A file that has not changed (by size and time) keeps its vectors; one that cannot
be opened is named in the report and left out; one that is gone is taken out. What is known is one file of the
index's folder, beside the passages of texts there, and is replaced whole, so a kill leaves the old one. It is
searched exactly: a million pictures are 1.5 GB.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lingxi.errors import InputError, ModelError, StoreError
from lingxi.index.generations import MEDIA, media_name
from lingxi.index.lock import writing
from lingxi.index.media_files import KINDS, MediaFile, found, kind_of_name
from lingxi.index.media_work import Told, Work, opened, parts_in, stays, whole
from lingxi.media.embedder import batches
from lingxi.parse.walk import is_below
from lingxi.vectors import Floats

__all__ = ["KINDS", "MEDIA", "Encodes", "MediaFile", "MediaHit", "MediaIndex", "MediaReport", "kind_of_name"]

_LOCK = "media.lock"
_BATCH, _EVERY = 16, 256


class Encodes(Protocol):
    """What an index needs of an embedder."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    def encode_query(self, inputs: Any, *, instruction: str | None = None) -> Floats:
        """Unit vectors of queries: texts, paths or what is opened already."""

    def encode_pictures(self, items: Iterable[Any]) -> Floats:
        """Unit vectors of pictures: paths or PIL pictures."""

    def encode_sounds(self, items: Iterable[Any]) -> Floats:
        """Unit vectors of sounds; raises InputError for a model that hears nothing."""

    def fingerprint(self) -> Mapping[str, Any]:
        """What the vectors depend on."""


@dataclass(frozen=True, slots=True)
class MediaHit:
    """What was found: a file or a page of one, the cosine of its vector with the query's, and its key.

    Cosines of pictures, of sounds and of texts with a query are not of one scale: compare within a kind.
    """

    path: str
    kind: str
    score: float
    page: int = 0
    key: str = ""

    @property
    def place(self) -> str:
        """Where to look: the path, and the page of a PDF."""
        return f"{self.path} page {self.page}" if self.page else self.path


@dataclass(frozen=True, slots=True)
class MediaReport:
    """What `add` did, in files and pages: embedded, kept, taken out; `skipped` and `noted` are (path, why).

    What is noted is in the index, but not whole: a long sound is read for its first half a minute.
    """

    added: int
    kept: int
    removed: int
    skipped: tuple[tuple[str, str], ...]
    noted: tuple[tuple[str, str], ...] = ()


class MediaIndex:
    """Pictures, sound and pages in the folder `place`; raises StoreError for another model's index.

    Without an embedder what is there opens for `remove` and `counts` alone. Each `namespace` holds files of
    its own, as of passages.
    """

    def __init__(self, place: str | Path, embedder: Encodes | None, namespace: str = "") -> None:
        self.place, self._embedder = Path(place).expanduser(), embedder
        self._file = self.place / media_name(namespace)
        self._made_by = dict(embedder.fingerprint()) if embedder else {}
        # One value, so that a search beside a refresh sees files and vectors of one moment.
        self._held: tuple[list[MediaFile], Floats] = (
            [],
            np.zeros((0, embedder.dim if embedder else 0), np.float32),
        )
        self._read_at = 0
        self.refresh()

    @property
    def files(self) -> list[MediaFile]:
        """What the index holds."""
        return self._held[0]

    @property
    def embedder(self) -> Encodes:
        """Who embeds; raises StoreError where it was opened without."""
        if self._embedder is None:
            raise StoreError(f"{self.place}: opened without an embedder", "pass one to MediaIndex")
        return self._embedder

    def counts(self) -> dict[str, int]:
        """How many pictures, pages and sounds there are."""
        return dict(Counter(file.kind for file in self.files))

    def remove(self, paths: Sequence[str | Path]) -> int:
        """Take files, or all below folders, out (they may be gone from the disk); returns how many."""
        places = [str(Path(path).expanduser().resolve()) for path in paths]
        if not self.files:
            return 0
        with writing(self.place, _LOCK):
            self.refresh()
            gone = {file.path for file in self.files if any(is_below(file.path, place) for place in places)}
            if gone:
                self._keep(lambda file: file.path not in gone)
                self._write()
        return len(gone)

    def add(
        self, paths: Sequence[str | Path], told: Told = lambda done, of: None, *, pages: bool = False
    ) -> MediaReport:
        """Bring the index to what `paths` hold: new, changed and gone; with `pages` of PDFs as pictures.

        An index that holds pages goes on with them. Raises InputError for a missing path, StoreError where
        another process writes.
        """
        self.refresh()
        pages = pages or any(file.kind == "page" for file in self.files)
        current, skipped, blocked = found(paths, pages)
        self.place.mkdir(parents=True, exist_ok=True)
        with writing(self.place, _LOCK):
            self.refresh()
            self._keep(whole(self.files))
            roots = [str(Path(path).expanduser().resolve()) for path in paths]
            gone = self._keep(lambda file: stays(file, current, roots, blocked))
            kept = [file for file in self.files if file.path in current]
            known = {file.path for file in kept}
            fresh = [file for path, file in current.items() if path not in known]
            work = Work(len(fresh), told)
            self._embed(fresh, work)
            self._write()
        left_out = (*((one.path, one.reason) for one in skipped), *work.skipped)
        return MediaReport(work.added, len(kept), gone, left_out, tuple(work.noted))

    def search(self, query: Any, *, top_k: int = 10, kinds: Sequence[str] = ()) -> list[MediaHit]:
        """The files nearest to a query: a text, a path of a picture or sound, or either opened."""
        return self.nearest(self.embedder.encode_query([query])[0], top_k=top_k, kinds=kinds)

    def nearest(
        self,
        vector: Floats,
        *,
        top_k: int = 10,
        kinds: Sequence[str] = (),
        among: Callable[[MediaFile], bool] = lambda file: True,
    ) -> list[MediaHit]:
        """Of each of some kinds (none: all) the `top_k` of those `among` that are nearest to a vector [dim].

        Kinds come one after the other, as their cosines are not of one scale: sound would crowd out pictures.
        Raises InputError for a `top_k` below 1 or a kind there is not.
        """
        if top_k < 1:
            raise InputError(f"top_k is {top_k}", "ask for at least one")
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise InputError(f"no kind {unknown[0]!r} of media", f"choose from: {', '.join(KINDS)}")
        files, vectors = self._held
        scores = vectors @ np.asarray(vector, np.float32)
        order = np.argsort(-scores, kind="stable").tolist()
        return [
            MediaHit(files[i].path, kind, float(scores[i]), files[i].page, files[i].key)
            for kind in KINDS
            if not kinds or kind in kinds
            for i in islice((i for i in order if files[i].kind == kind and among(files[i])), top_k)
        ]

    def of_key(self, key: str) -> tuple[MediaFile, Floats]:
        """The file of a hit's key and its vector [dim]; raises InputError where there is none."""
        files, vectors = self._held
        for file, vector in zip(files, vectors, strict=True):
            if file.key == key:
                return file, vector
        raise InputError("nothing in the index has that key", "take one of a result")

    def refresh(self) -> None:
        """Read what another process wrote since, where it did; raises StoreError for another model's."""
        try:
            changed = self._file.stat().st_mtime_ns
        except OSError:
            return
        if changed != self._read_at:
            self._read()
            self._read_at = changed

    def _keep(self, stays: Callable[[MediaFile], bool]) -> int:
        """Keep the files that stay; returns how many went."""
        files, vectors = self._held
        places = [place for place, file in enumerate(files) if stays(file)]
        self._held = [files[place] for place in places], vectors[places]
        return len(files) - len(places)

    def _embed(self, fresh: Sequence[MediaFile], work: Work) -> None:
        """Embed files, one kind after the other, writing what there is now and then."""
        since = 0
        for kind in KINDS:
            parts = parts_in([file for file in fresh if file.kind == kind], work)
            for batch in batches(parts, _BATCH):
                self._embed_batch(batch, work)
                since += len(batch)
                if since >= _EVERY:
                    self._write()
                    since = 0

    def _embed_batch(self, batch: list[MediaFile], work: Work) -> None:
        """One batch; what of it is refused is left out, and said."""
        held = [(file, item) for file in batch for item in opened(file, work)]
        encode = self.embedder.encode_sounds if batch[0].kind == "audio" else self.embedder.encode_pictures
        self._encode(held, encode, work)
        work.tell(batch)

    def _encode(
        self, opened: Sequence[tuple[MediaFile, Any]], encode: Callable[[list[Any]], Floats], work: Work
    ) -> None:
        """Hold the vectors of what was opened; where one is refused, the others are embedded one by one."""
        if not opened:
            return
        try:
            self._hold([file for file, _ in opened], encode([item for _, item in opened]))
            work.added += len(opened)
        except (InputError, ModelError) as problem:
            if len(opened) == 1:
                work.leave_out(opened[0][0].place, problem.reason)
                return
            for one in opened:
                self._encode([one], encode, work)

    def _hold(self, files: Sequence[MediaFile], vectors: Floats) -> None:
        old, held = self._held
        self._held = [*old, *files], np.concatenate([held, vectors])

    def _read(self) -> None:
        path = self._file
        try:
            with np.load(path, allow_pickle=False) as held:
                said = json.loads(str(held["said"]))
                vectors, files = held["vectors"], [MediaFile(**file) for file in said["files"]]
        except (OSError, ValueError, KeyError, TypeError, EOFError) as problem:
            raise StoreError(f"{path} is damaged ({problem})", "remove it, and index again") from None
        if self._embedder is None:
            self._made_by = said["made_by"]
        if _essence(said["made_by"]) != _essence(self._made_by):
            raise StoreError(
                f"{self.place} was made by another model of pictures and sound",
                f"open it with that model, choose another folder, or remove {path.name} and index again",
            )
        self._held = files, np.asarray(vectors, np.float32)

    def _write(self) -> None:
        files, vectors = self._held
        said = {"made_by": self._made_by, "files": [asdict(file) for file in files]}
        partial = self._file.with_name(self._file.name + ".part")
        with partial.open("wb") as file:
            np.savez(file, said=np.array(json.dumps(said)), vectors=vectors)
        partial.replace(self._file)
        self._read_at = self._file.stat().st_mtime_ns


def _none(embedder: Encodes | None) -> Floats:
    return np.zeros((0, embedder.dim if embedder else 0), np.float32)


def _essence(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What vectors depend on, without the names that a model goes by."""
    return {key: value for key, value in fingerprint.items() if key not in ("media", "name")}
