"""What neighbours say: two entities are the same where the things they stand in the same relation to are.

After PARIS (Suchanek et al. 2011, arXiv 1111.7164), on arrays. Every triple is an edge both ways; an edge
identifies its owner by 1 / (number of owners with the same relation to the same neighbour). Relations are
alike by how often one holds between the images of what the other holds between. For a pair:

    agreement(x, y) = 1 - exp(-sum over edges x-r-n, y-s-m, n matched with m, of
                                 sqrt(identifies(x, r, n) · identifies(y, s, m) · alike(r, s)) · sure(n, m))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.apps.align.assign import scipy_sparse
from lingxi.apps.align.records import Graph
from lingxi.vectors import Floats

Ints = NDArray[np.int64]
# Relations less alike say nothing of each other; a share of few edges is held down by so many more.
_LEAST_ALIKE, _DOUBT = 0.05, 2.0
# What so many pairs have in common is too common to propose a pair by; it still counts for pairs proposed.
_MOST_IN_COMMON = 50_000
# Pairs and rows computed at a time.
_PAIRS, _ROWS = 200_000, 2048


@dataclass(frozen=True, slots=True)
class Edges:
    """Edges of a graph, both ways: `relation` is even the way the triple says it, odd (+1) against it.

    `identifies` [edges] is how much of an edge's owner is known by it, 0 to 1.
    """

    owner: Ints
    relation: Ints
    neighbour: Ints
    identifies: Floats
    names: tuple[str, ...]
    entities: int


def edges_of(graph: Graph) -> Edges:
    """The edges of a graph by the rows of its entities; what points to itself says nothing."""
    row = {entity.id: number for number, entity in enumerate(graph.entities)}
    names = sorted({triple.relation for triple in graph.triples})
    number = {name: at for at, name in enumerate(names)}
    listed = [(row[h], number[r], row[t]) for h, r, t in graph.triples if h != t]
    triples = np.unique(np.array(listed, np.int64).reshape(-1, 3), axis=0)
    head, relation, tail = triples.T
    owner, neighbour = np.concatenate([head, tail]), np.concatenate([tail, head])
    both = np.concatenate([2 * relation, 2 * relation + 1])
    key = both * len(row) + neighbour
    _, back, owners = np.unique(key, return_inverse=True, return_counts=True)
    identifies = (1 / owners[back.ravel()]).astype(np.float32)
    return Edges(owner, both, neighbour, identifies, tuple(names), len(row))


def alike(left: Edges, right: Edges, image: Ints, sure: Floats) -> Any:
    """How alike relations are [relations, relations], sparse, 0 to 1, from what is matched so far.

    `image` [left] is the right entity a left one is matched with, or -1, and `sure` [left] how sure that is.
    The share of r's edges between matched entities that hold as s on the other side, or the other way round
    where that is more.
    """
    sparse = scipy_sparse()
    known = (image[left.owner] >= 0) & (image[left.neighbour] >= 0)
    owner, neighbour = left.owner[known], left.neighbour[known]
    weight = np.sqrt(sure[owner] * sure[neighbour])
    mapped = np.zeros(right.entities, bool)
    mapped[image[image >= 0]] = True
    inside = mapped[right.owner] & mapped[right.neighbour]
    here = image[owner] * right.entities + image[neighbour]
    there = right.owner[inside] * right.entities + right.neighbour[inside]
    keys, at = np.unique(np.concatenate([here, there]), return_inverse=True)
    shape = 2 * len(left.names), len(keys)
    first = sparse.csr_matrix((weight, (left.relation[known], at[: len(here)])), shape)
    shape = 2 * len(right.names), len(keys)
    second = sparse.csr_matrix((np.ones(len(there)), (right.relation[inside], at[len(here) :])), shape)
    shared = (first @ second.T).tocoo()
    own, other = (np.asarray(side.sum(axis=1)).ravel() + _DOUBT for side in (first, second))
    share = np.minimum(np.maximum(shared.data / own[shared.row], shared.data / other[shared.col]), 1.0)
    kept = share > _LEAST_ALIKE
    return sparse.csr_matrix((share[kept], (shared.row[kept], shared.col[kept])), shared.shape)


def evidence(left: Edges, right: Edges, image: Ints, sure: Floats) -> tuple[Any, Any]:
    """Sparse rows [left, keys] and [right, keys] whose product is the sum in `agreement`.

    A key is a right relation with a right neighbour; a left entity has it through the image of its own.
    """
    sparse = scipy_sparse()
    likeness = alike(left, right, image, sure)
    edge = np.flatnonzero(image[left.neighbour] >= 0)
    start = likeness.indptr[left.relation[edge]]
    count = likeness.indptr[left.relation[edge] + 1] - start
    # Each edge once for every relation that its own is like.
    each = np.repeat(np.arange(len(edge)), count)
    at = start[each] + np.arange(len(each)) - np.repeat(np.cumsum(count) - count, count)
    edge = edge[each]
    weight = np.sqrt(left.identifies[edge] * likeness.data[at]) * sure[left.neighbour[edge]]
    here = likeness.indices[at].astype(np.int64) * right.entities + image[left.neighbour[edge]]
    there = right.relation * right.entities + right.neighbour
    keys, place = np.unique(np.concatenate([here, there]), return_inverse=True)
    width = len(keys)
    first = sparse.csr_matrix(
        (weight, (left.owner[edge], place[: len(here)])), (left.entities, width), dtype=np.float32
    )
    second = sparse.csr_matrix(
        (np.sqrt(right.identifies), (right.owner, place[len(here) :])),
        (right.entities, width),
        dtype=np.float32,
    )
    return first, second


def agreement(rows: tuple[Any, Any], left: Ints, right: Ints) -> Floats:
    """What neighbours say of each pair (left[i], right[i]), 0 to 1."""
    return np.asarray(1 - np.exp(-products(*rows, left, right)), np.float32)


def products(first: Any, second: Any, left: Ints, right: Ints) -> Floats:
    """Products of sparse rows, first[left[i]] · second[right[i]], a block at a time."""
    out = np.zeros(len(left), np.float32)
    for start in range(0, len(left), _PAIRS):
        part = slice(start, start + _PAIRS)
        out[part] = np.asarray(first[left[part]].multiply(second[right[part]]).sum(axis=1)).ravel()
    return out


def proposed(rows: tuple[Any, Any], k: int) -> tuple[Ints, Ints]:
    """Pairs with neighbours in common, at most the best `k` of each left entity: rows left, rows right."""
    first, second = rows
    common = first.getnnz(axis=0) * second.getnnz(axis=0)
    kept = np.flatnonzero((common > 0) & (common <= _MOST_IN_COMMON))
    first, second = first[:, kept], second[:, kept].T.tocsr()
    empty = np.empty(0, np.int64)
    parts = [(empty, empty)]
    for start in range(0, first.shape[0], _ROWS):
        owner, other = _best((first[start : start + _ROWS] @ second).tocsr(), k)
        parts.append((owner + start, other))
    owners, others = zip(*parts, strict=True)
    return np.concatenate(owners), np.concatenate(others)


def _best(found: Any, k: int) -> tuple[Ints, Ints]:
    """Rows and columns of the largest `k` of each row of a sparse matrix."""
    owner = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    order = np.lexsort((-found.data, owner))
    owner, other = owner[order], found.indices[order].astype(np.int64)
    rank = np.arange(len(owner)) - found.indptr[owner]
    return owner[rank < k], other[rank < k]
