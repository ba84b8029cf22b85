"""The index of a repository: of its files as they lie, and of any commit; open it, update it, search it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lingxi.apps.code import git
from lingxi.apps.code.blame import blamed
from lingxi.apps.code.build import LEFT_OUT, Remembering, UpdateReport, split_path, update
from lingxi.apps.code.filters import places_below
from lingxi.apps.code.frames import Framed, rows_of_places
from lingxi.apps.code.hits import CodeHit, hits_of
from lingxi.apps.code.prune import KEPT, Pruned, mark_used, prune
from lingxi.apps.code.query import Asked, Kind, read_query, reads_instructions
from lingxi.apps.code.rank import Candidate, candidates, ranked, weights_for
from lingxi.apps.code.sample import POOL
from lingxi.apps.code.sources import Commit, Folder, Tree
from lingxi.apps.code.trust import Trust, read_trust, trust_in, write_trust
from lingxi.errors import InputError, StoreError
from lingxi.index.build import Embeds, Progress
from lingxi.index.store import LanceStore, in_words
from lingxi.index.within import Within
from lingxi.index.words import search_words
from lingxi.inputs import texts_alone
from lingxi.parse.walk import TABLE
from lingxi.places import user_cache

_WORKTREE = "worktree"


@dataclass(frozen=True, slots=True)
class CodeAnswer:
    """What a query found, best first; `kind` is what the query was taken for.

    `commit` is the commit that was searched, None for the files as they lie; `notes` say what could not
    be done, such as a blame that git has no objects for.
    """

    query: str
    kind: Kind
    hits: tuple[CodeHit, ...]
    commit: str | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)


class Evidence(NamedTuple):
    """The units that a query may mean: those alike in vector or words, and those that a trace names."""

    commit: str | None
    asked: Asked
    candidates: list[Candidate]
    framed: list[Framed]
    trust: Trust | None = None


class CodeIndex:
    """Functions and types of a repository, found by meaning, words and name. Made by `CodeIndex.open`."""

    def __init__(self, root: Path, top: Path | None, place: Path, embedder: Embeds) -> None:
        self.root = root
        self.place = place
        self._top = top
        self._embedder = texts_alone(embedder)
        self._stores: dict[Path, LanceStore] = {}

    @classmethod
    def open(
        cls, repository: str | Path, place: str | Path | None = None, embedder: Embeds | None = None
    ) -> CodeIndex:
        """Open the index of the repository that holds a folder (or of the folder, where none does).

        `place` is the index's folder (default: in the user's cache); without an embedder it is the one that
        ships, in int8 where this machine computes it. Nothing is read or written yet.
        Raises InputError for a folder that is not there, ModelError for a model that cannot be loaded.
        """
        folder = Path(repository).expanduser()
        if not folder.is_dir():
            raise InputError(
                f"{repository}: no such folder", "name a repository, or a folder of source files"
            )
        folder = folder.resolve()
        top = git.top_of(folder)
        model = embedder or light_embedder()
        root = top or folder
        return cls(root, top, Path(place).expanduser() if place else cache_place(root, model), model)

    def asked_by(self, embedder: Embeds) -> CodeIndex:
        """The same index, asked by another face of the same model."""
        other = CodeIndex(self.root, self._top, self.place, embedder)
        other._stores = self._stores
        return other

    def is_indexed(self) -> bool:
        """Whether there is an index of the files as they lie (of the newest commit, where none do)."""
        return (self._tree(None)[1] / TABLE).exists()

    def languages(self) -> tuple[str, ...]:
        """The languages of the indexed files, in order of their names."""
        found = {split_path(one)[0] for one in self._store(self._tree(None)[1]).files()}
        return tuple(sorted(found - {LEFT_OUT}))

    @property
    def is_bare(self) -> bool:
        """Whether the repository has no files lying about: its newest commit stands for them."""
        return self._top is not None and not (self._top / ".git").exists()

    def update(self, at: str | None = None, on_progress: Progress | None = None) -> UpdateReport:
        """Index what changed since the last update, in the files as they lie or `at` a commit.

        `on_progress(done, all)` counts the files read. Raises InputError for a commit or a repository that
        cannot be read, StoreError for a full disk or a second writer; what was committed stays.
        """
        tree, place, commit = self._tree(at)
        started = time.perf_counter()
        beside = None if (place / TABLE).exists() else self._beside(place)
        known = self._vectors(beside) if beside else None
        model = Remembering(self._embedder, known) if known else self._embedder
        report = update(self._store(place), model, tree, commit, on_progress)
        self._measure(place, report.added + report.changed + report.unchanged, beside)
        if commit is not None:
            mark_used(place)
            prune(self.place, KEPT, spared=place)
        return replace(report, seconds=time.perf_counter() - started)

    def prune(self, keep: int) -> Pruned:
        """Take out the indexes of all commits but the `keep` last used; the files as they lie stay indexed.

        Raises InputError for a negative number. An update at a commit leaves the last 10 by itself.
        """
        if keep < 0:
            raise InputError(f"keep is {keep}", "choose 0 or more")
        self._stores.clear()
        return prune(self.place, keep)

    def trust(self, at: str | None = None) -> Trust | None:
        """How much vectors count here for words, and how that was measured; None before an update."""
        return read_trust(self._tree(at)[1])

    def search(
        self,
        query: str,
        top_k: int = 10,
        *,
        languages: Sequence[str] = (),
        paths: Sequence[str] = (),
        at: str | None = None,
        blame: bool = False,
    ) -> CodeAnswer:
        """The best `top_k` functions, types or pieces of code for words, a name, code or an error message.

        `languages` as in `py`, `c++`; `paths` are folders or files in the repository, or patterns as in
        `.gitignore`; `at` searches a commit that `update(at=…)` indexed; `blame` asks git who wrote each
        hit. Raises InputError for an empty query, an unknown language or commit, a path that holds nothing.
        """
        if top_k < 1:
            raise InputError(f"top_k is {top_k}", "choose 1 or more")
        pool = max(POOL, top_k)
        found = self.evidence(query, languages=languages, paths=paths, at=at, pool=pool)
        weights = weights_for(found.asked.kind, found.trust.vector if found.trust else None)
        hits = hits_of(found.asked, ranked(found.candidates, weights), weights, found.framed, top_k)
        if not blame:
            return CodeAnswer(query, found.asked.kind, hits, found.commit)
        if self._top is None:
            raise self._without()
        marked, notes = blamed(self._repository, self.root, found.commit, hits)
        return CodeAnswer(query, found.asked.kind, marked, found.commit, notes)

    def evidence(
        self,
        query: str,
        *,
        languages: Sequence[str] = (),
        paths: Sequence[str] = (),
        at: str | None = None,
        pool: int = POOL,
    ) -> Evidence:
        """What speaks for the units that a query may mean, before they are ranked; raises as `search`."""
        if not isinstance(query, str) or not query.strip():
            raise InputError("the query is empty", "give words, a name, code or an error message")
        _, place, commit = self._tree(at)
        if not (place / TABLE).exists():
            where = f"{self.root} at {at}" if at else str(self.root)
            raise StoreError(f"{where}: not indexed yet", "run `lingxi code index`, or update() in Python")
        if commit is not None:
            mark_used(place)
        found = self._found(self._store(place), read_query(query), languages, paths, pool)
        return Evidence(commit, *found, read_trust(place))

    def _found(
        self, store: LanceStore, asked: Asked, languages: Sequence[str], paths: Sequence[str], pool: int
    ) -> tuple[Asked, list[Candidate], list[Framed]]:
        files = store.files()
        below = places_below(files, languages, paths)
        task = asked.instruction if reads_instructions(self._embedder) else None
        made = self._embedder.encode_query([asked.text], instruction=task)
        vector = np.asarray(made[0], np.float32)
        with in_words(store.path):
            near = store.nearest(vector, pool, Within(tuple(below)))
            matching = store.matching(search_words(asked.words), pool, Within(tuple(below)))
            framed = rows_of_places(store, files, asked.places, below)
        return asked, candidates(asked, near, matching), framed

    def _tree(self, at: str | None) -> tuple[Tree, Path, str | None]:
        """What is meant, where its store is, and which commit it is."""
        if at is None and not self.is_bare:
            return Folder(self.root), self.place / _WORKTREE, None
        repository = self._repository()
        commit, tree = git.commit_of(repository, "HEAD" if at is None else at)
        # Commits with the same files share a store.
        return Commit(repository, commit), self.place / f"tree-{tree[:20]}", commit

    def _repository(self) -> Path:
        if self._top is None:
            raise self._without()
        return git.directory_of(self._top)

    def _without(self) -> InputError:
        return InputError(f"{self.root} is in no git repository", "leave out the commit and the blame")

    def _store(self, place: Path) -> LanceStore:
        if place not in self._stores:
            self._stores[place] = LanceStore(place, self._embedder.fingerprint())
        return self._stores[place]

    def _beside(self, place: Path) -> Path | None:
        """The store beside a new one that was written last: most of its files are the same."""
        beside = [one for one in self.place.glob(f"*/{TABLE}") if one.parent != place]
        return max(beside, key=lambda one: one.stat().st_mtime).parent if beside else None

    def _vectors(self, place: Path) -> Mapping[tuple[str, str], NDArray[np.float32]]:
        store = self._store(place)
        with in_words(store.path):
            return store.vectors(store.files())

    def _measure(self, place: Path, files: int, beside: Path | None) -> None:
        """Find what vectors count in an index that is new or has grown, or take it from the one beside it."""
        known = read_trust(place) or (read_trust(beside) if beside else None)
        if not files or (known and known.stands_for(files) and not beside):
            return
        if known is None or not known.stands_for(files):
            store = self._store(place)
            held = [path for path, state in store.files().items() if not state.reason]
            known = trust_in(store, held, self._embedder, self.place.parent)
        # An index on a medium that cannot be written is searched by the shipped weights.
        with suppress(OSError):
            write_trust(place, known)


def light_embedder(name: str | None = None) -> Embeds:
    """An embedder (the one that ships) that computes in int8 where it can here: twice as fast."""
    from lingxi.embedder import Embedder

    try:
        return Embedder(name, weights="int8")
    except InputError:  # on a GPU, or without the kernels
        return Embedder(name)


def cache_place(root: Path, embedder: Embeds) -> Path:
    """Where the index of a repository made by a model is kept, in the user's cache."""
    said = json.dumps(["code", str(root), sorted(embedder.fingerprint().items())])
    return user_cache() / "code" / hashlib.sha256(said.encode()).hexdigest()[:20]
