"""Rows that would show the benchmark to the model: exact overlap, after folding, of a query or positive.

Counted as the benchmark: every query, every passage some query is scored against as relevant, both sides of
every pair, every classified or candidate text. Passages that only fill a corpus count when `distractors` is
set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from lingxi.curate.rules import folded
from lingxi.errors import InputError
from lingxi.records import Pair, read_jsonl

# A text of one or two common words is in everything and proves nothing.
MIN_CHARS = 8


def leak_rule(folder: Path, *, distractors: bool) -> Callable[[Pair], str | None]:
    """A rule that names the benchmark set a row overlaps with; raises InputError without the folder."""
    known = benchmark_texts(folder, distractors=distractors)

    def rule(row: Pair) -> str | None:
        for side, texts in (("query", [row.query]), ("positive", [item.text for item in row.positives])):
            for text in texts:
                if name := known.get(hash(folded(text))):
                    return f"benchmark leak: {side} in {name}"
        return None

    return rule


def barred_rule(names: Collection[str]) -> Callable[[Pair], str | None]:
    """A rule that drops rows of sources that a benchmark is built from, whatever release they are of."""
    barred = frozenset(names)

    def rule(row: Pair) -> str | None:
        name = re.split(r"[ @:/=]", row.source.strip(), maxsplit=1)[0]
        return f"benchmark source: {name}" if name in barred else None

    return rule


def benchmark_texts(folder: Path, *, distractors: bool) -> dict[int, str]:
    """Hashes of the folded texts of a benchmark folder, each with the name of a set that holds it."""
    if not folder.is_dir():
        raise InputError(
            f"no benchmark folder at {folder}", "correct the path in the recipe, or leave it unset"
        )
    known: dict[int, str] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for row in read_jsonl(path):
            for text in _texts(row):
                _note(known, text, path.stem)
    for corpus in sorted(folder.glob("*/corpus.jsonl")):
        for text in _retrieval_texts(corpus.parent, distractors):
            _note(known, text, corpus.parent.name)
    return known


def _note(known: dict[int, str], text: str, name: str) -> None:
    if len(text) >= MIN_CHARS:
        known.setdefault(hash(folded(text)), name)


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
