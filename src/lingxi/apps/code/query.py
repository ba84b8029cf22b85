"""What a query is: words, a name, code, or an error message with its stack trace; and what to look for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from lingxi.collect.instructions import CODING, COMMENT, SAME_CODE
from lingxi.index.words import name_parts

Kind = Literal["words", "name", "code", "error"]

# Frames of stack traces and places in compilers' messages: file, line and, where it is said, the function.
_FRAMES = tuple(
    re.compile(pattern, re.M)
    for pattern in (
        r'File "(?P<file>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<name>\S+))?',
        r"\bat (?P<name>[\w.<>`]{1,300})\([^\n]{0,500}\) in (?P<file>[^\n]{1,300}?):line (?P<line>\d+)",
        r"\bat (?P<name>[\w.$<>/]+)\((?P<file>[\w$-]+\.\w+):(?P<line>\d+)\)",
        r"\bat (?:async )?(?P<name>[\w.$<>]+)[^\n(]{0,200}\((?P<file>[^\s()]{1,300}?):(?P<line>\d+):\d+\)",
        r"#\d+ (?P<file>[^\s(]+)\((?P<line>\d+)\): (?P<name>[\w\\:>-]+)\(",
        r"(?P<file>[^\s:'\"`]{1,300}\.rb):(?P<line>\d+):in [`'](?P<name>[^'`\n]+)'",
        r" in (?P<file>\S+\.php)(?: on line |:)(?P<line>\d+)",
        r"(?P<file>[\w./\\~@+-]{0,300}\w\.[A-Za-z]\w{0,4}):(?P<line>\d+)(?::\d+)?\b",
    )
)
_RAISED = re.compile(
    r"^[ \t]*(?:\S{1,300}:\d+:(?:\d+:)? *|Caused by: |Uncaught |Unhandled |Exception in thread \"[^\"\n]*\" "
    r"|thread '[^'\n]*' )?"
    r"(?:[\w.$:]{0,200}(?:Error|Exception|Warning|Panic|Fault|Failure)\b(?=:|\s*$| \(| \[)"
    r"|(?-i:[\w.]{0,100}[a-z][A-Z]\w{0,100}: )|(?:fatal |internal |runtime )?error(?:\[\w+\])?:|fatal:"
    r"|panic(?:ked)?\b|Traceback \(most recent call last\)|Segmentation fault|undefined reference)",
    re.I | re.M,
)
_TRACE_LINE = re.compile(
    r"^\s*(?:at |File \"|#\d+ |\.\.\. \d+ more|Traceback |goroutine |stack backtrace)", re.I
)
_IDENTIFIER = re.compile(r"[^\W\d][\w$]*(?:(?:\.|::|#|->|/)[^\W\d][\w$]*)*(?:\(\))?")
_SIGNS = re.compile(r"[(){}\[\];=<>+*/&|!%@]|->|::|:[ \t]*$", re.M)
_KEYWORDS = re.compile(
    r"^[ \t]*(?:def|class|func|fn|function|public|private|static|return|import|from|const|let|var|if|for"
    r"|while|struct|void|int|#include|package|use|async)\b",
    re.M,
)
# Three plain words in a row: a line that holds them speaks of code and is none.
_PLAIN = (
    r"\b(?!(?:for|in|if|is|not|and|or|else|return|import|from|as|while|with|def|class|new|function|public|static"
    r"|void|const|let|var|int|await|async|lambda|yield|raise|throw|case|struct|type)\b)(?:[A-Za-z][a-z]{1,30}|a)\b"
)
_PROSE = re.compile(rf"{_PLAIN},? {_PLAIN},? {_PLAIN}")
_EMPHASIS = re.compile(r"\*(\w+)\*?")
_LEAST_SIGNS, _CODE_DENSITY = 3, 0.06
_LANGUAGE_NAMES = re.compile(
    r"(?<![\w.])(?:python|java(?:script)?|typescript|golang|rust|ruby|php|bash|sql|c\+\+|c#)(?![\w+#])", re.I
)
# The error is what the last line says in Python, and the first elsewhere; more of it is frames.
_MOST_MESSAGE = 2000
# What is read of a query, and what of it is looked for in full text.
_MOST_READ, _MOST_WORDS = 20_000, 4000


@dataclass(frozen=True, slots=True)
class Place:
    """A place that a trace names: a file as it is written there, a line, and the function if it says one."""

    file: str
    line: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as it is searched: `text` is embedded under `instruction`, `words` are looked for.

    `places` are the frames of a trace, where it was raised first.
    """

    kind: Kind
    text: str
    words: str
    instruction: str
    places: tuple[Place, ...] = ()


def reads_instructions(embedder: object) -> bool:
    """Whether queries may carry an instruction: not to a model whose own query prompt has none."""
    prompts = getattr(embedder, "prompts", None)
    return prompts is None or "Instruct" in prompts.get("query", "")


def read_query(query: str) -> Asked:
    """Tell what a query is; a text that could be two things is the first of name, error, code, words.

    Of a very long one (a pasted log) the first 20,000 characters are read.
    """
    query = query[:_MOST_READ]
    plain = query.strip()
    if _IDENTIFIER.fullmatch(plain) and (plain.endswith("()") or name_parts(plain)):
        return Asked("name", " ".join(name_parts(plain)) or plain, plain, COMMENT)
    places = _places(query)
    if _RAISED.search(query) or (places and _TRACE_LINE.search(query)):
        message = _message(query)
        names = " ".join(place.name for place in places if place.name)
        return Asked("error", message, f"{message}\n{names}"[:_MOST_WORDS], CODING, places)
    if _is_code(plain):
        return Asked("code", plain, plain[:_MOST_WORDS], SAME_CODE, places)
    # A language asked for is no word of the code.
    words = _LANGUAGE_NAMES.sub(" ", plain[:_MOST_WORDS])
    return Asked("words", plain, words if any(map(str.isalnum, words)) else plain, CODING, places)


def _is_code(query: str) -> bool:
    if "\n" not in query and _PROSE.search(_EMPHASIS.sub(r"\1", query)):
        return False
    signs = len(_SIGNS.findall(query))
    density = signs / max(1, len("".join(query.split())))
    starts = bool(_KEYWORDS.search(query)) and signs >= 2
    return (signs >= _LEAST_SIGNS and density >= _CODE_DENSITY) or (starts and density >= _CODE_DENSITY / 2)


def _places(query: str) -> tuple[Place, ...]:
    found: dict[tuple[str, int], tuple[int, Place]] = {}
    for pattern in _FRAMES:
        for match in pattern.finditer(query):
            groups = match.groupdict()
            file, line = groups["file"].replace("\\", "/"), int(groups["line"][:9])
            found.setdefault((file, line), (match.start(), Place(file, line, groups.get("name") or "")))
    order = [place for _, place in sorted(found.values(), key=lambda one: one[0])]
    # Python alone names the place that raised last.
    is_python = "Traceback (most recent call last)" in query or re.search(r'^\s*File "', query, re.M)
    return tuple(reversed(order) if is_python else order)


def _message(query: str) -> str:
    """What the error says, without the frames; the frames' own text where it says nothing else."""
    lines = [line for line in query.splitlines() if line.strip()]
    said = [line for line in lines if not _TRACE_LINE.match(line)]
    raised = [line for line in said if _RAISED.match(line)]
    message = "\n".join(raised or said or lines)
    for pattern in _FRAMES:
        message = pattern.sub(" ", message)
    return (message.strip() or query.strip())[:_MOST_MESSAGE]
