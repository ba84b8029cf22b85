"""Our models as Haystack components: a text embedder, a document embedder, a ranker.

pipeline.add_component("query", LingxiTextEmbedder("lingxi-nano", instruction="…"))
Pipeline.load(file, allowed_modules=["lingxi.*"])  # a saved pipeline names the model, or a server's `url`
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lingxi.bridges.faces import later, now, ordered, plain
from lingxi.client import Client
from lingxi.embedder import Embedder
from lingxi.errors import InputError, MissingExtraError
from lingxi.reranker import Reranker

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import Secret
except ImportError:
    raise MissingExtraError("haystack-ai", "haystack", "the Haystack bridge") from None


class _Lingxi:
    """A model by name (None: the one that ships), that of the server at `url`, or one that is open.

    `instruction` is the task of a query or a ranking; None is the model's own.
    """

    _opens: Any

    def __init__(
        self, model: Any = None, url: str | None = None, token: Secret | None = None,
        instruction: str | None = None,
    ) -> None:  # fmt: skip
        self.model, self.url, self.token, self.instruction = model, url, token, instruction
        self._face = None if model is None or isinstance(model, str) else model

    def warm_up(self) -> None:
        """Open the model, or the client of the server, once."""
        if self._face is None and self.url is None:
            self._face = self._opens(self.model)
        elif self._face is None:
            self._face = Client(self.url, token=self.token and self.token.resolve_value(), model=self.model)

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

    def _ask(self, name: str, given: Any, **options: Any) -> Any:
        self.warm_up()
        return now(getattr(self._face, name)(given, **options))


@component
class LingxiTextEmbedder(_Lingxi):
    """Embeds a query; `instruction` of a run stands in place of the component's."""

    _opens = Embedder

    @component.output_types(embedding=list[float])
    def run(self, text: str, instruction: str | None = None) -> dict[str, Any]:
        """The vector of a query."""
        return {
            "embedding": plain(self._ask("encode_query", text, instruction=instruction or self.instruction))
        }

    @component.output_types(embedding=list[float])
    async def run_async(self, text: str, instruction: str | None = None) -> dict[str, Any]:
        """`run`, off the event loop."""
        return dict(await later(self.run, text, instruction))


@component
class LingxiDocumentEmbedder(_Lingxi):
    """Embeds documents, which carry no instruction."""

    _opens = Embedder

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Copies of the documents with their vectors."""
        vectors = plain(self._ask("encode_document", [document.content or "" for document in documents]))
        return {"documents": [replace(d, embedding=v) for d, v in zip(documents, vectors, strict=True)]}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """`run`, off the event loop."""
        return dict(await later(self.run, documents))


@component
class LingxiRanker(_Lingxi):
    """Orders documents by how well they meet a query and an instruction, that of a run before its own."""

    _opens = Reranker

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, documents: list[Document], top_k: int | None = None, instruction: str | None = None
    ) -> dict[str, Any]:
        """Copies of the best `top_k` documents (None: all), best first, with their scores."""
        pairs = [(query, document.content or "") for document in documents]
        scores = self._ask("predict", pairs, instruction=instruction or self.instruction)
        return {"documents": [replace(documents[i], score=score) for i, score in ordered(scores, top_k)]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None, instruction: str | None = None
    ) -> dict[str, Any]:
        """`run`, off the event loop."""
        return dict(await later(self.run, query, documents, top_k, instruction))
