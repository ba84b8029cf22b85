"""Passages in memory, searched as an index searches: vectors and words, fused by rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lingxi.errors import InputError, MissingExtraError
from lingxi.evaluate.lexical import words
from lingxi.index import Hit
from lingxi.index.build import Embeds
from lingxi.index.search import fuse
from lingxi.index.whole import whole_vectors
from lingxi.inputs import texts_alone

_POOL = 100


class Passages:
    """Texts to be asked about without files: for lists that a program holds, and for measurements.

    Passage number i has the path `names[i]` (`passage-1.txt` and so on, where none are given). Needs the
    extra `evaluate` (bm25s).
    """

    def __init__(self, texts: Sequence[str], embedder: Embeds, names: Sequence[str] | None = None) -> None:
        if not texts:
            raise InputError("no passages to ask about", "give at least one text")
        self._texts = list(texts)
        self._names = list(names) if names else [f"passage-{i}.txt" for i in range(1, len(texts) + 1)]
        self._embedder = texts_alone(embedder)
        self._vectors = np.stack(whole_vectors(self._embedder, self._texts))
        bodies = [words(text) for text in self._texts]
        self._known = {word for body in bodies for word in body}
        self._lexical = _indexed(bodies) if self._known else None
        self._chosen = np.arange(len(self._texts))

    def only(self, positions: Sequence[int]) -> Passages:
        """The same passages with only some of them searched; vectors and words' rarity are those of all."""
        other = object.__new__(Passages)
        other.__dict__.update(self.__dict__)
        other._chosen = np.asarray(positions, np.int64)
        return other

    def search(
        self,
        query: str,
        top_k: int = 10,
        instruction: str | None = None,
        rerank: bool = True,
        below: Sequence[str | Path] = (),
        mark: bool = True,
    ) -> list[Hit]:
        """The best passages, best first; none is reranked or marked, and there are no folders."""
        vector = np.asarray(self._embedder.encode_query([query], instruction=instruction)[0], np.float32)
        cosines = self._vectors[self._chosen] @ vector
        scores = self._matching(query)[self._chosen]
        near = [self._row(i, _distance=1 - float(cosines[i])) for i in _best(cosines)]
        matching = [self._row(i, _score=float(scores[i])) for i in _best(scores) if scores[i] > 0]
        return [
            replace(hit, scores={"vector": float(cosines[self._at(hit)]), **hit.scores})
            for hit in fuse(near, matching)[:top_k]
        ]

    def position(self, hit: Hit) -> int:
        """Which of the texts a hit is."""
        return self._names.index(hit.path)

    def _matching(self, query: str) -> Any:
        asked = [word for word in words(query) if word in self._known]
        if self._lexical is None or not asked:
            return np.zeros(len(self._texts))
        return np.asarray(self._lexical.get_scores(asked))

    def _at(self, hit: Hit) -> int:
        return int(np.flatnonzero(self._chosen == self.position(hit))[0])

    def _row(self, i: int, **scores: float) -> dict[str, Any]:
        place = int(self._chosen[i])
        text = self._texts[place]
        last = 1 + text.count("\n")
        return {
            "key": str(place), "path": self._names[place], "start": 0, "end": len(text),
            "first_line": 1, "last_line": last, "text": text, **scores,
        }  # fmt: skip


def _indexed(bodies: Sequence[Sequence[str]]) -> Any:
    try:
        import bm25s
    except ImportError:
        raise MissingExtraError("bm25s", "evaluate", "asking about passages in memory") from None
    index = bm25s.BM25()
    index.index(bodies, show_progress=False)
    return index


def _best(scores: Any) -> list[int]:
    return [int(i) for i in np.argsort(-scores, kind="stable")[:_POOL]]
