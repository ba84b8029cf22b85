"""The tuned weights merged with those before: how much of the new, chosen on dev rows of both kinds.

A share is scored by the new dev rows; what it loses on old ones beyond a tolerance counts three times. Old
documents are as they are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi.check import make_golden
from lingxi.merge.run import merge_models
from lingxi.merge.settings import MergeSettings
from lingxi.model.decoder import Decoder
from lingxi.model.files import read_decoder
from lingxi.model.tokens import read_tokens
from lingxi.records import Pair
from lingxi.train.lora import plain_copy
from lingxi.update.anchors import Held, NewRows, new_rows, vectors_of
from lingxi.update.settings import UpdateSettings

_LOSS_COUNTS = 3.0


@dataclass(frozen=True, slots=True)
class Tried:
    """A share of what was learnt: its score, what it loses on old dev rows, its values on the new ones."""

    share: float
    score: float
    lost: float
    new: NDArray[np.float64]


def search(
    model: Path, tuned: Path, new: Sequence[Pair], old: Held, settings: UpdateSettings
) -> tuple[float, list[Tried]]:
    """The share of `tuned` that dev rows ask for (0: none of it), and all that were tried."""
    trial = _Trial(model, tuned, new, old, settings)
    tried = [trial(share) for share in shares(settings.trials)]
    return choose(tried), tried


def write(model: Path, tuned: Path, share: float, settings: UpdateSettings, out: Path, card: str) -> None:
    """Merge `share` of the learnt weights (above 0, at most 1) into `model`, and write it to `out`."""
    merge = MergeSettings(method="linear", dtype=settings.dtype, weights=(1 - share, share))
    merge_models(merge, [model, tuned], out, make_golden, card=card)


def shares(trials: int) -> list[float]:
    """Shares of what was learnt that are tried: none, all, and `trials` between."""
    return [number / (trials + 1) for number in range(trials + 2)]


def choose(tried: Sequence[Tried]) -> float:
    """The largest share that is within one standard error of the best; 0 where that is the best.

    On few rows the best of several is often best by chance, and what is taken back of the learnt is lost:
    the error is that of the paired difference on the new rows (the rule of Breiman et al. 1984).
    """
    best = max(tried, key=lambda one: one.score)
    if not best.share:
        return 0.0
    near = [one.share for one in tried if best.score - one.score <= _error(one.new - best.new)]
    return max(near)


def _error(gaps: NDArray[np.float64]) -> float:
    return float(gaps.std() / np.sqrt(len(gaps)))


class _Trial:
    """Scores shares of what was learnt on dev rows, new and old."""

    def __init__(
        self, model: Path, tuned: Path, new: Sequence[Pair], old: Held, settings: UpdateSettings
    ) -> None:
        self._before, self._tuned = (read_decoder(place, torch.float32) for place in (model, tuned))
        tokens = read_tokens(model / "tokenizer.json", self._before.size.vocab)
        stored, most = read_decoder(old.model, torch.float32), settings.max_tokens
        self._new = new_rows(new, self._before, tokens, most)
        self._old = new_rows(old.pairs, stored, tokens, most) if old.pairs else None
        self._start = 0.0 if self._old is None else float(found(self._before, self._old, stored=True).mean())
        self._tolerance = settings.tolerance

    def __call__(self, share: float) -> Tried:
        """A share, measured; what old rows lose beyond the tolerance counts three times."""
        old, new = self._before.state_dict(), self._tuned.state_dict()
        decoder = plain_copy(self._before, {name: torch.lerp(old[name], new[name], share) for name in old})
        values = found(decoder, self._new, stored=False)
        lost = 0.0
        if self._old is not None:
            lost = self._start - float(found(decoder, self._old, stored=True).mean())
        score = float(values.mean()) - _LOSS_COUNTS * max(0.0, lost - self._tolerance)
        return Tried(share, score, lost, values)


def found(decoder: Decoder, rows: NewRows, *, stored: bool) -> NDArray[np.float64]:
    """nDCG@10 (0 to 1) of each query among the rows' documents, as they are `stored` or embedded anew."""
    documents = rows.vectors if stored else vectors_of(decoder, rows.documents)
    scores = (vectors_of(decoder, rows.queries) @ documents.T).numpy()
    own = scores[np.arange(len(scores)), rows.right]
    # A document of the same group is right too, and no rival.
    rivals = np.where(rows.groups[None, :] == rows.alike[:, None], -np.inf, scores)
    rank = (rivals > own[:, None]).sum(1)
    return np.where(rank < 10, 1 / np.log2(rank + 2), 0.0)
