"""What is asked of a database of vectors: checked rows in, nearest rows out.

`Collection` is the face users hold; it checks and cuts what goes in, so that a store is only told what it
can hold. A store keeps the full vector of every row, whatever its first look reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Collection as Many
from contextlib import contextmanager
from typing import Protocol

from lingxi.errors import LingxiError, StoreError
from lingxi.index.stores.filters import Where
from lingxi.index.stores.layout import Floats, Found, Layout, Rows


class VectorStore(Protocol):
    """Rows of id, unit vector and metadata in namespaces, in one place.

    Raised are StoreErrors: a place that cannot be read or written, a full disk, a server that is away.
    """

    place: str
    layout: Layout

    def put(self, rows: Rows, namespace: str) -> None:
        """Write rows in one commit; a row whose id is there replaces it."""

    def remove(self, ids: Many[str], namespace: str) -> None:
        """Take rows out; an id that is not there is none."""

    def get(self, ids: Many[str], namespace: str) -> Rows:
        """The rows that are there of these ids, in any order, with their full vectors."""

    def search(self, queries: Floats, k: int, where: Where | None, namespace: str) -> list[list[Found]]:
        """The k nearest rows that meet the condition, for each of the unit vectors [n, dim], best first."""

    def scan(self, namespace: str) -> Iterator[Rows]:
        """Every row, some at a time."""

    def count(self, where: Where | None, namespace: str) -> int:
        """How many rows meet the condition."""

    def namespaces(self) -> Mapping[str, int]:
        """Rows of every namespace that holds some."""

    def settle(self) -> None:
        """Bring new rows into the approximate index, and give back space that removed ones take."""

    def bytes(self) -> int:
        """Bytes the store takes on disk, or says it takes."""

    def close(self) -> None:
        """Let go of files and connections."""


@contextmanager
def closing(close: Callable[[], object]) -> Iterator[None]:
    """Let go of what was opened where the block does not end well."""
    try:
        yield
    except BaseException:
        close()
        raise


@contextmanager
def failing(place: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn the errors of a database into StoreErrors."""
    kinds = (OSError, *kinds)
    try:
        yield
    except LingxiError:
        raise
    except kinds as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        full = ("No space left", "disk is full", "disk full", "disk quota")
        if any(sign.lower() in said.lower() for sign in full):
            raise StoreError(
                f"{place}: the disk is full", "free some space and write again; what was committed is kept"
            ) from None
        if isinstance(error, PermissionError) or "Permission denied" in said or "readonly" in said:
            raise StoreError(f"{place}: no permission to write", "choose another place") from None
        raise StoreError(
            f"{place}: cannot be read or written ({said})",
            "check that it is there and whole; if it stays so, make it anew",
        ) from None


def absent(place: str) -> StoreError:
    """What is said where no store is, and none is to be made."""
    return StoreError(f"{place}: no store there", "check the place, or give a layout to make one")
