"""A narrower residual stream: every matrix that reads or writes hidden states in fewer components.

RMSNorm without its weight commutes with rotations, so its weight is folded into the matrices that read it,
and the stream is turned to its principal axes and cut (SliceGPT, arXiv 2401.15024, with one rotation for
all layers). The last norm's weight has no matrix after it and becomes its mean: what that costs is left to
recovery. By importance the components themselves are chosen, and weights stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from lingxi.errors import InputError
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.sizes import Size

_READS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}
_READING = tuple(f"{name}.weight" for names in _READS.values() for name in names)
_WRITING = re.compile(r"^layers\.\d+\.(self_attn\.o_proj|mlp\.down_proj)\.(weight|bias)$")
_TABLES = ("embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True, slots=True)
class Basis:
    """Where the narrow stream lies in the wide one: `axes` [hidden, width], orthonormal columns.

    `share` is the part of the states' energy that it holds; `chosen` are the components, where they
    were chosen and not turned.
    """

    axes: torch.Tensor
    share: float
    chosen: tuple[int, ...] | None


def basis_of(covariance: torch.Tensor, width: int, by: Literal["rotation", "importance"]) -> Basis:
    """The `width` directions that hold most of the states; raises InputError for a width out of range."""
    hidden = len(covariance)
    if not 2 <= width <= hidden:
        raise InputError(f"shape.width is {width}, the teacher has {hidden}", f"choose 2 to {hidden}")
    total = float(covariance.diagonal().sum())
    if by == "importance":
        energy = covariance.diagonal()
        chosen = tuple(sorted(int(i) for i in energy.argsort(descending=True, stable=True)[:width]))
        axes = torch.eye(hidden)[:, list(chosen)]
        return Basis(axes, float(energy[list(chosen)].sum()) / total, chosen)
    values, vectors = torch.linalg.eigh(covariance.double())
    axes = vectors.flip(1)[:, :width].float()
    return Basis(axes, float(values.flip(0)[:width].sum()) / total, None)


def narrow_size(size: Size | EncoderSize, width: int) -> Size:
    """The shape with a narrower stream; raises InputError where the family's norms do not allow it."""
    if isinstance(size, EncoderSize) or size.style.post_norms or size.style.scaled_embedding:
        raise InputError(
            "the width of this family cannot be cut: its norms stand after the layers, or know its width",
            "leave out shape.width; cut layers, heads and neurons",
        )
    return replace(size, hidden=width)


def narrow_state(state: Mapping[str, torch.Tensor], size: Size, basis: Basis) -> dict[str, torch.Tensor]:
    """The tensors in the basis's components; `size` is the wide one."""
    layers = range(size.layers)
    folded = dict(state) if basis.chosen else _folded(state, layers)
    # The norm divides by the mean square of fewer components, which hold nearly all: they come out too small.
    factor = (basis.share * size.hidden / basis.axes.shape[1]) ** 0.5
    return {name: _narrowed(name, tensor, basis, factor) for name, tensor in folded.items()}


def _folded(state: Mapping[str, torch.Tensor], layers: range) -> dict[str, torch.Tensor]:
    out = dict(state)
    for layer in layers:
        for norm, readers in _READS.items():
            weight = state[f"layers.{layer}.{norm}.weight"]
            for reader in readers:
                name = f"layers.{layer}.{reader}.weight"
                out[name] = state[name] * weight
            out[f"layers.{layer}.{norm}.weight"] = torch.ones_like(weight)
    last = state["norm.weight"]
    out["norm.weight"] = torch.full_like(last, float(last.mean()))
    return out


def _narrowed(name: str, tensor: torch.Tensor, basis: Basis, factor: float) -> torch.Tensor:
    axes = basis.axes.to(tensor.dtype)
    if name in _TABLES or name.endswith(_READING):
        return tensor @ axes
    if _WRITING.match(name):
        return axes.T @ tensor
    if name == "norm.weight" or name.endswith("layernorm.weight"):
        return factor * (tensor[list(basis.chosen)] if basis.chosen else tensor[: axes.shape[1]])
    return tensor
