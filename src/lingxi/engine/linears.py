"""Linear layers of any torch network computed by the int8 kernels, where the machine has them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lingxi.engine.native.library import library
from lingxi.engine.native.matrices import Room, pack
from lingxi.engine.native.steps import Epilogue, product, ready


class Int8Linear(nn.Module):
    """What an `nn.Linear` computes, with weights and inputs rounded to 8 bits, one scale a row of each."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        bias = None if linear.bias is None else linear.bias.detach()
        self.matrix = pack(linear.weight.detach(), bias, "int8")
        self.columns = linear.out_features
        self._room = Room()

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs], float32."""
        rows = x.reshape(-1, x.shape[-1]).float().contiguous()
        threads = torch.get_num_threads()
        out = torch.empty(len(rows), self.columns)
        product(
            ready(rows, None, self.matrix, self._room, threads), self.matrix, out, Epilogue.STORE, threads
        )
        return out.view(*x.shape[:-1], self.columns)


def with_int8_linears(network: nn.Module) -> nn.Module:
    """The network, each of its linear layers replaced in place; unchanged where there are no kernels."""
    if library() is None:
        return network
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Linear) and child.in_features >= 256 and child.out_features >= 256:
            setattr(network, name, Int8Linear(child))
        else:
            with_int8_linears(child)
    return network
