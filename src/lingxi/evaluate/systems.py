"""What is measured, behind one face: texts in, a matrix of scores out. Models, and the floor under them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lingxi.errors import MissingExtraError

Matrix = npt.NDArray[np.float32]


class Encoder(Protocol):
    """What an embedder must offer to be measured; `lingxi.Embedder` does."""

    name: str

    def encode_query(self, inputs: Any, *, instruction: str | None = None) -> npt.NDArray[Any]:
        """Unit vectors [n, dim] of queries of a task."""

    def encode_document(self, inputs: Any) -> npt.NDArray[Any]:
        """Unit vectors [n, dim] of documents."""


class Judge(Protocol):
    """What a reranker must offer to be measured; `lingxi.Reranker` does."""

    name: str

    def predict(
        self, pairs: Iterable[tuple[str, str]], *, instruction: str | None = None
    ) -> npt.NDArray[Any]:
        """Probabilities [n] that each document meets its query."""


class System(Protocol):
    """Anything that scores every query against every document."""

    @property
    def name(self) -> str:
        """The name it has in the report."""

    def score(self, queries: Sequence[str], documents: Sequence[str], *, instruction: str) -> Matrix:
        """Scores [queries, documents], higher is nearer."""

    def match(self, left: Sequence[str], right: Sequence[str], *, instruction: str) -> tuple[Matrix, Matrix]:
        """Scores of texts of equal standing, [left, right] and [right, left]."""

    def compare(self, left: Sequence[str], right: Sequence[str], *, instruction: str) -> Matrix:
        """Scores [n] of texts of equal standing, row by row."""


class EmbedderSystem:
    """Cosines of an embedder: queries carry the instruction and documents are raw.

    Where both sides are of equal standing (bitext, STS) both carry it, as in the Qwen3 authors' protocol.
    """

    def __init__(self, embedder: Encoder) -> None:
        self._embedder = embedder
        self._corpus: tuple[Sequence[str], npt.NDArray[Any]] | None = None
        # A model may be named by its path, and a report tells nothing of the machine it was made on.
        self.name = Path(embedder.name).name

    def score(self, queries: Sequence[str], documents: Sequence[str], *, instruction: str) -> Matrix:
        """Cosines [queries, documents]."""
        asked = self._embedder.encode_query(list(queries), instruction=instruction)
        return np.asarray(asked @ self._documents(documents).T, dtype=np.float32)

    def compare(self, left: Sequence[str], right: Sequence[str], *, instruction: str) -> Matrix:
        """Cosines [n] of the rows."""
        first, second = self._both(left, right, instruction)
        return np.asarray((first * second).sum(axis=1), dtype=np.float32)

    def match(self, left: Sequence[str], right: Sequence[str], *, instruction: str) -> tuple[Matrix, Matrix]:
        """Cosines [left, right], and the same turned."""
        first, second = self._both(left, right, instruction)
        scores = np.asarray(first @ second.T, dtype=np.float32)
        return scores, scores.T

    def _documents(self, documents: Sequence[str]) -> npt.NDArray[Any]:
        # Suites in many languages search one corpus in turn: it is embedded once.
        if self._corpus is None or self._corpus[0] != documents:
            self._corpus = documents, self._embedder.encode_document(list(documents))
        return self._corpus[1]

    def _both(self, left: Sequence[str], right: Sequence[str], instruction: str) -> tuple[Any, Any]:
        first = self._embedder.encode_query(list(left), instruction=instruction)
        return first, self._embedder.encode_query(list(right), instruction=instruction)


class RerankerSystem:
    """The first `depth` documents of another system in a reranker's order, the rest behind them."""

    def __init__(self, first: System, reranker: Judge, depth: int) -> None:
        self._first = first
        self._reranker = reranker
        self._depth = depth
        self.name = f"{first.name} + {Path(reranker.name).name} (top {depth})"

    def score(self, queries: Sequence[str], documents: Sequence[str], *, instruction: str) -> Matrix:
        """Probabilities for the reranked documents; the others stay in order below zero."""
        scores = self._first.score(queries, documents, instruction=instruction)
        top = np.argsort(-scores, axis=1, kind="stable")[:, : self._depth]
        pairs = [(queries[row], documents[column]) for row, columns in enumerate(top) for column in columns]
        found = np.asarray(self._reranker.predict(pairs, instruction=instruction), dtype=np.float32)
        behind: Matrix = scores - scores.max(initial=0.0) - 1.0
        np.put_along_axis(behind, top, found.reshape(top.shape), axis=1)
        return behind

    def match(self, left: Sequence[str], right: Sequence[str], *, instruction: str) -> tuple[Matrix, Matrix]:
        """Each side in turn asked against the other."""
        return _both_ways(self, left, right, instruction)

    def compare(self, left: Sequence[str], right: Sequence[str], *, instruction: str) -> Matrix:
        """Probabilities [n] of the pairs."""
        found = self._reranker.predict(zip(left, right, strict=True), instruction=instruction)
        return np.asarray(found, dtype=np.float32)


class Bm25:
    """BM25 (Lucene's variant, k1 1.5, b 0.75) over words by Unicode rules, ideographs and kana in bigrams."""

    name = "BM25"

    def score(self, queries: Sequence[str], documents: Sequence[str], *, instruction: str) -> Matrix:
        """BM25 scores [queries, documents]; the instruction says nothing to it."""
        bodies = [words(text) for text in documents]
        known = {word for body in bodies for word in body}
        if not known:
            return np.zeros((len(queries), len(documents)), dtype=np.float32)
        index = _bm25s().BM25()
        index.index(bodies, show_progress=False)
        rows = [self._row(index, words(query), known, len(documents)) for query in queries]
        return np.stack(rows) if rows else np.zeros((0, len(documents)), dtype=np.float32)

    def match(self, left: Sequence[str], right: Sequence[str], *, instruction: str) -> tuple[Matrix, Matrix]:
        """Each side in turn asked against the other, statistics taken over the side that is searched."""
        return _both_ways(self, left, right, instruction)

    def compare(self, left: Sequence[str], right: Sequence[str], *, instruction: str) -> Matrix:
        """BM25 of each left text against its right one, statistics taken over all right texts."""
        return np.asarray(np.diagonal(self.score(left, right, instruction=instruction)))

    def _row(self, index: Any, query: Sequence[str], known: set[str], documents: int) -> Matrix:
        asked = [word for word in query if word in known]
        # bm25s refuses a query without a known word; such a query matches nothing.
        return np.asarray(index.get_scores(asked) if asked else np.zeros(documents), dtype=np.float32)


def _both_ways(
    system: System, left: Sequence[str], right: Sequence[str], instruction: str
) -> tuple[Matrix, Matrix]:
    forward = system.score(left, right, instruction=instruction)
    return forward, system.score(right, left, instruction=instruction)


def words(text: str) -> list[str]:
    """Lower-case words: runs of letters, marks and digits; runs of ideographs and kana become bigrams."""
    found: list[str] = []
    for kind, run in groupby(unicodedata.normalize("NFKC", text).casefold(), key=_kind):
        word = "".join(run)
        if kind == "word":
            found.append(word)
        elif kind == "dense":
            found.extend(word[at : at + 2] for at in range(max(1, len(word) - 1)))
    return found


@lru_cache(maxsize=65_536)
def _kind(character: str) -> str:
    if (
        "぀" <= character <= "ヿ"
        or "㐀" <= character <= "鿿"
        or "豈" <= character <= "﫿"
        or character >= "𠀀"
    ):
        return "dense" if unicodedata.category(character)[0] in "LM" else "other"
    return "word" if unicodedata.category(character)[0] in "LMN" else "other"


def _bm25s() -> Any:
    try:
        import bm25s
    except ImportError as absent:
        raise MissingExtraError("bm25s", "train", "the BM25 floor of an evaluation") from absent
    return bm25s
