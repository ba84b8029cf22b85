"""Which documents of a batch are right for which query, told by ids and never by vectors.

Two encodings of one text differ by dropout and rounding, so only ids can say that a document is a
known positive (sentence-transformers#3260).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lingxi.errors import InputError

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Relevance:
    """What is known of a batch of n queries and D documents, the first n being the rows' own positives.

    `relevant` [n, D] bool: every document known to be right for the query, or equal to one by id.
    `same_query` [n, n] bool: equal queries, or queries that share a positive. `owner` [D] int: the
    row that brought the document. `grades` [n, D]: how right a relevant document is; a target
    weighs 2^grade − 1, so grade 0 means neither target nor negative. Without grades all relevant
    documents are targets of equal weight. Raises InputError where these do not fit each other.
    """

    relevant: Tensor
    same_query: Tensor
    owner: Tensor
    grades: Tensor | None = None

    def __post_init__(self) -> None:
        n, documents = self.relevant.shape
        shapes = (self.same_query.shape, self.owner.shape, (n, documents))
        graded = self.relevant.shape if self.grades is None else self.grades.shape
        _require((*shapes, graded) == ((n, n), (documents,), (n, documents), (n, documents)), "shapes differ")
        _require(documents >= n, "there are fewer documents than queries")
        own = torch.arange(n, device=self.owner.device)
        _require(bool((self.owner[:n] == own).all()), "document i is not brought by row i")
        _require(bool(self.relevant.diagonal().all()), "a row's own positive is not relevant to it")
        _require(bool(self.same_query.diagonal().all()), "a query is not the same as itself")
        _require(self.grades is None or bool((self.grades >= 0).all()), "a grade is below 0")
        _require(bool((self.weights().sum(1) > 0).all()), "a row has no target: all its grades are 0")

    def weights(self) -> Tensor:
        """Weight of each document as a target of each query [n, D]: 2^grade − 1, 0 where not relevant."""
        if self.grades is None:
            return self.relevant.to(torch.get_default_dtype())
        return torch.where(self.relevant, torch.exp2(self.grades) - 1, 0.0)

    def own(self) -> Tensor:
        """[n, D] bool: true where the row itself brought the document."""
        rows = torch.arange(len(self.relevant), device=self.owner.device)
        return rows[:, None] == self.owner[None, :]

    def to(self, device: torch.device | str) -> Relevance:
        """The same on another device."""
        grades = None if self.grades is None else self.grades.to(device)
        return Relevance(self.relevant.to(device), self.same_query.to(device), self.owner.to(device), grades)


def relevance_of_ids(
    queries: Sequence[Hashable],
    documents: Sequence[Hashable],
    owner: Sequence[int],
    right: Sequence[Mapping[Hashable, float]],
) -> Relevance:
    """Relevance from ids: of n queries, of D documents (the rows' own positives first), and their owners.

    `right[i]` maps the id of every document known right for query i, in the batch or not, to its
    grade; rows of one query share what is known. Of documents with one id a row has one target, its
    own if it brought any, so a copy weighs nothing. Raises InputError where an own positive is
    not known right.
    """
    of_rows = _shared(queries, right)
    columns = _places([[document] for document in documents])
    relevant = np.zeros((len(queries), len(documents)), dtype=np.bool_)
    grades = np.zeros(relevant.shape, dtype=np.float32)
    for i, known in enumerate(of_rows):
        for document in known.keys() & columns.keys():
            copies = columns[document]
            relevant[i, copies] = True
            grades[i, next((c for c in copies if owner[c] == i), copies[0])] = known[document]
    same = np.zeros((len(queries), len(queries)), dtype=np.bool_)
    for sharing in _places(of_rows).values():
        same[np.ix_(sharing, sharing)] = True
    return Relevance(*map(torch.from_numpy, (relevant, same, np.array(owner), grades)))


def _shared(
    queries: Sequence[Hashable], right: Sequence[Mapping[Hashable, float]]
) -> list[dict[Hashable, float]]:
    """What is known right for each row, by any row of its query; the highest grade counts."""
    known: dict[Hashable, dict[Hashable, float]] = {}
    for query, grades in zip(queries, right, strict=True):
        shared = known.setdefault(query, {})
        shared |= {document: max(grade, shared.get(document, grade)) for document, grade in grades.items()}
    return [known[query] for query in queries]


def _places(ids: Iterable[Iterable[Hashable]]) -> dict[Hashable, list[int]]:
    """Where each id stands."""
    places: dict[Hashable, list[int]] = {}
    for place, found in enumerate(ids):
        for one in found:
            places.setdefault(one, []).append(place)
    return places


def _require(fits: bool, otherwise: str) -> None:
    if not fits:
        raise InputError(
            f"what is known of a batch does not fit it: {otherwise}",
            "give relevant [n, D], same_query [n, n], owner [D] and grades [n, D], own positives first",
        )
