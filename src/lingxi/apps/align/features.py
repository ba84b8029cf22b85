"""What speaks for a pair of entities, in numbers: `confidence` weighs them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lingxi.apps.align import assign
from lingxi.apps.align.assign import Pairs
from lingxi.apps.align.naming import Names, likeness
from lingxi.apps.align.nearest import Candidates
from lingxi.apps.align.settings import AlignSettings
from lingxi.apps.align.weigh import Weighed
from lingxi.apps.align.words import plain
from lingxi.vectors import Floats


def nearest_names(
    names: tuple[Names, Names], chosen: Pairs, settings: AlignSettings
) -> list[tuple[str, str]]:
    """The two names of each pair that are most alike; empty where one has none."""
    _, rows = likeness(*names, (chosen[:, 0], chosen[:, 1]), settings.spelling)
    return [(_name(names[0], a), _name(names[1], b)) for a, b in rows.tolist()]


def features_of(
    weighed: Weighed, shares: Candidates, chosen: Pairs, names: Sequence[tuple[str, str]]
) -> Floats:
    """What `confidence.FEATURES` are of each chosen pair [pairs, 5]; 0 where it was not considered."""
    left, right = chosen.T
    here = shares.rows[left] == right[:, None]
    share = np.where(here, shares.scores[left], 0).max(axis=1, initial=0)
    columns = int(max(shares.rows.max(initial=-1), right.max(initial=-1))) + 1
    each = set(map(tuple, assign.mutual(shares, columns).tolist()))
    both = np.array([tuple(pair) in each for pair in chosen.tolist()], np.float32)
    at = _places(weighed, left, right)
    like, agree = (np.where(at >= 0, values[at], 0) for values in (weighed.like, weighed.agree))
    alike = np.array([same(*pair) for pair in names], np.float32)
    return np.stack([share, like, alike, agree, both], axis=1).astype(np.float32)


def _places(weighed: Weighed, left: Pairs, right: Pairs) -> Pairs:
    """Where pairs stand among those weighed, or -1."""
    columns = int(max(weighed.right.max(initial=0), right.max(initial=0))) + 1
    known, key = weighed.left * columns + weighed.right, left * columns + right
    at = np.minimum(np.searchsorted(known, key), len(known) - 1)
    return np.where(known[at] == key, at, -1) if len(known) else np.full(len(key), -1)


def same(left: str, right: str) -> bool:
    """Whether two names are written the same, but for case, marks and punctuation."""
    return bool(plain(left)) and plain(left) == plain(right)


def _name(names: Names, row: int) -> str:
    return names.texts[row] if row >= 0 else ""
