"""Every knob of training, with its unit: the `[train.*]` tables of a recipe.

A network from scratch has the tables tokenizer, network and lexicon, and may have language; one that starts from a
model has `start`. Then come weak, supervised and reranker, each where it is wanted, in this order.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lingxi.config import Settings
from lingxi.generate.settings import NegativeSettings
from lingxi.train.language import LanguageSettings
from lingxi.train.lora import LoraSettings
from lingxi.train.watches import GuardSettings

SCRATCH = "scratch"


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

    size: str = "nano"
    layers: int | None = None
    """Overrides the size's number of layers (small runs)."""
    hidden: int | None = None
    """Overrides the size's width (small runs); heads follow in steps of 64."""


class TeacherSettings(Settings):
    """A sentence-transformers model whose vectors English texts, and their translations, are drawn to."""

    package: str | None = None
    """Python package with `get_model_path()`; None trains without a teacher."""
    weight: float = Field(default=1.0, ge=0)
    """Weight of the teacher's loss beside the contrastive one."""
    max_texts: int = Field(default=150_000, ge=1)
    """Texts it reads: those of search and similarity first, then code, then what is translated most."""
    max_tokens: int = Field(default=64, ge=8)
    """Texts are cut to this many of the teacher's tokens before it reads them."""


class MixtureSettings(Settings):
    """What a phase's batches are drawn of."""

    tasks: dict[str, float] = Field(
        default_factory=lambda: {"bitext": 4.0, "retrieval": 3.0, "code": 3.0, "classification": 0.5, "sts": 1.0}
    )
    """Relative share of batches of each task."""
    sources: tuple[str, ...] = ("*",)
    """Only rows of these sources (`qa_*` is a pattern)."""
    language_balance: float = Field(default=0.5, ge=0, le=1)
    """Rows of a language are drawn in proportion to their number to this power."""
    emphasis: dict[str, float] = Field(default_factory=dict)
    """Factors on that chance, by source and by language; "*" is the languages not named."""


class MiningSettings(NegativeSettings):
    """Where hard negatives come from: the ranking of the model that a phase starts from."""

    rows: int = Field(default=4_000, ge=10)
    """Rows of each kind (task and instruction) that are mined for, drawn by seed; a phase that mines sees no others."""


class PhaseSettings(Settings):
    """How long and how fast a phase trains."""

    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    """Of the matrices and norms."""
    token_learning_rate: float = Field(gt=0)
    """Of the token vectors, of which a step touches few."""
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    max_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Steps between checkpoints."""
    keep: int = Field(default=0, ge=0)
    """Checkpoints of the second half that are kept as models, to be merged."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of a running average of the weights, which the phase then ends with."""
    chunk_tokens: int = Field(default=65_536, ge=64)
    """Most tokens encoded with gradients at a time; larger batches go through GradCache."""


class ContrastiveSettings(PhaseSettings):
    """One contrastive phase; the loss is the five-group InfoNCE of Qwen3-Embedding."""

    batch_pairs: int = Field(ge=2)
    mixture: MixtureSettings = MixtureSettings()
    temperature: float = Field(default=0.05, gt=0)
    margin: float = Field(default=0.1, ge=0)
    """Negatives that score this much above the positive are taken for false and masked."""
    max_tokens: int = Field(default=128, ge=8)
    """Texts are cut to this many tokens in training."""
    negatives: int = Field(default=0, ge=0)
    """Hard negatives a row: its own, or mined ones."""
    mining: MiningSettings | None = None
    """Mines negatives for the rows that have none; None takes only those that rows have."""
    hardness: float = Field(default=0.0, ge=0)
    """Weight of hard negatives by how near they are (EmbeddingGemma has 5)."""
    query_query: bool = True
    """Whether other queries, and documents among each other, count as negatives (Qwen drops them for search in stage 2)."""
    raw_query_rate: float = Field(default=0.1, ge=0, le=1)
    """Share of batches whose queries are given without an instruction."""
    default_task_rate: float = Field(default=0.4, ge=0, le=1)
    """Share of search batches that get the default web-search instruction instead of their own."""
    paraphrase_rate: float = Field(default=0.2, ge=0, le=1)
    """Share of batches whose instruction is said in other words."""
    instruction_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of batches of contrast rows: one query under two instructions, each with its own document."""
    teacher_weight: float = Field(default=1.0, ge=0)
    """Factor on the teacher's weight in this phase."""
    spread_out: float = Field(default=0.0, ge=0)
    """Weight of the spread-out regulariser, which keeps cut and binary vectors apart."""
    stored_as: tuple[Literal["int8", "binary"], ...] = ()
    """Forms in which vectors will be stored: the loss sees them too (straight-through)."""


class LexiconSettings(ContrastiveSettings):
    """Token vectors alone, from which a network from scratch starts; texts are read without instructions."""


class RerankerSettings(PhaseSettings):
    """Yes/no training, started from the token vectors or from a model, negatives mined by the embedder."""

    start: str | None = None
    """A model to start from: a directory or hub id; None starts from the token vectors."""
    miner: str | None = None
    """The embedder that mines: a directory or hub id; None is the one that this run trains."""
    batch_queries: int = Field(ge=2)
    negatives: int = Field(default=4, ge=1)
    """Hard negatives a query."""
    easy_negatives: int = Field(default=3, ge=0)
    """Negatives a query, drawn from the other rows' documents."""
    mining: MiningSettings = MiningSettings()
    max_tokens: int = Field(default=192, ge=64)
    """Longest body (instruction, query and document together)."""
    default_task_rate: float = Field(default=0.4, ge=0, le=1)
    """Share of batches that get the default web-search instruction instead of their own."""
    pointwise: float = Field(default=1.0, ge=0)
    """Weight of the yes/no loss of each document."""
    listwise: float = Field(default=1.0, ge=0)
    """Weight of picking the right one of a query's documents."""
    agreement: float = Field(default=0.0, ge=0)
    """Weight of the cross entropy to the teacher's scores of the same documents."""
    mixture: MixtureSettings = MixtureSettings(tasks={"bitext": 1.0, "retrieval": 4.0, "code": 2.0})

    @model_validator(mode="after")
    def _checked(self) -> RerankerSettings:
        if self.easy_negatives >= self.batch_queries:
            raise ValueError(f"{self.batch_queries} batch_queries do not give {self.easy_negatives} easy negatives")
        if self.pointwise + self.listwise + self.agreement <= 0:
            raise ValueError("one of pointwise, listwise and agreement must be above 0")
        return self


class TrainSettings(Settings):
    """The `[train]` table."""

    seed: int = 0
    start: str = SCRATCH
    """`scratch`, or the model to start from: a directory, a shipped name or a hub id."""
    dims: tuple[int, ...] = ()
    """Matryoshka widths trained, rising; the last is the full width. Empty: 32, 64, … doubling, and the full one."""
    weights: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    """How the finished directories are stored."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None takes all the machine has."""
    held_out: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the pairs' groups that are never trained on: the dev probe, and the set the result is measured on."""
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
        scratch = {"tokenizer": self.tokenizer, "lexicon": self.lexicon}
        if self.start == SCRATCH and (missing := [name for name, table in scratch.items() if table is None]):
            raise ValueError(f"a network from scratch needs [train.{missing[0]}]; or name a model as train.start")
        given = [name for name, table in {**scratch, "language": self.language}.items() if table is not None]
        if self.start != SCRATCH and given:
            raise ValueError(f"[train.{given[0]}] is for networks from scratch; start is {self.start!r}")
        if self.start != SCRATCH and not (self.weak or self.supervised or self.reranker):
            raise ValueError("there is nothing to train: add [train.weak], [train.supervised] or [train.reranker]")
        if list(self.dims) != sorted(set(self.dims)) or any(dim < 1 for dim in self.dims):
            raise ValueError("dims must rise from 1 or more")
        return self
