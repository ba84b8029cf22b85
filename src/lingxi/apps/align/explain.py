"""Why two entities were matched: the neighbours that agree, and by which relations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from lingxi.apps.align.records import Agreement, Graph
from lingxi.apps.align.structure import Edges, Ints, alike
from lingxi.vectors import Floats

_MOST = 5


class Reasons:
    """Looks up what neighbours of a pair agree, from the last round's matches."""

    def __init__(
        self, graphs: tuple[Graph, Graph], edges: tuple[Edges, Edges], image: Ints, sure: Floats
    ) -> None:
        self._graphs, self._edges = graphs, edges
        self._image, self._sure = image, sure
        self._like: dict[tuple[int, int], float] = {}
        if (image >= 0).any():
            found = alike(*edges, image, sure).tocoo()
            pairs = zip(found.row.tolist(), found.col.tolist(), strict=True)
            self._like = dict(zip(pairs, found.data.tolist(), strict=True))
        self._of = [_by_owner(side) for side in edges]

    def of(self, left: int, right: int) -> tuple[Agreement, ...]:
        """At most five agreements of a pair of rows, the weightiest first, a neighbour once."""
        found = sorted(self._all(left, right), key=lambda a: -a.weight)
        return tuple({a.left_neighbour: a for a in reversed(found)}.values())[::-1][:_MOST]

    def _all(self, left: int, right: int) -> Iterator[Agreement]:
        there = defaultdict(list)
        for edge in self._of[1].get(right, ()):
            there[int(self._edges[1].neighbour[edge])].append(edge)
        for edge in self._of[0].get(left, ()):
            neighbour = int(self._edges[0].neighbour[edge])
            for other in there.get(int(self._image[neighbour]), ()):
                weight = self._weight(edge, other, neighbour)
                if weight > 0:
                    yield self._said(edge, other, weight)

    def _weight(self, edge: int, other: int, neighbour: int) -> float:
        left, right = self._edges
        like = self._like.get((int(left.relation[edge]), int(right.relation[other])), 0.0)
        return float((left.identifies[edge] * right.identifies[other] * like) ** 0.5 * self._sure[neighbour])

    def _said(self, edge: int, other: int, weight: float) -> Agreement:
        said = [
            (side.names[side.relation[at] // 2], graph.entities[side.neighbour[at]].id)
            for side, graph, at in zip(self._edges, self._graphs, (edge, other), strict=True)
        ]
        return Agreement(*said[0], *said[1], round(weight, 4))


def _by_owner(edges: Edges) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for edge, owner in enumerate(edges.owner.tolist()):
        found[owner].append(edge)
    return found
