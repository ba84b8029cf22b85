"""The model under check: golden texts to values, to ids, and the plain network that judges the engine."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi import prompts, vectors
from lingxi.check.pictured import pictured
from lingxi.check.report import EXACT, LOSSY, Tolerance, Values
from lingxi.embedder import Embedder
from lingxi.engine.looking import Part, visible
from lingxi.engine.opening import stated_weights
from lingxi.engine.seen import pads_of, read_tower
from lingxi.errors import LingxiWarning
from lingxi.inputs import Mixed
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.files import locate, read_answer_rows, read_config
from lingxi.model.golden import Golden, GoldenText, embedding_texts, rerank_texts, write_golden
from lingxi.model.late import is_late
from lingxi.model.layout import read_kind
from lingxi.model.messages import framed
from lingxi.model.network import (
    Headed,
    read_decoder_size,
    read_network,
    read_network_tokens,
    read_size,
)
from lingxi.model.packed import Packed, pack
from lingxi.model.pooling import Pooling, pool
from lingxi.model.seen import Seen
from lingxi.model.tokens import Tokens
from lingxi.model.vision import Tower
from lingxi.reranker import Reranker

Compute = Callable[[Sequence[GoldenText]], Values]
Ids = Sequence[int]
Plain = Decoder | Encoder | Headed


@dataclass(frozen=True)
class Subject:
    """An embedder or a reranker as the check sees it."""

    name: str
    directory: Path
    model: Embedder | Reranker
    exact: bool

    @property
    def kind(self) -> str:
        """`embedder` or `reranker`."""
        return "embedder" if isinstance(self.model, Embedder) else "reranker"

    @property
    def family(self) -> str:
        """The network's `model_type`."""
        return str(read_config(self.directory)["model_type"])

    @property
    def late(self) -> bool:
        """Whether it is a late interaction: a head over an embedder, which is checked on its own."""
        return isinstance(self.model, Reranker) and is_late(self.directory)

    @property
    def shares(self) -> bool:
        """Whether the model computes what texts begin with once: never where tokens see what follows."""
        return not self.late and bool(getattr(self.plain, "continues", True))

    @property
    def tolerance(self) -> Tolerance:
        """How near this computation must be to the plain network."""
        return EXACT if self.exact else LOSSY

    @property
    def golden_tolerance(self) -> Tolerance:
        """How near it must be to the golden file, which a directory to be computed in int8 has of int8."""
        network = self.model.network_directory if isinstance(self.model, Reranker) else self.directory
        return LOSSY if stated_weights(network) == "int8" else self.tolerance

    @property
    def tokens(self) -> Tokens:
        """The tokenizer that the model reads text with."""
        return self.model.tokenizer

    @property
    def longest(self) -> int:
        """The number of tokens at which the model cuts."""
        return self.model.max_seq_length if isinstance(self.model, Embedder) else self.model.max_length

    def compute(self, texts: Sequence[GoldenText]) -> Values:
        """Vectors [n, hidden] or scores [n], by the public face."""
        if isinstance(self.model, Embedder):
            return np.asarray(encoded(self.model, texts), np.float32)
        return _scores(self.model, texts)

    def ids(self, texts: Sequence[GoldenText]) -> list[Any]:
        """The ids that the model gives its network, with the pictures that sit in them."""
        model = self.model
        if not isinstance(model, Embedder):
            pairs = [(t.query or "", item_of(t)) for t in texts]
            tasks = [t.task for t in texts]
            return [model.token_ids([p], instruction=k)[0] for p, k in zip(pairs, tasks, strict=True)]
        if model.vision is None:
            return model.token_ids([rendered(t) for t in texts])
        return [model.token_ids([item_of(t)], instruction=t.task)[0] for t in texts]

    def finished(self, states: torch.Tensor) -> Values:
        """Vectors or scores of pooled states [n, hidden] that another network computed."""
        if self.kind == "embedder":
            return vectors.cut(states.float().numpy(), states.shape[1])
        return np.asarray(torch.sigmoid(states.float() @ self._answer).numpy(), np.float32)

    @cached_property
    def plain(self) -> Plain:
        """The plain network in fp32, read from the directory anew: nothing of the engine under check."""
        return read_network(self.directory, torch.float32)

    @cached_property
    def tower(self) -> Tower:
        """The plain network's eyes, in fp32, where the model has some."""
        assert self.model.vision is not None
        return read_tower(self.directory, self.model.vision.size, torch.float32)

    def packed(self, ids: Any) -> Packed:
        """A batch of one, with what its pictures show."""
        if not isinstance(ids, Seen):
            return pack([ids])
        with torch.inference_mode():
            return visible([Part(ids, 0, len(ids))], self.tower, pads_of(self.tokens))

    def by_plain(self, sequences: Sequence[Any], how: Pooling | None = None) -> Values:
        """Vectors or scores of ids by the plain network, each alone, pooled in another way where asked."""
        plain, values = self.plain, []  # read out here: weights made in inference mode serve nobody else
        for ids in sequences:
            packed = self.packed(ids)
            with torch.inference_mode():
                states = plain.states(packed)
                values.append(self.finished(self.pooled(states, packed, how or plain.pooling)))
        return np.concatenate(values)

    def pooled(self, states: torch.Tensor, packed: Packed, how: Pooling) -> torch.Tensor:
        """Vectors [sequences, width] of all states [tokens, hidden], pooled in that way, heads applied."""
        vectors = pool(states, packed, how)
        for head in self.plain.heads if isinstance(self.plain, Headed) else ():
            vectors = head(vectors)
        return vectors

    @cached_property
    def _answer(self) -> torch.Tensor:
        yes, no = self.tokens.answer("yes"), self.tokens.answer("no")
        return read_answer_rows(self.directory, read_decoder_size(self.directory), yes, no)

    def cutting_at(self, limit: int) -> Subject:
        """The same model, weights shared, that cuts at another number of tokens."""
        model = copy.copy(self.model)
        if isinstance(model, Embedder):
            model.max_seq_length = limit
        else:
            model.max_length = limit
        return Subject(self.name, self.directory, model, self.exact)

    def reading_specials(self) -> Subject:
        """The same model, weights shared, that reads special tokens in user text as control tokens."""
        model = copy.copy(self.model)
        vocab = read_size(self.directory).vocab
        model.tokenizer = read_network_tokens(self.directory, vocab, reference_specials=True)
        if isinstance(model, Embedder) and model.vision:
            model.tokenizer = framed(model.tokenizer, prompts.VL_TASK)
        return Subject(self.name, self.directory, model, self.exact)


def open_subject(
    model: str | Path,
    kind: str | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    engine: str | None = None,
    weights: str | None = None,
) -> Subject:
    """Open a model by what its directory says it is (`kind` where it is known better)."""
    directory = locate(model)
    face = Reranker if (kind or read_kind(directory)) == "reranker" else Embedder
    exact = dtype in (None, "float32") and device in (None, "cpu")
    opened = face(directory, device=device, dtype=dtype, engine=engine, weights=weights)
    exact = exact and opened.device.type == "cpu" and opened.weights == "float32"
    return Subject(str(model), directory, opened, exact)


def default_texts(kind: str, *, sees: bool = False) -> tuple[GoldenText, ...]:
    """What a golden file of that kind is made of; `sees`: of a VL model, with pictures."""
    texts = embedding_texts() if kind == "embedder" else rerank_texts()
    return pictured(texts) if sees else texts


def make_golden(directory: Path) -> None:
    """Write the golden file of a model directory, computed on the CPU in fp32, or in int8 if it says so."""
    subject = open_subject(directory, device="cpu", dtype="float32")
    texts = default_texts(subject.kind, sees=subject.model.vision is not None)
    with cuts_unsaid():
        write_golden(directory, Golden(subject.kind, texts, subject.compute(texts)))


def rendered(text: GoldenText) -> str:
    """What the embedder reads: a query with its instruction, a document raw."""
    return text.text if text.task is None else prompts.query(text.text, text.task)


def item_of(text: GoldenText) -> str | Mixed:
    """What a VL model reads: a text, or a picture beside it."""
    return text.text if text.image is None else Mixed((text.text,), (text.image,))


def encoded(embedder: Embedder, texts: Sequence[GoldenText], **options: Any) -> Any:
    """What `encode` gives for golden texts under their instructions."""
    if embedder.vision is None:
        return embedder.encode([rendered(t) for t in texts], show_progress_bar=False, **options)
    made: dict[int, Any] = {}
    for task in dict.fromkeys(t.task for t in texts):
        at = [i for i, t in enumerate(texts) if t.task == task]
        given = [{"text": texts[i].text, "image": texts[i].image} for i in at]
        found = embedder.encode(given, instruction=task, show_progress_bar=False, **options)
        made |= dict(zip(at, found, strict=True))
    return np.stack([made[i] for i in range(len(texts))])


@contextmanager
def cuts_unsaid() -> Iterator[None]:
    """Long texts are part of the check: that they are cut is not said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LingxiWarning)
        yield


def _scores(reranker: Reranker, texts: Sequence[GoldenText]) -> Values:
    scores = np.empty(len(texts), np.float32)
    for task in dict.fromkeys(t.task for t in texts):
        at = [i for i, t in enumerate(texts) if t.task == task]
        pairs = [(texts[i].query or "", item_of(texts[i])) for i in at]
        scores[at] = reranker.predict(pairs, instruction=task, show_progress_bar=False)
    return scores
