"""The tuned weights merged with those before: how much of the new, chosen on dev rows of both kinds.

A merge is scored by the new dev rows; what it loses on old ones beyond a tolerance counts three times. Old
documents are as they are stored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lingxi.check import make_golden
from lingxi.merge.methods import State
from lingxi.merge.run import FILE, Dev, Merged, merge_models
from lingxi.merge.settings import MergeSettings, SearchSettings
from lingxi.model.decoder import Decoder
from lingxi.model.files import read_decoder
from lingxi.model.tokens import Tokens, read_tokens
from lingxi.records import Pair
from lingxi.train.lora import plain_copy
from lingxi.update.anchors import Held, NewRows, new_rows, vectors_of
from lingxi.update.settings import UpdateSettings

_LOSS_COUNTS = 3.0


def blend(
    model: Path,
    tuned: Path,
    new: Sequence[Pair],
    old: Held,
    settings: UpdateSettings,
    out: Path,
    card: str,
) -> Merged:
    """Merge `tuned` into `model` by the share given, or by what dev rows ask for; writes `out`."""
    if settings.share is not None:
        return with_share(model, tuned, settings.share, settings, out, card)
    before = read_decoder(model, torch.float32)
    tokens = read_tokens(model / "tokenizer.json", before.size.vocab)
    score = _Score(before, tokens, new, old, settings)
    search = SearchSettings(method="grid", trials=settings.trials)
    merge = MergeSettings(method="linear", dtype=settings.dtype, search=search)
    return merge_models(
        merge, [model, tuned], out, make_golden, dev=Dev(score, rows=len(new) + len(old.pairs)), card=card
    )


def share_of(merged: Path) -> float:
    """How much of the learnt weights a merge holds, 0 to 1."""
    said = json.loads((merged / FILE).read_text(encoding="utf-8"))
    return float(said["inputs"][1]["weight"])


def with_share(
    model: Path, tuned: Path, share: float, settings: UpdateSettings, out: Path, card: str
) -> Merged:
    """Merge `share` of the learnt weights (above 0, below 1) into `model`, and write it to `out`."""
    merge = MergeSettings(method="linear", dtype=settings.dtype, weights=(1 - share, share))
    return merge_models(merge, [model, tuned], out, make_golden, card=card)


class _Score:
    """How good merged weights are: dev nDCG@10 of the new, less what is lost of the old."""

    def __init__(
        self,
        before: Decoder,
        tokens: Tokens,
        new: Sequence[Pair],
        old: Held,
        settings: UpdateSettings,
    ) -> None:
        self._before, self._settings = before, settings
        self._new = new_rows(new, before, tokens, settings.max_tokens)
        stored = read_decoder(old.model, torch.float32)
        self._old = new_rows(old.pairs, stored, tokens, settings.max_tokens) if old.pairs else None
        self._start = 0.0 if self._old is None else found(before, self._old, stored=True)

    def __call__(self, state: State) -> float:
        """Higher is better."""
        whole = {name: state[name].float() for name in state}
        decoder = plain_copy(self._before, whole)
        gained = found(decoder, self._new, stored=False)
        if self._old is None:
            return gained
        lost = self._start - found(decoder, self._old, stored=True)
        return gained - _LOSS_COUNTS * max(0.0, lost - self._settings.tolerance)


def found(decoder: Decoder, rows: NewRows, *, stored: bool) -> float:
    """nDCG@10 (0 to 1) of queries among the rows' documents, as they are `stored` or embedded anew."""
    documents = rows.vectors if stored else vectors_of(decoder, rows.documents)
    scores = (vectors_of(decoder, rows.queries) @ documents.T).numpy()
    own = scores[np.arange(len(scores)), rows.right]
    # A document of the same group is right too, and no rival.
    rivals = np.where(rows.groups[None, :] == rows.alike[:, None], -np.inf, scores)
    rank = (rivals > own[:, None]).sum(1)
    return float(np.where(rank < 10, 1 / np.log2(rank + 2), 0.0).mean())
