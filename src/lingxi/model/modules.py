"""sentence-transformers' `modules.json`: how a directory's states become vectors.

Read: Transformer, Pooling (mean, cls or lasttoken, both key styles), Dense and Normalize, in any
order after pooling. Any other module is refused in words, never left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from lingxi.errors import ModelError
from lingxi.model.pooling import ACTIVATIONS, Activation, Head, HeadSize, Pooling, Unit

_LEGACY = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# A reranker's LogitScore reads the last state, as the reranker here does by itself.
_SCORES = ("LogitScore", "CausalScoreHead")
_READ = ("Transformer", "Pooling", "Dense", "Normalize", *_SCORES)


@dataclass(frozen=True, slots=True)
class Modules:
    """What follows the network: how states are pooled, and the places of what comes after it.

    `after` holds (kind, folder) with the kinds Dense and Normalize; a Normalize at the end is left
    out, because an embedder's vectors are unit vectors anyway. `stated` is False where the
    directory has no `modules.json`, and pooling is an assumption.
    """

    pooling: Pooling
    after: tuple[tuple[str, Path], ...] = ()
    stated: bool = True


def read_modules(directory: Path, assumed: Pooling) -> Modules:
    """Read `modules.json`; without one, states are pooled as `assumed`.

    Raises ModelError for a module, a pooling mode or a setting that is not computed.
    """
    path = directory / "modules.json"
    if not path.exists():
        return Modules(assumed, stated=False)
    listed = _read_json(path)
    try:
        found = [(str(m["type"]).rpartition(".")[2], directory / str(m["path"])) for m in listed]
    except (TypeError, KeyError):
        raise ModelError(f"{path}: not a list of modules", "copy it again from the original model") from None
    unknown = [kind for kind, _ in found if kind not in _READ]
    if unknown:
        raise ModelError(f"{path}: holds a {unknown[0]} module", f"lingxi computes {', '.join(_READ)}")
    pooled = [place for kind, place in found if kind == "Pooling"]
    pooling = _pooling(pooled[0]) if pooled else assumed
    after = [(kind, place) for kind, place in found if kind in ("Dense", "Normalize")]
    while after and after[-1][0] == "Normalize":
        after.pop()
    scored = any(kind in _SCORES for kind, _ in found)
    return Modules(pooling, tuple(after), stated=bool(pooled) or scored)


def read_heads(modules: Modules, dtype: torch.dtype, device: torch.device | str = "cpu") -> list[nn.Module]:
    """The modules after pooling, with their weights; raises ModelError for a damaged folder."""
    heads = [Unit() if kind == "Normalize" else _head(place) for kind, place in modules.after]
    return [head.to(device=device, dtype=dtype).eval().requires_grad_(False) for head in heads]


def _pooling(place: Path) -> Pooling:
    config = _read_json(place / "config.json")
    if not isinstance(config, dict):
        raise ModelError(f"{place}: config.json is no object", "copy it again from the original model")
    found = config.get("pooling_mode") or [mode for key, mode in _LEGACY.items() if config.get(key)] or "mean"
    modes = [found] if isinstance(found, str) else list(found)
    if len(modes) != 1 or modes[0] not in get_args(Pooling):
        raise ModelError(
            f"{place}: pools by {' + '.join(map(str, modes))}",
            f"lingxi computes one of: {', '.join(get_args(Pooling))}",
        )
    if config.get("include_prompt") is False:
        raise ModelError(f"{place}: include_prompt is false", "lingxi pools the prompt with the text")
    return cast(Pooling, modes[0])


def _head(place: Path) -> Head:
    with torch.device("meta"):
        head = Head(_head_size(place))
    path = place / "model.safetensors"
    try:
        head.load_state_dict(load_file(path), assign=True)
    except FileNotFoundError:
        raise ModelError(f"{place}: no model.safetensors", "convert the weights to safetensors") from None
    except (SafetensorError, OSError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise ModelError(f"{path}: cannot be read ({first})", "copy the folder again") from None
    wanted = (head.size.outer, head.size.inner)
    if tuple(head.linear.weight.shape) != wanted:
        raise ModelError(f"{path}: is not the {list(wanted)} of its config.json", "copy the folder again")
    return head


def _head_size(place: Path) -> HeadSize:
    config = _read_json(place / "config.json")
    activation = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise ModelError(
            f"{place}: the activation is {activation!r}", f"lingxi computes one of: {', '.join(ACTIVATIONS)}"
        )
    if (
        config.get("use_residual")
        or config.get("module_input_name", "sentence_embedding") != "sentence_embedding"
    ):
        raise ModelError(
            f"{place}: a dense layer with a residual or another input", "use a plain Dense module"
        )
    try:
        return HeadSize(
            int(config["in_features"]),
            int(config["out_features"]),
            bool(config.get("bias", True)),
            cast(Activation, activation),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{place}: config.json: {error}", "copy the folder again") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error})", "copy it from the original model") from None
