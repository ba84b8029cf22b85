"""The models a command works with: made when a verb first asks for one, by the name the user gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import typer

NO_RERANKER = "none"

Make = Callable[[str | None], Any]


@dataclass(frozen=True, slots=True)
class Faces:
    """How an embedder and a reranker are made from a name; None is the one that ships."""

    embedder: Make
    reranker: Make


def of(context: typer.Context) -> Faces:
    """The faces this run of the command line was given."""
    return cast(Faces, context.find_root().obj)


def reranker_of(context: typer.Context, name: str | None) -> Any | None:
    """The reranker of that name, or None where the user wants `none`."""
    return None if name == NO_RERANKER else of(context).reranker(name)


def _embedder(name: str | None) -> Any:
    from lingxi.embedder import Embedder

    return Embedder(name)


def _reranker(name: str | None) -> Any | None:
    """The reranker named; without a name the one that ships, or None in an installation that has none."""
    from lingxi.model.files import SHIPPED
    from lingxi.reranker import DEFAULT_RERANKER, Reranker

    if name is None and not (SHIPPED / DEFAULT_RERANKER).is_dir():
        return None
    return Reranker(name)


LAZY = Faces(_embedder, _reranker)
