"""The models a command works with: made when a verb first asks for one, by the name the user gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import typer

Make = Callable[[str | None], Any]


@dataclass(frozen=True, slots=True)
class Faces:
    """How an embedder and a reranker are made from a name; None is the one that ships.

    `light_embedder`, where given, makes the embedder that computes in int8 where that is possible.
    """

    embedder: Make
    reranker: Make
    light_embedder: Make | None = None

    @property
    def light(self) -> Make:
        """The faster embedder, for what has many texts."""
        return self.light_embedder or self.embedder


def of(context: typer.Context) -> Faces:
    """The faces this run of the command line was given."""
    return cast(Faces, context.find_root().obj)


def reranker_of(context: typer.Context, name: str | None) -> Any | None:
    """The reranker of that name; None without one, or for `none`.

    The one that ships is not asked unasked: it reads every document again, seconds of a CPU.
    """
    return None if name in (None, "none") else of(context).reranker(name)


def _embedder(name: str | None) -> Any:
    from lingxi.embedder import Embedder

    return Embedder(name)


def _light_embedder(name: str | None) -> Any:
    from lingxi.apps.code.index import light_embedder

    return light_embedder(name)


def _reranker(name: str | None) -> Any:
    from lingxi.reranker import Reranker

    return Reranker(name)


LAZY = Faces(_embedder, _reranker, _light_embedder)
