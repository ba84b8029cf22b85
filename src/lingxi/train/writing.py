"""Networks in training as model directories: written, proved equal to what is in memory, and moved."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import nn

from lingxi import prompts
from lingxi.errors import LingxiWarning
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.files import read_decoder
from lingxi.model.layout import Kind
from lingxi.model.network import read_network
from lingxi.train.adapt import probe_ids
from lingxi.train.adapters import write_adapter
from lingxi.train.checkpoint_start import Start
from lingxi.train.feeding import fed
from lingxi.train.guards import weights_moved
from lingxi.train.held_out import probe
from lingxi.train.lora import attach, merged, plain_copy
from lingxi.train.parallel import whole_state
from lingxi.train.phases import PhaseSettings
from lingxi.train.running import Training
from lingxi.train.served import exported_equals, prompts_match
from lingxi.train.settings import LoraSettings, TrainSettings

EMBEDDER, RERANKER, WEAK, KEPT, ADAPTER = "embedder", "reranker", "weak", "kept", "adapter"
# Kept with nothing rounded away: they are to be merged.
_KEPT_AS = "float32"
# Probes are cut at so many tokens, as training cuts: sooner than serving, and at a text's end only.
_PROBED_TOKENS = 512
# Components of a network that stands in where only tokens are asked.
_NARROW = 64


def check_prompts(run: Training, start: Start, kind: Kind) -> None:
    """Training must feed the ids that serving will: asked before the first step."""
    if not run.ranks.first:
        return
    most = _probed_tokens(start, kind)
    if start.source is not None:
        # Its own directory has the tokenizer that it will be served with.
        prompts_match(start.source, kind, lambda text: fed(start.tokens, text, most), most)
        return
    directory = run.folder / "prompts-probe"
    _stand_in(start).write(kind, "", directory, "float32")
    prompts_match(directory, kind, lambda text: fed(start.tokens, text, most), most)
    shutil.rmtree(directory)


def _probed_tokens(start: Start, kind: Kind) -> int:
    """Tokens that probes are cut at, beside their prompt: fewer than the model reads."""
    if kind == "embedder":
        return min(_PROBED_TOKENS, start.max_seq_length // 2)
    frame = [*start.tokens.prompt(prompts.RERANK_PREFIX), *start.tokens.prompt(prompts.RERANK_SUFFIX)]
    return min(_PROBED_TOKENS, start.max_seq_length - len(frame))


def _stand_in(start: Start) -> Start:
    """A narrow network of zeros with the start's tokens: ids come of those alone, however large it is."""
    size = start.decoder.size
    narrow = replace(size, hidden=_NARROW, head_dim=_NARROW, intermediate=_NARROW)
    with torch.device("meta"):
        decoder = Decoder(replace(narrow, layers=1, heads=1, kv_heads=1, tied_head=True))
    zeros = {name: torch.zeros(tensor.shape) for name, tensor in decoder.state_dict().items()}
    return replace(start, network=plain_copy(decoder, zeros), head=None)


def write_model(
    run: Training, start: Start, kind: Kind, out: Path, begun: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write the network as a model directory, proved equal to that in memory.

    What it has `begun` as is given for the finished model: it must have moved, and its adapter is written.
    """
    state = whole_state(start.network, run.ranks)
    if not run.ranks.first:
        return
    finished = _finished(run, start, state)
    if begun is not None:
        weights_moved(begun, finished.network.state_dict(), _trained(start, state))
        if run.settings.lora:
            adapted = _adapted(start.decoder, run.settings.lora, state)
            write_adapter(adapted, run.folder / f"{ADAPTER}-{kind}", base_of(run.settings, kind), kind)
    _write_directory(run, finished, kind, out, run.settings.weights)
    if begun is not None and kind == "embedder" and run.pairs.held is not None:
        tell_what_storing_costs(
            run.pairs.held, finished, out, run.settings.weights, run.settings.guards.dev_drop
        )


def _trained(start: Start, state: Mapping[str, torch.Tensor]) -> set[str] | None:
    """Matrices that must have moved: all (None), or those of adapters, or those that are not frozen."""
    adapted = {name.removesuffix(".lora_A.weight") + ".weight" for name in state if ".lora_A." in name}
    frozen = any(not p.requires_grad for p in start.network.parameters())
    if adapted or not frozen:
        return adapted or None
    return {name for name, p in start.network.named_parameters() if p.requires_grad and p.dim() >= 2}


def written_network(finished: Start, out: Path) -> Decoder | Encoder:
    """The network of a directory that was written of a start, in fp32."""
    if finished.source is None:
        return read_decoder(out, torch.float32)
    return cast(Encoder, read_network(out, torch.float32))


def tell_what_storing_costs(held: Path, finished: Start, out: Path, weights: str, drop: float) -> None:
    """Warn where the written model scores more than `drop` less on held-out rows than the one in memory.

    Half a step of int8 can undo a fine-tune (LAB.md).
    """
    networks = finished.network, written_network(finished, out)
    scores = [probe(held, network, finished.tokens, _PROBED_TOKENS) for network in networks]
    in_memory, written = (score() if score else 0.0 for score in scores)
    if written < in_memory - drop:
        told = (
            f"stored as {weights} the embedder scores {written:.3f} on held-out rows, in memory "
            f"{in_memory:.3f}: set train.weights to float16 to keep what it learnt"
        )
        warnings.warn(told, LingxiWarning, stacklevel=2)


def _finished(run: Training, start: Start, state: Mapping[str, torch.Tensor]) -> Start:
    """The network as it is now, whole and on the CPU, with its adapters merged."""
    head = None if start.head is None else nn.Parameter(start.head.detach().cpu())
    plain = {name: tensor for name, tensor in state.items() if ".lora_" not in name}
    # At its start an adapter adds nothing, and there is nothing to merge.
    if run.settings.lora is None or not any(t.any() for n, t in state.items() if ".lora_B." in n):
        return replace(start, network=plain_copy(start.network, plain), head=head)
    adapted = _adapted(start.decoder, run.settings.lora, state)
    return replace(start, network=merged(adapted, probe_ids(start.tokens)), head=head)


def _adapted(decoder: Decoder, settings: LoraSettings, state: Mapping[str, torch.Tensor]) -> Decoder:
    """A decoder of the same shape with adapters, which holds `state`."""
    with torch.device("meta"):
        out = Decoder(decoder.size)
    attach(out, settings, seed=0)
    out.load_state_dict(state, assign=True)
    return out


def base_of(settings: TrainSettings, kind: Kind) -> str:
    """The model that a kind starts from."""
    own = settings.reranker.start if kind == "reranker" and settings.reranker else None
    return own or settings.start


def _write_directory(run: Training, finished: Start, kind: Kind, out: Path, weights: str) -> None:
    card = run.card.embedder if kind == "embedder" else run.card.reranker
    finished.write(kind, card, out, weights)
    tolerance = run.settings.guards.export_tolerance
    exported_equals(finished.network, out, kind, tolerance=tolerance, head=finished.head)
    run.make_golden(out)


def write_kept(run: Training, start: Start, kind: Kind, name: str, phase: PhaseSettings) -> None:
    """The checkpoints that a phase kept, as model directories that can be merged."""
    if not phase.keep:
        return
    state = whole_state(start.network, run.ranks)
    if not run.ranks.first:
        return
    for path in sorted(run.phase(name).glob("weights-*.safetensors")):
        saved = {key.removeprefix("decoder."): value for key, value in load_file(path).items()}
        head = saved.pop("head", None)
        then = start if head is None else replace(start, head=nn.Parameter(head))
        step = int(path.stem.partition("-")[2])
        finished = _finished(run, then, {**state, **saved})
        _write_directory(run, finished, kind, run.folder / KEPT / f"{kind}-{name}-{step:06d}", _KEPT_AS)
