"""Names of two graphs as vectors and spellings, and how alike two entities are by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lingxi.apps.align.records import Graph
from lingxi.apps.align.settings import AlignSettings
from lingxi.apps.align.sounds import sketched, spelled
from lingxi.apps.align.structure import Ints, products
from lingxi.apps.align.words import contexts, names_of
from lingxi.encoding import Encode
from lingxi.vectors import Floats, cut

# Names of an entity that are compared; its own comes first.
_MOST_NAMES = 6


@dataclass(frozen=True, slots=True)
class Names:
    """Names of one graph, in the order of its entities: entity e has rows first[e] to first[e + 1].

    `meant` [names, dim] are their vectors, `spelled` [names, n-grams] their spellings (sparse), both of unit
    length; `search` [entities, width] is one vector an entity, for finding candidates.
    """

    texts: tuple[str, ...]
    first: Ints
    meant: Floats
    spelled: Any
    search: Floats


def name_both(left: Graph, right: Graph, encode: Encode, settings: AlignSettings) -> tuple[Names, Names]:
    """The names of two graphs, embedded and spelled by the same measure."""
    texts, firsts = zip(*(_listed(graph) for graph in (left, right)), strict=True)
    rows = spelled(*texts)
    sides = zip((left, right), texts, firsts, rows, strict=True)
    named = [_named(*side, encode, settings) for side in sides]
    return named[0], named[1]


def likeness(left: Names, right: Names, pairs: tuple[Ints, Ints], share: float) -> tuple[Floats, Ints]:
    """How alike each pair of entities is by its nearest names, about 0 to 1, and their rows [pairs, 2].

    `share` is that of the spelling. An entity without a name is like nothing: 0, and rows of -1.
    """
    best = np.zeros(len(pairs[0]), np.float32)
    rows = np.full((len(pairs[0]), 2), -1, np.int64)
    counts = [np.diff(side.first)[at] for side, at in zip((left, right), pairs, strict=True)]
    for one in range(int(counts[0].max(initial=0))):
        for other in range(int(counts[1].max(initial=0))):
            both = np.flatnonzero((counts[0] > one) & (counts[1] > other))
            at = left.first[pairs[0][both]] + one, right.first[pairs[1][both]] + other
            score = _likeness(left, right, at, share)
            better = (score > best[both]) | (rows[both, 0] < 0)
            best[both[better]] = score[better]
            rows[both[better]] = np.stack(at, axis=1)[better]
    return np.maximum(best, 0), rows


def _likeness(left: Names, right: Names, at: tuple[Ints, Ints], share: float) -> Floats:
    meant = np.zeros(len(at[0]), np.float32)
    for start in range(0, len(meant), 65_536):
        part = slice(start, start + 65_536)
        meant[part] = np.einsum("ij,ij->i", left.meant[at[0][part]], right.meant[at[1][part]])
    return (1 - share) * meant + share * products(left.spelled, right.spelled, *at)


def _listed(graph: Graph) -> tuple[list[str], Ints]:
    names = [names_of(entity)[:_MOST_NAMES] for entity in graph.entities]
    first = np.cumsum([0, *map(len, names)])
    return [name for each in names for name in each], first.astype(np.int64)


def _named(
    graph: Graph, texts: Sequence[str], first: Ints, rows: Any, encode: Encode, settings: AlignSettings
) -> Names:
    meant = encode(texts, None) if texts else np.zeros((0, 1), np.float32)
    spelling = sketched(rows, settings.sketch, settings.seed)
    about = _mean(meant, first)
    if settings.context:
        around = contexts(graph)
        told = np.array([bool(text) for text in around])
        mixed = (1 - settings.context) * about[told]
        about[told] = mixed + settings.context * encode([t for t in around if t], None)
    parts = (
        cut(about, about.shape[1]) * (1 - settings.spelling) ** 0.5,
        cut(_mean(spelling, first), settings.sketch) * settings.spelling**0.5,
    )
    return Names(tuple(texts), first, meant, rows, np.hstack(parts))


def _mean(rows: Floats, first: Ints) -> Floats:
    """Sums of the rows of each entity; their direction is what counts."""
    sums = np.zeros((len(first) - 1, rows.shape[1]), np.float32)
    np.add.at(sums, np.repeat(np.arange(len(first) - 1), np.diff(first)), rows)
    return sums
