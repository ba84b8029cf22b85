"""Which device computes, and in which number type."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TypeVar

import torch

from lingxi.errors import InputError
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.varlen import varlen_for

Served = TypeVar("Served", bound=torch.nn.Module)


def choose_device(name: str | torch.device | None) -> torch.device:
    """The device asked for, else CUDA, else the CPU; raises InputError where the one asked for is absent."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}", "use 'cpu', 'cuda' or 'cuda:N'") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {name!r} is not available here", "use device='cpu'")
    return device


def choose_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """fp32 on a CPU, bf16 on CUDA, unless one of float32, bfloat16 or float16 is asked for."""
    if name is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    named = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in named:
        raise InputError(f"unknown dtype {name!r}", f"choose one of: {', '.join(named)}")
    return named[name]


def choose_devices(names: str | torch.device | Sequence[str] | None) -> list[torch.device]:
    """The device or devices asked for (`choose_device`); raises InputError for an empty list."""
    if names is None or isinstance(names, str | torch.device):
        return [choose_device(names)]
    if not names:
        raise InputError("no device is named", "name one, as device='cpu', or leave it out")
    return [choose_device(name) for name in names]


def spread(network: Served, devices: Sequence[torch.device]) -> list[Served]:
    """The network made ready to serve on its own device, the first, and copies of it on the others."""
    ready = [network, *(deepcopy(network).to(device) for device in devices[1:])]
    for one in ready:
        inner = getattr(one, "inner", one)
        if isinstance(inner, Decoder | Encoder):
            inner.use_varlen(varlen_for(inner.device, inner.embed_tokens.weight.dtype))
    return ready
