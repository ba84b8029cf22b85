"""Whether models can be merged (one kind, shape, tokenizer, the same prompts), and whether a merge is new."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lingxi.errors import InputError, ModelError
from lingxi.merge.methods import State
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.files import read_config
from lingxi.model.layout import Kind, read_kind, read_prompts
from lingxi.model.network import empty_network, read_limit, read_size
from lingxi.model.pooling import Pooling
from lingxi.model.sizes import Size

_REMEDY = "merge checkpoints of one run, or of runs that start from the same model"
# What a tokenizer does to texts; what it puts around them is written anew.
_READS = ("model", "added_tokens", "normalizer", "pre_tokenizer")


@dataclass(frozen=True, slots=True)
class Alike:
    """What the inputs of a merge have in common."""

    kind: Kind
    size: Size | EncoderSize
    pooling: Pooling
    max_seq_length: int


def check_alike(models: Sequence[Path], base: Path | None = None) -> Alike:
    """What models share; raises ModelError naming the first thing in which one differs from the first.

    The `base` may be a bare causal model, of either kind.
    """
    first = models[0]
    for other in (*models[1:], *([base] if base else [])):
        _check_size(first, other)
        _differ(first, other, "tokenizer.json", _tokenizer(first), _tokenizer(other))
    for model in models:
        _check_causal(model)
        _differ(first, model, "kind", read_kind(first), read_kind(model))
        _differ(first, model, "prompts", read_prompts(first), read_prompts(model))
        _differ(first, model, "pooling", _pooling(first), _pooling(model))
    size = read_size(first)
    lengths = [read_limit(model) or size.max_positions for model in models]
    return Alike(read_kind(first) or "embedder", size, _pooling(first), min(lengths))


def check_changed(
    state: State,
    states: Sequence[State],
    start: State | None,
    weights: Sequence[float],
    models: Sequence[Path],
) -> None:
    """Raise InputError where a merge is one of its inputs, or its base, and its weights do not say so."""
    for index, model in enumerate(models):
        alone = all(weight == float(place == index) for place, weight in enumerate(weights))
        if not alone and equal(state, states[index]):
            raise InputError(
                f"the merge equals {model}, although its weight is {weights[index]:g}",
                "check that the models differ, and store them in a finer dtype",
            )
    if start is not None and equal(state, start):
        raise InputError(
            "the merge equals its base: the differences are nothing, or lost in rounding",
            "check the models and weights",
        )


def equal(state: State, other: State) -> bool:
    """Whether two models' weights are the same in the first one's dtype."""
    return all(torch.equal(tensor, other[name].to(tensor.dtype)) for name, tensor in state.items())


def _check_size(first: Path, other: Path) -> None:
    sizes = read_size(first), read_size(other)
    _differ(first, other, "family", type(sizes[0]).__name__, type(sizes[1]).__name__)
    left, right = map(asdict, sizes)
    for name, value in left.items():
        _differ(first, other, name, value, right[name])


def _check_causal(model: Path) -> None:
    if "Qwen3ForSequenceClassification" in read_config(model).get("architectures", []):
        raise ModelError(
            f"{model}: a classification twin, whose answer is one row of its own",
            "merge the causal originals",
        )


def _differ(first: Path, other: Path, what: str, left: object, right: object) -> None:
    if left != right:
        shown = "" if what == "tokenizer.json" else f": {left!r} and {right!r}"
        raise ModelError(f"{first} and {other} differ in {what}{shown}", _REMEDY)


def _pooling(model: Path) -> Pooling:
    return empty_network(model).pooling


def _tokenizer(model: Path) -> str:
    """A hash of how a tokenizer reads texts."""
    path = model / "tokenizer.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        text = json.dumps([found.get(name) for name in _READS], sort_keys=True)
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path}: cannot be read ({error})", "copy it again from the original model"
        ) from None
    return hashlib.sha256(text.encode()).hexdigest()
