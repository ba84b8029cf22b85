"""Ask a language model behind any URL that speaks OpenAI's `/chat/completions`: patiently, and never twice.

Every answer is kept in an SQLite file under the hash of what was asked and of the attempt, bad ones too, so a
second run asks nothing and gets the same. What the server could not answer is not kept, and asked again.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lingxi.asking import NoAnswerError, asked, endpoint
from lingxi.errors import InputError
from lingxi.generate.settings import ChatSettings
from lingxi.records import digest

Read = TypeVar("Read")
CACHE_FILE = "answers.sqlite"
# The server is busy, slow or broken for a moment; the rest of HTTP's errors come again if asked again.
_PASSING = frozenset((None, 408, 409, 425, 429, 500, 502, 503, 504, 529))
# No document is at fault: the key or the address is wrong.
_FATAL = frozenset((401, 402, 403, 404, 405))
# So many questions in a row without any answer: the server is gone.
_GONE = 20
_LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What was asked in this run: requests, those answered from the cache, tokens by the server's `usage`.

    `unmetered` answers came without a usage, so their tokens are not counted; `cost` is None without prices.
    """

    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    unmetered: int = 0
    cost: float | None = None


class RefusedError(Exception):
    """One question that stays without a usable answer; its text is a short reason that can be counted."""


class Chat:
    """A language model that answers in JSON; may be asked from several threads."""

    def __init__(self, settings: ChatSettings, pause: Callable[[float], None] = time.sleep) -> None:
        self.settings = settings
        self._url = endpoint(settings.url, "/chat/completions")
        self._key = _key(settings.key_file)
        self._pause = pause
        self._lock = threading.Lock()
        self._counts = {"calls": 0, "cached": 0, "prompt_tokens": 0, "answer_tokens": 0, "unmetered": 0}
        self._unanswered = 0
        folder = settings.cache.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / CACHE_FILE
        with self._open() as db:
            db.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, said TEXT NOT NULL)")

    def answer(self, messages: Sequence[dict[str, str]], read: Callable[[Any], Read]) -> Read:
        """What `read` makes of the model's JSON; a ValueError of it has the model asked again.

        Raises RefusedError where no answer is usable (the ValueError's first line says why), and InputError
        where the server is not there, or lets nobody in.
        """
        reason = ""
        for attempt in range(self.settings.retries + 1):
            said = self._said(messages, attempt)
            try:
                return read(found_json(said))
            except ValueError as problem:
                reason = str(problem).partition("\n")[0]
        raise RefusedError(reason)

    def spent(self) -> Spent:
        """What this run has asked so far."""
        with self._lock:
            counts = dict(self._counts)
        prices = self.settings.prompt_price, self.settings.answer_price
        if prices[0] is None or prices[1] is None:
            return Spent(**counts)
        cost = counts["prompt_tokens"] * prices[0] + counts["answer_tokens"] * prices[1]
        return Spent(**counts, cost=round(cost / 1e6, 6))

    def _said(self, messages: Sequence[dict[str, str]], attempt: int) -> str:
        body = {
            "model": self.settings.model,
            "messages": list(messages),
            "temperature": self.settings.temperature,
            "max_tokens": self.settings.max_tokens,
            **self.settings.extra,
        }
        key = digest(self._url, json.dumps(body, sort_keys=True), str(attempt))
        with self._open() as db:
            known = db.execute("SELECT said FROM answers WHERE key = ?", (key,)).fetchone()
        if known is not None:
            self._count(cached=1)
            return str(known[0])
        said = self._asked(body)
        with self._open() as db:
            db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, said))
        return said

    def _asked(self, body: dict[str, Any]) -> str:
        """The text the server answers with; a busy server is asked again."""
        for attempt in range(self.settings.retries + 1):
            try:
                return self._sent(body)
            except NoAnswerError as problem:
                if problem.status in _FATAL:
                    raise
                if problem.status not in _PASSING or attempt == self.settings.retries:
                    raise self._refusal(problem) from None
                self._pause(min(problem.wait or self.settings.wait * 2**attempt, _LONGEST_WAIT))
        raise AssertionError("the last attempt returns or raises")

    def _sent(self, body: dict[str, Any]) -> str:
        self._count(calls=1)
        said, usage = asked(
            self._url,
            body,
            _content,
            lacking="answer",
            fix="check the address, the model's name and the key of generate.written.chat",
            timeout=self.settings.timeout,
            key=self._key,
        )
        with self._lock:
            self._unanswered = 0
        match usage:
            case {"prompt_tokens": int(read), "completion_tokens": int(written)}:
                self._count(prompt_tokens=read, answer_tokens=written)
            case _:
                self._count(unmetered=1)
        return said

    def _refusal(self, problem: NoAnswerError) -> Exception:
        """Why one question fails; the error itself where the server has answered nothing for long."""
        with self._lock:
            self._unanswered += 1
            gone = self._unanswered >= _GONE
        if gone:
            return problem
        status = problem.status
        return RefusedError("no answer of the server" if status is None else f"the server says {status}")

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, count in more.items():
                self._counts[name] += count

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of this thread alone, committed at the end."""
        db = sqlite3.connect(self._path, timeout=60)
        try:
            with db:
                yield db
        finally:
            db.close()


def found_json(said: str) -> Any:
    """The first JSON object of an answer, behind what a model may think and write before it.

    Raises ValueError where there is none.
    """
    text = said.rpartition("</think>")[2]
    start = text.find("{")
    if start < 0:
        raise ValueError("no JSON")
    try:
        return json.JSONDecoder().raw_decode(text, start)[0]
    except ValueError:
        raise ValueError("broken JSON") from None
    except RecursionError:
        raise ValueError("JSON without end") from None


def _content(answer: Any) -> tuple[str, dict[str, Any]]:
    return str(answer["choices"][0]["message"]["content"] or ""), answer.get("usage") or {}


def _key(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        key = path.expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"the key file {path} cannot be read ({problem})", "write the key into it") from None
    # A header takes nothing else, and would be shown in the error it makes.
    if not key or not key.isascii() or not key.isprintable():
        raise InputError(f"the key file {path} holds no key", "write the key, and nothing else, into it")
    return key
