"""Take texts from a caller: checked, in windows of bounded size, with a progress bar on a terminal."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError

T = TypeVar("T")
# What a text that is too long loses; with "none" it is refused.
Truncate = Literal["end", "start", "none"]

# Enough to sort by length and fill many batches; their ids take less than 100 MB.
_WINDOW_ITEMS = 4096
_WINDOW_CHARACTERS = 2_000_000


def checked(texts: Iterable[Any]) -> Iterator[str]:
    """Pass texts through; raises InputError naming the first item that is not a string."""
    if not isinstance(texts, Iterable):
        raise InputError(f"the input is {type(texts).__name__}, not texts", "pass a string or strings")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"item {index} is {type(text).__name__}, not a string", "pass a string or strings"
            )
        yield _plain(text)


def checked_pairs(pairs: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Pass (query, document) pairs through; raises InputError naming the first item that is none."""
    if not isinstance(pairs, Iterable):
        raise InputError(f"the input is {type(pairs).__name__}, not pairs", "pass (query, document) pairs")
    for index, pair in enumerate(pairs):
        strings = isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(t, str) for t in pair)
        if not strings:
            raise InputError(f"item {index} is not a (query, document) pair", "pass pairs of strings")
        yield _plain(pair[0]), _plain(pair[1])


def checked_sides(pairs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Pass pairs of any inputs through; raises InputError naming the first item that is no pair."""
    if not isinstance(pairs, Iterable):
        raise InputError(f"the input is {type(pairs).__name__}, not pairs", "pass (query, document) pairs")
    for index, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(f"item {index} is not a (query, document) pair", "pass pairs of two inputs")
        yield pair[0], pair[1]


def checked_documents(documents: Iterable[Any]) -> Iterator[list[str]]:
    """Pass documents, each a list of segments, through; raises InputError naming the first that is none."""
    if isinstance(documents, str) or not isinstance(documents, Iterable):
        raise InputError(f"the input is {type(documents).__name__}, not documents", "pass lists of segments")
    for index, document in enumerate(documents):
        if isinstance(document, str) or not all(isinstance(text, str) for text in document):
            raise InputError(f"document {index} is not a list of segments", "pass lists of strings")
        yield [_plain(text) for text in document]


def _plain(text: str) -> str:
    # A lone surrogate (from a badly decoded file) is no text; the tokenizer would refuse it.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def windows(items: Iterable[T], characters: Callable[[T], int]) -> Iterator[list[T]]:
    """Lists of items that are held in memory at a time: bounded in number and in characters."""
    window: list[T] = []
    held = 0
    for item in items:
        window.append(item)
        held += characters(item)
        if len(window) == _WINDOW_ITEMS or held >= _WINDOW_CHARACTERS:
            yield window
            window, held = [], 0
    if window:
        yield window


class Rows:
    """Which row of the results each input has: equal inputs are computed once, and have one.

    What is held of an input is a digest and a number, about 100 bytes.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}
        self._rows = array("q")

    def fresh(self, items: Iterable[T], said: Callable[[T], str]) -> list[T]:
        """The items that did not come before, in order; `said` tells one from another."""
        new = []
        for item in items:
            key = digest(said(item))
            if key not in self._known:
                self._known[key] = len(self._known)
                new.append(item)
            self._rows.append(self._known[key])
        return new

    def all(self, results: NDArray[Any]) -> NDArray[Any]:
        """Results [distinct, …] to results [inputs, …], in the order of the inputs."""
        return results if len(self._rows) == len(results) else results[np.frombuffer(self._rows, np.int64)]


def digest(text: str) -> bytes:
    """16 bytes that stand for a text."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@contextmanager
def progress(total: int | None, show: bool | None, label: str) -> Iterator[Callable[[int], None]]:
    """A callable that advances a bar on stderr; `show=None` shows it on a terminal, while it lasts."""
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda advance: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=show is None) as bar:
        task = bar.add_task(label, total=total)
        yield lambda advance: bar.advance(task, advance)
