"""LoRA: a frozen matrix W with a low-rank part of its own beside it, y = W x + (α / r) B A x.

Hu et al. 2021 (arXiv 2106.09685); with `rslora` the factor is α / √r (arXiv 2312.03732). There is no
dropout: GradCache encodes every text twice and its gradients are exact only where both give the same
states, and a resumed run must compute what an uninterrupted one would have, bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar, cast

import torch
from torch import nn
from torch.nn import functional as F

from lingxi.engine.run import pooled_states
from lingxi.errors import InputError, ModelError
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.train.settings import LoraSettings

ALL_LINEAR = "all-linear"
# Merged and adapted networks sum in another order; beyond this cosine distance they are not the same.
_MERGE_TOLERANCE = 1e-4
_UNTRAINED = "train it, and see that its lora_B is not zero and was saved"

Net = TypeVar("Net", bound=Decoder | Encoder)


class LoraLinear(nn.Linear):
    """A frozen linear under the name it had (`….q_proj.weight`), its adapter (`….lora_A.weight`)."""

    def __init__(self, frozen: nn.Linear, settings: LoraSettings, generator: torch.Generator) -> None:
        super().__init__(frozen.in_features, frozen.out_features, bias=False, device="meta")
        self.weight = frozen.weight.requires_grad_(False)
        self.settings = settings
        self.lora_A = nn.Linear(self.in_features, settings.rank, bias=False, device="meta")
        self.lora_B = nn.Linear(settings.rank, self.out_features, bias=False, device="meta")
        # Drawn on the CPU, so that a seed means the same adapter on every device.
        start = torch.empty(settings.rank, self.in_features)
        nn.init.kaiming_uniform_(start, a=5**0.5, generator=generator)
        self.lora_A.weight = nn.Parameter(start.to(self.weight))
        self.lora_B.weight = nn.Parameter(self.weight.new_zeros(self.out_features, settings.rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[…, in] → […, out]."""
        change = cast(torch.Tensor, self.lora_B(self.lora_A(x)))
        return F.linear(x, self.weight) + change * self.settings.factor

    def merged_weight(self) -> torch.Tensor:
        """W + (α / r) B A, fp32 [out, in]."""
        change = self.lora_B.weight.float() @ self.lora_A.weight.float()
        return self.weight.float() + change * self.settings.factor


def targeted(decoder: Decoder, targets: tuple[str, ...] | str) -> tuple[str, ...]:
    """Names of the linears that `targets` means; raises ModelError where one of its names means none."""
    names = [name for name, module in decoder.named_modules() if type(module) is nn.Linear]
    patterns = [targets] if isinstance(targets, str) else list(targets)
    whole = isinstance(targets, str)
    met = {p: [name for name in names if _meets(name, p, whole)] for p in patterns}
    for pattern, found in met.items():
        if not found:
            last = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in names))
            raise ModelError(f"lora.targets: no linear is called {pattern!r}", f"choose of: {last}")
    return tuple(name for name in names if any(name in found for found in met.values()))


def _meets(name: str, pattern: str, whole: bool) -> bool:
    # Adapters of the causal model call the decoder `model`; those of the bare decoder do not.
    if whole:
        both = (name, f"model.{name}")
        return pattern == ALL_LINEAR or any(re.fullmatch(pattern, form) for form in both)
    return f"model.{name}" == pattern or f".{name}".endswith(f".{pattern}")


def attach(decoder: Decoder, settings: LoraSettings, seed: int) -> tuple[str, ...]:
    """Freeze a decoder and give its linears adapters, in place; returns the names of those linears.

    A is drawn as in peft (Kaiming uniform, a = √5) by `seed`, B is zero: at first the decoder computes
    what it did. Raises ModelError where no linear fits, or where there are adapters already.
    """
    require_plain(decoder)
    names = targeted(decoder, settings.targets)
    decoder.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name in names:
        linear = cast(nn.Linear, decoder.get_submodule(name))
        decoder.set_submodule(name, LoraLinear(linear, settings, generator))
    return names


def require_plain(decoder: Decoder) -> None:
    """Raise ModelError where a decoder has adapters already: two would be taken for one."""
    if any(True for _ in adapted(decoder)):
        raise ModelError("the network has adapters already", "merge them first, or load it again")


def adapted(decoder: Decoder) -> Iterator[tuple[str, LoraLinear]]:
    """The linears of a decoder that have adapters, with their names."""
    return ((name, m) for name, m in decoder.named_modules() if isinstance(m, LoraLinear))


def adapter_state(decoder: Decoder) -> dict[str, torch.Tensor]:
    """The adapters' tensors alone, under the decoder's names (`layers.0.self_attn.q_proj.lora_A.weight`)."""
    return {name: t for name, t in decoder.state_dict().items() if _is_adapter(name)}


def _is_adapter(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name


@torch.no_grad()
def merged(decoder: Decoder, probes: Sequence[list[int]]) -> Decoder:
    """A decoder of its own, fp32 and frozen, whose matrices are W + (α / r) B A: no adapters are left.

    `probes` are sequences of ids that both must give the same vector, within 1e-4 of cosine. Raises
    ModelError where they do not, where there is no adapter, or where merging changes no matrix.
    """
    layers = dict(adapted(decoder))
    if not layers:
        raise ModelError("the network has no adapters to merge", "attach or load an adapter first")
    if not probes:
        raise InputError("no probes to compare the merged network on", "pass a few sequences of ids")
    state = {n: t.detach().float().clone() for n, t in decoder.state_dict().items() if not _is_adapter(n)}
    changed = 0
    for name, layer in layers.items():
        weight = layer.merged_weight()
        changed += not torch.equal(weight, state[f"{name}.weight"])
        state[f"{name}.weight"] = weight
    if not changed:
        raise ModelError("the merged network equals its base: the adapter changes nothing", _UNTRAINED)
    out = plain_copy(decoder, state)
    _check_merged(cosine_distance(pooled_states(out, probes), pooled_states(decoder, probes)))
    return out


def plain_copy(network: Net, state: dict[str, torch.Tensor]) -> Net:
    """A network of the same kind and shape that holds `state` without copying it, frozen."""
    with torch.device("meta"):
        out = type(network)(network.size, network.pooling)  # type: ignore[arg-type]
    out.load_state_dict(state, assign=True)
    return cast(Net, out.eval().requires_grad_(False))


def cosine_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """1 − cosine of rows, fp64 [n]; both [n, dim]."""
    return 1 - F.cosine_similarity(a.double(), b.double(), dim=-1)


def _check_merged(distances: torch.Tensor) -> None:
    worst = float(distances.max())
    # Written so that a NaN is refused too.
    if not worst <= _MERGE_TOLERANCE:
        raise ModelError(
            f"merged and adapted vectors differ by {worst:.1e} of cosine (at most {_MERGE_TOLERANCE:.0e})",
            "merge in float32 from the network that the adapter was trained on",
        )
