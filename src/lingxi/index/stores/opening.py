"""Which store a place means."""

from __future__ import annotations

from pathlib import Path

from lingxi.errors import InputError
from lingxi.index.stores.layout import Layout
from lingxi.index.stores.seam import VectorStore

PLACES = (
    "FOLDER or lance:FOLDER (or an object store's URL), faiss:FOLDER, qdrant:FOLDER, milvus:FILE.db, "
    "postgresql://…#NAME, qdrant+http://…#NAME, milvus+http://…#NAME"
)


def open_store(place: str, layout: Layout | None = None) -> VectorStore:
    """The store at a place, opened, or made by `layout` where there is none.

    A place is a folder (LanceDB; `lance:` before it is allowed, and needed for object stores such as
    `lance:s3://bucket/name`), `faiss:FOLDER`, `qdrant:FOLDER` or `milvus:FILE.db` (in this process), or a
    server with the name of a collection: `postgresql://user@host/db#name`, `qdrant+http://host:6333#name`,
    `milvus+http://host:19530#name`. Raises StoreError as stores do, MissingExtraError without the store's
    library, InputError for a place that is none of these.
    """
    scheme, _, rest = place.partition(":")
    if scheme in ("postgresql", "postgres"):
        from lingxi.index.stores.pgvector import PgStore

        return PgStore(*_named(place), layout)
    if scheme in ("qdrant", "qdrant+http", "qdrant+https"):
        from lingxi.index.stores.qdrant import QdrantStore

        is_local = scheme == "qdrant"
        return QdrantStore(
            *((_path(rest), "rows") if is_local else _named(place.removeprefix("qdrant+"))), layout
        )
    if scheme in ("milvus", "milvus+http", "milvus+https"):
        from lingxi.index.stores.milvus import MilvusStore

        is_local = scheme == "milvus"
        return MilvusStore(
            *((_path(rest), "rows") if is_local else _named(place.removeprefix("milvus+"))), layout
        )
    if scheme == "faiss":
        from lingxi.index.stores.faiss import FaissStore

        return FaissStore(Path(_path(rest)), layout)
    from lingxi.index.stores.lance import LanceVectors

    return LanceVectors(_path(rest) if scheme == "lance" else _path(place), layout)


def _path(place: str) -> str:
    if not place:
        raise InputError("the store has no place", f"name one: {PLACES}")
    return place if "://" in place else str(Path(place).expanduser())


def _named(place: str) -> tuple[str, str]:
    url, _, name = place.partition("#")
    if not name.isidentifier() or not name.isascii() or len(name) > 40:
        raise InputError(
            f"{url}: the collection's name is {name!r}", "end the URL with #NAME (letters, digits and _)"
        )
    return url, name
