"""Adapters on disk, in peft's layout.

A folder holds `adapter_config.json` and `adapter_model.safetensors`. The keys are the names that peft's
wrapper gives: `base_model.model.layers…` where the bare decoder was adapted (embedders),
`base_model.model.model.layers…` where the causal model was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lingxi.errors import ModelError
from lingxi.model.decoder import Decoder
from lingxi.model.files import write_json
from lingxi.model.layout import Kind
from lingxi.train.lora import adapted, adapter_state
from lingxi.train.settings import LoraSettings

_CONFIG, _TENSORS = "adapter_config.json", "adapter_model.safetensors"
_WRAPPER = "base_model.model."
# What changes an adapter's result and is not computed here; each means plain LoRA where it is empty.
_REFUSED = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "fan_in_fan_out",
    "modules_to_save",
    "exclude_modules",
    "layers_to_transform",
    "layer_replication",
    "rank_pattern",
    "alpha_pattern",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
)
# Other ways to begin take a part out of the base's own weights, which the adapter then cannot do without.
_KEEP_THE_BASE = (None, True, False, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter as read: `tensors` in fp32 under the decoder's names, `base` the model it was made on."""

    settings: LoraSettings
    tensors: Mapping[str, torch.Tensor]
    base: str


def write_adapter(decoder: Decoder, folder: Path, base_name: str, kind: Kind) -> Path:
    """Write a decoder's adapters as peft does and return the folder.

    `base_name` is the model that peft loads them on; `kind` says whether that is the bare decoder
    (`AutoModel`: embedder) or the causal model (reranker). Raises ModelError where there are none.
    """
    layers = dict(adapted(decoder))
    if not layers:
        raise ModelError("the network has no adapters to write", "attach or load an adapter first")
    settings = next(iter(layers.values())).settings
    inner = "" if kind == "embedder" else "model."
    config = _config(settings, base_name, kind) | {"target_modules": _target_names(layers, settings, inner)}
    tensors = {
        f"{_WRAPPER}{inner}{name}": tensor.detach().cpu().contiguous()
        for name, tensor in adapter_state(decoder).items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / _TENSORS, metadata={"format": "pt"})
    write_json(folder / _CONFIG, config)
    return folder


def _target_names(layers: Mapping[str, Any], settings: LoraSettings, inner: str) -> list[str]:
    """Targets as a list, which every loader reads; an expression becomes the whole names that it met."""
    return sorted(f"{inner}{n}" for n in layers) if isinstance(settings.targets, str) else [*settings.targets]


def _config(settings: LoraSettings, base_name: str, kind: Kind) -> dict[str, Any]:
    alpha = settings.alpha
    return {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION" if kind == "embedder" else "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": settings.rank,
        # peft and the servers that read its files declare a whole number.
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "use_rslora": settings.rslora,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "modules_to_save": None,
        "layers_to_transform": None,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_dora": False,
    }


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter that peft, or anything that writes its layout, has written.

    Raises ModelError for a folder without one, a damaged file, or a form that is not plain LoRA.
    """
    config = _read_config(folder)
    _check_config(folder, config)
    try:
        settings = LoraSettings(
            rank=config["r"],
            alpha=config["lora_alpha"],
            targets=config["target_modules"],
            rslora=bool(config.get("use_rslora")),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(
            f"{folder / _CONFIG}: {first['loc'][0]} is {first['input']!r} ({first['msg']})",
            "save the adapter again",
        ) from None
    return Adapter(settings, _read_tensors(folder), str(config.get("base_model_name_or_path") or ""))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(f"{folder}: no {_CONFIG}", "name the folder that holds an adapter") from None
    except (ValueError, OSError) as error:
        raise ModelError(f"{path}: not JSON ({error})", "save the adapter again") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise ModelError(f"{path}: not a LoRA adapter", "only LoRA adapters can be merged")
    return config


def _check_config(folder: Path, config: Mapping[str, Any]) -> None:
    found = [key for key in _REFUSED if config.get(key)]
    if config.get("bias", "none") != "none":
        found.append("bias")
    if config.get("init_lora_weights") not in _KEEP_THE_BASE:
        found.append("init_lora_weights")
    absent = [key for key in ("r", "lora_alpha", "target_modules") if config.get(key) is None]
    if absent:
        raise ModelError(f"{folder / _CONFIG}: no {absent[0]!r}", "save the adapter again")
    if found:
        raise ModelError(
            f"{folder / _CONFIG}: {found[0]} is {config[found[0]]!r}, which is not plain LoRA",
            "merge it with peft (merge_and_unload) and use the merged model",
        )


def _read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    path = folder / _TENSORS
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise ModelError(f"{folder}: no {_TENSORS}", "save the adapter as safetensors") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: truncated or not safetensors ({error})", "copy the file again") from None
    return {key.removeprefix(_WRAPPER).removeprefix("model."): t.float() for key, t in tensors.items()}
