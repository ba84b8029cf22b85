"""Our models as LlamaIndex takes them: `BaseEmbedding` and a node postprocessor that reranks.

from lingxi import Embedder, Reranker
from lingxi.bridges.llamaindex import LingxiEmbedding, LingxiRerank

index = VectorStoreIndex(nodes, embed_model=LingxiEmbedding(model=Embedder(), instruction="…"))
index.as_retriever(); index.as_query_engine(node_postprocessors=[LingxiRerank(model=Reranker(), top_n=3)])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lingxi.bridges.faces import later, now, ordered, plain
from lingxi.errors import InputError, MissingExtraError

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import Field
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ImportError:
    raise MissingExtraError("llama-index-core", "llamaindex", "the LlamaIndex bridge") from None


class LingxiEmbedding(BaseEmbedding):  # type: ignore[misc]
    """An embedder or client; a query carries `instruction` (None: the model's own), a text none."""

    model: Any = Field(exclude=True)
    instruction: str | None = None
    truncate_dim: int | None = None
    embed_batch_size: int = 256

    def __init__(self, model: Any, **fields: Any) -> None:
        super().__init__(**{"model": model, "model_name": str(model.name), **fields})

    @classmethod
    def class_name(cls) -> str:
        """The name LlamaIndex keeps of this class."""
        return "LingxiEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return list(plain(self.model.encode_query(query, **self._asked)))

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return list(plain(self.model.encode_document(texts, truncate_dim=self.truncate_dim)))

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return list(plain(await later(self.model.encode_query, query, **self._asked)))

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return list(plain(await later(self.model.encode_document, texts, truncate_dim=self.truncate_dim)))

    @property
    def _asked(self) -> dict[str, Any]:
        return {"instruction": self.instruction, "truncate_dim": self.truncate_dim}


class LingxiRerank(BaseNodePostprocessor):  # type: ignore[misc]
    """A reranker or client: the best `top_n` nodes, their scores the probabilities of a match."""

    model: Any = Field(exclude=True)
    top_n: int | None = None
    instruction: str | None = None

    @classmethod
    def class_name(cls) -> str:
        """The name LlamaIndex keeps of this class."""
        return "LingxiRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        pairs = _pairs(nodes, query_bundle)
        return self._best(nodes, now(self.model.predict(pairs, instruction=self.instruction)))

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        pairs = _pairs(nodes, query_bundle)
        return self._best(nodes, await later(self.model.predict, pairs, instruction=self.instruction))

    def _best(self, nodes: list[NodeWithScore], scores: Sequence[float]) -> list[NodeWithScore]:
        return [NodeWithScore(node=nodes[i].node, score=s) for i, s in ordered(scores, self.top_n)]


def _pairs(nodes: list[NodeWithScore], query: QueryBundle | None) -> list[tuple[str, str]]:
    if query is None:
        raise InputError("nodes cannot be reranked without a query", "pass query_str or query_bundle")
    return [(query.query_str, found.node.get_content(metadata_mode=MetadataMode.EMBED)) for found in nodes]
