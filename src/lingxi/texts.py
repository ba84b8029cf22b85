"""Take texts from a caller: checked, in windows of bounded size, with a progress bar on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from lingxi.errors import InputError


def checked(texts: Iterable[Any]) -> Iterator[str]:
    """Pass texts through; raises InputError naming the first item that is not a string."""
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"item {index} is {type(text).__name__}, not a string", "pass a string or strings")
        # A lone surrogate (from a badly decoded file) is no text; the tokenizer would refuse it.
        yield text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def windows(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of up to `size` items: what is held in memory at a time."""
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window


@contextmanager
def progress(total: int | None, show: bool | None, label: str) -> Iterator[Callable[[int], None]]:
    """A callable that advances a bar on stderr; `show=None` shows it on a terminal only."""
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda advance: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda advance: bar.advance(task, advance)
