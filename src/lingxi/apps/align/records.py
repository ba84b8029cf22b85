"""The words of alignment: entities and triples of a graph, and what was found between two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError


class Triple(NamedTuple):
    """`head` stands in `relation` to `tail`; head and tail are ids of entities."""

    head: str
    relation: str
    tail: str


@dataclass(frozen=True, slots=True)
class Entity:
    """One thing of a graph; `id` is its own within the graph, the name may be empty."""

    id: str
    name: str
    description: str = ""
    aliases: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """Entities and what holds between them; `notes` say in words what was left out or merged on reading."""

    name: str
    entities: tuple[Entity, ...]
    triples: tuple[Triple, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Agreement:
    """A neighbour of the left entity that is matched with a neighbour of the right one.

    `weight`, 0 to 1, is what it says for the pair: how identifying both relations are, times the
    confidence that the neighbours are the same.
    """

    left_relation: str
    left_neighbour: str
    right_relation: str
    right_neighbour: str
    weight: float


@dataclass(frozen=True, slots=True)
class Match:
    """Two entities held to be the same, how sure (0 to 1), and why.

    `names` are the two names that are most alike, and `text` says how much (embedder and spelling, about 0 to
    1); `structure` is what the neighbours say (0 to 1); `share` is what the transport plan gives the pair of
    the left entity (0 to 1); `mutual`: each is the other's best; `reranked` is the reranker's probability
    where it was asked; `given`: a seed.
    """

    left: str
    right: str
    confidence: float
    names: tuple[str, str]
    text: float
    structure: float
    share: float
    mutual: bool
    neighbours: tuple[Agreement, ...] = ()
    reranked: float | None = None
    given: bool = False


@dataclass(frozen=True, slots=True)
class Alignment:
    """Matches by falling confidence, at most one of each entity, and every left entity's candidates.

    `candidates` [left, k] are rows of `right.entities`, best first, `scores` [left, k] their scores (-1 and
    -inf where there are fewer). `calibration` says where the confidences come from.
    """

    left: Graph
    right: Graph
    matches: tuple[Match, ...]
    candidates: NDArray[np.int64]
    scores: NDArray[np.float32]
    calibration: str
    seconds: Mapping[str, float]

    def nearest(self, left: str, top_k: int = 10) -> list[tuple[str, float]]:
        """Ids of the right entities nearest to a left one, best first, with scores.

        Raises InputError for an id that the left graph does not have.
        """
        row = next((n for n, entity in enumerate(self.left.entities) if entity.id == left), None)
        if row is None:
            raise InputError(f"{self.left.name} has no entity {left!r}", "give the id of one that it has")
        pairs = zip(self.candidates[row, :top_k], self.scores[row, :top_k], strict=True)
        return [(self.right.entities[int(at)].id, float(score)) for at, score in pairs if at >= 0]


def graph_of(
    name: str, entities: Iterable[Entity], triples: Iterable[Triple] = (), notes: Sequence[str] = ()
) -> Graph:
    """A graph of entities and triples; what cannot stay is left out, and said in `notes`.

    A triple counts once, and not at all where it names an entity that is not there. Raises InputError
    for an id that two different entities have, and for a graph without entities.
    """
    known: dict[str, Entity] = {}
    for entity in entities:
        before = known.setdefault(entity.id, entity)
        if before != entity:
            reason = f"{name}: the id {entity.id!r} is that of {before.name!r} and of {entity.name!r}"
            raise InputError(reason, "give each entity an id of its own, or merge the two")
    if not known:
        raise InputError(f"{name}: no entities", "give a file that names some")
    listed = list(dict.fromkeys(triples))
    kept = [t for t in listed if t.head in known and t.tail in known]
    notes = [*notes, *_dangling(name, listed, known)]
    return Graph(name, tuple(known.values()), tuple(kept), tuple(notes))


def _dangling(name: str, triples: Sequence[Triple], known: Mapping[str, Any]) -> list[str]:
    lost = [t for t in triples if t.head not in known or t.tail not in known]
    if not lost:
        return []
    first = lost[0]
    absent = first.head if first.head not in known else first.tail
    return [f"{name}: {len(lost)} triples name an entity that is not there (the first: {absent!r}); left out"]
