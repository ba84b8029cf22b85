"""Several processes train one network: torchrun starts them, FSDP2 splits the weights among them.

Every rank draws the same global batch, encodes its share and gathers all states, so every rank
computes the same global loss. FSDP averages the gradients over ranks. What reaches a parameter
through a rank's own states is a part of the sum, so `gather` multiplies it by the number of ranks;
what reaches it from the loss directly is the same on each rank, and its average is right as it is.

The weights are split by block (`fully_shard`), each gathered when its block computes. A rank that
computed one block more or less than another would wait for ever: `gradcache.plan` gives every rank
the same number of passes.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from lingxi.engine.devices import choose_device
from lingxi.model import encoder
from lingxi.model.decoder import Block, Decoder

Module = TypeVar("Module", bound=nn.Module)
_CPU = torch.device("cpu")
# What the first rank does while the others wait (reading, mining, writing) may take long.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of the run: `rank` of `size`, on `device`; a `mesh` joins several."""

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU
    mesh: DeviceMesh | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes the files and draws the progress."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            dist.barrier()


ALONE = Ranks()


@contextmanager
def joined(device: str | None = None) -> Iterator[Ranks]:
    """The ranks that torchrun started, over nccl on CUDA and gloo on a CPU; one rank without torchrun.

    Rank, size and address come from torchrun's environment, read by torch. Raises InputError for a
    device that is absent.
    """
    chosen = choose_device(device)
    if not dist.is_torchelastic_launched():
        yield Ranks(device=chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", dist.get_node_local_rank(0))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    mesh = init_device_mesh(chosen.type, (dist.get_world_size(),))
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), chosen, mesh)
    finally:
        dist.destroy_process_group()
        _let_go(mesh)


def _let_go(mesh: DeviceMesh) -> None:
    """End the threads of gloo now: one that is still there when Python ends aborts the process.

    Caches of DTensor keep the mesh, the mesh its process groups (torch 2.13), and a group its threads.
    """
    getattr(mesh, "_pg_registry", {}).clear()
    gc.collect()


def split(module: Module, ranks: Ranks) -> Module:
    """Split a module's parameters over the ranks, in place; all begin with those of rank 0.

    The root's own (token vectors, last norm) stay whole between forward and backward, because a
    loss may read them: a reranker's answer row is a difference of two token vectors.
    """
    mesh = ranks.mesh
    if mesh is None:
        return module
    for parameter in module.parameters():
        dist.broadcast(parameter.data, src=0)
    for block in [m for m in module.modules() if isinstance(m, (Block, encoder.Block))]:
        fully_shard(block, mesh=mesh)
        for method in ("pooled", "remember", "keys_values") if isinstance(block, Block) else ():
            register_fsdp_forward_method(block, method)
    fully_shard(module, mesh=mesh, reshard_after_forward=False)
    if isinstance(module, Decoder):
        register_fsdp_forward_method(module, "prefix")
        register_fsdp_forward_method(module, "states")
    return module


def settle(module: nn.Module) -> None:
    """Split again what a pass without a backward left whole; call it after such a pass.

    Until then the root shows whole parameters that are not those which an optimizer updates.
    """
    if isinstance(module, FSDPModule):
        module.reshard()


def gather(own: torch.Tensor, counts: Sequence[int], ranks: Ranks) -> torch.Tensor:
    """All ranks' rows, rank 0's first, with gradients; rank r holds `counts[r]` rows [rows, hidden].

    The gradient of a rank's own rows is multiplied by the number of ranks (see above).
    """
    if ranks.size == 1:
        return own
    gathered: torch.Tensor = _Gather.apply(own, tuple(counts), ranks)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: torch.Tensor, counts: tuple[int, ...], ranks: Ranks) -> torch.Tensor:
        ctx.start, ctx.rows, ctx.size = sum(counts[: ranks.rank]), counts[ranks.rank], ranks.size
        padded = own.new_zeros(max(counts), own.shape[1])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:rows] for part, rows in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return grads[0][ctx.start : ctx.start + ctx.rows] * ctx.size, None, None


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that FSDP split, put together (all ranks must ask); any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def fill(target: torch.Tensor, value: torch.Tensor) -> None:
    """Copy a whole `value` into `target`; of a split one each rank takes its own part."""
    if isinstance(target, DTensor):
        value = value.to(target.device)
        # No source rank: every rank has read the value, so none is sent.
        value = distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)
    target.copy_(value)


def whole_state(module: nn.Module, ranks: Ranks) -> dict[str, torch.Tensor]:
    """`state_dict` put together, on the CPU; empty on all ranks but the first (all must ask)."""
    state = {}
    for name, tensor in module.state_dict().items():
        full = whole(tensor.detach())
        if ranks.first:
            state[name] = full.cpu().contiguous()
    return state
