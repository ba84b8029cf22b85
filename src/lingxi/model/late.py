"""Late interaction on an embedder's token states: the head, and the directory it lies in.

Score of a query with tokens q and a document with tokens d (ColBERT, arXiv 2004.12832, eq. 3, weighted):

    logit = a · cosine + b · Σ u(q) max_d s(q, d) / Σ u(q) + c

where s is the cosine of projected states, u the learnt weight of a query's token, and `cosine` the embedder's
own of the two texts.
The directory holds `config.json`, which names the embedder, and the head in `model.safetensors`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from lingxi.errors import ModelError
from lingxi.model.files import locate, read_config, save_tensors
from lingxi.model.layout import LATE

FEATURES = 2
"""What a pair's score is made of: the cosine of both vectors, and weighted MaxSim."""
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class LateConfig:
    """What a directory says of itself.

    `embedder` is a shipped name, a hub id, or a path (from the directory, where it is relative);
    `embedder_hash` its weights'; `hidden` the width of its states.
    """

    embedder: str
    embedder_hash: str
    hidden: int
    model_type: str = LATE
    dtype: str = "float16"


@dataclass(frozen=True, slots=True)
class Side:
    """One text: the states of its tokens [tokens, hidden], and the embedder's unit vector [dim]."""

    states: Tensor
    vector: Tensor


class LateHead(nn.Module):
    """The projection, the weights of a query's tokens, and how the two features are mixed."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.projection = nn.Linear(hidden, hidden)
        self.weight = nn.Linear(hidden, 1)
        self.mix = nn.Linear(FEATURES, 1)

    def projected(self, states: Tensor) -> Tensor:
        """Unit vectors [tokens, hidden] of states [tokens, hidden]."""
        return F.normalize(self.projection(states), dim=-1)

    def features(self, query: Side, documents: Sequence[Side]) -> Tensor:
        """[documents, 2] of one query, of whose tokens only those of the text are given (`own`)."""
        cosine = torch.stack([document.vector for document in documents]) @ query.vector
        words = self.projected(torch.cat([document.states for document in documents]))
        near = self.projected(query.states) @ words.T
        best = largest(near, [len(document.states) for document in documents])
        weights = F.softplus(self.weight(query.states))[:, 0]
        return torch.stack([cosine, best @ weights / weights.sum()], 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [n] of features [n, 2]."""
        return cast(Tensor, self.mix(features))[:, 0]


def own(tokens: int, first: int, after: int) -> slice:
    """Where a query's own tokens stand, between its prompt and the end of the frame; an empty one has all."""
    return slice(first, tokens - after) if first < tokens - after else slice(0, tokens)


def largest(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """[runs, rows]: the largest of each row of `values` [rows, sum of lengths] in each run of columns."""
    return torch.stack([part.amax(1) for part in torch.split(values, list(lengths), dim=1)])


def is_late(directory: Path) -> bool:
    """Whether a directory holds a late interaction."""
    try:
        return read_config(directory).get("model_type") == LATE
    except ModelError:
        return False


def write_late(directory: Path, config: LateConfig, head: LateHead) -> int:
    """Write the configuration and the head, in fp16; returns the bytes of the weights."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n", "utf-8")
    halves = {name: value.detach().to(torch.float16) for name, value in head.state_dict().items()}
    # The mixture decides near ties and is a few numbers.
    exact = {name: value.detach().float() for name, value in head.state_dict().items() if "mix" in name}
    save_tensors(halves | exact, directory / _WEIGHTS)
    return (directory / _WEIGHTS).stat().st_size


def read_late(directory: Path) -> tuple[LateConfig, LateHead]:
    """The configuration and head of a directory, float32, ready for inference; raises ModelError."""
    values = read_config(directory)
    if values.get("model_type") != LATE:
        raise ModelError(f"{directory}: no late interaction", f"its model_type is to be {LATE}")
    try:
        config = LateConfig(**values)
        head = LateHead(config.hidden)
        stored = load_file(directory / _WEIGHTS)
        head.load_state_dict({name: value.float() for name, value in stored.items()})
    except (TypeError, SafetensorError, OSError, RuntimeError) as problem:
        raise ModelError(
            f"{directory}: the late interaction cannot be read ({problem})",
            "copy it again, or make it anew: lingxi late RECIPE",
        ) from None
    return config, head.eval().requires_grad_(False)


def hash_late(directory: Path) -> str:
    """16 hex digits that tell one head, and the embedder it was made for, from another."""
    digest = hashlib.sha256()
    for name in ("config.json", _WEIGHTS):
        digest.update((directory / name).read_bytes())
    return digest.hexdigest()[:16]


def network_of(directory: Path) -> Path:
    """The directory of the network that a model computes with: its own, or its embedder's."""
    return locate(embedder_of(directory, read_late(directory)[0])) if is_late(directory) else directory


def embedder_of(directory: Path, config: LateConfig) -> str:
    """The embedder a directory names, as `locate` finds it."""
    beside = directory / config.embedder
    return str(beside) if config.embedder.startswith(".") and beside.is_dir() else config.embedder
