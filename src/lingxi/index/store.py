"""The segments on disk: one LanceDB table, and nothing beside it that could disagree with it.

A row is a segment with its vector, or marks a file that was read and has none (`vector` null, `reason` set).
What is known of a file (hash, size, time) stands in its own rows, so a file is indexed exactly if its rows
are there. Every change is one commit of the table: a process killed at any moment leaves the rows of before
or the rows of after. The schema's metadata holds the format version and the model's fingerprint.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import MissingExtraError, StoreError
from lingxi.index import generations
from lingxi.index.lock import LOCK, writing
from lingxi.index.within import Within, quoted
from lingxi.model.renamed import name_now
from lingxi.parse.walk import TABLE

FORMAT = 1
_META = b"lingxi"
_HIT_COLUMNS = ["key", "path", "start", "end", "first_line", "last_line", "ordinal", "title", "text"]
# Long lists of paths are cut into statements of this many.
_PATHS_A_STATEMENT = 500
# Versions of the table younger than this are kept for readers that still hold them.
_KEEP = timedelta(minutes=10)

Fingerprint = Mapping[str, str | int]
Row = dict[str, Any]


class FileState(NamedTuple):
    """What the index knows of a file; `reason` is empty for a file with segments."""

    hash: str
    size: int
    mtime_ns: int
    reason: str


class Store(Protocol):
    """What building and searching ask of a store."""

    path: Path
    late_chunking: bool

    def writing(self) -> AbstractContextManager[None]:
        """Hold the store for writing; raises StoreError where another process does."""

    def refresh(self) -> None:
        """Go to the newest version, which another process may have written."""

    def files(self) -> dict[str, FileState]:
        """Every file that is indexed, by absolute path."""

    def vectors(self, paths: Collection[str]) -> dict[tuple[str, str], NDArray[np.float32]]:
        """Vectors of the files' segments by (title, text)."""

    def vectors_in_order(self, paths: Collection[str]) -> dict[str, list[NDArray[np.float32]]]:
        """Vectors of each file's segments, first to last."""

    def replace(self, rows: Sequence[Row], known: Collection[str]) -> None:
        """In one commit: put whole files' rows in, and take out what else there is of the `known` files."""

    def delete(self, paths: Collection[str]) -> None:
        """Take files out."""

    def is_settled(self) -> bool:
        """Whether the full text index holds every row."""

    def settle(self) -> None:
        """Bring new rows into the full text index and small fragments together."""

    def nearest(self, vector: NDArray[np.float32], limit: int, within: Within) -> list[Row]:
        """Segments by falling cosine, with `_distance` = 1 − cosine."""

    def matching(self, words: str, limit: int, within: Within) -> list[Row]:
        """Segments by falling BM25, with `_score`."""


class LanceStore:
    """The store in a folder, opened or created there.

    `late_chunking` says whether segments are embedded in the context of their file; None takes what
    is there (not, in a new one). Raises StoreError for a folder that holds something else, was written
    by a newer version, by another model than `fingerprint` (None opens what is there, whichever model
    made it) or the other way of chunking.
    """

    def __init__(
        self,
        path: Path,
        fingerprint: Fingerprint | None,
        late_chunking: bool | None = None,
        *,
        namespace: str = "",
        generation: int | None = None,
    ) -> None:
        self.path = path
        self.namespace = generations.checked_namespace(namespace)
        self.generation = generation or _generation(path, fingerprint)
        name = generations.table_name(self.generation, namespace)
        with in_words(path):
            is_there = (path / f"{name}.lance").exists()
            make = _opened if is_there else _created
            self._table = make(path, name, fingerprint, bool(late_chunking))
        meta = json.loads((self._table.schema.metadata or {}).get(_META, b"{}"))
        self.fingerprint: Fingerprint = _checked(path, meta, fingerprint)
        self.late_chunking: bool = meta.get("late_chunking", False)
        if late_chunking not in (None, self.late_chunking):
            how = "in the context of their file" if self.late_chunking else "one by one"
            raise StoreError(
                f"{path}: its segments are embedded {how}, and the two ways do not mix",
                "open it as it was made, or make another index",
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store for writing, on its newest version; raises StoreError where another process does."""
        with writing(self.path):
            generations.check_current(self.path, self.generation)
            self.refresh()
            with in_words(self.path):
                if not self._table.list_indices():
                    _make_text_index(self._table)
            yield

    def refresh(self) -> None:
        """Go to the newest version, which another process may have written."""
        with in_words(self.path):
            self._table.checkout_latest()

    def version(self) -> int:
        """A number that changes with what the store holds."""
        with in_words(self.path):
            return int(self._table.version)

    def files(self) -> dict[str, FileState]:
        """Every file that is indexed, by absolute path."""
        self.refresh()
        with in_words(self.path):
            columns = ["path", "hash", "size", "mtime_ns", "reason"]
            found = self._table.search().where("ordinal = 0").select(columns).to_arrow()
        listed = [found.column(name).to_pylist() for name in columns]
        return {path: FileState(*rest) for path, *rest in zip(*listed, strict=True)}

    def vectors(self, paths: Collection[str]) -> dict[tuple[str, str], NDArray[np.float32]]:
        """Vectors of the files' segments by (title, text)."""
        found: dict[tuple[str, str], NDArray[np.float32]] = {}
        for clause in _in_lists(paths):
            query = self._table.search().where(f"{clause} AND vector IS NOT NULL")
            rows = query.select(["title", "text", "vector"]).to_list()
            found |= {(r["title"], r["text"]): np.asarray(r["vector"], np.float32) for r in rows}
        return found

    def vectors_in_order(self, paths: Collection[str]) -> dict[str, list[NDArray[np.float32]]]:
        """Vectors of each file's segments, first to last."""
        found: dict[str, list[NDArray[np.float32]]] = {}
        for clause in _in_lists(paths):
            query = self._table.search().where(f"{clause} AND vector IS NOT NULL")
            rows = query.select(["path", "ordinal", "vector"]).to_list()
            for row in sorted(rows, key=lambda row: row["ordinal"]):
                found.setdefault(row["path"], []).append(np.asarray(row["vector"], np.float32))
        return found

    def replace(self, rows: Sequence[Row], known: Collection[str]) -> None:
        """In one commit: put whole files' rows in, and take out what else there is of the `known` files."""
        # "null" stands for the marks of files without text; LanceDB would take them for mistakes.
        table = _arrow(rows, self._table.schema)
        if not known:
            self._table.add(table, on_bad_vectors="null")
            return
        merge = self._table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
        # One clause, however long: a second statement would be a second commit.
        merge.when_not_matched_by_source_delete(_in_list(known)).execute(table, on_bad_vectors="null")

    def delete(self, paths: Collection[str]) -> None:
        """Take files out."""
        for clause in _in_lists(paths):
            self._table.delete(clause)

    def is_settled(self) -> bool:
        """Whether the full text index holds every row."""
        with in_words(self.path):
            return self._unsettled() == 0

    def settle(self) -> None:
        """Bring new rows into the full text index and small fragments together."""
        self._table.optimize(cleanup_older_than=_KEEP)

    def nearest(self, vector: NDArray[np.float32], limit: int, within: Within) -> list[Row]:
        """Segments by falling cosine (every row is compared), with `_distance` = 1 − cosine."""
        query = self._table.search(vector).distance_type("cosine")
        return self._rows(query, "_distance", limit, within)

    def matching(self, words: str, limit: int, within: Within) -> list[Row]:
        """Segments by falling BM25, with `_score`; rows not yet in the full text index are read too."""
        from lancedb.query import MatchQuery

        if not self._table.list_indices():
            return []  # killed between making the table and its text index; the next `add` makes it
        match: Any = MatchQuery
        query = self._table.search(match(words, "words"), query_type="fts")
        return self._rows(query, "_score", limit, within)

    def counts(self) -> dict[str, int]:
        """Rows, rows that the full text index does not hold yet, and bytes on disk."""
        return {
            "segments": self._table.count_rows("vector IS NOT NULL"),
            "unsettled": self._unsettled(),
            "bytes": sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()),
        }

    def _unsettled(self) -> int:
        indices = self._table.list_indices()
        stats = self._table.index_stats(indices[0].name) if indices else None
        return int(stats.num_unindexed_rows if stats else self._table.count_rows())

    def rows(self, paths: Collection[str]) -> list[Row]:
        """All columns of the files' rows but their vectors, in order of path and place."""
        columns = [name for name in self._table.schema.names if name != "vector"]
        with in_words(self.path):
            found = [
                row
                for clause in _in_lists(paths)
                for row in self._table.search().where(clause).select(columns).to_list()
            ]
        return sorted(found, key=lambda row: (row["path"], row["ordinal"]))

    def _rows(self, query: Any, score: str, limit: int, within: Within) -> list[Row]:
        if clause := within.clause():
            query = query.where(clause, prefilter=True)
        with in_words(self.path):
            found: list[Row] = query.select([*_HIT_COLUMNS, score]).limit(limit).to_list()
        return found


def require(path: Path) -> None:
    """Raise StoreError where a folder holds no index, before a model is loaded to open it with."""
    if not generations.is_index(path):
        raise _absent(path)


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turn the store's errors into StoreError: a full disk, no permission, damaged files."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        said = str(error)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in said:
            raise StoreError(
                f"{path}: the disk is full", "free some space and add again; what was committed is kept"
            ) from None
        if isinstance(error, PermissionError) or "Permission denied" in said:
            raise StoreError(f"{path}: no permission to write", "choose another place with --index") from None
        first = said.strip().splitlines()[0] if said.strip() else type(error).__name__
        raise StoreError(f"{path}: the index cannot be read or written ({first})", _REBUILD) from None


_REBUILD = "if it stays so, delete the folder and add the files again"


def _connect(path: Path) -> Any:
    try:
        import lancedb
    except ImportError:
        raise MissingExtraError("lancedb", "search", "the index") from None
    return lancedb.connect(path)


def drop_table(path: Path, name: str) -> None:
    """Take a table of the folder away."""
    _connect(path).drop_table(name)


def _opened(path: Path, name: str, *_: object) -> Any:
    try:
        return _connect(path).open_table(name)
    except ValueError as error:
        raise StoreError(f"{path}: the index is damaged ({error})", _REBUILD) from None


def _created(path: Path, name: str, fingerprint: Fingerprint | None, late_chunking: bool) -> Any:
    is_ours = generations.is_index(path)
    if (
        path.exists()
        and not is_ours
        and (not path.is_dir() or any(entry.name != LOCK for entry in path.iterdir()))
    ):
        raise StoreError(f"{path}: not an index", "name an index folder, or one that does not exist yet")
    if fingerprint is None:
        raise _absent(path)
    connection = _connect(path)
    path.mkdir(parents=True, exist_ok=True)
    with writing(path):
        # The table of the namespace without a name is there in every index, and tells it by.
        for own in dict.fromkeys([TABLE.removesuffix(".lance"), name] if not is_ours else [name]):
            if not (path / f"{own}.lance").exists():  # or another process made it while this one waited
                _make_text_index(connection.create_table(own, schema=_schema(fingerprint, late_chunking)))
    return connection.open_table(name)


def _generation(path: Path, fingerprint: Fingerprint | None) -> int:
    """The generation of an index that a model made: the current one, unless only the one before is its."""
    kept = generations.read(path)
    if fingerprint is not None and kept.before is not None:
        for number in (kept.current, kept.before):
            table = _opened(path, generations.table_name(number, ""))
            meta = json.loads((table.schema.metadata or {}).get(_META, b"{}"))
            if not _differing(meta.get("fingerprint", {}), fingerprint):
                return number
    return kept.current


def _absent(path: Path) -> StoreError:
    return StoreError(f"{path}: no index there", "make one with `lingxi index add`, or check the path")


def _make_text_index(table: Any) -> None:
    from lancedb.index import FTS

    # No stemming and no stop words: both know English alone. Names in code are longer than 40 characters.
    config = FTS(
        base_tokenizer="icu", stem=False, remove_stop_words=False, lower_case=True, max_token_length=100
    )
    table.create_index("words", config=config)


def _schema(fingerprint: Fingerprint, late_chunking: bool) -> Any:
    import pyarrow as pa

    # Said only where it is so: an index made without reads as before.
    said = {"late_chunking": True} if late_chunking else {}
    meta = json.dumps({"format": FORMAT, "fingerprint": dict(fingerprint), **said})
    numbers = {name: pa.int32() for name in ("ordinal", "start", "end", "first_line", "last_line")}
    columns = {
        "key": pa.string(),
        "path": pa.string(),
        **numbers,
        "title": pa.string(),
        "text": pa.string(),
        "words": pa.string(),
        "vector": pa.list_(pa.float32(), int(fingerprint["dim"])),
        "hash": pa.string(),
        "size": pa.int64(),
        "mtime_ns": pa.int64(),
        "reason": pa.string(),
    }
    return pa.schema(list(columns.items()), metadata={_META: meta.encode()})


def _arrow(rows: Sequence[Row], schema: Any) -> Any:
    import pyarrow as pa

    return pa.table({name: [row[name] for row in rows] for name in schema.names}, schema=schema)


def _checked(path: Path, meta: Mapping[str, Any], wanted: Fingerprint | None) -> Fingerprint:
    if meta.get("format") != FORMAT:
        newer = isinstance(meta.get("format"), int) and meta["format"] > FORMAT
        how = "update lingxi, or rebuild it: delete the folder and add the files again"
        said = "was made by a newer version of lingxi" if newer else "is not an index of lingxi"
        raise StoreError(f"{path}: {said} (format {meta.get('format')}, this one reads {FORMAT})", how)
    kept: Fingerprint = meta["fingerprint"]
    made = {**kept, "name": name_now(str(kept["name"]), kept.get("weights"))}
    differing = _differing(made, wanted)
    if wanted is not None and differing:
        told = ", ".join(f"{k} {made[k]} / {wanted.get(k)}" for k in differing)
        raise StoreError(
            f"{path}: made by the model {made['name']!r}, but opened with {wanted['name']!r} ({told})",
            f"open it with {made['name']!r}, move it over with `lingxi index upgrade`, or rebuild it",
        )
    return made


def _differing(made: Fingerprint, wanted: Fingerprint | None) -> list[str]:
    return [k for k in made if k != "name" and wanted is not None and made[k] != wanted.get(k)]


def _in_list(paths: Collection[str]) -> str:
    return f"path IN ({', '.join(map(quoted, sorted(paths)))})"


def _in_lists(paths: Collection[str]) -> Iterator[str]:
    listed = sorted(paths)
    for start in range(0, len(listed), _PATHS_A_STATEMENT):
        yield _in_list(listed[start : start + _PATHS_A_STATEMENT])
