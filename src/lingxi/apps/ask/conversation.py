"""Questions that go on from the ones before: rewritten to stand alone before they are searched for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from lingxi.apps.ask.answering import LONGEST_QUESTION, Searches, ask, checked_question
from lingxi.apps.ask.llm import Says
from lingxi.apps.ask.plain import quoted
from lingxi.apps.ask.prompt import Messages
from lingxi.apps.ask.records import Answer
from lingxi.asking import NoAnswerError
from lingxi.evaluate.lexical import words

# Words that point back to what was said; with one of them, or with so few words, a question goes on.
_BACK = re.compile(
    r"\b(it|its|they|them|their|this|that|these|those|he|him|his|she|her|there|then|one|ones|same|also|else|and|"
    r"él|ella|ellos|ese|esa|eso|esto|cela|ça|celui|elle|ils|elles|er|sie|es|das|dies\w*|он|она|они|это|его|их)\b"
    r"|它|他|她|他们|她们|它们|这|那|其|此|該|该|呢|それ|これ|その|この|彼|彼女|그것|그|이것",
    re.IGNORECASE,
)
_FEW = 3
# Turns that a rewriting model is shown.
_TURNS = 4
_LONGEST_REWRITE = 400
_REWRITE = (
    "Rewrite the last question so that it can be understood without the ones before. Keep its language. "
    "Write the question alone, nothing else."
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns so far, oldest first; `asked` gives the next with its turn in it."""

    turns: tuple[Answer, ...] = ()

    def asked(self, index: Searches, question: str, **options: Any) -> tuple[Conversation, Answer]:
        """The conversation with one more turn, and its answer; options are those of `ask`."""
        llm: Says | None = options.get("llm")
        alone, how = rewritten(question, self.turns, llm)
        answer = ask(index, alone, **options)
        answer = replace(answer, question=question, steps=((how,) if how else ()) + answer.steps)
        return Conversation((*self.turns, answer)), answer


def rewritten(question: str, turns: tuple[Answer, ...], llm: Says | None) -> tuple[str, str]:
    """A question that stands alone, and what was done in words ("" for nothing).

    A model is asked where there is one. Without one, or where it fails, a question that has a word which
    points back, or at most three words, gets the question before it (as it was searched for) in front.
    """
    bare = checked_question(question)
    if not turns:
        return bare, ""
    if llm is not None:
        try:
            said = _line(llm(_messages(bare, turns)))
            if said:
                return said, f"rewritten by the model: {said}"
        except NoAnswerError as problem:
            carried, how = _carried(bare, turns[-1])
            return carried, f"rewriting failed ({problem.reason}); {how or 'asked as it is'}"
    return _carried(bare, turns[-1])


def _carried(question: str, last: Answer) -> tuple[str, str]:
    if _BACK.search(question) is None and len(words(question)) > _FEW:
        return question, ""
    carried = f"{_tail(last.asked)} {question}"
    if len(carried) > LONGEST_QUESTION:
        return question, ""
    return carried, f"carried over the question before: {carried}"


def _tail(text: str) -> str:
    # A question carried over and over must not grow without end.
    return text[-_LONGEST_REWRITE:]


def _messages(question: str, turns: tuple[Answer, ...]) -> Messages:
    """Only what the person asked goes in: answers quote documents, which may hold orders."""
    before = "\n".join(f"- {quoted(turn.question)}" for turn in turns[-_TURNS:])
    return [
        {"role": "system", "content": _REWRITE},
        {"role": "user", "content": f"Questions before:\n{before}\nLast question: {quoted(question)}"},
    ]


def _line(pieces: Iterable[str]) -> str:
    said = re.sub(r"<think>.*?(</think>|$)", "", "".join(pieces), flags=re.DOTALL).strip()
    first = said.partition("\n")[0].strip().strip("\"'“”「」")
    return first if any(map(str.isalnum, first)) and len(first) <= _LONGEST_REWRITE else ""
