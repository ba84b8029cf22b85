"""Weights by gradient descent in the space of the models (Self Positioning, Li et al., arXiv 2410.15035).

The merged weights are put into a network as leaves, so that a loss may use all of it (its prefix, its token
vectors), not its forward alone. The chain rule's last step is done here: dL/dshare of a model's tensor is the
product of that tensor with the gradient, and shares are differentiable in the weights. So neither the graph
of the merge nor all inputs are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lingxi.errors import InputError
from lingxi.merge.methods import Space, State
from lingxi.merge.search import Found, Score, Trial, Weights, best_of, score_inputs, scored
from lingxi.merge.settings import SearchSettings
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder

Loss = Callable[[Decoder | Encoder, int], torch.Tensor]
"""A scalar loss of a network on the dev pairs of a step, differentiable in its parameters."""

# How often on the way the dev score is asked.
_LOOKS = 4


def descend(
    space: Space,
    inputs: Sequence[State],
    score: Score,
    loss: Loss,
    network: Decoder | Encoder,
    settings: SearchSettings,
    device: torch.device | str = "cpu",
) -> Found:
    """Adam on the weights for `steps` steps from even ones: softmax logits, or free factors of task vectors.

    The score is asked at the start, a few times on the way and at the end, and decides. Raises InputError for
    a loss or a score that is not finite.
    """
    if space.elect:
        raise InputError("elected signs have no gradient", "search by grid or coordinate")
    alone = score_inputs(inputs, score)
    free = torch.full((space.models,), 0.0 if space.convex else 1 / space.models, dtype=torch.float64)
    free.requires_grad_()
    optimizer = torch.optim.Adam([free], lr=settings.learning_rate)
    looks = {round(settings.steps * part / _LOOKS) for part in range(_LOOKS)}
    trials = []
    for step in range(settings.steps):
        optimizer.zero_grad()
        weights = _weights(space, free)
        value = backward(space, weights, network, loss, step, device)
        found = _numbers(weights)
        seen = scored(space.merged(found), score) if step in looks else None
        trials.append(Trial(found, seen, value))
        optimizer.step()
    last = _numbers(_weights(space, free))
    trials.append(Trial(last, scored(space.merged(last), score)))
    return best_of(alone, trials)


def backward(
    space: Space,
    weights: torch.Tensor,
    network: Decoder | Encoder,
    loss: Loss,
    step: int,
    device: torch.device | str = "cpu",
) -> float:
    """The loss at these weights, its gradient added to what they come from; raises InputError if not finite.

    `network` takes the merged weights; its own are lost.
    """
    merged = space.merged(_numbers(weights))
    names = [name for name, _ in network.named_parameters()]
    network.load_state_dict({name: merged[name].to(device) for name in names}, assign=True)
    network.requires_grad_()
    value = loss(network, step)
    if not torch.isfinite(value):
        raise InputError(f"the loss of the dev pairs is {value.item()} at step {step}", "lower learning_rate")
    value.backward()  # type: ignore[no-untyped-call]
    linear = weights.new_zeros(())
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            slopes = [_dot(parameter.grad, part[name]) for part in space.parts]
            linear = linear + (space.shares(name, weights) * weights.new_tensor(slopes)).sum()
    linear.backward()  # type: ignore[no-untyped-call]
    return float(value.detach())


def _dot(gradient: torch.Tensor, tensor: torch.Tensor) -> float:
    return float((gradient.float() * tensor.to(gradient.device).float()).sum(dtype=torch.float64))


def _weights(space: Space, free: torch.Tensor) -> torch.Tensor:
    return torch.softmax(free, 0) if space.convex else free


def _numbers(weights: torch.Tensor) -> Weights:
    return tuple(float(weight) for weight in weights.detach())
