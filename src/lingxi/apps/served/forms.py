"""What a person asked of an application's page: typed records, or an error that names the field."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from lingxi.apps.served.aligning import Tables
from lingxi.apps.served.asking import Question, Turn
from lingxi.serve.pages.forms import Fields, FormError, choice, number, once, text

MOST_TURNS = 8
MOST_HITS = 50
_QUESTION, _PATH, _CODE = 4000, 1000, 6000
# What an earlier turn says of itself; an answer is shown again, and nothing else is done with it.
_TURN = {"question": _QUESTION, "asked": _QUESTION, "answer": 20_000}


@dataclass(frozen=True, slots=True)
class Before:
    """An earlier turn as the page shows it again."""

    question: str
    asked: str
    answer: str

    def line(self) -> str:
        """The turn as a field of a form."""
        return json.dumps([self.question, self.asked, self.answer], ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class AskForm:
    """What the page of answers is asked; without a question it only shows itself."""

    question: str = ""
    path: str | None = None
    rerank: bool = False
    turns: tuple[Before, ...] = ()

    def asked(self, rerank: bool) -> Question:
        """The same for the application."""
        turns = tuple(Turn(turn.question, turn.asked) for turn in self.turns)
        return Question(self.question, turns, (self.path,) if self.path else (), rerank)


@dataclass(frozen=True, slots=True)
class CodeForm:
    """What the page of code is asked."""

    query: str = ""
    language: str | None = None
    path: str | None = None
    number: int = 10


@dataclass(frozen=True, slots=True)
class AlignForm:
    """What the page of tables is asked; `least` is a confidence in hundredths."""

    tables: Tables = field(default_factory=lambda: Tables("", ""))
    least: int = 0
    rerank: bool = False


def ask_form(fields: Fields) -> AskForm:
    """Read a question and the turns before it; raises FormError."""
    turns = [value for name, value in fields if name == "turn"]
    given = once([(name, value) for name, value in fields if name != "turn"], {"q", "path", "rerank", "lang"})
    if len(turns) > MOST_TURNS:
        raise FormError("many_turns", most=MOST_TURNS)
    return AskForm(
        question=text(given, "q", "question", _QUESTION) or "",
        path=text(given, "path", "path", _PATH),
        rerank=choice(given, "rerank", "rerank", ("1", "0")) == "1",
        turns=tuple(map(_before, turns)),
    )


def _before(line: str) -> Before:
    try:
        values: Any = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    limits = list(_TURN.values())
    is_turn = isinstance(values, list) and len(values) == len(limits)
    if not is_turn or not all(
        isinstance(v, str) and len(v) <= m for v, m in zip(values, limits, strict=True)
    ):
        raise FormError("bad_turn")
    return Before(*values)


def code_form(fields: Fields, languages: tuple[str, ...]) -> CodeForm:
    """Read a query and its filters; raises FormError."""
    given = once(fields, {"q", "language", "path", "n", "lang"})
    return CodeForm(
        query=text(given, "q", "query", _CODE) or "",
        language=choice(given, "language", "language_of", languages),
        path=text(given, "path", "path", _PATH),
        number=number(given, "n", "hits", 1, MOST_HITS) or 10,
    )


def align_form(fields: Fields) -> AlignForm:
    """Read two tables, each pasted or of a file (which wins); raises FormError."""
    sides = ("left", "right", "seeds")
    files = {f"{side}_file" for side in sides}
    given = once(fields, {*sides, *files, "least", "rerank", "lang"})
    # As they were sent: a tab at the end of a row is a cell.
    sent = dict(fields)
    tables = {side: sent[f"{side}_file"] if f"{side}_file" in given else sent.get(side, "") for side in sides}
    return AlignForm(
        tables=Tables(**tables),
        least=number(given, "least", "least", 0, 100) or 0,
        rerank=choice(given, "rerank", "rerank", ("1", "0")) == "1",
    )
