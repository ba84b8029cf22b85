"""Pairs under consideration: proposed by names and by neighbours, and weighed by both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lingxi.apps.align import assign
from lingxi.apps.align.assign import Pairs
from lingxi.apps.align.naming import Names, likeness
from lingxi.apps.align.nearest import Candidates, apart
from lingxi.apps.align.settings import AlignSettings
from lingxi.apps.align.structure import Edges, Ints, agreement, evidence, proposed
from lingxi.vectors import Floats

# The score from which on a match is trusted in full to speak for its neighbours.
_TRUSTED = 0.5


@dataclass(frozen=True, slots=True)
class Weighed:
    """Pairs of rows (left[i], right[i]), unique and in order, and what speaks for each.

    `like`: how alike their names are; `agree`: what their neighbours say. `image` [entities on the left] is
    what each was matched with when the neighbours were asked, or -1, and `sure` how much that was trusted.
    """

    left: Ints
    right: Ints
    like: Floats
    agree: Floats
    image: Ints
    sure: Floats

    def scores(self, structure: float) -> Floats:
        """One score a pair; `structure` is the share of the neighbours."""
        return (1 - structure) * self.like + structure * self.agree


def by_names(names: tuple[Names, Names], settings: AlignSettings) -> Weighed:
    """The pairs that names propose; no neighbour has been asked."""
    found = apart(names[0].search, names[1].search, settings.candidates)
    left = np.repeat(np.arange(len(found.rows)), found.rows.shape[1])
    key = np.unique(left * len(names[1].search) + found.rows.ravel())
    left, right = np.divmod(key, len(names[1].search))
    like, _ = likeness(*names, (left, right), settings.spelling)
    count = len(names[0].search)
    image, sure = np.full(count, -1, np.int64), np.zeros(count, np.float32)
    return Weighed(left, right, like, np.zeros(len(left), np.float32), image, sure)


def carried(
    before: Weighed,
    names: tuple[Names, Names],
    edges: tuple[Edges, Edges],
    given: Pairs,
    wanted: AlignSettings,
) -> Weighed:
    """The pairs after a round: matches are read off, their neighbours proposed, and all weighed anew."""
    image, sure = _trusted(before, edges, given, wanted)
    rows = evidence(*edges, image, sure)
    near = proposed(rows, wanted.candidates)
    columns = edges[1].entities
    old = before.left * columns + before.right
    key = np.unique(np.concatenate([old, near[0] * columns + near[1]]))
    left, right = np.divmod(key, columns)
    like = np.zeros(len(key), np.float32)
    place = np.searchsorted(key, old)
    like[place] = before.like
    fresh = np.ones(len(key), bool)
    fresh[place] = False
    like[fresh], _ = likeness(*names, (left[fresh], right[fresh]), wanted.spelling)
    return Weighed(left, right, like, agreement(rows, left, right), image, sure)


def candidates(weighed: Weighed, rows: int, settings: AlignSettings) -> Candidates:
    """The best-scored pairs of each left entity."""
    # Before any neighbour was asked, names say all there is to say.
    share = settings.structure if weighed.agree.any() else 0.0
    scores = weighed.scores(share)
    return assign.packed(weighed.left, weighed.right, scores, rows, settings.candidates)


def _trusted(
    weighed: Weighed, edges: tuple[Edges, Edges], given: Pairs, settings: AlignSettings
) -> tuple[Ints, Floats]:
    """What each left entity is held to be, and how sure: given pairs fully, others by share and score."""
    image, sure = np.full(edges[0].entities, -1, np.int64), np.zeros(edges[0].entities, np.float32)
    found = candidates(weighed, edges[0].entities, settings)
    shares = assign.transport(found, edges[1].entities, settings.temperature)
    left, right = assign.mutual(shares, edges[1].entities).T
    taken = np.isin(right, given[:, 1])
    left, right = left[~taken], right[~taken]
    image[left] = right
    sure[left] = shares.scores[left, 0] * np.clip(found.scores[left, 0] / _TRUSTED, 0, 1)
    image[given[:, 0]], sure[given[:, 0]] = given[:, 1], 1.0
    return image, sure
