"""What a merged model says of itself: `merge.json` and the card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lingxi
from lingxi.config import to_json
from lingxi.merge.search import Found
from lingxi.merge.settings import MergeSettings
from lingxi.model.files import hash_weights, read_config
from lingxi.model.layout import Kind, card_head

_METHODS = {
    "slerp": "slerp (an angle for each tensor)",
    "global": "slerp (one angle over all parameters)",
    "linear": "the weighted mean",
    "task": "task vectors added to the base",
}


def provenance(
    settings: MergeSettings,
    models: Sequence[Path],
    base: Path | None,
    weights: Sequence[float],
    found: Found | None,
    rows: int,
) -> dict[str, Any]:
    """What a merge was made of: inputs with their hashes, method, weights, every trial of a search."""
    scores = found.inputs if found else (None,) * len(models)
    inputs = [
        {"name": model.resolve().name, "hash": hash_weights(model), "weight": weight, "dev_score": score}
        for model, weight, score in zip(models, weights, scores, strict=True)
    ]
    searched = {"search": {**asdict(found), "dev_rows": rows}} if found else {}
    return {
        "settings": {**to_json(settings), "base": base.resolve().name if base else None},
        "inputs": inputs,
        "base": {"name": base.resolve().name, "hash": hash_weights(base)} if base else None,
        **searched,
        "version": lingxi.__version__,
    }


def card_of(kind: Kind, models: Sequence[Path], said: Mapping[str, Any], text: str | None) -> str:
    """README.md of a merged directory: `text`, or a head of its own, and what it was merged of."""
    head = text if text is not None else f"{_head(kind, models)}\n# A merged {kind}\n"
    settings = said["settings"]
    spherical = settings["method"] == "slerp" and settings["granularity"] == "global"
    lines = [f"Merged by {_METHODS['global' if spherical else settings['method']]}.", ""]
    lines += ["| model | weights and tokenizer | share |", "|---|---|---:|"]
    lines += [f"| {each['name']} | {each['hash']} | {each['weight']:.4g} |" for each in said["inputs"]]
    if said["base"]:
        lines.append(f"| {said['base']['name']} (base) | {said['base']['hash']} | |")
    if "search" in said:
        lines += ["", _searched(said["search"])]
    return f"{head.rstrip()}\n\n## Merge\n\n" + "\n".join(lines) + "\n"


def _searched(found: Mapping[str, Any]) -> str:
    best = max(found["inputs"])
    if found["kept"] is not None:
        return f"No merge tried was as good on the dev set as the best input ({best:.4f}), which is kept."
    return f"Dev score {found['score']:.4f}; the best input alone {best:.4f} ({found['dev_rows']} rows)."


def _head(kind: Kind, models: Sequence[Path]) -> str:
    licences = {_licence(model) for model in models}
    line = f"license: {licences.pop()}\n" if len(licences) == 1 and None not in licences else ""
    family = str(read_config(models[0])["model_type"])
    return card_head(kind, line, ("sentence-transformers", family, "merge"))


def _licence(model: Path) -> str | None:
    """The licence that a model's card states."""
    card = model / "README.md"
    text = card.read_text(encoding="utf-8") if card.exists() else ""
    found = re.match(r"---\n(?:.*\n)*?license: (\S+)\n(?:.*\n)*?---\n", text)
    return found[1] if found else None
