"""The seam of the reranker: what a way of judging has to offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi.errors import InputError
from lingxi.inputs import OPEN, Access, Mixed
from lingxi.model.messages import Messages
from lingxi.model.tokens import Tokens
from lingxi.texts import Truncate

Floats = NDArray[np.float32]
Pair = tuple[str | Mixed, str | Mixed]
Done = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Opening:
    """What a caller says of how a model is opened: `lingxi.Reranker`'s arguments."""

    device: str | Sequence[str] | None = None
    dtype: str | None = None
    revision: str | None = None
    local_files_only: bool = False
    reference_specials: bool = False
    engine: str | None = None
    weights: str | None = None
    access: Access = OPEN


@dataclass(frozen=True, slots=True)
class Reading:
    """How pairs are read: the task, the tokenizer, a VL model's turns, and where they are cut."""

    task: str
    tokens: Tokens
    vision: Messages | None
    max_length: int
    truncate: Truncate = "end"


class Judge(Protocol):
    """A way of judging pairs, opened from a directory."""

    @property
    def network_directory(self) -> Path:
        """The directory of the network that reads: of a late interaction, its embedder's."""

    @property
    def device(self) -> torch.device:
        """Where the first network computes."""

    @property
    def tokenizer(self) -> Tokens:
        """What reads text."""

    @property
    def vision(self) -> Messages | None:
        """The turns of a VL model."""

    @property
    def computes_float32(self) -> bool:
        """Whether states are computed in float32."""

    @property
    def weights(self) -> str:
        """What matrices are computed in: 'int8', or 'float32'."""

    @property
    def default_task(self) -> str:
        """The instruction of a query that has none."""

    @property
    def frame(self) -> int:
        """Tokens of a sequence beside those of its texts."""

    @property
    def stated_length(self) -> int:
        """Where the directory says that pairs are cut."""

    @property
    def max_positions(self) -> int:
        """The longest that the network computes."""

    @property
    def hidden(self) -> int:
        """Width of the states."""

    @property
    def lanes(self) -> int:
        """How many devices compute."""

    def fingerprint(self) -> dict[str, str | int]:
        """What the states of a pair depend on beside the reading: weights, and what they are computed in."""

    def sequences(self, pairs: Sequence[Pair], reading: Reading) -> tuple[list[Any], list[bool]]:
        """What the network reads of each pair, and whether it was cut to fit."""

    def states(
        self, sequences: Sequence[Any], *, lane: int | None = None, done: Done | None = None
    ) -> Floats:
        """States [n, hidden] of sequences, on one device (None: on all)."""

    def finish(self, states: Floats) -> Floats:
        """Logits [n] of states [n, hidden]."""


def too_long(place: int, most: int) -> InputError:
    """The error of a pair that must not be cut."""
    return InputError(f"pair {place} has more than {most} tokens", "shorten it, or let it be cut")


def probabilities(logits: Floats) -> Floats:
    """The sigmoid [n] of logits [n]."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), dtype=np.float32)
