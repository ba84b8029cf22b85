"""The floors: BM25 and TF-IDF over words by Unicode rules, ideographs and kana in bigrams."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np

from lingxi.errors import MissingExtraError
from lingxi.evaluate.systems import Candidates, Matrix, Texts


class Bm25:
    """BM25 (Lucene's variant, k1 1.5, b 0.75); instructions say nothing to it."""

    name = "BM25"
    fingerprint = "bm25-lucene-1"

    def blocks(
        self, queries: Texts, documents: Texts, candidates: Candidates | None = None
    ) -> Iterator[Matrix]:
        """BM25 scores of the whole corpus: its statistics need all documents."""
        index, known = self._index(documents)
        if index is None:
            yield np.zeros((len(queries), len(documents)), np.float32)
            return
        yield np.stack([self._row(index, words(text), known, len(documents)) for text in queries.texts])

    def compare(self, left: Texts, right: Texts) -> Matrix:
        """BM25 of each left text against its right one, statistics taken over all right texts."""
        index, known = self._index(right)
        if index is None:
            return np.zeros(len(left), np.float32)
        rows = (self._row(index, words(text), known, len(right))[i] for i, text in enumerate(left.texts))
        return np.fromiter(rows, np.float32, len(left))

    def vectors(self, texts: Texts) -> None:
        """BM25 has no vectors."""

    def _index(self, documents: Texts) -> tuple[Any, set[str]]:
        """The index and its words; no index where the documents hold no word."""
        bodies = [words(text) for text in documents.texts]
        known = {word for body in bodies for word in body}
        if not known:
            return None, known
        index = _library("bm25s").BM25()
        index.index(bodies, show_progress=False)
        return index, known

    def _row(self, index: Any, query: Sequence[str], known: set[str], documents: int) -> Matrix:
        asked = [word for word in query if word in known]
        # bm25s refuses a query without a known word; such a query matches nothing.
        return np.asarray(index.get_scores(asked) if asked else np.zeros(documents), dtype=np.float32)


class TfIdf:
    """Cosine of TF-IDF vectors (scikit-learn's smooth variant), fitted on the texts that are searched."""

    name = "TF-IDF"
    fingerprint = "tfidf-1"

    def blocks(
        self, queries: Texts, documents: Texts, candidates: Candidates | None = None
    ) -> Iterator[Matrix]:
        """Cosines of the whole corpus."""
        fitted = _vectorizer()
        searched = fitted.fit_transform(documents.texts)
        yield np.asarray((fitted.transform(queries.texts) @ searched.T).todense(), np.float32)

    def compare(self, left: Texts, right: Texts) -> Matrix:
        """Cosines row by row, fitted on both sides."""
        fitted = _vectorizer().fit([*left.texts, *right.texts])
        first, second = fitted.transform(left.texts), fitted.transform(right.texts)
        return np.asarray(first.multiply(second).sum(axis=1), np.float32).ravel()

    def vectors(self, texts: Texts) -> Any:
        """Sparse TF-IDF vectors."""
        return _vectorizer().fit_transform(texts.texts)


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


def _vectorizer() -> Any:
    text = _library("sklearn.feature_extraction.text", "scikit-learn")
    # A corpus without a single word must not raise, so the empty word stands for none.
    return text.TfidfVectorizer(analyzer=lambda text: words(text) or [""])


def _library(module: str, package: str | None = None) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as absent:
        raise MissingExtraError(
            package or module, "evaluate", "the lexical floors of an evaluation"
        ) from absent
