"""Definitions and their doc comments from packages of source code: each with its pairs.

The summary asks for the function or type (its comment removed); some functions are asked for with their
name masked; a few have a stretch of lines taken out, which asks for the stretch (fill in the middle).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lingxi.collect.instructions import COMMENT, FILL, UNMASK
from lingxi.collect.origin import Origin, pair
from lingxi.parse import Skip, decode, kind_of
from lingxi.parse.documented import Documented, documented, masked
from lingxi.records import Pair, digest

HOLE = "/* … */"
_LEAST_WORDS, _LEAST_CHARACTERS, _MOST_CHARACTERS, _MOST_CODE = 4, 15, 400, 6000
_LEAST_LINES = 8
_MOST_BYTES = 2 * 2**20
_SKIPPED = re.compile(r"(^|/)(tests?|spec|node_modules|vendor|dist|build|min)(/|$)|\.min\.js$|_test\.go$")


@dataclass(frozen=True, slots=True)
class CodeShares:
    """Shares of the functions that also become rows with a masked name, or with a hole."""

    masked: float = 0.2
    holes: float = 0.1


def read_code(folder: Path, origin: Origin, shares: CodeShares = CodeShares()) -> Iterator[Pair]:
    """Stream the pairs of every documented function and type of a file, or below a folder in path order."""
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        place = path.name if path == folder else path.relative_to(folder).as_posix()
        kind, language = kind_of(path)
        if kind != "code" or path.is_symlink() or not path.is_file() or _SKIPPED.search(place):
            continue
        if path.stat().st_size > _MOST_BYTES:
            continue
        content = decode(path, path.read_bytes())
        if isinstance(content, Skip):
            continue
        for function in documented(content.text, str(language), types=True):
            if _fits(function):
                yield from pairs_of(function, str(language), f"{origin.source}:{place}", origin, shares)


def pairs_of(
    function: Documented, language: str, place: str, origin: Origin, shares: CodeShares
) -> Iterator[Pair]:
    """The pairs of one function; which functions are masked or cut is drawn from their text."""
    group = f"{place}#{function.name}"
    yield _pair(group, function.summary, function.code, COMMENT, "en", language, origin)
    if function.members:
        # What is asked of a name or a hole is asked of functions.
        return
    drawn = int(digest(function.code)[:8], 16) / 16**8
    if drawn < shares.masked:
        yield _pair(group, masked(function), function.code, UNMASK, language, language, origin)
    elif drawn < shares.masked + shares.holes and (cut := hole(function.code)):
        yield _pair(group, cut[0], cut[1], FILL, language, language, origin)


def hole(code: str) -> tuple[str, str] | None:
    """The code with its middle third of lines taken out, and those lines; None where it is short."""
    lines = code.splitlines(keepends=True)
    if len(lines) < _LEAST_LINES:
        return None
    start, end = len(lines) // 3, 2 * len(lines) // 3
    middle = "".join(lines[start:end])
    return "".join([*lines[:start], f"{HOLE}\n", *lines[end:]]), middle


def _fits(function: Documented) -> bool:
    summary = function.summary
    return (
        len(summary.split()) >= _LEAST_WORDS
        and _LEAST_CHARACTERS <= len(summary) <= _MOST_CHARACTERS
        and len(function.code) <= _MOST_CODE
        and not summary.lower().startswith(("todo", "fixme", "deprecated", "see "))
    )


def _pair(
    group: str, query: str, code: str, instruction: str, asked: str, language: str, origin: Origin
) -> Pair:
    key, both = digest(group, query, code), (asked, language)
    return pair(origin, key, group, query, code, task="code", instruction=instruction, languages=both)
