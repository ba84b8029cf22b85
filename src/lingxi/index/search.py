"""From a query to hits: vectors and full text fused by rank, reranked, the best sentence marked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError
from lingxi.index.around import raised
from lingxi.index.build import Embeds
from lingxi.index.store import Row, Store, in_words
from lingxi.index.within import Within
from lingxi.index.words import search_words
from lingxi.parse import Span, kind_of, lines, sentences

# Reciprocal rank fusion, Cormack et al. 2009: 1 / (60 + rank), summed over the rankings.
_FUSION = 60
_POOL = 100
# Neighbours count only where they are among those looked at.
_POOL_AROUND = 300
# The reranker reads the first of the fused ranking, cut to what a passage needs to be judged by.
_RERANKED = 20
_RERANKED_CHARACTERS = 1000
# Sentences of a hit that are compared with the query; of more, those that share most words with it.
_COMPARED = 24
EVERYWHERE = Within()
_WORD = re.compile(r"\w+")


class Ranks(Protocol):
    """What the index asks of a reranker."""

    def predict(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        instruction: str | None = None,
        show_progress_bar: bool | None = None,
    ) -> NDArray[Any]:
        """Probability [n] that each (query, document) pair is a match."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found: `text` is the decoded file's `[start:end]`, lines count from 1 (pages, in a PDF).

    `score` orders the hits: the reranker's probability, or the fused rank score without a reranker.
    `scores` holds what is known of `vector` (cosine), `text` (BM25) and `rerank`, `ranks` the place in
    each of these rankings, from 1. `sentence` is the best matching sentence (line, in code) as offsets
    into the decoded file, like `start` and `end`; all of the passage where none was looked for.
    """

    path: str
    start: int
    end: int
    first_line: int
    last_line: int
    text: str
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)
    sentence: tuple[int, int] = (0, 0)
    ranks: Mapping[str, int] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where to look: `path:line` of the best sentence, or `path page n` for a PDF."""
        kind, _ = kind_of(Path(self.path))
        if kind == "pdf":
            return f"{self.path} page {self.first_line}"
        # Lines of the text are lines of the file, except where the text was extracted.
        below = 0 if kind == "html" else self.text.count("\n", 0, self.sentence[0] - self.start)
        return f"{self.path}:{self.first_line + below}"


def search(
    store: Store,
    embedder: Embeds,
    reranker: Ranks | None,
    query: str,
    *,
    top_k: int = 10,
    instruction: str | None = None,
    within: Within = EVERYWHERE,
    mark: bool = True,
    around: int = 0,
) -> list[Hit]:
    """The best `top_k` segments of the files within, best first, with absolute paths.

    `mark` looks for the best sentence of each, which embeds their sentences; `around` raises each by what
    its file has up to so many segments away (`around.py`). Raises InputError for an empty query, a `top_k`
    below 1 or an `around` below 0.
    """
    if around < 0:
        raise InputError(f"around is {around}", "choose 0 (each passage alone) or more")
    vector = query_vector(embedder, query, top_k, instruction)
    store.refresh()
    pool = max(_POOL_AROUND if around else _POOL, top_k)
    with in_words(store.path):
        near = store.nearest(vector, pool, within)
        matching = store.matching(search_words(query), pool, within)
    hits = fuse(near, matching, around)
    if reranker is not None and hits:
        hits = _reranked(reranker, query, hits[: max(_RERANKED, top_k)], instruction)
    return with_sentences(embedder, query, vector, hits[:top_k]) if mark else hits[:top_k]


def query_vector(embedder: Embeds, query: str, top_k: int, instruction: str | None) -> NDArray[np.float32]:
    """The vector [dim] of a query; raises InputError for an empty one, or a `top_k` below 1."""
    _check(query, top_k)
    return np.asarray(embedder.encode_query([query], instruction=instruction)[0], np.float32)


def similar(
    store: Store, embedder: Embeds, text: str, *, top_k: int = 10, within: Within = EVERYWHERE
) -> list[Hit]:
    """The `top_k` segments nearest to a text that is read as a document; `score` is the cosine.

    Raises InputError for an empty text or a `top_k` below 1.
    """
    _check(text, top_k)
    vector = np.asarray(embedder.encode_document([text], show_progress_bar=False)[0], np.float32)
    return with_sentences(embedder, text, vector, near(store, vector, top_k=top_k, within=within))


def near(
    store: Store, vector: NDArray[np.float32], *, top_k: int = 10, within: Within = EVERYWHERE
) -> list[Hit]:
    """The `top_k` segments nearest to a vector [dim], of whatever it is; `score` is the cosine.

    Raises InputError for a `top_k` below 1.
    """
    _check_top_k(top_k)
    store.refresh()
    with in_words(store.path):
        rows = store.nearest(vector, top_k, within)
    return [to_hit(row, 1 - float(row["_distance"]), {"vector": rank}) for rank, row in enumerate(rows, 1)]


def _check(text: str, top_k: int) -> None:
    if not isinstance(text, str) or not text.strip():
        raise InputError("the query is empty", "give the words or the question to search for")
    _check_top_k(top_k)


def _check_top_k(top_k: int) -> None:
    if top_k < 1:
        raise InputError(f"top_k is {top_k}", "choose 1 or more")


def fuse(near: Sequence[Row], matching: Sequence[Row], around: int = 0) -> list[Hit]:
    """Hits of two rankings by falling sum of 1 / (60 + rank), raised by the neighbours `around`.

    Equal sums keep the order of the first.
    """
    fused: dict[str, float] = {}
    rows: dict[str, Row] = {}
    ranks: dict[str, dict[str, int]] = {}
    for name, ranking in (("vector", near), ("text", matching)):
        for rank, row in enumerate(ranking, 1):
            ranks.setdefault(row["key"], {})[name] = rank
            fused[row["key"]] = fused.get(row["key"], 0.0) + 1 / (_FUSION + rank)
            rows[row["key"]] = rows.get(row["key"], {}) | row
    if around:
        places = {key: (row["path"], row["ordinal"]) for key, row in rows.items()}
        found = raised({place: fused[key] for key, place in places.items()}, around)
        fused = {key: found[place] for key, place in places.items()}
    order = sorted(fused, key=lambda key: -fused[key])
    return [to_hit(rows[key], fused[key], ranks[key]) for key in order]


def to_hit(row: Row, score: float, ranks: Mapping[str, int]) -> Hit:
    """A row of the store as a hit with that score and those ranks."""
    scores = {}
    if "_distance" in row:
        scores["vector"] = 1 - float(row["_distance"])
    if "_score" in row:
        scores["text"] = float(row["_score"])
    names = ("path", "start", "end", "first_line", "last_line", "text")
    found: dict[str, Any] = {name: row[name] for name in names}
    return Hit(**found, score=score, scores=scores, sentence=(row["start"], row["end"]), ranks=ranks)


def _reranked(reranker: Ranks, query: str, hits: list[Hit], instruction: str | None) -> list[Hit]:
    pairs = [(query, hit.text[:_RERANKED_CHARACTERS]) for hit in hits]
    judged = reranker.predict(pairs, instruction=instruction, show_progress_bar=False)
    scored = [
        replace(hit, score=float(p), scores={**hit.scores, "rerank": float(p)})
        for hit, p in zip(hits, judged, strict=True)
    ]
    ordered = sorted(scored, key=lambda hit: -hit.score)
    return [replace(hit, ranks={**hit.ranks, "rerank": rank}) for rank, hit in enumerate(ordered, 1)]


def with_sentences(embedder: Embeds, query: str, vector: NDArray[np.float32], hits: list[Hit]) -> list[Hit]:
    """Each hit with the sentence whose vector is nearest to the query's; all are embedded together."""
    wanted = _words(query)
    spans = [_parts(hit, wanted) for hit in hits]
    texts = [
        hit.text[s.start : s.end]
        for hit, found in zip(hits, spans, strict=True)
        for s in found
        if len(found) > 1
    ]
    vectors = (
        embedder.encode_document(texts, show_progress_bar=False) if texts else np.empty((0, len(vector)))
    )
    cosines = iter(np.asarray(vectors, np.float32) @ vector)
    marked = []
    for hit, found in zip(hits, spans, strict=True):
        scores = [float(next(cosines)) for _ in found] if len(found) > 1 else [0.0]
        best = found[int(np.argmax(scores))]
        marked.append(replace(hit, sentence=(hit.start + best.start, hit.start + best.end)))
    return marked


def _parts(hit: Hit, wanted: set[str]) -> list[Span]:
    is_code = kind_of(Path(hit.path))[0] == "code"
    found = (
        [Span(s.end - len(hit.text[s.start : s.end].lstrip()), s.end) for s in lines(hit.text)]
        if is_code
        else []
    )
    worded = [s for s in found or sentences(hit.text) if any(map(str.isalnum, hit.text[s.start : s.end]))]
    shared = sorted(worded, key=lambda s: -len(wanted & _words(hit.text[s.start : s.end])))
    return sorted(shared[:_COMPARED]) or [Span(0, len(hit.text))]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(search_words(text).lower()))
