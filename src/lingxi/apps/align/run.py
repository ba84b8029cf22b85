"""The flow of an alignment: name, find, carry over the triples, match, judge, say how sure and why."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lingxi.apps.align import assign, confidence
from lingxi.apps.align.assign import Pairs
from lingxi.apps.align.explain import Reasons
from lingxi.apps.align.features import features_of, nearest_names
from lingxi.apps.align.judge import Judge, judged
from lingxi.apps.align.naming import Names, name_both
from lingxi.apps.align.nearest import Candidates
from lingxi.apps.align.records import Alignment, Graph, Match
from lingxi.apps.align.settings import AlignSettings
from lingxi.apps.align.structure import Edges, edges_of
from lingxi.apps.align.weigh import Weighed, by_names, candidates, carried
from lingxi.encoding import Encoder, encoder
from lingxi.errors import InputError
from lingxi.vectors import Floats


@dataclass(frozen=True, slots=True)
class _Work:
    """What the steps of one alignment share."""

    graphs: tuple[Graph, Graph]
    names: tuple[Names, Names]
    edges: tuple[Edges, Edges]
    given: Pairs
    settings: AlignSettings


def align(
    left: Graph,
    right: Graph,
    embedder: Encoder,
    *,
    seeds: Sequence[tuple[str, str]] = (),
    reranker: Judge | None = None,
    settings: AlignSettings | None = None,
    progress: bool | None = False,
) -> Alignment:
    """Pairs of entities of two graphs that mean the same, how sure and why.

    `seeds` are pairs of ids known to be the same: they are matched as given, and teach which relation of one
    graph is which of the other. `reranker` is asked about left entities whose first candidates are close.
    Without triples on both sides, names alone decide. Raises InputError for a seed that names an unknown
    entity, or one twice, and MissingExtraError without the libraries of the extra `graphs`.
    """
    clock, wanted = _Clock(), settings or AlignSettings()
    given = _rows_of(seeds, left, right)
    named = name_both(left, right, encoder(embedder, progress=progress), wanted)
    work = _Work((left, right), named, (edges_of(left), edges_of(right)), given, wanted)
    clock.mark("names")
    weighed = by_names(work.names, wanted)
    clock.mark("candidates")
    for _ in range(_rounds(work)):
        weighed = carried(weighed, work.names, work.edges, given, wanted)
    clock.mark("structure")
    found = candidates(weighed, len(left.entities), wanted)
    free = assign.transport(found, len(right.entities), wanted.temperature)
    asked: dict[tuple[int, int], float] = {}
    if reranker is not None:
        free, asked = judged(free, work.graphs, reranker, wanted)
    calibration = _calibrated(work, weighed, free)
    shares, chosen = _decided(work, found, free)
    names = nearest_names(work.names, chosen, wanted)
    features = features_of(weighed, free, chosen, names)
    sure = confidence.confidences(features, calibration)
    matches = tuple(_matches(work, weighed, chosen, names, features, sure, asked))
    clock.mark("matching")
    return Alignment(left, right, matches, shares.rows, shares.scores, calibration.source, clock.seconds)


def _rounds(work: _Work) -> int:
    told = all(len(side.owner) for side in work.edges) and work.settings.structure > 0
    return work.settings.rounds if told else 0


def _decided(work: _Work, found: Candidates, free: Candidates) -> tuple[Candidates, Pairs]:
    """Shares with the given pairs in their place, and the pairs of the matching, given ones among them."""
    shares = _with_given(free, work.given)
    columns = len(work.graphs[1].entities)
    if work.settings.matching == "transport":
        return shares, assign.greedy(shares, columns)
    if work.settings.matching == "mutual":
        return shares, assign.mutual(shares, columns)
    chosen = assign.assigned(_with_given(found, work.given), columns)
    return shares, chosen


def _with_given(found: Candidates, given: Pairs) -> Candidates:
    """Candidates in which a given pair stands alone: its left has no other, its right is nobody else's."""
    rows, scores = found.rows.copy(), found.scores.copy()
    taken = np.isin(rows, given[:, 1])
    rows[taken], scores[taken] = -1, -np.inf
    rows[given[:, 0]], scores[given[:, 0]] = -1, -np.inf
    rows[given[:, 0], 0], scores[given[:, 0], 0] = given[:, 1], 1.0
    order = np.argsort(rows < 0, axis=1, kind="stable")
    return Candidates(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))


def _calibrated(work: _Work, weighed: Weighed, free: Candidates) -> confidence.Calibration:
    """Fitted to the seeds, each matched as if it were not given, where they are enough."""
    shipped = confidence.WITH_TRIPLES if _rounds(work) else confidence.NAMES_ALONE
    if len(work.given) < confidence.FEWEST_SEEDS:
        return shipped
    chosen = assign.greedy(free, len(work.graphs[1].entities))
    seeded = chosen[np.isin(chosen[:, 0], work.given[:, 0])]
    true = dict(work.given.tolist())
    right = np.array([true[a] == b for a, b in seeded.tolist()], bool)
    features = features_of(weighed, free, seeded, nearest_names(work.names, seeded, work.settings))
    return confidence.of_seeds(features, right, shipped)


def _matches(
    work: _Work,
    weighed: Weighed,
    chosen: Pairs,
    names: Sequence[tuple[str, str]],
    features: Floats,
    sure: Floats,
    asked: Mapping[tuple[int, int], float],
) -> Iterator[Match]:
    """The chosen pairs as matches, the surest first; given ones are sure."""
    true = set(map(tuple, work.given.tolist()))
    sure = np.where([tuple(pair) in true for pair in chosen.tolist()], 1.0, sure)
    reasons = Reasons(work.graphs, work.edges, weighed.image, weighed.sure)
    for number in np.argsort(-sure, kind="stable").tolist():
        pair = int(chosen[number, 0]), int(chosen[number, 1])
        share, text, _, agreed, mutual = (round(float(value), 4) for value in features[number])
        yield Match(
            left=work.graphs[0].entities[pair[0]].id,
            right=work.graphs[1].entities[pair[1]].id,
            confidence=round(float(sure[number]), 4),
            names=names[number],
            text=text,
            structure=agreed,
            share=share,
            mutual=bool(mutual),
            neighbours=reasons.of(*pair),
            reranked=asked.get(pair),
            given=pair in true,
        )


def _rows_of(seeds: Sequence[tuple[str, str]], left: Graph, right: Graph) -> NDArray[np.int64]:
    """Seeds as rows [seeds, 2]; raises InputError for one that names an unknown entity, or one twice."""
    rows = [{entity.id: row for row, entity in enumerate(graph.entities)} for graph in (left, right)]
    for side, graph in enumerate((left, right)):
        named = [pair[side] for pair in seeds]
        absent = next((key for key in named if key not in rows[side]), None)
        if absent is not None:
            raise InputError(f"a seed names {absent!r}, which {graph.name} does not have", "mend the seeds")
        if len(set(named)) < len(named):
            raise InputError(f"the seeds name an entity of {graph.name} twice", "give each one pair")
    return np.array([(rows[0][a], rows[1][b]) for a, b in seeds], np.int64).reshape(-1, 2)


class _Clock:
    """Seconds between marks."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Give the time since the last mark a name."""
        now = time.perf_counter()
        self.seconds[name], self._last = round(now - self._last, 3), now
