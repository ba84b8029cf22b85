"""The applications as tools of the Model Context Protocol: `ask`, `code_search`, `align`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from lingxi.apps.served.aligning import Tables, aligned, proved, told
from lingxi.apps.served.asking import Question, Turn, open_asker
from lingxi.apps.served.coding import open_coder
from lingxi.apps.served.paths import MOST_TURNS
from lingxi.apps.served.settings import AlignApp, AppsSettings, AskApp, CodeApp
from lingxi.apps.served.shapes import (
    Asked,
    CodePlaces,
    Pairs,
    TurnBefore,
    answer_shape,
    code_shape,
    pairs_shape,
)
from lingxi.errors import InputError
from lingxi.serve.mcp import Shelf, Tools

Add = Callable[..., None]
Words = Annotated[str, Field(min_length=1, max_length=4000)]
Turns = Annotated[
    list[TurnBefore] | None, Field(max_length=MOST_TURNS, description="Earlier turns, oldest first.")
]
Below = Annotated[
    list[str] | None, Field(max_length=100, description="Files or folders, as results name sources.")
]
Code = Annotated[
    str,
    Field(min_length=1, max_length=20_000, description="Words, a name, code, or an error with its trace."),
]
Hits = Annotated[int, Field(ge=1, le=100, description="Number of results.")]
Languages = Annotated[list[str] | None, Field(max_length=20, description="Such as python, go, c++.")]
Paths = Annotated[
    list[str] | None, Field(max_length=100, description="Folders, files or patterns in the repository.")
]
Table = Annotated[
    str,
    Field(
        max_length=2_000_000,
        description="TSV with a header (id, name, description, aliases; or head, relation, tail), "
        "or the same as an object of JSON a line.",
    ),
]
Known = Annotated[str, Field(max_length=2_000_000, description="Known pairs: two ids a line, a tab between.")]
Least = Annotated[float, Field(ge=0, le=1, description="Least confidence of the pairs given.")]


def tools(settings: AppsSettings, shelf: Shelf) -> Tools:
    """The tools of what is on, opened over a shelf's index and models.

    Raises InputError, StoreError or MissingExtraError where an application cannot be opened.
    """
    made = []
    if settings.ask is not None:
        made.append(_asking(settings.ask, shelf))
    if settings.code is not None:
        made.append(_coding(settings.code, shelf))
    if settings.align is not None:
        made.append(_aligning(settings.align, shelf))

    def add_all(add: Add) -> None:
        for each in made:
            each(add)

    return add_all


def _asking(app: AskApp, shelf: Shelf) -> Tools:
    asker = open_asker(app, shelf.index, dict(shelf.embedder.fingerprint()))

    def ask(question: Words, turns: Turns = None, below: Below = None) -> Asked:
        """Answer a question from the indexed files, each statement with a citation, or say they do not."""
        before = tuple(Turn(one.question, one.asked) for one in turns or ())
        with shelf.at_work():
            asked = Question(question, before, tuple(below or ()))
            return answer_shape(asker.answer(asked, shelf.embedder, shelf.judge))

    return lambda add: add(ask, "Ask the files", asks_others=app.llm is not None)


def _coding(app: CodeApp, shelf: Shelf) -> Tools:
    if app.model is not None:
        raise InputError("code.model names an embedder of `lingxi serve`", "leave it out, and give --model")
    coder = open_coder(app, shelf.embedder)

    def code_search(
        query: Code, top_k: Hits = 10, languages: Languages = None, paths: Paths = None
    ) -> CodePlaces:
        """Find functions and types of the repository by what they do, a name, code, or an error message."""
        with shelf.at_work():
            return code_shape(coder.found(query, top_k=top_k, languages=languages or (), paths=paths or ()))

    return lambda add: add(code_search, "Search the code")


def _aligning(app: AlignApp, shelf: Shelf) -> Tools:
    proved(shelf.embedder)

    def align(left: Table, right: Table, seeds: Known = "", least: Least = 0.0) -> Pairs:
        """Find which entities of two tables, in any languages, are the same, how sure and why."""
        with shelf.at_work():
            found = aligned(app, Tables(left, right, seeds), shelf.embedder, shelf.judge)
            return pairs_shape(found, told(found, least))

    return lambda add: add(align, "Align two tables")
