"""Fewer layers, heads and neurons: the tensors of a smaller network, taken out of a larger one's.

Structured pruning: whole layers, whole key–value groups with their query heads, whole neurons. What is
left is an ordinary network of the same family.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from lingxi.compress.contributions import Contributions
from lingxi.compress.settings import ShapeSettings
from lingxi.errors import InputError
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.sizes import Size

State = Mapping[str, torch.Tensor]
AnySize = Size | EncoderSize
_LAYER = re.compile(r"^(layers|encoder\.layer)\.(\d+)\.(.+)$")
_QUERY = ("self_attn.q_proj.weight", "self_attn.q_proj.bias")
_KEYS = tuple(f"self_attn.{name}_proj.{kind}" for name in "kv" for kind in ("weight", "bias"))
_WIDE = tuple(f"mlp.{name}_proj.{kind}" for name in ("gate", "up") for kind in ("weight", "bias"))
_WIDE += ("intermediate.dense.weight", "intermediate.dense.bias")
_NARROWED = ("mlp.down_proj.weight", "output.dense.weight")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is kept: layers by number; of each kept layer the key–value groups and the neurons, rising."""

    layers: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    neurons: tuple[tuple[int, ...], ...]


def plan_of(size: AnySize, found: Contributions, layers: Sequence[int], shape: ShapeSettings) -> Plan:
    """Keep `layers` and, in each, the heads and neurons that add most; raises InputError where none fit."""
    groups = _groups_kept(size, shape.heads)
    wide = _checked(shape.intermediate, size.intermediate, "shape.intermediate")
    return Plan(
        tuple(layers),
        tuple(_largest(_by_group(size, found.heads[i]), groups) for i in layers),
        tuple(_largest(found.neurons[i], wide) for i in layers),
    )


def _checked(wanted: int | None, have: int, name: str) -> int:
    if wanted is not None and wanted > have:
        raise InputError(f"{name} is {wanted}, the teacher has {have}", f"choose 1 to {have}")
    return have if wanted is None else wanted


def _groups_kept(size: AnySize, heads: int | None) -> int:
    if isinstance(size, EncoderSize):
        if heads not in (None, size.heads):
            raise InputError(
                "an encoder's heads divide its width: fewer cannot be said in its config.json",
                "leave out shape.heads; cut layers and shape.intermediate",
            )
        return size.heads
    wanted = _checked(heads, size.heads, "shape.heads")
    each = size.heads // size.kv_heads
    if wanted % each:
        raise InputError(
            f"shape.heads is {wanted}, and {each} query heads share their keys",
            f"choose a multiple of {each}",
        )
    return wanted // each


def _by_group(size: AnySize, heads: torch.Tensor) -> torch.Tensor:
    groups = size.heads if isinstance(size, EncoderSize) else size.kv_heads
    return heads.view(groups, -1).sum(1)


def _largest(values: torch.Tensor, count: int) -> tuple[int, ...]:
    return tuple(sorted(int(i) for i in values.argsort(descending=True, stable=True)[:count]))


def cut_size(size: AnySize, plan: Plan) -> AnySize:
    """The shape of what a plan keeps."""
    layers, wide = len(plan.layers), len(plan.neurons[0])
    if isinstance(size, EncoderSize):
        return replace(size, layers=layers, intermediate=wide)
    groups = len(plan.groups[0])
    return replace(
        size,
        layers=layers,
        intermediate=wide,
        heads=groups * (size.heads // size.kv_heads),
        kv_heads=groups,
        windowed=tuple(size.windowed[i] for i in plan.layers) if size.windowed else (),
    )


def cut_state(state: State, size: AnySize, plan: Plan) -> dict[str, torch.Tensor]:
    """The tensors of what a plan keeps, layers numbered anew."""
    out: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        found = _LAYER.match(name)
        if not found:
            out[name] = tensor
            continue
        stack, number, part = found[1], int(found[2]), found[3]
        if number in plan.layers:
            place = plan.layers.index(number)
            out[f"{stack}.{place}.{part}"] = _part(tensor, part, size, plan, place)
    return out


def _part(tensor: torch.Tensor, part: str, size: AnySize, plan: Plan, place: int) -> torch.Tensor:
    neurons = torch.tensor(plan.neurons[place])
    if part in _WIDE:
        return tensor[neurons]
    if part in _NARROWED:
        return tensor[:, neurons]
    if isinstance(size, EncoderSize):
        return tensor
    if part in _QUERY:
        return tensor[_rows(plan.groups[place], size.heads // size.kv_heads * size.head_dim)]
    if part in _KEYS:
        return tensor[_rows(plan.groups[place], size.head_dim)]
    if part == "self_attn.o_proj.weight":
        return tensor[:, _rows(plan.groups[place], size.heads // size.kv_heads * size.head_dim)]
    return tensor


def _rows(groups: Sequence[int], each: int) -> torch.Tensor:
    return torch.cat([torch.arange(group * each, (group + 1) * each) for group in groups])


def new_name(name: str, plan: Plan) -> str | None:
    """A tensor's name (of any prefix) after its layer's new number; None where the layer is gone."""
    found = re.match(r"^(.*?(?:^|\.)(?:layers|encoder\.layer)\.)(\d+)(\..+)$", name)
    if not found:
        return name
    number = int(found[2])
    return f"{found[1]}{plan.layers.index(number)}{found[3]}" if number in plan.layers else None
