"""The words that dialects, pages and the service share: who asks, what is wanted, what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lingxi.texts import Truncate

ModelKind = Literal["embedder", "reranker"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: what fairness, deadlines and logs go by.

    Requests of one `client` (the name of a key, or an address) share its turn. `deadline` is the
    `time.monotonic()` after which an answer is of no use.
    """

    client: str
    request: str
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """How texts become vectors; the fields are those of `Embedder.encode` and `Embedder.token_ids`."""

    instruction: str | None = None
    prompt_name: str | None = None
    prompt: str | None = None
    dim: int | None = None
    precision: str = "float32"
    normalize: bool = True
    truncate: Truncate = "end"
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """What is served under a name; `opened` is in Unix seconds, `adapter_of` the base's name."""

    name: str
    kind: ModelKind
    dim: int
    dims: tuple[int, ...]
    max_length: int
    weights: str
    fingerprint: dict[str, str | int]
    prompts: tuple[str, ...]
    opened: int
    adapter_of: str | None = None
    pooling: str | None = None
    modalities: tuple[str, ...] = ("text",)


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors [n, dim] in the precision wanted, and the tokens of each text, cut ones as cut."""

    vectors: NDArray[Any]
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Scored:
    """Of each pair the probability [n], logit(yes) − logit(no) [n], and its tokens."""

    scores: NDArray[np.float32]
    logits: NDArray[np.float32]
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Segment:
    """`document[start:stop] == text`, the number of its tokens, and its vector [dim]."""

    start: int
    stop: int
    text: str
    tokens: int
    vector: NDArray[Any]


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """One token: `text[start:stop]` in characters; special ones stand for no text and have None."""

    id: int
    text: str
    start: int | None
    stop: int | None
    special: bool


@dataclass(frozen=True, slots=True)
class Load:
    """What one model has to do: sequences and tokens that wait, clients, and what it did until now.

    `rate` is tokens a second while at work, 0 before the first batch; `seconds` the time at work.
    """

    waiting: int
    waiting_tokens: int
    clients: int
    running_tokens: int
    batches: int
    sequences: int
    tokens: int
    failures: int
    refused: int
    seconds: float
    rate: float


@dataclass(frozen=True, slots=True)
class State:
    """Whether the service takes requests (`ready`), is on its way out (`draining`), and each model's load.

    `index` and `media`: whether passages, and pictures and sound beside them, are searched.
    """

    ready: bool
    draining: bool
    loads: dict[str, Load]
    index: bool
    media: bool = False
