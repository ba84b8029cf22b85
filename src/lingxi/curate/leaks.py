"""Rows that would show the benchmark to the model: a query or positive equal to one of it, or nearly.

Counted as the benchmark: every query, every passage some query is scored against as relevant, both sides of
every pair, every classified or candidate text. Passages that only fill a corpus count when `distractors` is
set.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from lingxi.curate.rules import folded
from lingxi.errors import InputError
from lingxi.records import Pair, read_jsonl

# A text of one or two common words is in everything and proves nothing.
MIN_CHARS = 8
_WORDS, _CHARACTERS, _FEWEST = 8, 16, 2


def leak_rule(folder: Path, *, distractors: bool) -> Callable[[Pair], str | None]:
    """A rule that names the benchmark set a row overlaps with; raises InputError without the folder.

    A text leaks where it equals one of the benchmark (folded), or where half of its shingles are in some.
    """
    known: dict[int, str] = {}
    pieces: set[int] = set()
    for text, name in benchmark_texts(folder, distractors=distractors):
        if len(text) >= MIN_CHARS:
            known.setdefault(hash(folded(text)), name)
        pieces.update(shingles(text))

    def rule(row: Pair) -> str | None:
        for side, texts in (("query", [row.query]), ("positive", [item.text for item in row.positives])):
            for text in texts:
                if name := known.get(hash(folded(text))):
                    return f"benchmark leak: {side} in {name}"
                if _overlaps(text, pieces):
                    return f"benchmark leak: {side} near"
        return None

    return rule


def shingles(text: str) -> list[int]:
    """Hashes of a text's windows of 8 words, or of 16 characters where words are not spaced: one in four.

    The sample is drawn by the hash, so equal windows are in it everywhere.
    """
    words = folded(text).split()
    if len(words) >= _WORDS + 4:
        windows = [" ".join(words[i : i + _WORDS]) for i in range(len(words) - _WORDS + 1)]
    else:
        plain = "".join(words)
        # A few long words are text without spaces; a few short ones are too little to know.
        if len(plain) < 2 * _CHARACTERS or len(plain) < 8 * len(words):
            return []
        windows = [plain[i : i + _CHARACTERS] for i in range(len(plain) - _CHARACTERS + 1)]
    # CRC is the same in every process, and fast; few shingles are all kept.
    values = [zlib.crc32(window.encode()) for window in windows]
    return values if len(values) < 8 else [value for value in values if value % 4 == 0]


def _overlaps(text: str, pieces: set[int]) -> bool:
    own = shingles(text)
    return len(own) >= _FEWEST and sum(value in pieces for value in own) >= 0.5 * len(own)


def barred_rule(names: Collection[str]) -> Callable[[Pair], str | None]:
    """A rule that drops rows of sources that a benchmark is built from, whatever release they are of."""
    barred = frozenset(names)

    def rule(row: Pair) -> str | None:
        # A row that was made of two sources names both, `A / B`.
        for one in row.source.split(" / "):
            name = re.split(r"[ @:/=]", one.strip(), maxsplit=1)[0]
            if name in barred:
                return f"benchmark source: {name}"
        return None

    return rule


def benchmark_texts(folder: Path, *, distractors: bool) -> Iterator[tuple[str, str]]:
    """The texts of a benchmark folder with the name of their set; raises InputError without the folder."""
    if not folder.is_dir():
        raise InputError(
            f"no benchmark folder at {folder}", "correct the path in the recipe, or leave it unset"
        )
    for path in sorted(folder.glob("*.jsonl")):
        for row in read_jsonl(path):
            yield from ((text, path.stem) for text in _texts(row))
    for corpus in sorted(folder.glob("*/corpus.jsonl")):
        yield from ((text, corpus.parent.name) for text in _retrieval_texts(corpus.parent, distractors))


def _texts(row: dict[str, Any]) -> Iterator[str]:
    for key in ("q", "p", "a", "b", "t"):
        if isinstance(row.get(key), str):
            yield row[key]
    for candidate in row.get("c", ()):
        yield str(candidate[0])
    for key in ("pos", "neg"):
        yield from (str(text) for text in row.get(key, ()))


def _retrieval_texts(folder: Path, distractors: bool) -> Iterator[str]:
    lines = (folder / "qrels.tsv").read_text("utf-8").splitlines()
    judged = {line.split("\t")[1] for line in lines if "\t" in line}
    yield from (row["text"] for row in read_jsonl(folder / "queries.jsonl"))
    yield from (
        row["text"] for row in read_jsonl(folder / "corpus.jsonl") if distractors or row["id"] in judged
    )
