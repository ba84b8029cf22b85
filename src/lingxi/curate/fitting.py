"""Do captions agree with their pictures? Each item is judged by a head that was fitted without its group.

Of an item's caption it is asked how many captions of others the head prefers for its picture: 0 is perfect
agreement, 0.5 chance, 1 a caption that fits everything else better. A few at the far end are wrong labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lingxi.records import drawn
from lingxi.vectors import Floats

# Features and captions' vectors of items to a function from features to vectors.
Fit = Callable[[Floats, Floats], Callable[[Floats], Floats]]
FOLDS = 4


def disagreement(features: Floats, means: Floats, groups: Sequence[str], fit: Fit) -> NDArray[np.float64]:
    """The share [items] of other items' captions that suit an item's features [items, n] better than its own.

    `means` [items, dim] are unit vectors of captions, `fit` makes the judge of three quarters of the groups.
    """
    folds = np.array([drawn(7, group) % FOLDS for group in groups])
    out = np.full(len(features), 0.5)
    for fold in range(FOLDS):
        learned, judged = np.nonzero(folds != fold)[0], np.nonzero(folds == fold)[0]
        if len(judged) < 2 or len(learned) < 2:
            continue
        scores = fit(features[learned], means[learned])(features[judged]) @ means[judged].T
        better = (scores > np.diag(scores)[:, None]).sum(1)
        out[judged] = better / (len(judged) - 1)
    return out
