"""A contrastive batch whose loss also reads token vectors, for tests of what trains on it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from lingxi.model.decoder import Decoder
from lingxi.train import losses
from lingxi.train.gradcache import Batch, Figures, Objective
from toys import decoder_of, random_state, toy_size

PAIRS = 9
INSTRUCTION = list(range(100, 140))
Answer = Callable[[], torch.Tensor]


def fresh_decoder(seed: int = 0) -> Decoder:
    size = toy_size()
    return decoder_of(size, random_state(size, seed)).train().requires_grad_(True)


def drawn(rng: np.random.Generator) -> list[list[int]]:
    """Queries behind one instruction, then texts; a few equal lengths."""
    lengths = rng.integers(1, 25, size=2 * PAIRS)
    # Without id 0, which the reference takes for padding and gives no gradient.
    bodies = [rng.integers(1, 512, size=n).tolist() for n in lengths]
    return [INSTRUCTION + body for body in bodies[:PAIRS]] + bodies[PAIRS:]


def loss_of(states: torch.Tensor, token_vectors: torch.Tensor) -> tuple[torch.Tensor, Figures]:
    """InfoNCE of the pairs, and a yes/no answer by a difference of two token vectors."""
    unit = torch.nn.functional.normalize(states, dim=-1)
    queries, texts = unit[:PAIRS], unit[PAIRS:]
    own = losses.Relevance(*(torch.eye(PAIRS, dtype=torch.bool),) * 2, torch.arange(PAIRS))
    contrast = losses.info_nce(queries, texts, own, temperature=0.2, margin=0.1, groups=losses.EVERY_GROUP)
    logits = states @ (token_vectors[9] - token_vectors[4]) / 8
    labels = (torch.arange(len(states)) % 2).float()
    accuracy = float(((queries @ texts.T).argmax(1) == torch.arange(PAIRS)).float().mean())
    return contrast + losses.yes_no(logits, labels), {"accuracy": accuracy}


def objective_of(decoder: Decoder) -> Objective:
    return lambda rng: Batch(drawn(rng), lambda states: loss_of(states, decoder.embed_tokens.weight))
