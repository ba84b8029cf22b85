"""Every knob of training, with its unit: the `[train.*]` tables of a recipe."""

from __future__ import annotations

from pydantic import Field, model_validator

from lingxi.config import Settings


class TokenizerSettings(Settings):
    """Byte-level BPE with Qwen's pre-tokenizer and NFC, trained on the pairs' texts."""

    vocab: int = Field(default=49152, ge=512)
    """Number of ids, special tokens included."""
    characters_per_language: int = Field(default=300_000, ge=1)
    """Most characters read of any one language, so that large languages do not take the vocabulary."""


class TeacherSettings(Settings):
    """A sentence-transformers model whose vectors English texts, and their translations, are drawn to."""

    package: str | None = None
    """Python package with `get_model_path()`; None trains without a teacher."""
    weight: float = Field(default=1.0, ge=0)
    """Weight of the teacher's loss beside the contrastive one."""
    max_texts: int = Field(default=150_000, ge=1)
    max_tokens: int = Field(default=64, ge=8)
    """Texts are cut to this many of the teacher's tokens before it reads them."""


class ContrastiveSettings(Settings):
    """One contrastive phase; the loss is the five-group InfoNCE of Qwen3-Embedding."""

    steps: int = Field(ge=1)
    batch_pairs: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    """Of the matrices and norms."""
    token_learning_rate: float = Field(gt=0)
    """Of the token vectors, of which a step touches few."""
    warmup_steps: int = Field(ge=0)
    temperature: float = Field(default=0.05, gt=0)
    margin: float = Field(default=0.1, ge=0)
    """Negatives that score this much above the positive are taken for false and masked."""
    max_tokens: int = Field(default=128, ge=8)
    """Texts are cut to this many tokens in training."""
    raw_query_rate: float = Field(default=0.1, ge=0, le=1)
    """Share of batches whose queries are given without an instruction."""
    default_task_rate: float = Field(default=0.4, ge=0, le=1)
    """Share of search batches that get the default web-search instruction instead of their own."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Steps between checkpoints."""


class EmbedderSettings(Settings):
    """How the embedder is made: token vectors first, then the whole network."""

    size: str = "nano"
    layers: int | None = None
    """Overrides the size's number of layers (small runs)."""
    hidden: int | None = None
    """Overrides the size's width (small runs); heads follow in steps of 64."""
    lexicon: ContrastiveSettings
    network: ContrastiveSettings
    teacher: TeacherSettings = TeacherSettings()
    dims: tuple[int, ...] = (32, 64, 128, 384)
    """Matryoshka widths trained; the last is the full width."""
    mixture: dict[str, float] = Field(
        default_factory=lambda: {
            "bitext": 4.0,
            "retrieval": 3.0,
            "code": 3.0,
            "classification": 0.5,
            "sts": 1.0,
        }
    )
    """Relative share of batches of each task."""
    language_balance: float = Field(default=0.5, ge=0, le=1)
    """Rows of a language are drawn in proportion to their number to this power."""
    emphasis: dict[str, float] = Field(default_factory=dict)
    """Factors on that chance, by source and by language; "*" is the languages not named."""

    @model_validator(mode="after")
    def _checked(self) -> EmbedderSettings:
        if list(self.dims) != sorted(set(self.dims)):
            raise ValueError("dims must rise")
        return self


class RerankerSettings(Settings):
    """Yes/no training, started from the token vectors, negatives mined by the embedder."""

    steps: int = Field(ge=1)
    batch_queries: int = Field(ge=1)
    negatives: int = Field(default=4, ge=1)
    """Hard negatives a query, drawn from the ranks below."""
    easy_negatives: int = Field(default=3, ge=0, le=8)
    """Negatives a query, drawn from all others of its kind."""
    ranks: tuple[int, int] = (3, 40)
    pool: int = Field(default=4_000, ge=10)
    """Rows of each kind (task and instruction) whose documents negatives are searched among."""
    learning_rate: float = Field(gt=0)
    token_learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    max_tokens: int = Field(default=192, ge=64)
    """Longest body (instruction, query and document together)."""
    default_task_rate: float = Field(default=0.4, ge=0, le=1)
    """Share of batches that get the default web-search instruction instead of their own."""
    checkpoint_every: int = Field(default=100, ge=1)
    mixture: dict[str, float] = Field(default_factory=lambda: {"bitext": 1.0, "retrieval": 4.0, "code": 2.0})

    @model_validator(mode="after")
    def _checked(self) -> RerankerSettings:
        first, last = self.ranks
        if not 0 <= first < last or self.negatives > last - first or self.easy_negatives > last:
            raise ValueError(f"ranks {first} to {last} do not hold {self.negatives} negatives")
        if self.pool <= 2 * last:
            raise ValueError(f"pool must be above {2 * last}, twice the last of ranks")
        return self


class TrainSettings(Settings):
    """The `[train]` table."""

    seed: int = 0
    tokenizer: TokenizerSettings = TokenizerSettings(vocab=49152, characters_per_language=300_000)
    embedder: EmbedderSettings
    reranker: RerankerSettings
    weights: str = "int8"
    """How the finished directories are stored: float32, float16, bfloat16 or int8."""
    threads: int | None = None
    """CPU threads; None takes all the machine has."""
