"""Which documents of a batch are right for which query: by the ids of all known positives, not by place.

A mined negative of one row that is a positive of another is wrong for the one and right for the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi.train import losses
from lingxi.train.store import Candidate, Row


@dataclass(frozen=True, slots=True)
class Drawn:
    """The documents of a batch of n rows and what is known of them; D documents in all.

    documents      texts: one positive a row, in the order of the rows; then further positives; then negatives
    owner          [D] the row each was drawn for
    relevant       [n, D] whether a document is right for a query
    same_query     [n, n] whether two queries are one text, under whatever instruction
    grades         [D] the document's grade or teacher's score for its own row, NaN where there is none
    similarities   [n] the graded similarity of the row, NaN where there is none
    own_positives  how many negatives were left out because they are positives of their own row
    """

    documents: tuple[str, ...]
    owner: NDArray[np.int64]
    relevant: NDArray[np.bool_]
    same_query: NDArray[np.bool_]
    grades: NDArray[np.float32]
    similarities: NDArray[np.float32]
    own_positives: int

    def relevance(self, device: torch.device | str = "cpu") -> losses.Relevance:
        """The same as the losses read it: every document that is right for a query is a target of it."""
        # A query is the same as another where it shares a text or a positive with it.
        rows = len(self.same_query)
        shared = self.relevant[:, :rows]
        same = self.same_query | shared | shared.T
        known = (self.relevant, same, self.owner)
        return losses.Relevance(*(torch.from_numpy(each.copy()) for each in known)).to(device)


def documents_of(
    rows: Sequence[Row], rng: np.random.Generator, *, more_positives: int = 0, negatives: int = 0
) -> Drawn:
    """Draw a batch's documents: a positive a row, up to `more_positives` others, up to `negatives` mined.

    A document is right for a query where its id or its text is that of a positive of the row, or of a row
    with the same query and instruction; a positive is, too, where its row is of the same group. Groups are
    not asked between rows with the same query under other instructions: those contrast.
    """
    right = [_drawn(row.positives, rng, 1 + more_positives) for row in rows]
    apart = [_negatives(row) for row in rows]
    wrong = [_drawn(kept, rng, negatives) for kept, _ in apart]
    parts = [[(i, each) for i, found in enumerate(right) for each in found[:1]]]
    parts += [[(i, each) for i, found in enumerate(right) for each in found[1:]]]
    parts += [[(i, each) for i, found in enumerate(wrong) for each in found]]
    columns = [each for part in parts for each in part]
    owner = np.array([i for i, _ in columns], np.int64)
    documents = [each for _, each in columns]
    same_query = _equal([row.query for row in rows])
    positives = len(parts[0]) + len(parts[1])
    return Drawn(
        tuple(each.text for each in documents),
        owner,
        _relevant(rows, documents, owner[:positives], same_query),
        same_query,
        np.array([each.score for each in documents], np.float32),
        np.array([row.similarity for row in rows], np.float32),
        sum(dropped for _, dropped in apart),
    )


def _drawn(found: Sequence[Candidate], rng: np.random.Generator, most: int) -> list[Candidate]:
    return [found[i] for i in rng.permutation(len(found))[:most]]


def _negatives(row: Row) -> tuple[list[Candidate], int]:
    """A row's negatives without its positives, each text once; and how many were its positives."""
    ids, texts = {each.id for each in row.positives}, {each.text for each in row.positives}
    kept = [each for each in row.negatives if each.id not in ids and each.text not in texts]
    return list({each.text: each for each in kept}.values()), len(row.negatives) - len(kept)


def _equal(values: Sequence[object]) -> NDArray[np.bool_]:
    """[n, n]: where two values are equal."""
    known: dict[object, int] = {}
    numbers = np.array([known.setdefault(value, len(known)) for value in values], np.int64)
    return np.asarray(numbers[:, None] == numbers)


def _relevant(
    rows: Sequence[Row],
    documents: Sequence[Candidate],
    owner: NDArray[np.int64],
    same_query: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """[n, D] by ids, texts and groups; `owner` is that of the positives, which stand first."""
    places: defaultdict[object, list[int]] = defaultdict(list)
    for column, each in enumerate(documents):
        places[each.id].append(column)
        places[each.text].append(column)
    known: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for row in rows:
        for each in row.positives:
            known[row.query, row.instruction].update(places.get(each.id, ()), places.get(each.text, ()))
    found = np.zeros((len(rows), len(documents)), np.bool_)
    for i, row in enumerate(rows):
        found[i, list(known[row.query, row.instruction])] = True
    instructions = _equal([row.instruction for row in rows])
    kin = _equal([row.group for row in rows]) & (instructions | ~same_query)
    found[:, : len(owner)] |= kin[:, owner]
    return found
