"""The models that are served, found by name or kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lingxi.embedder import Embedder
from lingxi.errors import InputError
from lingxi.media import MediaEmbedder
from lingxi.reranker import Reranker
from lingxi.serve.contract import ModelKind
from lingxi.serve.refusal import Refusal, invalid
from lingxi.serve.seeing import ServedMedia
from lingxi.serve.served import Served
from lingxi.serve.settings import Settings
from lingxi.serve.watch import Dropped, Spent, Watch

_NAME_SHOWN = 100


class Models:
    """Served models in the order given; the first of a kind answers where no name is asked for."""

    def __init__(
        self,
        embedders: Mapping[str, Embedder | MediaEmbedder],
        rerankers: Mapping[str, Reranker],
        adapters: Mapping[str, str],
        settings: Settings,
        watch: Watch,
    ) -> None:
        if both := set(embedders) & set(rerankers):
            raise InputError(f"an embedder and a reranker are named {min(both)!r}", "give each its own name")
        named: dict[str, Embedder | MediaEmbedder | Reranker] = {**embedders, **rerankers}
        whole = _Whole(watch)

        def serve(name: str, model: Embedder | MediaEmbedder | Reranker) -> Served:
            if isinstance(model, MediaEmbedder):
                return ServedMedia(name, model, settings, adapters.get(name), whole.part(name))
            return Served(name, model, settings, adapters.get(name), whole.part(name))

        self._served = {name: serve(name, model) for name, model in named.items()}

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def of(self, name: str | None, kind: ModelKind) -> Served:
        """The model of that name and kind; raises Refusal 404 where there is none, 400 for another kind."""
        if name is None:
            return self._first(kind)
        if name not in self._served:
            raise Refusal(
                404,
                "not_found",
                f"the model {name[:_NAME_SHOWN]!r} is not served here",
                "name one of /v1/models",
                param="model",
            )
        one = self._served[name]
        if one.card.kind != kind:
            raise invalid(f"the model {name!r} is no {kind}", "name another, or leave it out", "model")
        return one

    def any(self, name: str | None) -> Served:
        """The model of that name, of whichever kind; else the first embedder, else the first reranker."""
        if name in self._served:
            return self._served[name]
        embeds = any(one.card.kind == "embedder" for one in self)
        return self.of(name, "embedder" if embeds else "reranker")

    def _first(self, kind: ModelKind) -> Served:
        for one in self:
            if one.card.kind == kind:
                return one
        raise Refusal(
            404, "not_found", f"no {kind} is served here", "start the server with one", param="model"
        )


class _Whole:
    """Adds up what waits for each model, and tells the watch of the sum."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.waits: dict[str, tuple[int, int]] = {}

    def part(self, name: str) -> _Part:
        """The watch of one model's queue."""
        self.waits[name] = (0, 0)
        return _Part(self, name)


class _Part:
    def __init__(self, whole: _Whole, name: str) -> None:
        self._whole, self._name = whole, name

    def waiting(self, texts: int, tokens: int) -> None:
        """Tell the sum over all models."""
        self._whole.waits[self._name] = (texts, tokens)
        all_ = list(self._whole.waits.values())
        self._whole.watch.waiting(sum(t for t, _ in all_), sum(n for _, n in all_))

    def batch(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """Pass on."""
        self._whole.watch.batch(model, texts, tokens, seconds)

    def spent(self, spent: Spent) -> None:
        """Pass on."""
        self._whole.watch.spent(spent)

    def dropped(self, why: Dropped, texts: int) -> None:
        """Pass on."""
        self._whole.watch.dropped(why, texts)
