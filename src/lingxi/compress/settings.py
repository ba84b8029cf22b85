"""The recipe of a distillation: what is cut, and how the student recovers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from lingxi.config import Settings
from lingxi.train.phases import MixtureSettings


class VocabularySettings(Settings):
    """Which tokens stay: those that texts of some languages are written with."""

    languages: tuple[str, ...] = Field(min_length=1)
    """Languages as the pairs name them; for code, its programming languages."""
    size: int | None = Field(default=None, ge=300)
    """Most tokens kept, those with the largest shares of texts first; None keeps every token that is met."""
    min_count: int = Field(default=1, ge=1)
    """Tokens met fewer times are dropped."""
    texts: int = Field(default=20_000, ge=1)
    """Texts read of each language."""
    prior: float = Field(default=0.0, ge=0, le=1)
    """Unigram tokenizers: the weight of a piece's own probability beside its share of the texts read, which
    may be other texts than the model will meet."""

    @model_validator(mode="after")
    def _bounded(self) -> VocabularySettings:
        if self.prior and self.size is None:
            raise ValueError("prior needs size: every piece has a probability, so that none would be dropped")
        return self


class ShapeSettings(Settings):
    """The student's shape; what is None stays as the teacher has it."""

    layers: int | None = Field(default=None, ge=1)
    """Layers kept: those whose removal costs most."""
    heads: int | None = Field(default=None, ge=1)
    """Query heads kept in each layer (decoders); key–value heads go with theirs."""
    intermediate: int | None = Field(default=None, ge=1)
    """Neurons kept of each feed-forward layer."""
    width: int | None = Field(default=None, ge=2)
    """Components kept of the hidden states (decoders)."""
    width_by: Literal["rotation", "importance"] = "rotation"
    """Along the principal axes of the states (SliceGPT, arXiv 2401.15024), or the largest components."""


class PoolSettings(Settings):
    """Texts that the teacher answers once, and the student reads again and again."""

    rows: int = Field(default=20_000, ge=2)
    """Queries with their documents."""
    negatives: int = Field(default=0, ge=0)
    """Documents of other rows beside each query's own, where a row has no more negatives."""
    max_tokens: int = Field(default=96, ge=8)
    """Texts are cut to about this many tokens."""
    candidates: int = Field(default=0, ge=0)
    """Reranker: documents of each query's list, the right one and the nearest others of `corpus` rows by the
    embedder `found_by`; 0 takes the row's own and `negatives`."""
    corpus: int = Field(default=0, ge=0)
    """Rows whose documents are searched for them; the first `rows` of these ask."""
    found_by: str = "lingxi-pico"
    """A directory, a shipped name or a hub id."""
    mixture: MixtureSettings = MixtureSettings()

    @model_validator(mode="after")
    def _lists(self) -> PoolSettings:
        if self.candidates and (self.negatives or self.candidates < 2 or self.corpus < self.rows):
            raise ValueError(
                "candidates need corpus of at least rows, and no negatives: a list is the right document and "
                "the nearest others"
            )
        return self


class RecoverySettings(Settings):
    """How the student is drawn back to its teacher; learning rates have no default."""

    steps: int = Field(ge=1)
    batch_rows: int = Field(default=64, ge=2)
    learning_rate: float = Field(gt=0)
    token_learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(default=20, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)
    embedding: float = Field(default=1.0, ge=0)
    """Weight of the cosine to the teacher's vector (embedder), of its verdict (reranker)."""
    similarity: float = Field(default=1.0, ge=0)
    """Weight of the batch's similarity matrix, row by row (embedder), of the differences of verdicts within a
    query's list (reranker)."""
    ranking: float = Field(default=1.0, ge=0)
    """Weight of each query's list of documents in the teacher's order."""
    right: float = Field(default=0.0, ge=0)
    """Weight of picking each list's right document, which the pairs know and a teacher may not (reranker)."""
    listed: int | None = Field(default=None, ge=2)
    """Documents of a list that a step reads: the right one, and others from all parts of the teacher's order;
    None reads the whole list (reranker)."""
    temperature: float = Field(default=0.05, gt=0)
    """Of cosines in the two losses over lists."""
    dims: tuple[int, ...] = ()
    """Widths that the losses see; the full one alone where empty."""
    chunk_tokens: int = Field(default=32_768, ge=1)
    """Activations are kept for so many tokens at a time; a larger batch is read twice (GradCache)."""
    learns: Literal["all", "tokens"] = "all"
    """What is trained: all of the student, or its token vectors alone (after a vocabulary's cut)."""
    rounded: Literal["int8", "int4"] | None = None
    """Weights are rounded in the forward pass, so that the student learns to bear it."""
    group: int = Field(default=32, ge=2)
    """Weights of a row that share a scale, for int4."""

    @model_validator(mode="after")
    def _something(self) -> RecoverySettings:
        if not self.embedding + self.similarity + self.ranking + self.right:
            raise ValueError("all weights are 0: nothing would be learnt")
        return self


class EstimateSettings(Settings):
    """What `--dry-run` reckons hours with: they are no better than these."""

    device: str
    """In words."""
    tflops: float = Field(gt=0)
    """What one device reaches at most, in the precision of training."""
    utilization: float = Field(gt=0, le=1)
    """The part of it that a training reaches."""
    tokens_a_text: int = Field(default=128, ge=1)
    """Mean tokens of a text, its prompt included."""
    texts_a_row: int = Field(default=2, ge=1)
    """A query and its document."""


class DistilSettings(Settings):
    """One distillation."""

    name: str
    teacher: str
    """A directory, a shipped name or a hub id. `--dry-run` knows the published shapes without their files."""
    pairs: tuple[Path, ...] = ()
    """Curated pairs (Parquet), or one store of them that training made."""
    answers: Path | None = None
    """A folder of cached teacher answers, in place of asking the teacher."""
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    device: str | None = None
    """Where the student learns; None takes CUDA where there is one."""
    calibration: int = Field(default=256, ge=8)
    """Texts that layers, heads and neurons are weighed on."""
    weights: Literal["float32", "float16", "bfloat16", "int8", "int8-fine"] = "float32"
    """How the student is stored."""
    prompts: Literal["own", "instruct"] = "own"
    """What the student's directory says stands before texts: as its teacher's does; or before a query
    `Instruct: …` as Qwen3 reads it, and nothing before documents (an embedder of another family, to be
    trained with them)."""
    vocabulary: VocabularySettings | None = None
    shape: ShapeSettings = ShapeSettings()
    pool: PoolSettings = PoolSettings()
    recovery: RecoverySettings | None = None
    estimate: EstimateSettings | None = None

    @model_validator(mode="after")
    def _asked(self) -> DistilSettings:
        if self.prompts == "instruct" and self.recovery:
            raise ValueError(
                'recovery reads texts behind the teacher\'s prompts, prompts = "instruct" does not: '
                "leave out recovery, and tune the student with `lingxi train`"
            )
        return self
