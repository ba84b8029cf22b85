"""The index users hold: open it with a model, add paths, search."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError, StoreError
from lingxi.index import build, generations
from lingxi.index.build import AddReport, Embeds, Progress
from lingxi.index.documents import DocumentHit, Scored, search_documents
from lingxi.index.search import Hit, Ranks, near, search, similar
from lingxi.index.store import FORMAT, LanceStore
from lingxi.index.within import Within
from lingxi.inputs import texts_alone
from lingxi.parse.walk import is_below, resolve


@dataclass(frozen=True, slots=True)
class Stats:
    """What an index holds: files with segments, segments, files without by reason, model, bytes on disk.

    `unsettled` counts rows that are found but not yet in the full text index.
    """

    files: int
    segments: int
    skipped: dict[str, int]
    unsettled: int
    bytes: int
    format: int
    model: dict[str, str | int]
    late_chunking: bool


class Index:
    """Passages of files, found by meaning and by words. Made by `Index.open`."""

    def __init__(self, store: Any, embedder: Embeds | None, reranker: Ranks | None) -> None:
        self._store = store
        # What the files say is text, also where it names a picture.
        self._embedder = texts_alone(embedder)
        self._reranker = texts_alone(reranker)
        self._roots: dict[str, str] = {}
        self._above: tuple[int, str] = (-1, "")

    @classmethod
    def open(
        cls,
        path: str | Path,
        embedder: Embeds | None = None,
        reranker: Ranks | None = None,
        late_chunking: bool | None = None,
        namespace: str = "",
    ) -> Index:
        """Open the index in a folder, or make it there; each `namespace` in it holds files of its own.

        Without an embedder an index that is there opens for `stats` and `remove` alone. With
        `late_chunking` (stated when the index is made, and kept) segments are embedded in the context
        of their file by `embedder.encode_segments`. Raises StoreError for an index that another model,
        a newer version or the other way of chunking made.
        """
        place = Path(path).expanduser()
        fingerprint = embedder.fingerprint() if embedder else None
        store = LanceStore(place, fingerprint, late_chunking, namespace=namespace)
        if store.late_chunking and embedder and not hasattr(embedder, "encode_segments"):
            raise InputError("the embedder has no encode_segments", "give another, or an index without it")
        return cls(store, embedder, reranker)

    def add(self, paths: Sequence[str | Path], on_progress: Progress | None = None) -> AddReport:
        """Index what is new or changed below `paths` and remove what is gone below them.

        `on_progress(done, all)` counts the files read. Raises InputError for a missing, unreadable
        or empty path, StoreError for a full disk or a second writer; what was committed stays.
        """
        report = build.add(self._store, self._model(), paths, on_progress)
        self._roots |= resolve(paths)
        report.skipped = [item._replace(path=self._shown(item.path)) for item in report.skipped]
        return report

    def search(
        self,
        query: str,
        top_k: int = 10,
        instruction: str | None = None,
        rerank: bool = True,
        below: Sequence[str | Path] = (),
        kinds: Sequence[str] = (),
        languages: Sequence[str] = (),
        mark: bool = True,
        around: int = 0,
    ) -> list[Hit]:
        """The best `top_k` passages, best first.

        `below` names files or folders, `kinds` (`text`, `markdown`, `rst`, `code`, `html`, `pdf`) and
        programming `languages` say what files are to be (default: all). `mark` looks for the sentence of each
        passage that fits best, which embeds its sentences; `around` lets a passage gain by those so many
        places away in its file, for conversations and minutes. Paths are shown as they were given to `add` or
        `below`, else seen from the current folder. Raises InputError for an empty query, a `top_k` below 1,
        an `around` below 0, a missing path, or a kind or language there is not.
        """
        within = self._within(below, kinds, languages)
        found = search(
            self._store,
            self._model(),
            self._reranker if rerank else None,
            query,
            top_k=top_k,
            instruction=instruction,
            within=within,
            mark=mark,
            around=around,
        )
        return list(map(self._hit_shown, found))

    def documents(
        self,
        query: str,
        top_k: int = 10,
        instruction: str | None = None,
        below: Sequence[str | Path] = (),
        kinds: Sequence[str] = (),
        languages: Sequence[str] = (),
        score: Scored = "max",
    ) -> list[DocumentHit]:
        """The best `top_k` whole files, each with the passages that speak for it, best first.

        `score` is that of the best passage (`max`) or the mean of the three best (`mean3`), by cosine with
        the query. Raises InputError as `search` does.
        """
        found = search_documents(
            self._store,
            self._model(),
            query,
            top_k=top_k,
            instruction=instruction,
            within=self._within(below, kinds, languages),
            score=score,
        )
        return [
            replace(one, path=self._shown(one.path), hits=tuple(map(self._hit_shown, one.hits)))
            for one in found
        ]

    def namespaces(self) -> list[str]:
        """The namespaces the folder holds; the one without a name is ''."""
        return generations.namespaces(self._store.path)

    def similar(
        self,
        text: str,
        top_k: int = 10,
        below: Sequence[str] = (),
        kinds: Sequence[str] = (),
        languages: Sequence[str] = (),
    ) -> list[Hit]:
        """The `top_k` passages nearest to a text that is read as a document; `score` is the cosine.

        Paths are those of `search_as`. Raises InputError as `search_as` does.
        """
        within = Within(tuple(self._places(below)), tuple(kinds), tuple(languages))
        found = similar(self._store, self._model(), text, top_k=top_k, within=within)
        return self._hits_told(found)

    def near(
        self,
        vector: NDArray[np.float32],
        top_k: int = 10,
        below: Sequence[str] = (),
        kinds: Sequence[str] = (),
        languages: Sequence[str] = (),
    ) -> list[Hit]:
        """The `top_k` passages nearest to a vector [dim] of this model's space, as of a picture or a sound.

        `score` is the cosine, paths are those of `search_as`. Raises InputError as `search_as` does.
        """
        within = Within(tuple(self._places(below)), tuple(kinds), tuple(languages))
        return self._hits_told(near(self._store, vector, top_k=top_k, within=within))

    def search_as(
        self,
        embedder: Embeds,
        reranker: Ranks | None,
        query: str,
        *,
        top_k: int = 10,
        instruction: str | None = None,
        below: Sequence[str] = (),
        kinds: Sequence[str] = (),
        languages: Sequence[str] = (),
        mark: bool = True,
    ) -> list[Hit]:
        """`search` by other faces of the same model, for someone who sees the index and not the disk.

        Paths are those of `search`; files that lie outside of the current folder are shown from the folder
        that holds all of the index, by its name: nothing is said of where it lies. `below` are paths as hits
        show them. Raises InputError as `search` does, and for a path below which the index holds nothing,
        whether or not there is such a file.
        """
        found = search(
            self._store,
            embedder,
            reranker,
            query,
            top_k=top_k,
            instruction=instruction,
            within=Within(tuple(self._places(below)), tuple(kinds), tuple(languages)),
            mark=mark,
        )
        return self._hits_told(found)

    def _places(self, names: Sequence[str]) -> list[str]:
        """Absolute places of names as hits show them."""
        if not names:
            return []
        shown = {self.told(path): path for path in self._store.files()}
        places: set[str] = set()
        for place in map(os.path.normpath, names):
            below = {p: path for p, path in shown.items() if is_below(p, place) or is_below(path, place)}
            if not below:
                raise InputError("the index holds nothing below a path given", "give one as results show it")
            # What follows the place is the same in both: a hit shows a file from another beginning.
            places |= {
                place if is_below(path, place) else path[: len(path) - len(p) + len(place)]
                for p, path in below.items()
            }
        return sorted(places)

    def remove(self, paths: Sequence[str | Path]) -> int:
        """Take files, or all files below folders, out of the index; returns how many there were."""
        return build.remove(self._store, paths)

    def stats(self) -> Stats:
        """Count what the index holds."""
        reasons = Counter(state.reason for state in self._store.files().values())
        files = reasons.pop("", 0)
        counts = self._store.counts()
        return Stats(
            files,
            counts["segments"],
            dict(reasons),
            counts["unsettled"],
            counts["bytes"],
            FORMAT,
            dict(self._store.fingerprint),
            self._store.late_chunking,
        )

    def _within(self, below: Sequence[str | Path], kinds: Sequence[str], languages: Sequence[str]) -> Within:
        roots = resolve(below) if below else {}
        self._roots |= roots
        return Within(tuple(roots), tuple(kinds), tuple(languages))

    def _model(self) -> Embeds:
        if self._embedder is None:
            raise StoreError(
                f"{self._store.path}: opened without an embedder", "pass embedder= to Index.open"
            )
        return self._embedder

    def _hit_shown(self, hit: Hit) -> Hit:
        return replace(hit, path=self._shown(hit.path))

    def _hits_told(self, hits: Sequence[Hit]) -> list[Hit]:
        return [replace(hit, path=self.told(hit.path)) for hit in hits]

    def told(self, path: str) -> str:
        """A path of the index as hits of `search_as` show it, for someone elsewhere.

        Never absolute where the index's files lie in one folder.
        """
        shown = self._shown(path)
        above = self._folder_above() if os.path.isabs(shown) and shown == path else ""  # noqa: PTH117
        return os.path.relpath(path, above) if above else shown

    def _folder_above(self) -> str:
        """The folder around the one that holds all files, empty where that is the whole disk."""
        version = self._store.version()
        if self._above[0] != version:
            folders = {os.path.dirname(path) for path in self._store.files()}  # noqa: PTH120
            top = os.path.commonpath(folders) if folders else os.sep
            self._above = version, "" if top == os.sep else os.path.dirname(top)  # noqa: PTH120
        return self._above[1]

    def _shown(self, path: str) -> str:
        holding = [root for root in self._roots if is_below(path, root)]
        if holding:
            root = max(holding, key=len)
            return os.path.normpath(os.path.join(self._roots[root], os.path.relpath(path, root)))  # noqa: PTH118
        here = str(Path.cwd())
        return os.path.relpath(path, here) if is_below(path, here) else path
