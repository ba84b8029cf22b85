"""Our models and index as LangChain takes them: `Embeddings`, a document compressor, a retriever.

store = InMemoryVectorStore(LingxiEmbeddings(Embedder(), instruction="…"))
best = LingxiReranker(model=Reranker(), top_k=3).compress_documents(documents, "…")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lingxi.bridges.faces import later, now, ordered, plain
from lingxi.errors import MissingExtraError

try:
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
except ImportError:
    raise MissingExtraError("langchain-core", "langchain", "the LangChain bridge") from None


class LingxiEmbeddings(Embeddings):  # type: ignore[misc]
    """An embedder or client; a query carries `instruction` (None: the model's own), a document none.

    `options` (`truncate_dim`, `precision`) go to every call.
    """

    def __init__(self, model: Any, instruction: str | None = None, **options: Any) -> None:
        self.model, self.instruction, self.options = model, instruction, options

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return list(plain(self.model.encode_query(text, instruction=self.instruction, **self.options)))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of documents."""
        return list(plain(self.model.encode_document(texts, **self.options)))

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query`, off the event loop."""
        asked = later(self.model.encode_query, text, instruction=self.instruction, **self.options)
        return list(plain(await asked))

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents`, off the event loop."""
        return list(plain(await later(self.model.encode_document, texts, **self.options)))


class LingxiReranker(BaseDocumentCompressor):  # type: ignore[misc]
    """A reranker or client: the best `top_k` documents, copies with `relevance_score` in their metadata."""

    model: Any
    top_k: int | None = None
    instruction: str | None = None

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Any = None
    ) -> list[Document]:
        """The documents that meet the query best, best first."""
        pairs = [(query, document.page_content) for document in documents]
        return self._best(documents, now(self.model.predict(pairs, instruction=self.instruction)))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Any = None
    ) -> list[Document]:
        """`compress_documents`, off the event loop."""
        pairs = [(query, document.page_content) for document in documents]
        return self._best(documents, await later(self.model.predict, pairs, instruction=self.instruction))

    def _best(self, documents: Sequence[Document], scores: Sequence[float]) -> list[Document]:
        return [
            documents[i].model_copy(update={"metadata": documents[i].metadata | {"relevance_score": score}})
            for i, score in ordered(scores, self.top_k)
        ]


class LingxiRetriever(BaseRetriever):  # type: ignore[misc]
    """An `Index` or client: passages as documents, with where they stand and their scores as metadata."""

    index: Any
    top_k: int = 10
    instruction: str | None = None
    rerank: bool = True

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [_document(hit) for hit in now(self.index.search(query, **self._options))]

    async def _aget_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [_document(hit) for hit in await later(self.index.search, query, **self._options)]

    @property
    def _options(self) -> dict[str, Any]:
        return {"top_k": self.top_k, "instruction": self.instruction, "rerank": self.rerank}


def _document(hit: Any) -> Document:
    where = {"source": hit.path, "place": hit.place, "start": hit.start, "end": hit.end}
    return Document(page_content=hit.text, metadata={**where, "score": hit.score, "scores": dict(hit.scores)})
