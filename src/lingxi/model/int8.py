"""Weights as this package stores them: int8 with one scale a row, and what is finer or coarser beside it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

import torch

from lingxi.model.int4 import nearest_packed

_FINE = ("q_proj.weight", "k_proj.weight", "v_proj.weight")


def quantized(
    state: Mapping[str, torch.Tensor], *, fine: bool = False, four: Container[str] = ()
) -> Iterator[tuple[str, torch.Tensor]]:
    """Matrices as int8 with one fp16 scale a row (`NAME.scale`), vectors as fp32, one after the other.

    The scale is rounded to fp16 before the codes are, so a reader gets back code × scale exactly. `fine`
    keeps queries, keys and values in fp16: where they are nearly diagonal, a row has few large numbers. What
    `four` names is packed in four bits, with a scale for 32 columns. Raises InputError where its rows are not
    whole groups.
    """
    for name in state:
        tensor = state[name].float()
        scaled = name.removesuffix(".weight") + ".scale"
        if name in four:
            packed = nearest_packed(tensor)
            yield name, packed.codes
            yield scaled, packed.scales
        elif tensor.dim() != 2 or not name.endswith(".weight"):  # BERT's position_ids are a table of numbers
            yield name, tensor.contiguous()
        elif fine and name.endswith(_FINE):
            yield name, tensor.half()
        else:
            scale = (tensor.abs().amax(1) / 127).clamp_min(1e-7).half()
            yield name, (tensor / scale.float()[:, None]).round_().clamp_(-127, 127).to(torch.int8)
            yield scaled, scale
