"""An index of pictures and sound: files to vectors, kept in one file, found by words or by example.

Comes in: folders and files. A file that has not changed (by size and time) keeps its vector; one that cannot
be opened is named in the report and left out; one that is gone is taken out. The index is one file that is
replaced whole, so a kill leaves the old one. It is searched exactly: a million pictures are 1.5 GB.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lingxi import pictures
from lingxi.errors import InputError, StoreError
from lingxi.media.sounds import is_sound
from lingxi.vectors import Floats

_FILE = "media.npz"
_BATCH, _EVERY = 16, 256


class Encodes(Protocol):
    """What an index needs of an embedder."""

    dim: int

    def encode_query(self, inputs: Any) -> Floats:
        """Unit vectors of queries."""

    def encode_pictures(self, items: Iterable[Any]) -> Floats:
        """Unit vectors of pictures."""

    def encode_sounds(self, items: Iterable[Any]) -> Floats:
        """Unit vectors of sounds."""

    def fingerprint(self) -> dict[str, Any]:
        """What the vectors depend on."""


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file of the index; `kind` is "image" or "audio", `changed` its time in nanoseconds."""

    path: str
    kind: str
    size: int
    changed: int


@dataclass(frozen=True, slots=True)
class MediaHit:
    """A file that was found, and the cosine of its vector with the query's."""

    path: str
    kind: str
    score: float


@dataclass(frozen=True, slots=True)
class MediaReport:
    """What `add` did: files embedded, kept as they were, taken out, and left out with the reason."""

    added: int
    kept: int
    removed: int
    skipped: tuple[tuple[str, str], ...]


class MediaIndex:
    """Pictures and sound in the folder `place`, by one embedder; raises StoreError for another's index."""

    def __init__(self, place: str | Path, embedder: Encodes) -> None:
        self.place, self.embedder = Path(place).expanduser(), embedder
        self.files: list[MediaFile] = []
        self.vectors: Floats = np.zeros((0, embedder.dim), np.float32)
        if (self.place / _FILE).is_file():
            self._read()

    def add(
        self, paths: Sequence[str | Path], told: Callable[[int, int], None] = lambda done, of: None
    ) -> MediaReport:
        """Bring the index to what `paths` hold: new, changed and gone; raises InputError for a wrong path."""
        current = {file.path: file for file in _found(paths)}
        roots = [Path(path).expanduser().resolve() for path in paths]
        old = list(self.files)
        stay = [
            place
            for place, file in enumerate(old)
            if current.get(file.path) == file or not (file.path in current or _below(file.path, roots))
        ]
        gone = sum(1 for file in old if file.path not in current and _below(file.path, roots))
        self.files, self.vectors = [old[place] for place in stay], self.vectors[stay]
        held = {file.path for file in self.files}
        fresh = [file for path, file in current.items() if path not in held]
        skipped = self._embed(fresh, told)
        self._write()
        return MediaReport(len(fresh) - len(skipped), len(stay), gone, tuple(skipped))

    def search(self, query: Any, *, top_k: int = 10, kinds: Sequence[str] = ()) -> list[MediaHit]:
        """The files nearest to a query: a text, a path of a picture or sound, or either opened."""
        if top_k < 1:
            raise InputError(f"top_k is {top_k}", "ask for at least one")
        vector = self.embedder.encode_query([query])[0]
        scores = self.vectors @ vector
        allowed = [place for place, file in enumerate(self.files) if not kinds or file.kind in kinds]
        order = sorted(allowed, key=lambda place: (-scores[place], self.files[place].path))
        return [
            MediaHit(self.files[place].path, self.files[place].kind, float(scores[place]))
            for place in order[:top_k]
        ]

    def _embed(self, fresh: Sequence[MediaFile], told: Callable[[int, int], None]) -> list[tuple[str, str]]:
        """Embed files, one kind after the other, writing what there is now and then; returns the refused."""
        skipped: list[tuple[str, str]] = []
        for kind in ("image", "audio"):
            files = [file for file in fresh if file.kind == kind]
            for start in range(0, len(files), _BATCH):
                batch = files[start : start + _BATCH]
                skipped += self._embed_batch(batch, kind)
                told(len(skipped) + len(self.files), len(fresh) + len(self.files))
                if start % _EVERY == 0:
                    self._write()
        return skipped

    def _embed_batch(self, batch: Sequence[MediaFile], kind: str) -> list[tuple[str, str]]:
        """One batch; where one of it is refused, the others are embedded one by one."""
        encode = self.embedder.encode_pictures if kind == "image" else self.embedder.encode_sounds
        try:
            self._hold(batch, encode([Path(file.path) for file in batch]))
        except InputError as problem:
            if len(batch) == 1:
                return [(batch[0].path, problem.reason)]
            return [refused for file in batch for refused in self._embed_batch([file], kind)]
        return []

    def _hold(self, files: Sequence[MediaFile], vectors: Floats) -> None:
        self.files.extend(files)
        self.vectors = np.concatenate([self.vectors, vectors])

    def _read(self) -> None:
        try:
            with np.load(self.place / _FILE, allow_pickle=False) as held:
                said = json.loads(str(held["said"]))
                vectors, files = held["vectors"], [MediaFile(**file) for file in said["files"]]
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise StoreError(
                f"{self.place / _FILE} is damaged ({problem})", "remove it, and index again"
            ) from None
        if said["made_by"] != self.embedder.fingerprint():
            raise StoreError(f"{self.place} was made by another model", "choose another folder, or remove it")
        self.files, self.vectors = files, np.asarray(vectors, np.float32)

    def _write(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        said = {"made_by": self.embedder.fingerprint(), "files": [asdict(file) for file in self.files]}
        partial = self.place / (_FILE + ".part")
        with partial.open("wb") as file:
            np.savez(file, said=np.array(json.dumps(said)), vectors=self.vectors)
        partial.replace(self.place / _FILE)


def _found(paths: Sequence[str | Path]) -> Iterator[MediaFile]:
    """Pictures and sounds at and below paths, once each; hidden files and folders are passed over."""
    seen: set[str] = set()
    for given in paths:
        root = Path(given).expanduser().resolve()
        if not root.exists():
            raise InputError(f"no file or folder at {given}", "correct the path")
        below = sorted(root.rglob("*")) if root.is_dir() else [root]
        for path in below:
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if hidden or str(path) in seen or not path.is_file():
                continue
            seen.add(str(path))
            if (kind := kind_of_name(path)) is not None:
                known = path.stat()
                yield MediaFile(str(path), kind, known.st_size, known.st_mtime_ns)


def kind_of_name(path: str | Path) -> str | None:
    """ "image" or "audio" by a file's ending; None for other files."""
    if pictures.is_picture_name(str(path)):
        return "image"
    return "audio" if is_sound(path) else None


def _below(path: str, roots: Sequence[Path]) -> bool:
    return any(Path(path) == root or root in Path(path).parents for root in roots)


def shortened(hit: MediaHit, root: Path) -> MediaHit:
    """The hit with its path told from `root`, where it lies below."""
    path = Path(hit.path)
    return replace(hit, path=str(path.relative_to(root))) if path.is_relative_to(root) else hit
