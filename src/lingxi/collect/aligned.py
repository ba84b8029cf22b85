"""Parallel sentences out of one similarity set that was translated into several languages.

The files of STS-b hold the same rows in the same order, but each lost some. Rows are matched by the
longest alignment in which their grades are equal and their lengths are alike (Needleman and Wunsch
1970; no penalty for a gap).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lingxi.collect import instructions
from lingxi.collect.labelled import licence_of
from lingxi.collect.origin import Origin, pair
from lingxi.records import Pair, digest, read_jsonl

SOURCE = "sts_stsb_translations"
_STEM = "sts_stsb_{}_train"
_LANGUAGES = ("de", "es", "fr", "ja", "ru", "zh")
# A match is worth this much less the difference of the lengths' logarithms, so that a row is rather
# left out than matched with one of a very different length.
_WORTH = 2.0
_MATCH, _SKIP_LEFT, _SKIP_RIGHT = 1, 2, 3


def read_translations(folder: Path) -> Iterator[Pair]:
    """X→English sentence pairs of every translated file that lies beside the English one."""
    english = folder / f"{_STEM.format('en')}.jsonl"
    for language in _LANGUAGES:
        path = folder / f"{_STEM.format(language)}.jsonl"
        if english.exists() and path.exists():
            left, right = list(read_jsonl(path)), list(read_jsonl(english))
            for i, j in align([_shape(row) for row in left], [_shape(row) for row in right]):
                for side in ("a", "b"):
                    yield _pair(language, str(left[i][side]), str(right[j][side]), licence_of(path))


def align(
    left: Sequence[tuple[float, int, int]], right: Sequence[tuple[float, int, int]]
) -> list[tuple[int, int]]:
    """Indices of the rows that belong together, rising on both sides.

    A row is (grade, length of its first text, length of its second). Takes len(left) × len(right) bytes.
    """
    grades = np.array([row[0] for row in right])
    lengths = _relative(right)
    own = _relative(left)
    moves = np.zeros((len(left) + 1, len(right) + 1), np.int8)
    before = np.zeros(len(right) + 1)
    for i, row in enumerate(left):
        unlike = np.abs(own[i] - lengths).sum(1)
        match = before[:-1] + np.where(np.abs(row[0] - grades) < 1e-3, _WORTH - unlike, -np.inf)
        best = np.maximum(match, before[1:])
        after = np.maximum.accumulate(np.concatenate(([0.0], best)))
        moved = np.where(match >= before[1:], _MATCH, _SKIP_LEFT)
        moves[i + 1, 1:] = np.where(best >= after[1:], moved, _SKIP_RIGHT)
        before = after
    return _walk_back(moves)


def _relative(rows: Sequence[tuple[float, int, int]]) -> NDArray[np.float64]:
    """Logarithms of the lengths, less their mean: languages differ in how long they write."""
    logs = np.log1p(np.array([row[1:] for row in rows], np.float64).reshape(len(rows), 2))
    return np.asarray(logs - (logs.mean(0) if len(rows) else 0.0), np.float64)


def _walk_back(moves: NDArray[np.int8]) -> list[tuple[int, int]]:
    i, j = moves.shape[0] - 1, moves.shape[1] - 1
    found = []
    while i > 0 and j > 0:
        move = moves[i, j]
        if move == _MATCH:
            found.append((i - 1, j - 1))
        i, j = i - (move != _SKIP_RIGHT), j - (move != _SKIP_LEFT)
    return found[::-1]


def _shape(row: dict[str, object]) -> tuple[float, int, int]:
    return float(str(row["s"])), len(str(row["a"])), len(str(row["b"]))


def _pair(language: str, text: str, english: str, licence: str) -> Pair:
    key, group = digest(SOURCE, language, text, english), digest(SOURCE, english)
    return pair(
        Origin(SOURCE, licence), key, group, text, english,
        task="bitext", instruction=instructions.PARALLEL, languages=(language, "en"),
    )  # fmt: skip
