"""Merged weights as pure functions of the models' weights, tensor by tensor.

Every method but sign election is a sum of the inputs with scalar shares: slerp's shares follow from the dot
products of the inputs alone. So a merge is one pass over lazily read tensors, sums in fp32, angles in fp64,
and the shares are differentiable in the weights, which `descend` uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from lingxi.merge.settings import Granularity, Method
from lingxi.merge.sphere import gram, slerp_shares
from lingxi.model.files import Computed

Tensor = torch.Tensor
State = Mapping[str, Tensor]
Shares = Callable[[str, Tensor], Tensor]


def slerp(a: State, b: State, t: float, granularity: Granularity = "tensor") -> Computed:
    """sin((1−t)Ω)/sinΩ · a + sin(tΩ)/sinΩ · b, Ω the angle between a and b (Shoemake 1985; arXiv 2506.05176).

    The angle is that of each tensor, or one over all. Linear where sinΩ is tiny or a norm is zero.
    """
    return slerp_many((a, b), (1 - t, t), granularity)


def slerp_many(
    states: Sequence[State], weights: Sequence[float], granularity: Granularity = "tensor"
) -> Computed:
    """Slerp over several models, one after another with running weights.

    m ← slerp(m, w_j, weight_j / (weight_0 + … + weight_j)). With three models or more the order counts
    (mergekit's multislerp, which projects all onto one tangent space, has no order and is another point).
    """
    return slerp_space(states, granularity).merged(weights)


def linear(states: Sequence[State], weights: Sequence[float]) -> Computed:
    """Σ weight_i · w_i (model soup, arXiv 2203.05482)."""
    return linear_space(states).merged(weights)


def task(
    base: State, states: Sequence[State], weights: Sequence[float], *, trim: float = 1.0, elect: bool = False
) -> Computed:
    """base + Σ weight_i · (w_i − base) (task arithmetic, arXiv 2212.04089).

    `trim` keeps that share of each difference tensor's largest entries; with `elect` an entry takes the sign
    that most weight is for and the weighted mean of the entries of that sign, times the sum of the weights
    (TIES, arXiv 2306.01708).
    """
    return task_space(base, states, trim=trim, elect=elect).merged(weights)


@dataclass(frozen=True, slots=True)
class Space:
    """All merges of some models: weights in, merged weights out.

    `shares(name, weights)` gives the factors, fp64 [parts], of the `parts` of a tensor; with `elect` the
    last part is the base and the others are task vectors.
    """

    parts: tuple[State, ...]
    models: int
    shares: Shares
    convex: bool
    elect: bool = False

    def merged(self, weights: Sequence[float]) -> Computed:
        """The merge with these weights [models], each tensor made in fp32 when it is asked for."""
        given = torch.tensor(list(weights), dtype=torch.float64)
        if self.elect:
            return Computed(tuple(self.parts[0]), lambda name: self._elected(name, given))
        return Computed(tuple(self.parts[0]), lambda name: _sum(self.parts, name, self.shares(name, given)))

    def _elected(self, name: str, weights: Tensor) -> Tensor:
        differences = [part[name].float() for part in self.parts[:-1]]
        return self.parts[-1][name].float() + elected(differences, weights.tolist())


def space(
    method: Method,
    states: Sequence[State],
    base: State | None,
    granularity: Granularity,
    trim: float,
    elect: bool,
) -> Space:
    """The space of a method; `base` is read by task arithmetic alone."""
    if method == "slerp":
        return slerp_space(states, granularity)
    if method == "linear" or base is None:
        return linear_space(states)
    return task_space(base, states, trim=trim, elect=elect)


def linear_space(states: Sequence[State]) -> Space:
    """The space of `linear`."""
    return Space(tuple(states), len(states), lambda name, weights: weights, convex=True)


def slerp_space(states: Sequence[State], granularity: Granularity) -> Space:
    """The space of `slerp_many`; reads every tensor once, for the dot products."""
    grams = {name: gram([state[name] for state in states]) for name in states[0]}
    if granularity == "global":
        everywhere = torch.stack(list(grams.values())).sum(0)
        grams = dict.fromkeys(grams, everywhere)
    return Space(
        tuple(states), len(states), lambda name, weights: slerp_shares(grams[name], weights), convex=True
    )


def task_space(base: State, states: Sequence[State], *, trim: float = 1.0, elect: bool = False) -> Space:
    """The space of `task`."""
    if trim == 1 and not elect:
        # As a sum of models, not of differences: a lone weight of 1 then gives that model to the bit.
        return Space(
            (*states, base),
            len(states),
            lambda name, weights: torch.cat((weights, 1 - weights.sum().reshape(1))),
            convex=False,
        )
    differences = tuple(_differences(base, state, trim) for state in states)
    return Space(
        (*differences, base),
        len(states),
        lambda name, weights: torch.cat((weights, weights.new_ones(1))),
        convex=False,
        elect=elect,
    )


def _differences(base: State, state: State, trim: float) -> Computed:
    return Computed(tuple(state), lambda name: trimmed(state[name].float() - base[name].float(), trim))


def trimmed(difference: Tensor, share: float) -> Tensor:
    """The `share` of a tensor's entries that are largest in size, at least one; the rest is 0."""
    if share == 1:
        return difference
    flat = difference.reshape(-1)
    kept = torch.topk(flat.abs(), max(1, round(share * flat.numel())), sorted=False).indices
    return torch.zeros_like(flat).index_copy(0, kept, flat[kept]).reshape(difference.shape)


def elected(differences: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """TIES' merged difference of equally shaped ones; `weights` are 0 or more."""
    sign = torch.sign(torch.stack([w * d for w, d in zip(weights, differences, strict=True)]).sum(0))
    total, mass = torch.zeros_like(differences[0]), torch.zeros_like(differences[0])
    for weight, difference in zip(weights, differences, strict=True):
        agrees = (torch.sign(difference) == sign) & (difference != 0)
        total += torch.where(agrees, weight * difference, 0.0)
        mass += torch.where(agrees, weight, 0.0)
    return torch.where(mass > 0, sum(weights) * total / mass.clamp_min(1e-30), 0.0)


def _sum(parts: Sequence[State], name: str, shares: Tensor) -> Tensor:
    total: Tensor | None = None
    for part, share in zip(parts, shares.tolist(), strict=True):
        # A share of 0 is not read: models that do not count cannot leave a NaN behind.
        if share != 0:
            piece = part[name].float() * share
            total = piece if total is None else total.add_(piece)
    return torch.zeros_like(parts[0][name], dtype=torch.float32) if total is None else total
