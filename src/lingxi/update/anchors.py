"""What a step of an update reads: ids of new pairs and of kept texts, with the vectors the old model gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.model.decoder import Decoder
from lingxi.model.tokens import Tokens
from lingxi.records import Pair
from lingxi.train.feeding import text_ids
from lingxi.train.held_out import pooled
from lingxi.train.mixture import SYMMETRIC
from lingxi.vectors import cut


@dataclass(frozen=True, slots=True)
class NewRows:
    """New pairs as ids: query i is answered by document `right[i]`.

    `vectors` [documents, hidden] are the old model's; `groups` [documents] and `alike` [queries] number the
    groups: documents of a query's group are none of its negatives.
    """

    queries: list[list[int]]
    documents: list[list[int]]
    right: NDArray[np.int64]
    vectors: torch.Tensor
    groups: NDArray[np.int64]
    alike: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Held:
    """Old pairs, and the model whose vectors of them are to stay."""

    pairs: Sequence[Pair]
    model: Path


@dataclass(frozen=True, slots=True)
class Anchors:
    """Kept texts as ids with the old model's unit vectors: first queries, then as many documents."""

    sequences: list[list[int]]
    vectors: torch.Tensor

    @property
    def documents(self) -> torch.Tensor:
        """The vectors of the documents alone."""
        return self.vectors[len(self.sequences) // 2 :]

    def draw(self, rng: np.random.Generator, pairs: int) -> NDArray[np.int64]:
        """Numbers of that many queries and as many documents."""
        half = len(self.sequences) // 2
        size = min(pairs, half)
        return np.concatenate([rng.choice(half, size, replace=False) + part for part in (0, half)])


def new_rows(pairs: Sequence[Pair], decoder: Decoder, tokens: Tokens, most: int) -> NewRows:
    """Ids of new pairs, one row a query and right document, with the old vectors of the documents."""
    asked = [(pair, item) for pair in pairs for item in pair.positives]
    texts: dict[tuple[str, str], int] = {}
    right = [texts.setdefault((_after(pair), item.text), len(texts)) for pair, item in asked]
    group_of: dict[str, int] = {}
    alike = np.array([group_of.setdefault(pair.group, len(group_of)) for pair, _ in asked])
    groups = np.zeros(len(texts), np.int64)
    groups[right] = alike
    queries = text_ids(tokens, [p.query for p, _ in asked], [before(p) for p, _ in asked], most)
    documents = text_ids(tokens, [text for _, text in texts], [after for after, _ in texts], most)
    return NewRows(queries, documents, np.array(right), vectors_of(decoder, documents), groups, alike)


def anchors_of(pairs: Sequence[Pair], decoder: Decoder, tokens: Tokens, most: int) -> Anchors:
    """Queries and documents of old pairs with the vectors that the old model gives them."""
    texts = [p.query for p in pairs] + [p.positives[0].text for p in pairs]
    ids = text_ids(tokens, texts, [before(p) for p in pairs] + [_after(p) for p in pairs], most)
    return Anchors(ids, vectors_of(decoder, ids))


def joined(parts: Sequence[Anchors]) -> Anchors | None:
    """Several as one, queries first; nothing where there are none."""
    if not parts:
        return None
    halves = [len(part.sequences) // 2 for part in parts]
    queries = [(part, slice(None, half)) for part, half in zip(parts, halves, strict=True)]
    documents = [(part, slice(half, None)) for part, half in zip(parts, halves, strict=True)]
    sides = [*queries, *documents]
    sequences = [ids for part, side in sides for ids in part.sequences[side]]
    return Anchors(sequences, torch.cat([part.vectors[side] for part, side in sides]))


def vectors_of(decoder: Decoder, sequences: list[list[int]]) -> torch.Tensor:
    """Unit vectors [sequences, hidden] of a decoder as it is."""
    found = pooled(decoder, sequences).numpy()
    return torch.from_numpy(cut(found, found.shape[1]))


def before(pair: Pair) -> str:
    """What stands before a pair's query."""
    return prompts.query_prefix(pair.instruction)


def _after(pair: Pair) -> str:
    return before(pair) if pair.task in SYMMETRIC else ""
