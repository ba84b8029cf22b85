"""Our reranker as the `rerankers` package takes one: a ranker that returns `RankedResults`.

from lingxi.bridges.rerankers import LingxiRanker

LingxiRanker("lingxi-nano-reranker", instruction="…").rank("…", ["…", "…"]).top_k(3)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lingxi.bridges.faces import later, now, ordered
from lingxi.errors import MissingExtraError
from lingxi.reranker import Reranker

try:
    from rerankers.documents import Document
    from rerankers.models.ranker import BaseRanker
    from rerankers.results import RankedResults, Result
    from rerankers.utils import prep_docs
except ImportError:
    raise MissingExtraError("rerankers", "rerankers", "the bridge to the rerankers package") from None


class LingxiRanker(BaseRanker):  # type: ignore[misc]
    """A reranker by name or directory, or one that is there (`Reranker`, `Client`), and its instruction."""

    ranking_type = "pointwise"

    def __init__(
        self, model_name_or_path: Any = None, verbose: int = 0, *, instruction: str | None = None
    ) -> None:
        named = model_name_or_path is None or isinstance(model_name_or_path, str | Path)
        self.model = Reranker(model_name_or_path) if named else model_name_or_path
        self.verbose, self.instruction = verbose, instruction

    def score(self, query: str, doc: str, *, instruction: str | None = None) -> float:
        """The probability that a document meets the query."""
        return float(now(self.model.predict([(query, doc)], instruction=self._task(instruction)))[0])

    def rank(
        self,
        query: str,
        docs: str | Sequence[str] | Document | Sequence[Document],
        doc_ids: Sequence[str | int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
        *,
        instruction: str | None = None,
    ) -> RankedResults:
        """All documents, best first, with score and rank."""
        documents = _documents(docs, doc_ids, metadata)
        pairs = [(query, document.text) for document in documents]
        scores = now(self.model.predict(pairs, instruction=self._task(instruction)))
        return _results(query, documents, scores)

    async def rank_async(
        self,
        query: str,
        docs: str | Sequence[str] | Document | Sequence[Document],
        doc_ids: Sequence[str | int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
        *,
        instruction: str | None = None,
    ) -> RankedResults:
        """`rank`, off the event loop."""
        documents = _documents(docs, doc_ids, metadata)
        pairs = [(query, document.text) for document in documents]
        scores = await later(self.model.predict, pairs, instruction=self._task(instruction))
        return _results(query, documents, scores)

    def _task(self, instruction: str | None) -> str | None:
        return self.instruction if instruction is None else instruction


def _documents(docs: Any, ids: Any, metadata: Any) -> list[Document]:
    # The package looks at the first of them, so it is not given none.
    given = docs if isinstance(docs, str | Document) else list(docs)
    return list(prep_docs(given, ids, metadata)) if given else []


def _results(query: str, documents: Sequence[Document], scores: Sequence[float]) -> RankedResults:
    found = [
        Result(document=documents[i], score=score, rank=rank)
        for rank, (i, score) in enumerate(ordered(scores, None), 1)
    ]
    return RankedResults(results=found, query=query, has_scores=True)
