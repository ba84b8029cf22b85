"""A model directory in four bits: `lingxi compress int4`.

Matrices and the table of token vectors are stored packed, with one fp16 scale for 32 columns (4.5 bits a
weight); norms stay fp32. The engine widens them when it opens the directory: four bits are for disks and
downloads, and for runtimes that multiply them (`export_onnx`, `write_gguf`), not faster in this package's
own kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from torch import nn

from lingxi.compress.calibration import walk
from lingxi.compress.int4 import compensated, eased
from lingxi.embedder import Embedder
from lingxi.engine.quantizing import copy_rest
from lingxi.errors import InputError, require_new
from lingxi.model.decoder import Block, Decoder
from lingxi.model.files import open_published, read_config, read_decoder, write_json, write_tensors
from lingxi.model.int4 import GROUP, Packed4, Rounded, check_group, nearest
from lingxi.model.layout import read_kind
from lingxi.model.network import network_name
from lingxi.model.sizes import size_from_config
from lingxi.reranker import Reranker

Method = Literal["nearest", "gptq", "awq", "awq-gptq"]
METHODS: tuple[str, ...] = get_args(Method)
_SHARD = 2_000_000_000
# Who shares inputs, after which norm.
_SHARED = (
    ("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
    ("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
)


@dataclass(frozen=True, slots=True)
class Quantized:
    """What was written: the folder, its weights' bytes, and each matrix's relative error ‖W − Ŵ‖ / ‖W‖."""

    path: Path
    bytes: int
    errors: dict[str, float]


@dataclass(slots=True)
class _Found:
    """What has been rounded so far, and norms that took a factor, by the decoder's names."""

    packed: dict[str, Packed4]
    norms: dict[str, torch.Tensor]
    errors: dict[str, float]

    def keep(self, name: str, matrix: torch.Tensor, rounded: Rounded) -> None:
        """Note a rounded matrix and its error."""
        self.packed[name] = rounded.packed
        self.errors[name] = float((rounded.values - matrix).norm() / matrix.norm().clamp_min(1e-30))


def quantize_int4(
    source: Path,
    out: Path,
    *,
    method: str = "nearest",
    texts: Sequence[str] = (),
    group: int = GROUP,
) -> Quantized:
    """Write the int4 copy of a Qwen3 directory to the new folder `out`; the golden file is left out.

    `gptq` and `awq` want calibration `texts` (documents, as the model will meet them; a reranker's are
    paired with their first line). Raises InputError where `out` exists, the method is none, texts are
    missing or rows are not whole groups; ModelError as `read_decoder`.
    """
    _check(out, method, texts)
    size = size_from_config(read_config(source), str(source))
    for columns in (size.hidden, size.intermediate, size.heads * size.head_dim):
        check_group(columns, group)
    decoder = read_decoder(source, torch.float32)
    found = _Found({}, {}, {})
    table = decoder.embed_tokens.weight
    found.keep("embed_tokens.weight", table, nearest(table, group))
    if method == "nearest":
        _round_all(decoder, found, group)
    else:
        # Inputs are those that the rounded table causes.
        decoder.embed_tokens.weight = nn.Parameter(found.packed["embed_tokens.weight"].values(), False)
        sequences = calibration_ids(source, texts)
        walk(
            decoder, sequences, lambda n, block, x: _replace(n, block, x, found, cast(Method, method), group)
        )
    _write(source, out, found, {"dtype": "int4", "scale": "group", "group": group, "method": method})
    size_written = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    return Quantized(out, size_written, found.errors)


def calibration_ids(source: Path, texts: Sequence[str]) -> list[list[int]]:
    """Texts as the model meets them: a third as queries; for a reranker, pairs of first line and text."""
    if read_kind(source) == "reranker":
        pairs = [(text.strip().partition("\n")[0][:200], text) for text in texts]
        return Reranker(source).token_ids(pairs)
    embedder = Embedder(source)
    asked, plain = texts[::3], [text for i, text in enumerate(texts) if i % 3]
    return embedder.token_ids(asked, prompt_name="query") + embedder.token_ids(plain, prompt_name="document")


def _check(out: Path, method: str, texts: Sequence[str]) -> None:
    require_new(out)
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}", f"choose one of: {', '.join(METHODS)}")
    if method != "nearest" and not texts:
        raise InputError(f"{method} has no calibration texts", "give some with --texts, or choose nearest")


def _round_all(decoder: Decoder, found: _Found, group: int) -> None:
    for name, module in decoder.named_modules():
        if isinstance(module, nn.Linear):
            found.keep(f"{name}.weight", module.weight, nearest(module.weight, group))


def _replace(
    number: int, block: Block, inputs: dict[str, torch.Tensor], found: _Found, method: Method, group: int
) -> None:
    """Round one block's matrices in place."""
    if method.startswith("awq"):
        inputs = _ease(number, block, inputs, found, group)
    for name, module in block.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        if method == "awq":
            rounded = nearest(module.weight, group)
        else:
            rounded = compensated(module.weight, inputs[name], group)
        found.keep(f"layers.{number}.{name}.weight", module.weight, rounded)
        module.weight = nn.Parameter(rounded.values, requires_grad=False)


def _ease(
    number: int, block: Block, inputs: dict[str, torch.Tensor], found: _Found, group: int
) -> dict[str, torch.Tensor]:
    """Move a factor from the inputs of matrices into them; returns what their inputs are then."""
    changed = dict(inputs)
    for norm, names in _SHARED:
        modules = [cast(nn.Linear, block.get_submodule(name)) for name in names]
        factor = eased([module.weight for module in modules], inputs[names[0]], group)
        before = cast(nn.Parameter, block.get_submodule(norm).weight)
        block.get_submodule(norm).weight = nn.Parameter(before / factor, requires_grad=False)
        found.norms[f"layers.{number}.{norm}.weight"] = before / factor
        for name, module in zip(names, modules, strict=True):
            module.weight = nn.Parameter(module.weight * factor, requires_grad=False)
            changed[name] = inputs[name] / factor[:, None] / factor[None]
    return changed


def _write(source: Path, out: Path, found: _Found, said: dict[str, str | int]) -> None:
    with open_published(source) as tensors:
        copy_rest(source, out)
        write_json(out / "config.json", {**read_config(source), "lingxi_weights": said})
        made: list[tuple[str, torch.Tensor]] = []
        for key in tensors:
            name = network_name(key)
            packed = found.packed.get(name)
            if packed is None and key.endswith("lm_head.weight"):
                packed = nearest(tensors[key], int(said["group"])).packed
            if packed is None:
                made.append((key, found.norms.get(name, tensors[key]).float().contiguous()))
            else:
                made += [(key, packed.codes), (key.removesuffix(".weight") + ".scale", packed.scales)]
        write_tensors(out, made, max_shard_bytes=_SHARD)
