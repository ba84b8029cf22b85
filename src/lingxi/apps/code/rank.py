"""One ranking of what vectors, full text and names found, by weights that are measured.

The score of a unit is the weighted sum of what speaks for it, each 0 to 1 among the candidates of a query:
`vector` its cosine between the lowest and the highest of them, `text` its BM25 as a share of the highest,
`shared` the share of the query's words that stand in it, `name` how far the query's words are those of its
name; less `apart` for code that is in no definition. `benchmarks/code_search.py tune` chose the weights;
how much vectors count for words, `trust` measures in each repository.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from lingxi.apps.code.query import Asked, Kind
from lingxi.apps.code.units import split_title
from lingxi.index.store import Row
from lingxi.index.words import name_parts, search_words

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Weights:
    """What each kind of evidence counts."""

    vector: float
    text: float
    shared: float
    name: float
    apart: float


WEIGHTS: Mapping[Kind, Weights] = {
    "words": Weights(vector=1.0, text=1.0, shared=0.5, name=2.0, apart=0.5),
    "name": Weights(vector=0.1, text=1.0, shared=0.5, name=2.0, apart=0.5),
    "code": Weights(vector=0.5, text=0.2, shared=4.0, name=0.0, apart=0.5),
    "error": Weights(vector=0.1, text=1.0, shared=4.0, name=0.0, apart=0.0),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A unit that was found, and its evidence, 0 to 1; `cosine` and `bm25` are as the store gave them."""

    row: Row
    vector: float
    text: float
    shared: float
    name: float
    apart: float
    cosine: float | None
    bm25: float | None

    def score(self, weights: Weights) -> float:
        """The sum that orders candidates."""
        found = weights.vector * self.vector + weights.text * self.text + weights.shared * self.shared
        return found + weights.name * self.name - weights.apart * self.apart


def candidates(asked: Asked, near: Sequence[Row], matching: Sequence[Row]) -> list[Candidate]:
    """The units of two rankings with their evidence, in no order."""
    rows = {row["key"]: row for row in (*matching, *near)}
    cosines = {row["key"]: 1 - float(row["_distance"]) for row in near}
    bm25 = {row["key"]: float(row["_score"]) for row in matching}
    lowest, highest = min(cosines.values(), default=0.0), max(cosines.values(), default=0.0)
    most = max(bm25.values(), default=0.0)
    wanted = words_of(asked.words)
    named = _Names(wanted, [split_title(row["title"])[1] for row in rows.values()])
    return [
        Candidate(
            row,
            (cosines.get(key, lowest) - lowest) / (highest - lowest) if highest > lowest else 0.0,
            bm25.get(key, 0.0) / most if most > 0 else 0.0,
            _share(wanted, row),
            named.likeness(split_title(row["title"])[1]),
            float(not split_title(row["title"])[1]),
            cosines.get(key),
            bm25.get(key),
        )
        for key, row in rows.items()
    ]


def weights_for(kind: Kind, vector: float | None = None) -> Weights:
    """The weights of a kind of query; `vector` is what vectors count for words in this repository."""
    weights = WEIGHTS[kind]
    return weights if vector is None or kind != "words" else replace(weights, vector=vector)


def ranked(found: Sequence[Candidate], weights: Weights) -> list[Candidate]:
    """Candidates by falling score; of equal ones the order is that of their places."""
    return sorted(found, key=lambda one: (-one.score(weights), one.row["key"]))


def words_of(text: str) -> frozenset[str]:
    """The words of a text and of the compound names in it, in lower case."""
    return frozenset(_WORD.findall(search_words(text).lower()))


def _share(wanted: frozenset[str], row: Row) -> float:
    """The share of the query's words that stand in a unit, its path or its name."""
    if not wanted:
        return 0.0
    return len(wanted & _words_of_unit(row["title"], row["text"])) / len(wanted)


@lru_cache(maxsize=4096)
def _words_of_unit(title: str, text: str) -> frozenset[str]:
    return words_of(f"{title}\n{text}")


class _Names:
    """How alike a query's words and names are: the cosine of their parts, weighted by how rare they are."""

    def __init__(self, wanted: frozenset[str], names: Sequence[str]) -> None:
        seen = Counter(part for name in names for form in _forms(name) for part in form)
        self._rare = {part: math.log(1 + len(names) / count) for part, count in seen.items()}
        self._wanted = wanted
        self._known = self._weight(wanted)

    def likeness(self, name: str) -> float:
        """0 for a name that shares no part with the query, 1 for one whose parts are the query's."""
        return max(self._cosine(form) for form in _forms(name))

    def _cosine(self, parts: frozenset[str]) -> float:
        shared = self._weight(parts & self._wanted)
        return shared / math.sqrt(self._weight(parts) * self._known) if shared else 0.0

    def _weight(self, parts: frozenset[str]) -> float:
        return sum(self._rare.get(part, 0.0) ** 2 for part in parts)


@lru_cache(maxsize=8192)
def _forms(name: str) -> tuple[frozenset[str], ...]:
    """A qualified name's last name by its parts, as one word (quick_sort is quicksort), and both."""
    own = re.split(r"\.|::", name)[-1]
    parts = frozenset(part.lower() for part in name_parts(own) or (own,) if part)
    whole = frozenset([re.sub(r"[\W_]", "", own).lower()])
    return (parts, whole, parts | whole) if len(parts) > 1 else (parts,)
