"""What each phase of training is told: the tables `[train.lexicon]` to `[train.reranker]` of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lingxi.config import Settings
from lingxi.generate.settings import NegativeSettings

_TASKS = {"bitext": 4.0, "retrieval": 3.0, "code": 3.0, "classification": 0.5, "sts": 1.0}
_OF_INSTRUCTIONS = ("raw_query_rate", "default_task_rate", "paraphrase_rate")


class MixtureSettings(Settings):
    """What a phase's batches are drawn of."""

    tasks: dict[str, float] = Field(default_factory=lambda: dict(_TASKS))
    """Relative share of batches of each task."""
    sources: tuple[str, ...] = ("*",)
    """Only rows of these sources (`qa_*` is a pattern)."""
    language_balance: float = Field(default=0.5, ge=0, le=1)
    """Rows of a language are drawn in proportion to their number to this power."""
    emphasis: dict[str, float] = Field(default_factory=dict)
    """Factors on that chance, by source (`dict-*` is a pattern) and by language ("*": those not named)."""


class MiningSettings(NegativeSettings):
    """Where hard negatives come from: the ranking of the model that a phase starts from."""

    rows: int = Field(default=4_000, ge=10)
    """Rows of each kind (task and instruction) mined for, drawn by seed; the phase has no others."""


class PhaseSettings(Settings):
    """How long and how fast a phase trains."""

    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    """Of the matrices and norms."""
    token_learning_rate: float = Field(gt=0)
    """Of the token vectors, of which a step touches few, and of an output head of their kind."""
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

    def kept_steps(self) -> tuple[int, ...]:
        """Numbers of steps after which a checkpoint is kept, rising; the last step is one of them."""
        # Of the second half: before that a run has not settled enough to be worth merging.
        found = {self.steps - round(i * self.steps / (2 * self.keep)) for i in range(self.keep)}
        return tuple(sorted(found))


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
    """Whether other queries, and documents among each other, count as negatives.

    Qwen drops both for search in the supervised stage."""
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
    tokens: Literal["trained", "int4"] = "trained"
    """`int4`: token vectors are rounded to four bits when the phase begins, and stay, so that what is stored
    that way is what the network was trained with."""
    stored_as: tuple[Literal["int8", "binary"], ...] = ()
    """Forms in which vectors will be stored: the loss sees them too (straight-through)."""

    @model_validator(mode="after")
    def _needed(self) -> ContrastiveSettings:
        for name in ("mining", "hardness"):
            if getattr(self, name) and not self.negatives:
                raise ValueError(f"{name} is for hard negatives, and a row gets none: set negatives above 0")
        return self


class LexiconSettings(ContrastiveSettings):
    """Token vectors alone, from which a network from scratch starts; texts are read without instructions."""

    @model_validator(mode="after")
    def _checked(self) -> LexiconSettings:
        for name in ("mining", "instruction_rate", "keep", *_OF_INSTRUCTIONS):
            if name in self.model_fields_set and getattr(self, name):
                raise ValueError(
                    f"token vectors read no instructions and are not mined with: leave out {name}"
                )
        if self.tokens != "trained":
            raise ValueError("this phase trains token vectors and nothing else: leave out tokens")
        return self


class LanguageSettings(PhaseSettings):
    """The language-model phase of a network from scratch."""

    batch_tokens: int = Field(ge=64)
    """Tokens of a step, marks included; the last text may go beyond."""
    forward_tokens: int = Field(default=4096, ge=64)
    """Tokens computed at a time; a step sums the gradients of as many passes as it takes."""
    head_tokens: int = Field(default=512, ge=1)
    """Most tokens whose logits over the whole vocabulary are held at once."""
    max_tokens: int = Field(default=512, ge=64)
    """Longest sequence; of longer texts a stretch is drawn."""
    plain: float = Field(default=0.4, ge=0)
    """Relative share of texts given as they are."""
    infill: float = Field(default=0.4, ge=0)
    """Relative share of texts whose middle is asked for at the end."""
    masked: float = Field(default=0.2, ge=0)
    """Relative share of texts with several spans masked, asked for in order at the end."""
    suffix_first_rate: float = Field(default=0.5, ge=0, le=1)
    """Share of the infill texts whose suffix stands before their prefix."""
    identifier_rate: float = Field(default=0.5, ge=0, le=1)
    """Share of the infill texts of code whose hole is the name of a function, hidden everywhere else."""
    mask_rate: float = Field(default=0.15, gt=0, le=0.5)
    """Share of the words of a masked text that are masked."""
    mask_span: float = Field(default=3.0, ge=1)
    """Mean length of the masked spans, in words."""
    count_context: bool = True
    """Whether what stands around a hole is predicted too, or only what is in it."""

    @model_validator(mode="after")
    def _checked(self) -> LanguageSettings:
        if self.plain + self.infill + self.masked <= 0:
            raise ValueError("one of plain, infill and masked must be above 0")
        if self.batch_tokens < self.max_tokens:
            raise ValueError(f"batch_tokens must hold one sequence of max_tokens ({self.max_tokens})")
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps must be below steps ({self.steps})")
        if self.keep:
            raise ValueError(
                "only contrastive phases and the reranker's keep models to merge: leave out keep"
            )
        return self


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
            raise ValueError(f"{self.batch_queries} queries do not give {self.easy_negatives} easy negatives")
        if self.pointwise + self.listwise + self.agreement <= 0:
            raise ValueError("one of pointwise, listwise and agreement must be above 0")
        return self
