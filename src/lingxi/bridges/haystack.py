"""Our models as Haystack components: a text embedder, a document embedder, a ranker.

pipeline.add_component("query", LingxiTextEmbedder("lingxi-nano", instruction="…"))
Pipeline.load(file, allowed_modules=["lingxi.*"])  # a saved pipeline names the model, or a server's `url`
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lingxi.bridges.faces import later, ordered, plain
from lingxi.bridges.opened import Opened
from lingxi.embedder import Embedder
from lingxi.errors import InputError, MissingExtraError
from lingxi.reranker import Reranker

try:
    from haystack import Document, component, default_from_dict, default_to_dict
except ImportError:
    raise MissingExtraError("haystack-ai", "haystack", "the Haystack bridge") from None


class _Saved(Opened):
    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` makes this component of; a token is saved as the name of its variable."""
        if self.model is not None and not isinstance(self.model, str):
            raise InputError("a component with an open model cannot be saved", "name the model, or its url")
        said = {"url": self.url, "token": self.token, "instruction": self.instruction}
        return dict(default_to_dict(self, model=self.model, **said))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """The component that `to_dict` told of."""
        return default_from_dict(cls, data)


@component
class LingxiTextEmbedder(_Saved):
    """Embeds a query; `instruction` of a run stands in place of the component's."""

    opens = Embedder

    @component.output_types(embedding=list[float])  # type: ignore[untyped-decorator]
    def run(self, text: str, instruction: str | None = None) -> dict[str, Any]:
        """The vector of a query."""
        return {
            "embedding": plain(self.ask("encode_query", text, instruction=instruction or self.instruction))
        }

    @component.output_types(embedding=list[float])  # type: ignore[untyped-decorator]
    async def run_async(self, text: str, instruction: str | None = None) -> dict[str, Any]:
        """`run`, off the event loop."""
        return dict(await later(self.run, text, instruction))


@component
class LingxiDocumentEmbedder(_Saved):
    """Embeds documents, which carry no instruction."""

    opens = Embedder

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Copies of the documents with their vectors."""
        vectors = plain(self.ask("encode_document", [document.content or "" for document in documents]))
        return {"documents": [replace(d, embedding=v) for d, v in zip(documents, vectors, strict=True)]}

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """`run`, off the event loop."""
        return dict(await later(self.run, documents))


@component
class LingxiRanker(_Saved):
    """Orders documents by how well they meet a query and an instruction, that of a run before its own."""

    opens = Reranker

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    def run(
        self, query: str, documents: list[Document], top_k: int | None = None, instruction: str | None = None
    ) -> dict[str, Any]:
        """Copies of the best `top_k` documents (None: all), best first, with their scores."""
        pairs = [(query, document.content or "") for document in documents]
        scores = self.ask("predict", pairs, instruction=instruction or self.instruction)
        return {"documents": [replace(documents[i], score=score) for i, score in ordered(scores, top_k)]}

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None, instruction: str | None = None
    ) -> dict[str, Any]:
        """`run`, off the event loop."""
        return dict(await later(self.run, query, documents, top_k, instruction))
