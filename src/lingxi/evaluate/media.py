"""How well pictures, recordings and texts find one another: recall with intervals, beside floors and chance.

Comes in: rows of modality "image" or "audio" that training has not seen, and an embedder of all kinds. One
picture or recording is one item, however many captions it has; an item is right for a query where it
carries the query's caption. Queries and items of a direction go in, `Found` comes out: recall at 1 and 10,
the mean reciprocal rank, what chance gives, and 95 % intervals over the queries (Wilson's; of a mean over
languages, queries drawn again within each).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.curate.review.figures import wilson
from lingxi.errors import InputError
from lingxi.metrics import bootstrap_macro
from lingxi.records import Document
from lingxi.vectors import Floats

Table = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """One direction measured: shares 0…1, their intervals, how many queries and items there were."""

    name: str
    queries: int
    items: int
    recall_1: float
    interval_1: tuple[float, float]
    recall_10: float
    interval_10: tuple[float, float]
    mrr: float
    chance_1: float
    chance_10: float


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """The rank, from 1, of each query's first right item, among how many items, and what chance gives."""

    ranks: NDArray[np.int64]
    items: int
    chance_1: float
    chance_10: float


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """Pictures or recordings by their `media`, and the captions of each by language."""

    media: tuple[str, ...]
    captions: tuple[Mapping[str, tuple[str, ...]], ...]
    speakers: tuple[str, ...]


def items_of(rows: Sequence[Document], modality: str) -> Items:
    """The items of one modality, in the order of their first rows; raises InputError where there is none."""
    captions: dict[str, dict[str, list[str]]] = {}
    speakers: dict[str, str] = {}
    for row in rows:
        if row.modality == modality and row.media is not None:
            captions.setdefault(row.media, {}).setdefault(row.language or "und", []).append(row.text)
            speakers.setdefault(row.media, row.title or "")
    if not captions:
        raise InputError(f"no rows of modality {modality!r}", "give rows of pictures or recordings")
    told = tuple({key: tuple(texts) for key, texts in found.items()} for found in captions.values())
    return Items(tuple(captions), told, tuple(speakers[media] for media in captions))


def asked_in(items: Items, language: str) -> tuple[list[str], Table]:
    """The different captions of a language, and which items [captions, items] carry each."""
    texts: dict[str, list[int]] = {}
    for place, captions in enumerate(items.captions):
        for text in captions.get(language, ()):
            texts.setdefault(text, []).append(place)
    right = np.zeros((len(texts), len(items.media)), bool)
    for row, places in enumerate(texts.values()):
        right[row, places] = True
    return list(texts), right


def languages_of(items: Items, least: int) -> list[str]:
    """Languages with at least so many different captions, in order of their code."""
    codes = sorted({code for captions in items.captions for code in captions})
    return [code for code in codes if len(asked_in(items, code)[0]) >= least]


def measured(name: str, scores: Floats, right: Table) -> Found:
    """Recall and rank of scores [queries, items] where `right` says which items answer; ties count as lost.

    A query without a right item is left out. Raises InputError where no query is left.
    """
    kept = right.any(axis=1)
    if not kept.any():
        raise InputError(f"{name}: no query has an answer", "give rows that belong together")
    return summed(name, ranked(scores[kept], right[kept]))


def ranked(scores: Floats, right: Table) -> Ranks:
    """The ranks of queries, each with a right item."""
    shares, items = right.sum(1), right.shape[1]
    chances = (chance_of(shares, items, 1), chance_of(shares, items, 10))
    return Ranks(first_ranks(scores, right), items, *chances)


def summed(name: str, found: Ranks) -> Found:
    """Ranks as shares with intervals."""
    hits = [int((found.ranks <= k).sum()) for k in (1, 10)]
    return Found(
        name=name,
        queries=len(found.ranks),
        items=found.items,
        recall_1=hits[0] / len(found.ranks),
        interval_1=wilson(hits[0], len(found.ranks)),
        recall_10=hits[1] / len(found.ranks),
        interval_10=wilson(hits[1], len(found.ranks)),
        mrr=float((1 / found.ranks).mean()),
        chance_1=found.chance_1,
        chance_10=found.chance_10,
    )


def mean_of(name: str, groups: Sequence[Ranks]) -> Found:
    """The mean of groups (languages, speakers), each counting as much as any other."""
    ones, tens = ([(group.ranks <= k).astype(float) for group in groups] for k in (1, 10))
    return Found(
        name=name,
        queries=sum(len(group.ranks) for group in groups),
        items=max(group.items for group in groups),
        recall_1=float(np.mean([one.mean() for one in ones])),
        interval_1=bootstrap_macro(ones, resamples=500),
        recall_10=float(np.mean([ten.mean() for ten in tens])),
        interval_10=bootstrap_macro(tens, resamples=500),
        mrr=float(np.mean([(1 / group.ranks).mean() for group in groups])),
        chance_1=float(np.mean([group.chance_1 for group in groups])),
        chance_10=float(np.mean([group.chance_10 for group in groups])),
    )


def joined(groups: Sequence[Ranks]) -> Ranks:
    """Ranks of several groups as one, chance weighted by their queries."""
    counts = np.array([len(group.ranks) for group in groups], float)
    share = counts / counts.sum()
    return Ranks(
        np.concatenate([group.ranks for group in groups]),
        max(group.items for group in groups),
        float(share @ [group.chance_1 for group in groups]),
        float(share @ [group.chance_10 for group in groups]),
    )


def first_ranks(scores: Floats, right: Table) -> NDArray[np.int64]:
    """The rank, from 1, of each query's best right item; wrong items of an equal score stand before it."""
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    return np.asarray(((scores >= best) & ~right).sum(axis=1) + 1, np.int64)


def chance_of(shares: NDArray[Any], items: int, k: int) -> float:
    """The recall at k that a shuffled order has: 1 - C(items - right, k) / C(items, k), exactly."""
    k = min(k, items)
    steps = np.arange(k)
    left = np.clip(items - shares[:, None] - steps, 0, None) / (items - steps)
    return float((1 - left.prod(axis=1)).mean())


def colours(picture: Any, bins: int = 6) -> Floats:
    """The floor of image to image: the root of a histogram [bins³] of RGB, of unit length."""
    values = np.asarray(picture.convert("RGB").resize((64, 64)), np.int64) * bins // 256
    codes = (values[..., 0] * bins + values[..., 1]) * bins + values[..., 2]
    counts = np.bincount(codes.ravel(), minlength=bins**3).astype(np.float32)
    return np.asarray(np.sqrt(counts / counts.sum()), np.float32)


def table(found: Sequence[Found]) -> str:
    """Directions as rows of Markdown."""
    lines = [
        "| direction | queries | items | recall@1 | recall@10 | MRR | chance@1 | chance@10 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        first = f"{one.recall_1:.3f} ({one.interval_1[0]:.3f}–{one.interval_1[1]:.3f})"
        tenth = f"{one.recall_10:.3f} ({one.interval_10[0]:.3f}–{one.interval_10[1]:.3f})"
        lines.append(
            f"| {one.name} | {one.queries:,} | {one.items:,} | {first} | {tenth} | {one.mrr:.3f}"
            f" | {one.chance_1:.3f} | {one.chance_10:.3f} |"
        )
    return "\n".join(lines)
