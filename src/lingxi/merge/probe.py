"""A dev set as a score and a loss: pairs whose positives should come first.

An embedder ranks every passage of the dev set for each query, a reranker the passages of the query's own row
and a few of other rows; the score is the mean nDCG@10. The loss, for `descend`, is the cross entropy of
picking a positive among the passages of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from lingxi.engine.run import pooled_states
from lingxi.errors import InputError
from lingxi.merge.methods import State
from lingxi.merge.reading import (
    Asked,
    Reading,
    answer_row,
    asked,
    candidates,
    judged,
    network_of,
    text_ids,
)
from lingxi.merge.settings import SearchSettings
from lingxi.metrics import ndcg_at_k
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.records import Pair
from lingxi.train.encoders import encode_by

_TEMPERATURE = 0.05
_TIED = "embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class Probe:
    """A dev set read for one tokenizer: `score` of merged weights, `loss` of a network at a step."""

    score: Callable[[State], float]
    loss: Callable[[Decoder | Encoder, int], torch.Tensor]
    rows: int


def make_probe(pairs: Sequence[Pair], reading: Reading, settings: SearchSettings) -> Probe:
    """The probe of some pairs; where weights descend, half of them make the loss and the others the score."""
    rows = [asked(pair, reading.kind) for pair in pairs]
    half = len(rows) // 2 if settings.method == "descend" else 0
    taught, measured = rows[:half], rows[half:]
    embedder = reading.kind == "embedder"
    score, loss = (_embedder_score, _embedder_loss) if embedder else (_reranker_score, _reranker_loss)

    def step_loss(network: Decoder | Encoder, step: int) -> torch.Tensor:
        """The loss of the pairs of a step, which its number draws."""
        picked = np.random.default_rng((settings.seed, step)).permutation(len(taught))
        return loss([taught[i] for i in picked[: settings.batch_pairs]], network, reading)

    return Probe(lambda state: score(measured, state, reading), step_loss, len(measured))


def _embedder_score(rows: Sequence[Asked], state: State, reading: Reading) -> float:
    network = network_of(state, reading)
    texts = list(dict.fromkeys(text for row in rows for text in row.passages))
    documents = F.normalize(pooled_states(network, text_ids(texts, reading)), dim=-1)
    queries = F.normalize(pooled_states(network, text_ids([row.query for row in rows], reading)), dim=-1)
    return _ndcg(rows, [texts] * len(rows), list(queries @ documents.T))


def _embedder_loss(rows: Sequence[Asked], network: Decoder | Encoder, reading: Reading) -> torch.Tensor:
    encode = encode_by(network)
    queries = F.normalize(encode(text_ids([row.query for row in rows], reading)), dim=-1)
    firsts = [row.passages[0] for row in rows]
    documents = F.normalize(encode(text_ids(firsts, reading)), dim=-1)
    also = torch.tensor([[text in row.right for text in firsts] for row in rows]).fill_diagonal_(False)
    logits = (queries @ documents.T / _TEMPERATURE).masked_fill(also.to(queries.device), -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(rows), device=logits.device))


def _reranker_score(rows: Sequence[Asked], state: State, reading: Reading) -> float:
    network = network_of(state, reading)
    answer = answer_row(state["lm_head.weight" if "lm_head.weight" in state else _TIED], reading.tokens)
    groups = [candidates(rows, index) for index in range(len(rows))]
    states = pooled_states(network, judged(rows, groups, reading))
    return _ndcg(rows, groups, torch.split(states @ answer.float().cpu(), [len(texts) for texts in groups]))


def _reranker_loss(rows: Sequence[Asked], network: Decoder | Encoder, reading: Reading) -> torch.Tensor:
    if not (isinstance(network, Decoder) and network.size.tied_head):
        raise InputError(
            "a reranker with an output head of its own has no loss here", "search by grid or coordinate"
        )
    groups = [candidates(rows, index) for index in range(len(rows))]
    answer = answer_row(network.embed_tokens.weight, reading.tokens)
    parts = torch.split(encode_by(network)(judged(rows, groups, reading)) @ answer, [len(g) for g in groups])
    first = torch.zeros((), dtype=torch.long, device=answer.device)
    # Other positives of the row are neither right nor wrong.
    counted = [
        [0, *(i for i, text in enumerate(texts) if text not in row.right)]
        for row, texts in zip(rows, groups, strict=True)
    ]
    losses = [F.cross_entropy(part[kept], first) for part, kept in zip(parts, counted, strict=True)]
    return torch.stack(losses).mean()


def _ndcg(rows: Sequence[Asked], texts: Sequence[Sequence[str]], scores: Sequence[torch.Tensor]) -> float:
    """Mean nDCG@10 of each row's texts by their scores; of equal scores those of positives come last."""
    means = []
    for row, listed, found in zip(rows, texts, scores, strict=True):
        grades = np.array([float(text in row.right) for text in listed])
        values = found.numpy()
        if not np.isfinite(values).all():
            return float("nan")
        order = np.lexsort((grades, -values))
        means.append(ndcg_at_k([grades[order]], [grades], 10)[0])
    return float(np.mean(means))
