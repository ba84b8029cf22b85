"""Where a network from scratch comes from: a tokenizer and token vectors, which both networks start as."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi.errors import InputError
from lingxi.model.decoder import Decoder
from lingxi.model.sizes import Size, size_named
from lingxi.model.tokens import Tokens, read_tokens
from lingxi.train.checkpoint_start import Start
from lingxi.train.files import save_whole
from lingxi.train.language import Texts
from lingxi.train.lexicon import Lexicon
from lingxi.train.settings import NetworkSettings, TokenizerSettings, TrainSettings
from lingxi.train.start import Marks, as_embedder, as_reranker, check_size, fresh_decoder, read_marks
from lingxi.train.store import Store
from lingxi.train.tokenizer import train_tokenizer

# Positions beyond those seen in training are not promised.
_MAX_SEQ_LENGTH = 8192
# Texts whose tokens are counted for the first weights of the lexicon.
_COUNTED = 100_000
# The language model reads one text in so many of a row's: queries are short and documents say more.
_DOCUMENT_RATE = 0.8

First = Callable[[Callable[[], Any]], Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """Token vectors (trained in place by the lexicon phase), and what is needed to write networks of them.

    `seed` is that of the noise in a network's first weights.
    """

    lexicon: Lexicon
    tokens: Tokens
    tokenizer: str
    size: Size
    marks: Marks
    seed: int

    def embedder(self) -> Start:
        """A network that gives a text the lexicon's vector."""
        self._begin()
        return self._start(as_embedder(self.lexicon, self.marks))

    def fresh(self) -> Start:
        """A network of random weights, with which language modelling begins without a lexicon."""
        return self._start(fresh_decoder(self.size, self.seed))

    def reranker(self) -> Start:
        """A network that answers by the lexicon's cosine of query and document."""
        self._begin()
        return self._start(as_reranker(self.lexicon, self.marks, self.tokens))

    def _begin(self) -> None:
        # A run that goes on has not taken the steps before, and must begin with the same noise.
        torch.manual_seed(self.seed)

    def _start(self, decoder: Decoder) -> Start:
        return Start(decoder, None, self.tokens, self.tokenizer, None, _MAX_SEQ_LENGTH)


def begin(store: Store, settings: TrainSettings, folder: Path, first: First) -> Origin:
    """The tokenizer of a store's texts, and token vectors at their start; `first` lets one process write.

    Raises InputError where the network's shape or the vocabulary does not fit.
    """
    assert settings.tokenizer is not None
    path = folder / "tokenizer.json"
    first(lambda: _tokenizer(store, settings.tokenizer, path))
    size = size_of(settings.network, settings.tokenizer.vocab)
    if settings.lexicon:
        check_size(size, judge=settings.reranker is not None and settings.reranker.start is None)
    tokens = read_tokens(path, size.vocab)
    marks = read_marks(tokens)
    counts = first(lambda: _counts(store, tokens, size.vocab, folder / "token-counts.npy"))
    torch.manual_seed(settings.seed)
    lexicon = Lexicon(size, marks.silent, counts)
    return Origin(lexicon, tokens, path.read_text(encoding="utf-8"), size, marks, settings.seed)


def size_of(settings: NetworkSettings, vocab: int) -> Size:
    """The named size with the recipe's overrides."""
    size = replace(size_named(settings.size), vocab=vocab)
    if settings.layers is not None:
        size = replace(size, layers=settings.layers)
    if settings.hidden is not None:
        heads = settings.hidden // size.head_dim
        size = replace(
            size, hidden=settings.hidden, heads=heads, kv_heads=heads, intermediate=settings.hidden * 8 // 3
        )
    return size


def texts_of(store: Store) -> Texts:
    """Texts for the language model, drawn evenly from a store's strata by their square roots."""
    rows = np.array([stratum.rows for stratum, _ in store.in_order()], np.float64)
    first = np.array([*(start for _, start in store.in_order()), len(store)], np.int64)
    rising = np.cumsum(np.sqrt(rows)) / np.sqrt(rows).sum()

    def texts(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
        """So many (language, text) rows."""
        strata = np.searchsorted(rising, rng.random(count), side="right").clip(0, len(rows) - 1)
        places = rng.integers(first[strata], first[strata + 1])
        found = store.rows(store.columns["by_stratum"][places])
        documents = rng.random(count) < _DOCUMENT_RATE
        return [
            (row.document_language, row.positives[0].text) if document else (row.query_language, row.query)
            for row, document in zip(found, documents, strict=True)
        ]

    return texts


def _tokenizer(store: Store, settings: TokenizerSettings | None, path: Path) -> None:
    assert settings is not None
    if path.exists():
        return
    text = train_tokenizer(store.texts(), settings)
    found = len(json.loads(text)["model"]["vocab"])
    if found != settings.vocab:
        raise InputError(
            f"the texts give a vocabulary of {found}, not {settings.vocab}",
            "lower train.tokenizer.vocab or add text",
        )
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _counts(store: Store, tokens: Tokens, vocab: int, path: Path) -> NDArray[np.int64]:
    """How often each token stands in texts of the store, [vocab]."""
    if not path.exists():
        counts = np.zeros(vocab, np.int64)
        texts = [text for (_, text), _ in zip(store.texts(), range(_COUNTED), strict=False)]
        for ids in tokens.texts(texts):
            np.add.at(counts, ids, 1)
        save_whole(path, counts)
    found: NDArray[np.int64] = np.load(path)
    return found
