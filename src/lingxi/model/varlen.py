"""Attention over packed sequences in one call: PyTorch's own flash attention for sequences of any lengths.

It needs a CUDA card of compute capability 8 or more and half precision; elsewhere attention goes run by run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch

_HALVES = (torch.bfloat16, torch.float16)
_LEAST_CAPABILITY = (8, 0)


class Varlen(Protocol):
    """Each sequence's queries attend to its own keys, in one call over all sequences."""

    def __call__(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        starts: tuple[torch.Tensor, torch.Tensor],
        longest: tuple[int, int],
        causal: bool,
    ) -> torch.Tensor:
        """[tokens, heads, head_dim] of queries (the same), keys and values [tokens, kv_heads, head_dim].

        `starts`, of queries and of keys, are int32 [sequences + 1], from 0 to the number of tokens;
        `longest` are the longest sequence's queries and keys.
        """


def varlen_for(device: torch.device, dtype: torch.dtype) -> Varlen | None:
    """PyTorch's flash attention, where it is there and this device and number type can use it."""
    if device.type != "cuda" or dtype not in _HALVES:
        return None
    if torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        return None
    return _of_torch()


def _of_torch() -> Varlen | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    compute = cast(Callable[..., torch.Tensor], varlen_attn)
    taken = inspect.signature(varlen_attn).parameters.keys()
    windowed, grouped = "window_size" in taken, "enable_gqa" in taken

    def flash(
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        starts: tuple[torch.Tensor, torch.Tensor],
        longest: tuple[int, int],
        causal: bool,
    ) -> torch.Tensor:
        options: dict[str, Any] = (
            {"window_size": (-1, 0 if causal else -1)} if windowed else {"is_causal": causal}
        )
        if grouped:
            options["enable_gqa"] = True
        else:  # before torch 2.13 each head has keys and values of its own
            keys, values = (_repeated(each, queries.shape[1]) for each in (keys, values))
        return compute(queries, keys, values, *starts, *longest, **options)

    return flash


def _repeated(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[tokens, kv_heads, head_dim] with each head as often as a group of queries shares it."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)
