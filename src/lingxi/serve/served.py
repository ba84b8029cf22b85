"""One model under its name: texts to ids, ids to rows, and what is said of it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, cast

from lingxi import pictures
from lingxi.check.precisions import widths
from lingxi.embedder import Embedder
from lingxi.engine.run import default_budget
from lingxi.engine.segments import Laid
from lingxi.errors import InputError
from lingxi.inputs import Access, Mixed, sounds_in
from lingxi.model.files import read_config
from lingxi.model.network import read_size
from lingxi.parse import Span
from lingxi.reranker import Reranker
from lingxi.serve.contract import Caller, Card, TokenSpan, Wanted
from lingxi.serve.pieces import pieces
from lingxi.serve.queue import Limits, Queue
from lingxi.serve.refusal import invalid, refused
from lingxi.serve.settings import Settings
from lingxi.serve.watch import Watch
from lingxi.texts import Truncate

Ids = Sequence[int]
# Smaller than a caller in Python may send: 50 million pixels are 150 MB while they are decoded.
_PICTURES = pictures.Limits(most_bytes=24 << 20, most_pixels=50_000_000)


class Served:
    """An embedder or a reranker that is served under a name; `base` is the name of an adapter's base."""

    def __init__(
        self,
        name: str,
        model: Embedder | Reranker,
        settings: Settings,
        base: str | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.model = _closed(model, settings)
        self._opening = Lock()
        self.vocab = read_size(_network_directory(model)).vocab
        self.card = _card(name, model, base)
        limits = Limits(
            settings.max_batch_tokens or default_budget(model.device),
            settings.max_waiting_tokens,
            settings.batch_s,
        )
        self.queue = Queue(name, self.states, limits, model.lanes, watch)

    def admit(self, caller: Caller) -> None:
        """Raise the Refusal that awaits anything more of this caller, before work is put into it."""
        self.queue.admit(caller.client)

    def ids(self, inputs: Sequence[str | Mixed | Ids], wanted: Wanted) -> list[Any]:
        """The ids of texts, ids of texts, or what is looked at, as the network takes them; Refusal 400.

        Pictures are opened by one thread at a time: so much memory is taken, and no more.
        """
        embedder = self.embedder
        if any(isinstance(item, Mixed) for item in inputs):
            self.check_sees("input", hears=any(map(sounds_in, inputs)))
            with self._opening:
                return self._texts(cast(Any, inputs), wanted)
        prompted = any(x is not None for x in (wanted.instruction, wanted.prompt_name, wanted.prompt))
        if all(isinstance(item, str) for item in inputs):
            return self._texts([str(item) for item in inputs], wanted)
        given = [item for item in inputs if not isinstance(item, str | Mixed)]
        if len(given) != len(inputs):
            raise invalid("texts and token ids are mixed", "send one or the other", "input")
        if prompted:
            return self._texts(self.decode(given, skip_specials=True), wanted)
        most = min(wanted.max_tokens or embedder.max_seq_length, embedder.max_seq_length)
        return [self._framed(self._known(item), most, wanted) for item in given]

    def check_sees(self, param: str, *, hears: bool = False) -> None:
        """Raise Refusal 400 for pictures that are sent to a model of texts, and for sound."""
        if self.model.vision is None:
            raise invalid("the model reads text alone", "send texts", param)
        if hears:
            raise invalid("the model hears nothing", "send texts and pictures", param)

    def _texts(self, texts: Sequence[str], wanted: Wanted) -> list[Any]:
        try:
            return self.embedder.token_ids(
                texts,
                instruction=wanted.instruction,
                prompt_name=wanted.prompt_name,
                prompt=wanted.prompt,
                max_tokens=wanted.max_tokens,
                truncate=wanted.truncate,
            )
        except InputError as error:
            raise refused(error, "input") from None

    def pair_ids(
        self,
        pairs: Sequence[tuple[str | Mixed, str | Mixed]],
        instruction: str | None,
        max_tokens_per_document: int | None,
        truncate: Truncate,
    ) -> list[Any]:
        """The ids of (query, document) pairs, and their pictures; raises Refusal 400."""
        seen = any(isinstance(side, Mixed) for pair in pairs for side in pair)
        if seen:
            self.check_sees("documents", hears=any(sounds_in(side) for pair in pairs for side in pair))
        try:
            with self._opening if seen else nullcontext():
                return self.reranker.token_ids(
                    pairs,
                    instruction=instruction,
                    max_tokens_per_document=max_tokens_per_document,
                    truncate=truncate,
                )
        except InputError as error:
            raise refused(error, "documents") from None

    def _known(self, ids: Ids) -> list[int]:
        if not all(0 <= i < self.vocab for i in ids):
            raise invalid(
                f"a token id is not of this model, whose ids are 0 to {self.vocab - 1}",
                "make them with the model's own tokenizer, or send text",
                "input",
            )
        return list(ids)

    def _framed(self, ids: list[int], most: int, wanted: Wanted) -> list[int]:
        """Ids between the tokens around a text, which are not put there twice."""
        tokens = self.model.tokenizer
        if tokens.lead:
            raise invalid("token ids are not taken by a model with turns", "send the text", "input")
        before, after = list(tokens.before), list(tokens.after)
        if before and ids[: len(before)] == before:
            ids = ids[len(before) :]
        if after and ids[-len(after) :] == after:
            ids = ids[: -len(after)]
        extra = len(ids) + tokens.frame - most
        if extra > 0 and wanted.truncate == "none":
            raise invalid(f"an input has more than {most} tokens", "shorten it, or let it be cut", "input")
        return tokens.framed(ids[extra:] if extra > 0 and wanted.truncate == "start" else ids, most)

    @property
    def embedder(self) -> Embedder:
        """The model as an embedder; raises Refusal 400 where it is none."""
        if not isinstance(self.model, Embedder):
            raise invalid(f"{self.card.name!r} is no embedder", "name one of /v1/models", "model")
        return self.model

    @property
    def reranker(self) -> Reranker:
        """The model as a reranker; raises Refusal 400 where it is none."""
        if not isinstance(self.model, Reranker):
            raise invalid(f"{self.card.name!r} is no reranker", "name one of /v1/models", "model")
        return self.model

    def tokenize(self, texts: Sequence[str], *, specials: bool) -> list[list[TokenSpan]]:
        """The tokens of each text with their places, between the tokens around it where asked."""
        tokens = self.model.tokenizer
        names = {number: name for name, number in tokens.specials.items()}
        found = tokens.user.encode_batch(list(texts), add_special_tokens=False)

        def around(ids: Ids) -> list[TokenSpan]:
            return [TokenSpan(i, names.get(i, ""), None, None, True) for i in ids] if specials else []

        return [
            [
                *around(tokens.before),
                *(TokenSpan(i, text[a:b], a, b, False) for i, (a, b) in zip(e.ids, e.offsets, strict=True)),
                *around(tokens.after),
            ]
            for text, e in zip(texts, found, strict=True)
        ]

    def decode(self, ids: Sequence[Ids], *, skip_specials: bool) -> list[str]:
        """The text of each run of ids; special tokens are written out, or left out."""
        tokens = self.model.tokenizer
        names = {number: name for name, number in tokens.specials.items()}
        return [_decoded(tokens.user.decode, self._known(run), names, skip_specials) for run in ids]

    def cut(self, texts: Sequence[str], most: int) -> list[list[Span]]:
        """Each text in spans of whole sentences of at most `most` tokens."""
        found = self.model.tokenizer.user.encode_batch(list(texts), add_special_tokens=False)
        return [pieces(text, e.offsets, most) for text, e in zip(texts, found, strict=True)]

    def check_dim(self, dim: int | None) -> None:
        """Raise Refusal 400 for a width that the model was not made for."""
        if dim is None or dim == self.card.dim:
            return
        if len(self.card.dims) == 1:
            raise invalid("the model's vectors are not made to be cut", "leave the width out", "dimensions")
        if not self.card.dims[0] <= dim <= self.card.dim:
            least, most = self.card.dims[0], self.card.dim
            raise invalid(f"{dim} dimensions", f"choose a whole number from {least} to {most}", "dimensions")

    def states(self, kind: str, items: Sequence[Any], lane: int) -> Sequence[Any]:
        """A row of states for each item: `pooled` and `tokens` of ids, `laid` of documents in parts."""
        if kind == "pooled":
            return list(self.model.states(items, lane=lane))
        if kind == "tokens":
            return self.embedder.token_states(items, lane=lane)
        return _of_laid(self.embedder, items, lane)


def _of_laid(embedder: Embedder, items: Sequence[Laid], lane: int) -> list[Any]:
    states = embedder.laid_states(items, lane=lane)
    stops: list[int] = []
    for one in items:
        stops.append((stops[-1] if stops else 0) + len(one.spans))
    return [states[stop - len(one.spans) : stop] for stop, one in zip(stops, items, strict=True)]


def _decoded(decode: Callable[..., str], ids: Ids, names: dict[int, str], skip: bool) -> str:
    """User text is decoded by runs, because the tokenizer of user text knows no special tokens."""
    out, run = [], []
    for i in ids:
        if i not in names:
            run.append(i)
            continue
        out += [decode(run, skip_special_tokens=False), "" if skip else names[i]]
        run = []
    return "".join([*out, decode(run, skip_special_tokens=False)])


def _closed(model: Embedder | Reranker, settings: Settings) -> Embedder | Reranker:
    """The model as a server asks it: no client opens a file of this machine, or makes it fetch unasked."""
    if model.vision is None:
        return model
    served = copy.copy(model)
    served.vision = replace(model.vision, access=access_of(settings))
    return served


def _network_directory(model: Embedder | Reranker) -> Path:
    """Where the network lies: a late interaction has none of its own."""
    return model.network_directory if isinstance(model, Reranker) else model.directory


def access_of(settings: Settings) -> Access:
    """What clients' inputs may name: URLs where the settings say so, never a file of this machine."""
    return Access(files=False, urls=settings.fetch_urls, limits=_PICTURES)


def _card(name: str, model: Embedder | Reranker, base: str | None) -> Card:
    config = read_config(model.directory)
    opened = int(time.time())
    if isinstance(model, Reranker):
        return Card(
            name, "reranker", 1, (1,), model.max_length, model.weights, model.fingerprint(), (), opened, base,
            modalities=model.modalities,
        )  # fmt: skip
    matryoshka = config.get("is_matryoshka", config.get("model_type") in ("qwen3", "qwen3_vl"))
    dims = tuple(widths(model)) if matryoshka else (model.dim,)
    fingerprint = {**model.fingerprint(), "name": Path(model.name).name}
    return Card(
        name, "embedder", model.dim, dims, model.max_seq_length, model.weights, fingerprint,
        tuple(model.prompts), opened, base, model.pooling, model.modalities,
    )  # fmt: skip
