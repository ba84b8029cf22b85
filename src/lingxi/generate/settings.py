"""Every knob of the stage: the `[generate.*]` tables of a recipe. What is unset is not done."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from lingxi import languages
from lingxi.config import Settings
from lingxi.generate.wording import DIFFICULTIES, NAMED, PERSONAS, QUESTION_TYPES, QuestionType
from lingxi.records import Task

KindName = Literal["title", "heading", "question", "abstract", "adjacent", "cloze"]
ContrastName = Literal["translation", "section", "heading", "code"]


class StructureSettings(Settings):
    """Pairs from the structure of documents; lengths in characters, of which ideographs count 2.5."""

    kinds: tuple[KindName, ...] = ("title", "heading", "question", "abstract", "adjacent", "cloze")
    """What is made: title → lead, heading → section, question → answer, abstract → article, section → the
    next one, sentence → the rest of its paragraph."""
    least_text: int = Field(default=80, ge=1)
    """Shortest answer."""
    most_text: int = Field(default=4_000, ge=1)
    """Longer answers are cut at the end of a sentence."""
    least_query: int = Field(default=20, ge=1)
    """Shortest sentence that is taken out of its paragraph."""
    most_query: int = Field(default=1_000, ge=1)
    """Longest query; sections and abstracts that ask are cut to it."""
    most_rows: int = Field(default=20, ge=1)
    """Most pairs of one kind of one document, drawn by seed."""
    seed: int = 0
    """Seed of every draw."""


class PivotSettings(Settings):
    """Translations X → Y of texts that were translated into the same English."""

    pairs: tuple[tuple[str, str], ...] = ()
    """Languages of query and answer, as `["sw", "fr"]`; all pairs of languages where none is named."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Share of the translations that could be made, drawn by seed."""
    cap: int = Field(default=2_000, ge=1)
    """Most rows of one pair of languages, both ways together, drawn by seed."""
    seed: int = 0
    """Seed of every draw."""

    @model_validator(mode="after")
    def _checked(self) -> PivotSettings:
        if wrong := [pair for pair in self.pairs if pair != tuple(map(languages.normalise, pair))]:
            raise ValueError(f"{wrong[0]} are no codes of ours: {tuple(map(languages.normalise, wrong[0]))}")
        if any(one == other for one, other in self.pairs):
            raise ValueError("a pair of languages has two")
        return self


class ContrastSettings(Settings):
    """One query under several instructions, each with its own answer; lengths as in the structure."""

    kinds: tuple[ContrastName, ...] = ("translation", "section", "heading", "code")
    """What is made: a sentence → itself in a language that the instruction names; a heading → its section or
    the next one; a section → its heading or the next section; code with a gap → the comment on it."""
    cap: int = Field(default=20_000, ge=8)
    """Most rows in all, of which each kind has an equal share, drawn by seed."""
    languages: tuple[str, ...] = NAMED
    """Languages that a sentence is asked for in; those that take part least are taken first."""
    answers: int = Field(default=3, ge=2)
    """Most languages that one sentence is asked for in: so many rows it gives."""
    least_words: int = Field(default=5, ge=2)
    """Fewest words, of three letters and more, of an English sentence that is asked for."""
    least_text: int = Field(default=80, ge=1)
    """Shortest section."""
    most_text: int = Field(default=4_000, ge=1)
    """Longer sections are cut at the end of a sentence."""
    most_query: int = Field(default=1_000, ge=1)
    """Longest query; sections that ask are cut to it."""
    seed: int = 0
    """Seed of every draw."""

    @model_validator(mode="after")
    def _checked(self) -> ContrastSettings:
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError("kinds names what is made, each once")
        if unknown := [code for code in self.languages if code not in NAMED]:
            raise ValueError(f"no English name is known of {unknown[0]!r}; codes are as `de`, `sw`, `zh`")
        if "translation" in self.kinds and len(set(self.languages)) < 2:
            raise ValueError("a contrast of translations has two languages and more")
        return self


class ChatSettings(Settings):
    """The language model and what it may cost."""

    url: str
    """Address of the server, with or without `/chat/completions`."""
    model: str
    key_file: Path | None = None
    """File that holds the server's key; none is sent when unset."""
    concurrency: int = Field(default=4, ge=1)
    """Documents that are asked about at a time."""
    retries: int = Field(default=3, ge=0)
    """How often a question is sent again: where the server is busy, and where its answer is not usable."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds to wait for an answer."""
    wait: float = Field(default=1.0, ge=0)
    """Seconds before a busy server is asked again; doubled each time, unless the server names its own."""
    temperature: float = Field(default=0.7, ge=0)
    max_tokens: int = Field(default=1_024, ge=1)
    """Longest answer in the server's tokens, its thinking included."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Fields of the request beyond these, as `response_format` where the server knows it."""
    prompt_price: float | None = Field(default=None, ge=0)
    """Price of a million tokens that are read, in any currency."""
    answer_price: float | None = Field(default=None, ge=0)
    """Price of a million tokens that are written."""
    cache: Path = Path("~/.cache/lingxi/answers")
    """Folder of the answers that were given; may be deleted at any time."""

    @field_validator("url")
    @classmethod
    def _checked(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address begins with http:// or https://")
        if parts.username or parts.password:
            raise ValueError("the key belongs into key_file, not into the address")
        return url


class WrittenSettings(Settings):
    """Queries written by a language model: who asks, what, how hard, how long, in what tongue."""

    chat: ChatSettings
    documents: int = Field(default=1_000, ge=1)
    """Documents that are asked about, drawn by seed; one passage of each."""
    least_text: int = Field(default=200, ge=1)
    """Shortest passage, in characters, of which ideographs count 2.5."""
    most_text: int = Field(default=2_000, ge=1)
    """Longest passage."""
    personas: tuple[str, ...] = PERSONAS
    """Who may ask."""
    candidates: int = Field(default=5, ge=1)
    """Personas that are offered for a passage."""
    persona_model: str | None = None
    """Embedder that offers the personas nearest to the passage; unset, they are drawn by seed."""
    question_types: dict[str, QuestionType] = QUESTION_TYPES
    """Kinds of questions by name, each with what it means and the instruction of its rows."""
    difficulties: dict[str, str] = DIFFICULTIES
    """Levels by name, each with what it means."""
    lengths: tuple[int, ...] = (5, 10, 15, 25)
    """Lengths of a query in words, one drawn by seed for each passage."""
    languages: tuple[str, ...] = ()
    """Languages in which passages of other languages are asked about too."""
    cross_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the passages that are asked about in one of `languages`, not in their own."""
    seed: int = 0
    """Seed of every draw."""

    @model_validator(mode="after")
    def _checked(self) -> WrittenSettings:
        for name in ("personas", "question_types", "difficulties", "lengths"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
        if self.cross_share and not self.languages:
            raise ValueError("cross_share asks for languages")
        return self


class NegativeSettings(Settings):
    """Which passages may stand as hard negatives of a row."""

    ranks: tuple[int, int] = (10, 100)
    """The first so many candidates are passed over, and the search ends at the second number."""
    rule: Literal["share", "difference"] = "share"
    """A negative scores at most the positive's score times `margin` (share) or less `margin` (difference)."""
    margin: float = Field(default=0.95, ge=0, le=2)
    count: int = Field(default=7, ge=1)
    """Negatives that a row gets at most, drawn by seed from those that may stand."""
    pool: int = Field(default=20_000, ge=1)
    """Passages of one task and document language that are searched, drawn by seed; ranks are ranks in it."""
    tasks: tuple[Task, ...] = ("retrieval", "code", "bitext")
    """Tasks whose rows get negatives; rows of others pass as they are."""
    most_relevant: float = Field(default=0.5, ge=0, le=1)
    """Highest probability that a cross-encoder may give a negative; it is always below the positive's."""
    seed: int = 0
    """Seed of every draw."""

    @model_validator(mode="after")
    def _checked(self) -> NegativeSettings:
        first, last = self.ranks
        if not 0 <= first < last or self.count > last - first:
            raise ValueError(f"ranks {first} to {last} do not hold {self.count} negatives")
        return self


class GenerateSettings(Settings):
    """What is made of the documents and the translations that were collected."""

    structure: StructureSettings | None = StructureSettings()
    pivot: PivotSettings | None = None
    contrasts: ContrastSettings | None = None
    written: WrittenSettings | None = None
