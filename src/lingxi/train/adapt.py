"""A model takes up an adapter: loaded, merged, proved, and written as a directory of its own.

Other loaders only warn where an adapter's keys do not fit, and then compute the base. Here nothing that
is missing, left over or without effect passes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from lingxi.engine.run import pooled_states
from lingxi.errors import InputError, ModelError, require_new
from lingxi.model.decoder import Decoder
from lingxi.model.files import locate, read_decoder
from lingxi.model.golden import calibration_texts
from lingxi.model.layout import Kind, require_kind, write_directory
from lingxi.model.tokens import Tokens
from lingxi.train.adapters import Adapter, read_adapter
from lingxi.train.checkpoint_start import Start, open_for_training
from lingxi.train.lora import attach, cosine_distance, merged, require_plain, targeted
from lingxi.train.settings import LoraSettings

# Probes are compared on their first tokens: enough to read every matrix.
_PROBE_TOKENS = 64


def load_adapter(decoder: Decoder, folder: Path) -> Adapter:
    """Give a decoder the adapter of a folder, in place, and return what was read.

    Raises ModelError, and leaves the decoder as it was, where tensors are missing, left over, of another
    shape or not finite, where every lora_B is zero, or where the decoder has adapters already.
    """
    require_plain(decoder)
    adapter = read_adapter(folder)
    _check_fit(decoder, adapter, folder)
    attach(decoder, adapter.settings, seed=0)
    parameters = dict(decoder.named_parameters())
    with torch.no_grad():
        for name, tensor in adapter.tensors.items():
            parameters[name].copy_(tensor)
    return adapter


def _check_fit(decoder: Decoder, adapter: Adapter, folder: Path) -> None:
    wanted = _wanted(decoder, adapter.settings)
    found = {name: tuple(tensor.shape) for name, tensor in adapter.tensors.items()}
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    shaped = [name for name in wanted if name in found and found[name] != wanted[name]]
    remedy = "load it on the model that it was trained on, or save it again with all of its tensors"
    if missing:
        raise ModelError(f"{folder}: {len(missing)} tensors are missing, the first is {missing[0]!r}", remedy)
    if extra:
        raise ModelError(
            f"{folder}: {len(extra)} tensors are for no linear here, the first is {extra[0]!r}", remedy
        )
    if shaped:
        name = shaped[0]
        raise ModelError(
            f"{folder}: {name!r} has shape {list(found[name])}, the network needs {list(wanted[name])}",
            remedy,
        )
    _check_effect(adapter, folder)


def _wanted(decoder: Decoder, settings: LoraSettings) -> dict[str, tuple[int, int]]:
    wanted = {}
    for name in targeted(decoder, settings.targets):
        rows, columns = decoder.get_parameter(f"{name}.weight").shape
        wanted[f"{name}.lora_A.weight"] = (settings.rank, columns)
        wanted[f"{name}.lora_B.weight"] = (rows, settings.rank)
    return wanted


def _check_effect(adapter: Adapter, folder: Path) -> None:
    broken = [name for name, tensor in adapter.tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ModelError(f"{folder}: {broken[0]!r} is not finite", "take an earlier checkpoint")
    if not any(tensor.any() for name, tensor in adapter.tensors.items() if ".lora_B." in name):
        raise ModelError(
            f"{folder}: every lora_B is zero, so the adapter changes nothing",
            "train it longer than its warm-up, and save it after the last step",
        )


def apply_adapter(
    base: str | Path,
    adapter: Path,
    out: Path,
    dtype: str,
    make_golden: Callable[[Path], None],
    kind: Kind | None = None,
) -> Path:
    """Merge an adapter into a model, prove that it took effect, and write the model to `out`.

    `kind` is needed where the directory does not say what it is; `make_golden` writes the golden file.
    Nothing is left at `out` where something fails. Raises InputError for an `out` that is there already
    or a kind that is not known, ModelError where base, adapter or merged model do not fit.
    """
    require_new(out)
    directory = locate(base)
    start = open_for_training(directory)
    kind = _kind(directory, start, kind)
    probes = probe_ids(start.tokens)
    before = pooled_states(start.decoder, probes)
    read = load_adapter(start.decoder, adapter)
    after = pooled_states(start.decoder, probes)
    whole = replace(start, network=merged(start.decoder, probes))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        files = whole.files(kind, _card(directory, adapter, read))
        written = write_directory(files, Path(folder) / out.name, dtype)
        found = pooled_states(read_decoder(written, torch.float32), probes)
        _check_written(found, before, after, dtype)
        make_golden(written)
        written.rename(out)
    return out


def _kind(directory: Path, start: Start, stated: Kind | None) -> Kind:
    if stated is not None:
        require_kind(directory, stated)
    kind = stated or start.kind
    if kind is None:
        raise InputError(
            f"{directory}: does not say whether it is an embedder or a reranker",
            "say it: --kind embedder or --kind reranker",
        )
    return kind


def probe_ids(tokens: Tokens) -> list[list[int]]:
    """The golden file's documents as ids, for comparing networks that should compute the same."""
    texts = tokens.texts(calibration_texts())
    return [[*ids[:_PROBE_TOKENS], tokens.end] for ids in texts]


def _check_written(found: torch.Tensor, before: torch.Tensor, after: torch.Tensor, dtype: str) -> None:
    """The written model must stand nearer to the adapted one than its base did, whatever rounding took."""
    moved, off = float(cosine_distance(before, after).mean()), float(cosine_distance(found, after).mean())
    if not off < moved:
        raise ModelError(
            f"rounding to {dtype} takes away what the adapter changes (it moves vectors by {moved:.1e} of "
            f"cosine, the written model is {off:.1e} off)",
            "write it as float32, or train the adapter further",
        )


def _card(directory: Path, folder: Path, adapter: Adapter) -> str:
    path = directory / "README.md"
    card = path.read_text(encoding="utf-8") if path.exists() else f"# {directory.resolve().name}\n"
    settings = adapter.settings
    return (
        f"{card.rstrip()}\n\n## Adapter\n\nThe LoRA adapter `{folder.resolve().name}` (rank {settings.rank}, "
        f"alpha {settings.alpha:g}) is merged into these weights; numbers above are of the base.\n"
    )
