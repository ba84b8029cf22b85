"""Curated pairs on disk, read by memory map: what the corpus weighs in memory is what a batch touches.

Texts are UTF-8 bytes one after another with int64 offsets, everything else is a plain column; `storing`
writes them and `files` names them. Rows are numbered from 0 in the order of the input.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi import manifest
from lingxi.errors import InputError
from lingxi.train.files import FORMAT, NAMES, REBUILD, mapped

# Consecutive rows that `texts` streams at a time.
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Candidate:
    """A positive or negative of a row: 64 bits of its source and id, and its grade or score, or NaN."""

    id: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Row:
    """One query with its positives and negatives; `group` is 64 bits of the pair's group.

    `similarity` is the graded similarity and `teacher` a teacher's score of the pair, or NaN.
    """

    number: int
    query: str
    positives: tuple[Candidate, ...]
    negatives: tuple[Candidate, ...]
    instruction: str
    task: str
    group: int
    source: str
    query_language: str
    document_language: str
    similarity: float
    teacher: float


@dataclass(frozen=True, slots=True)
class Stratum:
    """Rows of one task, instruction, source and query language: how many there are."""

    task: str
    instruction: str
    source: str
    language: str
    rows: int


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts by number, decoded when asked for."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> str:
        """One text."""
        return self.data[self.offsets[number] : self.offsets[number + 1]].tobytes().decode()


@dataclass(frozen=True, slots=True)
class Passages:
    """Positives, or negatives, of all rows: those of row i are `first[i]` to `first[i + 1]`."""

    texts: Texts
    first: NDArray[np.int64]
    ids: NDArray[np.uint64]
    scores: NDArray[np.float32]

    def ids_of(self, number: int) -> NDArray[np.uint64]:
        """64 bits of source and id of a row's passages."""
        return self.ids[self.first[number] : self.first[number + 1]]

    def of(self, number: int) -> tuple[Candidate, ...]:
        """A row's passages."""
        places = range(self.first[number], self.first[number + 1])
        return tuple(Candidate(int(self.ids[i]), self.texts[i], float(self.scores[i])) for i in places)


@dataclass(frozen=True, slots=True)
class Store:
    """Rows on disk; every array is a read-only memory map. Made by `open_store`.

    `key` is that of the pairs, seed and code it was made from. `counts` holds rows in, rows kept, those left
    out by reason, and `own_positives`: negatives that are a positive of their own row.
    """

    folder: Path
    key: str
    seed: int
    counts: Mapping[str, Any]
    strata: tuple[Stratum, ...]
    languages: tuple[str, ...]
    queries: Texts
    positives: Passages
    negatives: Passages
    columns: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.queries)

    def row(self, number: int) -> Row:
        """One row."""
        columns = self.columns
        stratum = self.strata[columns["strata"][number]]
        return Row(
            int(number),
            self.queries[number],
            self.positives.of(number),
            self.negatives.of(number),
            stratum.instruction,
            stratum.task,
            int(columns["groups"][number]),
            stratum.source,
            stratum.language,
            self.languages[columns["document_languages"][number]],
            float(columns["similarities"][number]),
            float(columns["teacher_scores"][number]),
        )

    def rows(self, numbers: Sequence[int] | NDArray[Any]) -> list[Row]:
        """Rows by their numbers, in the order asked."""
        return [self.row(int(number)) for number in numbers]

    def in_order(self) -> list[tuple[Stratum, int]]:
        """The strata in the order in which `by_stratum` holds their rows, each with where its rows begin."""
        names = attrgetter("task", "instruction", "source", "language")
        strata = sorted(self.strata, key=names)
        starts = accumulate((stratum.rows for stratum in strata), initial=0)
        return list(zip(strata, starts, strict=False))

    def texts(self) -> Iterator[tuple[str, str]]:
        """(language, text) of each query and positive, blocks of rows in an order by the store's seed."""
        blocks = np.random.default_rng(self.seed).permutation(-(-len(self) // _BLOCK))
        for start in blocks * _BLOCK:
            for number in range(start, min(start + _BLOCK, len(self))):
                yield self.strata[self.columns["strata"][number]].language, self.queries[number]
                language = self.languages[self.columns["document_languages"][number]]
                for place in range(self.positives.first[number], self.positives.first[number + 1]):
                    yield language, self.positives.texts[place]


def open_store(folder: Path) -> Store:
    """Open a store that `build_store` made; takes no memory to speak of, whatever its size.

    Raises InputError where there is none, where another version made it, and where files are torn.
    """
    made = manifest.read(folder)
    if made is None:
        raise InputError(f"no store of rows at {folder}", "build it with build_store, or correct the path")
    if made.settings.get("format") != FORMAT:
        raise InputError(f"{folder} was made by another version of lingxi", REBUILD)
    columns = mapped(folder, made.counts["rows"])
    names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    return Store(
        folder,
        made.key,
        made.settings["seed"],
        made.counts,
        tuple(Stratum(*each) for each in names["strata"]),
        tuple(names["languages"]),
        _texts(columns, "queries"),
        _passages(columns, "positives"),
        _passages(columns, "negatives"),
        columns,
    )


def _texts(columns: Mapping[str, NDArray[Any]], side: str) -> Texts:
    return Texts(columns[f"{side}.bytes"], columns[f"{side}.offsets"])


def _passages(columns: Mapping[str, NDArray[Any]], side: str) -> Passages:
    rest = (columns[f"{side}.{name}"] for name in ("first", "ids", "scores"))
    return Passages(_texts(columns, side), *rest)
