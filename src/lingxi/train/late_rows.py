"""Rows a late interaction learns from: drawn evenly, read once by the embedder, wrong documents by cosine."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi.embedder import Embedder
from lingxi.errors import InputError
from lingxi.judging.late import pooled, query_prompt
from lingxi.model.late import Side, own
from lingxi.records import Pair, drawn, read_pairs
from lingxi.train.late_settings import LateSettings

Say = Callable[[str], None]
_AT_A_TIME = 256


@dataclass(frozen=True, slots=True)
class Kept:
    """Texts as the embedder read them: ids, states in fp16, unit vectors [n, dim]; where each begins."""

    ids: tuple[tuple[int, ...], ...]
    states: tuple[NDArray[np.float16], ...]
    vectors: torch.Tensor
    first: tuple[int, ...]
    after: int

    def side(self, number: int) -> Side:
        """One text, without the tokens of its prompt and of the frame where it is a query."""
        kept = self.states[number][own(len(self.ids[number]), self.first[number], self.after)]
        return Side(torch.from_numpy(kept.astype(np.float32)), self.vectors[number])


@dataclass(frozen=True, slots=True)
class Asked:
    """One query by its number, its right document, and documents that are near and wrong."""

    query: int
    right: int
    wrong: tuple[int, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Material:
    """Queries and documents as the embedder read them, and what is asked of them."""

    queries: Kept
    documents: Kept
    rows: tuple[Asked, ...]


def material(settings: LateSettings, embedder: Embedder, say: Say) -> Material:
    """Draw rows, read their texts, and find the wrong documents nearest to each query.

    Raises InputError where the pairs have no rows of the sources named, or too few to ask anything.
    """
    pairs = drawn_evenly(settings)
    texts: dict[str, int] = {}
    number = count()
    for row in pairs:
        for item in (*row.positives[:1], *row.negatives[: settings.negatives]):
            if item.text not in texts:
                texts[item.text] = next(number)
    say(f"{len(pairs)} queries, {len(texts)} documents")
    before = embedder.prompts["document"]
    documents = kept(embedder, [before] * len(texts), list(texts), settings.document_tokens, whole=True)
    prompts = [query_prompt(embedder, row.instruction) for row in pairs]
    queries = kept(embedder, prompts, [row.query for row in pairs], settings.query_tokens, whole=False)
    rows = tuple(_asked(pairs, texts, queries.vectors, documents.vectors, settings))
    if not rows:
        raise InputError("no query has a wrong document to tell from its right one", "give more pairs")
    say(f"{len(rows)} of them have wrong documents near by")
    return Material(queries, documents, rows)


def drawn_evenly(settings: LateSettings) -> list[Pair]:
    """Up to `rows` of each source and task, those with the smallest hashes; no others are held."""
    heaps: dict[tuple[str, str], list[tuple[int, int, Pair]]] = defaultdict(list)
    number = count()
    for path in settings.pairs:
        for row in _usable(read_pairs(path), settings):
            heap = heaps[row.source, row.task]
            most = _most(row, settings)
            entry = (-drawn(settings.seed, f"{row.query}\x1f{row.positives[0].text}"), next(number), row)
            if len(heap) < most:
                heapq.heappush(heap, entry)
            elif heap and entry[0] > heap[0][0]:
                heapq.heapreplace(heap, entry)
    found = [row for key in sorted(heaps) for _, _, row in sorted(heaps[key], key=lambda e: (-e[0], e[1]))]
    if not found:
        raise InputError(
            f"{', '.join(map(str, settings.pairs))}: no rows of {', '.join(settings.sources)}",
            "name sources and tasks that the pairs have",
        )
    return found


def _usable(rows: Iterable[Pair], settings: LateSettings) -> Iterable[Pair]:
    for row in rows:
        named = any(fnmatchcase(row.source, pattern) for pattern in settings.sources)
        if named and row.positives and row.dropped is None and row.query.strip() and _most(row, settings):
            yield row


def _most(row: Pair, settings: LateSettings) -> int:
    return int(settings.rows * settings.tasks.get(row.task, 0.0))


def kept(embedder: Embedder, prompts: Sequence[str], texts: Sequence[str], most: int, *, whole: bool) -> Kept:
    """Texts read by the embedder, each behind its prompt, cut at `most` tokens."""
    tokens = embedder.tokenizer
    laid = tokens.texts([before + text for before, text in zip(prompts, texts, strict=True)])
    most = min(most, embedder.max_seq_length)
    ids = [tuple(tokens.framed(each, most)) for each in laid]
    lengths = {before: len(tokens.before) + len(tokens.texts([before])[0]) for before in set(prompts)}
    firsts = [0 if whole else min(lengths[p], len(i)) for p, i in zip(prompts, ids, strict=True)]
    states: list[Any] = [None] * len(ids)
    vectors = np.empty((len(ids), embedder.hidden), np.float32)
    # Neighbours in length make full batches.
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for start in range(0, len(order), _AT_A_TIME):
        some = order[start : start + _AT_A_TIME]
        sequences = [ids[i] for i in some]
        found = embedder.token_states(sequences)
        vectors[some] = pooled(embedder, sequences, found)
        for i, each in zip(some, found, strict=True):
            states[i] = each.astype(np.float16)
    after = 0 if whole else len(tokens.after)
    return Kept(tuple(ids), tuple(states), torch.from_numpy(vectors), tuple(firsts), after)


def _asked(
    pairs: Sequence[Pair],
    texts: dict[str, int],
    queries: torch.Tensor,
    documents: torch.Tensor,
    settings: LateSettings,
) -> Iterable[Asked]:
    groups: dict[int, set[str]] = defaultdict(set)
    right_of: dict[str, set[int]] = defaultdict(set)
    pools: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row in pairs:
        right = texts[row.positives[0].text]
        groups[right].add(row.group)
        right_of[_plain(row.query)] |= {texts[p.text] for p in row.positives if p.text in texts}
        pools[row.task, row.document_language] |= {right, *_own(row, texts)}
    places = {key: torch.tensor(sorted(pool)) for key, pool in pools.items()}
    for number, row in enumerate(pairs):
        pool = places[row.task, row.document_language]
        cosine = documents[pool] @ queries[number]
        order = pool[torch.argsort(-cosine, stable=True)[: 2 * settings.depth]].tolist()
        barred = right_of[_plain(row.query)]
        near = [d for d in order if d not in barred and row.group not in groups[d]]
        near = list(dict.fromkeys([*_own(row, texts), *near]))
        wrong = tuple(d for d in near if d not in barred)[: settings.depth]
        if len(wrong) >= settings.documents - 1:
            yield Asked(number, texts[row.positives[0].text], wrong, row.source)


def _own(row: Pair, texts: dict[str, int]) -> list[int]:
    """Numbers of a row's own negatives that are read."""
    return [texts[item.text] for item in row.negatives if item.text in texts]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
