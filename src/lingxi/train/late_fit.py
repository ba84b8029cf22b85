"""Fit the head of a late interaction: softmax over each query's right document and near wrong ones.

The embedder stays as it is, so its states are computed once and a step costs milliseconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lingxi.model.late import LateHead
from lingxi.train.late_rows import Asked, Material
from lingxi.train.late_settings import LateSettings

# What the features count to begin with: vectors trained at a temperature of 0.01 to 0.05 lie close together.
_COSINE, _MAXSIM = 20.0, 30.0
_SAMPLED, _LONGEST = 200, 20_000
_MOST_NORM = 1.0
_LAST = 0.05


Told = Callable[[int, Mapping[str, float]], None]
"""Told of each step: its `loss`, and `accuracy`, the share of queries whose right document was first."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Which queries a step asks: sources by their rows to a power, then a row of the source."""

    rows: tuple[Asked, ...]
    by_source: tuple[tuple[int, ...], ...]
    shares: tuple[float, ...]

    def __call__(self, rng: np.random.Generator) -> Asked:
        """One row."""
        places = self.by_source[int(rng.choice(len(self.shares), p=self.shares))]
        return self.rows[int(rng.choice(places))]


def draw_of(rows: tuple[Asked, ...], balance: float) -> Draw:
    """Draws from these rows."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        found[row.source].append(place)
    sizes = np.array([len(places) ** balance for places in found.values()])
    return Draw(rows, tuple(tuple(places) for places in found.values()), tuple(sizes / sizes.sum()))


def begun(material: Material, settings: LateSettings) -> LateHead:
    """A head that compares the states as they are, less a share of their mean; all tokens weigh the same."""
    step = max(1, len(material.documents.states) // _SAMPLED)
    some = np.concatenate(material.documents.states[::step])[:_LONGEST].astype(np.float32)
    mean = torch.from_numpy(some.mean(0))
    head = LateHead(len(mean))
    with torch.no_grad():
        nn.init.eye_(head.projection.weight)
        head.projection.bias.copy_(-settings.centre * mean)
        nn.init.zeros_(head.weight.weight)
        nn.init.zeros_(head.weight.bias)
        head.mix.weight.copy_(torch.tensor([[_COSINE, _MAXSIM]]))
        nn.init.zeros_(head.mix.bias)
    return head


def fit(material: Material, settings: LateSettings, told: Told) -> LateHead:
    """The fitted head, by AdamW; the same material and settings give the same head."""
    rng = np.random.default_rng(settings.seed)
    head, draw = begun(material, settings), draw_of(material.rows, settings.balance)
    optimizer = _optimizer(head, settings)
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(settings.steps):
        warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
        factor = warm * max(_LAST, 1 - step / settings.steps)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        logits = [
            _logits(head, material, draw(rng), settings.documents, rng) for _ in range(settings.queries)
        ]
        loss = torch.stack([-F.log_softmax(each, 0)[0] for each in logits]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(head.parameters(), _MOST_NORM)
        optimizer.step()
        hits = sum(int(each.argmax()) == 0 for each in logits)
        told(step, {"loss": loss.item(), "accuracy": hits / len(logits)})
    return calibrated(head.requires_grad_(False), material, settings)


def calibrated(head: LateHead, material: Material, settings: LateSettings) -> LateHead:
    """The head with a bias that puts the middle of right and wrong documents at a probability of one half.

    Softmax leaves the level open. The bias is minus the mean of the mean logit of right documents and that of
    the nearest wrong ones.
    """
    rng = np.random.default_rng(settings.seed + 1)
    draw = draw_of(material.rows, settings.balance)
    found = [_logits(head, material, draw(rng), 2, rng) for _ in range(_SAMPLED)]
    level = torch.stack([each.mean() for each in found]).mean()
    with torch.no_grad():
        head.mix.bias.sub_(level)
    return head


def _optimizer(head: LateHead, settings: LateSettings) -> torch.optim.AdamW:
    groups: tuple[tuple[list[nn.Parameter], float], ...] = (
        ([*head.projection.parameters()], settings.projection_rate),
        ([*head.weight.parameters()], settings.learning_rate),
        ([*head.mix.parameters()], settings.mixture_rate),
    )
    return torch.optim.AdamW([{"params": part, "lr": rate} for part, rate in groups], weight_decay=0.0)


def _logits(
    head: LateHead, material: Material, row: Asked, documents: int, rng: np.random.Generator
) -> torch.Tensor:
    """Logits [documents] of a query's right document and wrong ones drawn from its nearest."""
    wrong = rng.choice(row.wrong, documents - 1, replace=False)
    sides = [material.documents.side(int(number)) for number in (row.right, *wrong)]
    found: torch.Tensor = head(head.features(material.queries.side(row.query), sides))
    return found
