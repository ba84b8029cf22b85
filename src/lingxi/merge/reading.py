"""Dev pairs as a model reads them: rendered and tokenized."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice
from pathlib import Path

import torch

from lingxi import prompts
from lingxi.collect.dataset import read_dataset
from lingxi.collect.origin import Origin
from lingxi.errors import InputError
from lingxi.merge.methods import State
from lingxi.merge.settings import SearchSettings
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.layout import Kind
from lingxi.model.tokens import Tokens
from lingxi.records import Pair, drawn, read_pairs
from lingxi.train.feeding import framed
from lingxi.train.mixture import SYMMETRIC

# Passages a reranker orders for each query.
_CANDIDATES = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """One dev row as a model reads it: the query, its passages, positives first, and the positives."""

    query: str
    passages: tuple[str, ...]
    right: frozenset[str]
    instruction: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How a model reads texts: its kind and tokens, where texts are cut, and where it computes.

    `empty` makes a network of its shape without weights, on torch's meta device.
    """

    kind: Kind
    empty: Callable[[], Decoder | Encoder]
    tokens: Tokens
    max_tokens: int
    device: torch.device


def read_dev(path: Path, settings: SearchSettings) -> list[Pair]:
    """Up to `rows` pairs with positives, drawn by seed, of a file of any shape `collect` knows.

    Parquet is read as pairs; similarities are left out. Raises InputError where fewer than four are there.
    """
    # The language is not asked here.
    rows = read_pairs(path) if path.suffix == ".parquet" else read_dataset(path, Origin("dev", "", "en"))
    usable = (row for row in rows if row.positives and row.dropped is None and row.task != "sts")
    found = nsmallest(settings.rows, usable, key=lambda row: (drawn(settings.seed, row.id), row.id))
    if len(found) < 4:
        raise InputError(
            f"{path} has {len(found)} pairs to measure on", "give four or more queries with positives"
        )
    return found


def asked(pair: Pair, kind: Kind) -> Asked:
    """A pair as a model of that kind reads it: an embedder's texts are rendered, a reranker's are not yet."""
    alike = kind == "embedder" and pair.task in SYMMETRIC
    right, wrong = (
        [prompts.query(item.text, pair.instruction) if alike else item.text for item in side]
        for side in (pair.positives, pair.negatives)
    )
    query = prompts.query(pair.query, pair.instruction) if kind == "embedder" else pair.query
    return Asked(query, (*right, *wrong), frozenset(right), pair.instruction)


def candidates(rows: Sequence[Asked], index: int) -> list[str]:
    """Passages that a reranker orders for a query: its own, positives first, then those of rows after it."""
    own = rows[index].passages[: _CANDIDATES - 1]
    others = (rows[(index + n) % len(rows)].passages[0] for n in range(1, len(rows)))
    kept = (text for text in others if text not in rows[index].passages)
    return list(dict.fromkeys([*own, *islice(kept, _CANDIDATES)]))[:_CANDIDATES]


def judged(rows: Sequence[Asked], groups: Sequence[Sequence[str]], reading: Reading) -> list[list[int]]:
    """Ids of each row's query with each of its candidates, one after another."""
    bodies = [
        prompts.rerank_body(row.query, text, row.instruction)
        for row, texts in zip(rows, groups, strict=True)
        for text in texts
    ]
    return framed(reading.tokens, bodies, reading.max_tokens)


def answer_row(head: torch.Tensor, tokens: Tokens) -> torch.Tensor:
    """w_yes − w_no [hidden] of an output head [vocab, hidden]."""
    return head[tokens.answer("yes")] - head[tokens.answer("no")]


def text_ids(texts: Sequence[str], reading: Reading) -> list[list[int]]:
    """Ids of each text, cut, in the tokenizer's frame."""
    tokens = reading.tokens
    return [tokens.framed(ids, reading.max_tokens + tokens.frame) for ids in tokens.texts(texts)]


def network_of(state: State, reading: Reading) -> Decoder | Encoder:
    """A network of these weights in fp32, for scoring."""
    network = reading.empty()
    wanted = {name: state[name].float().to(reading.device) for name, _ in network.named_parameters()}
    network.load_state_dict(wanted, assign=True)
    return network.eval().requires_grad_(False)
