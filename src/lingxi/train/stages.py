"""The training stages that exist: tokenizer, embedder (lexicon, then network), reranker.

Each takes what the one before it wrote and writes a model directory, golden file included.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lingxi.embedder import Embedder
from lingxi.errors import InputError, LingxiWarning
from lingxi.model.decoder import Decoder
from lingxi.model.layout import Kind, ModelFiles, write_directory
from lingxi.model.sizes import Size, size_named
from lingxi.model.tokens import Tokens, read_tokens
from lingxi.train.contrast import Contrast, Encode, encoder_of, packed_encoder
from lingxi.train.judge import Judgement, mine
from lingxi.train.lexicon import Lexicon
from lingxi.train.loop import Schedule, train
from lingxi.train.rows import Rows, sampler
from lingxi.train.settings import ContrastiveSettings, EmbedderSettings, RerankerSettings, TrainSettings
from lingxi.train.start import Marks, as_embedder, as_reranker, check_size, read_marks
from lingxi.train.teachers import Teacher, read_teacher
from lingxi.train.tokenizer import train_tokenizer

# Positions beyond those seen in training are not promised.
_MAX_SEQ_LENGTH = 8192
MakeGolden = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Material:
    """What every training phase works with; `folder` takes its checkpoints and logs."""

    rows: Rows
    settings: TrainSettings
    tokens: Tokens
    teacher: Teacher | None
    folder: Path


@dataclass(frozen=True, slots=True)
class Card:
    """What the model card needs to know and training does not: the text that README.md gets."""

    embedder: str
    reranker: str


def train_models(
    rows: Rows, settings: TrainSettings, folder: Path, card: Card, make_golden: MakeGolden
) -> dict[str, Any]:
    """Tokenizer, embedder and reranker from pairs, written to `folder`; returns counts and last losses.

    `make_golden` writes the golden file of a finished directory (passed in: it needs the faces
    that stand above this room).
    """
    torch.manual_seed(settings.seed)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(rows, settings, folder)
    size = size_of(settings.embedder, settings.tokenizer.vocab)
    tokens = read_tokens(folder / "tokenizer.json", size.vocab)
    marks = read_marks(tokens)
    teacher = read_teacher(_teachable(rows), settings.embedder.teacher, folder / "teacher")
    material = Material(rows, settings, tokens, teacher, folder)
    lexicon = train_lexicon(material, size, marks)
    decoder, last = train_embedder(material, as_embedder(lexicon, marks))
    out = folder / "embedder"
    _write(decoder, "embedder", tokenizer, card.embedder, settings, out, make_golden)
    judge, last_judge = train_reranker(material, as_reranker(lexicon, marks, tokens), out)
    _write(judge, "reranker", tokenizer, card.reranker, settings, folder / "reranker", make_golden)
    return {
        "pairs": len(rows),
        "taught": len(teacher.rows) if teacher else 0,
        "parameters": size.parameters(),
        "embedder": last,
        "reranker": last_judge,
    }


def size_of(settings: EmbedderSettings, vocab: int) -> Size:
    """The named size with the recipe's overrides; raises InputError where dims or heads do not fit."""
    size = replace(size_named(settings.size), vocab=vocab)
    if settings.layers is not None:
        size = replace(size, layers=settings.layers)
    if settings.hidden is not None:
        heads = settings.hidden // size.head_dim
        size = replace(
            size, hidden=settings.hidden, heads=heads, kv_heads=heads, intermediate=settings.hidden * 8 // 3
        )
    check_size(size)
    if settings.dims[-1] != size.hidden:
        raise InputError(
            f"dims end at {settings.dims[-1]}, the width is {size.hidden}", "end dims with the width"
        )
    return size


def train_lexicon(material: Material, size: Size, marks: Marks) -> Lexicon:
    """Token vectors alone, from which both networks start."""
    torch.manual_seed(material.settings.seed)
    lexicon = Lexicon(size, marks.silent)
    _contrast(material, "lexicon", lexicon, packed_encoder(lexicon), material.settings.embedder.lexicon)
    return lexicon


def train_embedder(material: Material, decoder: Decoder) -> tuple[Decoder, Mapping[str, float]]:
    """Contrastive training of the whole network."""
    last = _contrast(material, "network", decoder, encoder_of(decoder), material.settings.embedder.network)
    return decoder, last


def _contrast(
    material: Material, name: str, module: torch.nn.Module, encode: Encode, phase: ContrastiveSettings
) -> dict[str, float]:
    embedder = material.settings.embedder
    contrast = Contrast(
        sampler(material.rows, embedder.mixture, embedder.language_balance, embedder.emphasis),
        material.tokens,
        encode,
        phase,
        embedder.dims,
        material.teacher,
        embedder.teacher.weight,
        # Token vectors learn what texts mean; the network learns to read instructions.
        instructed=name == "network",
    )
    return train(module, contrast.loss, _schedule(phase), material.folder / name, material.settings.seed)


def _schedule(phase: ContrastiveSettings | RerankerSettings) -> Schedule:
    return Schedule(
        phase.steps,
        phase.learning_rate,
        phase.token_learning_rate,
        phase.warmup_steps,
        phase.checkpoint_every,
    )


def train_reranker(
    material: Material, decoder: Decoder, embedder: Path
) -> tuple[Decoder, Mapping[str, float]]:
    """Yes/no training of the whole network, with negatives that the finished embedder mined."""
    rows, settings, tokens = material.rows, material.settings, material.tokens
    embedder_settings = settings.embedder
    drawn_from = sampler(
        rows, settings.reranker.mixture, embedder_settings.language_balance, embedder_settings.emphasis
    )
    with warnings.catch_warnings():
        # Long documents are cut here as they are in training; saying so would help nobody.
        warnings.simplefilter("ignore", LingxiWarning)
        searcher = Embedder(embedder, max_seq_length=settings.reranker.max_tokens)
        mined = mine(drawn_from, searcher, settings.reranker, settings.seed)
    judgement = Judgement(rows, mined, tokens, encoder_of(decoder), decoder, settings.reranker)
    last = train(
        decoder, judgement.loss, _schedule(settings.reranker), material.folder / "judge", settings.seed
    )
    return decoder, last


def _tokenizer(rows: Rows, settings: TrainSettings, folder: Path) -> str:
    path = folder / "tokenizer.json"
    if not path.exists():
        text = train_tokenizer(rows.texts(), settings.tokenizer)
        found = len(json.loads(text)["model"]["vocab"])
        if found != settings.tokenizer.vocab:
            raise InputError(
                f"the texts give a vocabulary of {found}, not {settings.tokenizer.vocab}",
                "lower train.tokenizer.vocab or add text",
            )
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8")


def _teachable(rows: Rows) -> list[str]:
    """English texts of all rows, each once, in order."""
    return list(dict.fromkeys(text for language, text in rows.texts() if language == "en"))


def _write(
    decoder: Decoder,
    kind: Kind,
    tokenizer: str,
    card: str,
    settings: TrainSettings,
    out: Path,
    make_golden: MakeGolden,
) -> None:
    files = ModelFiles(kind, decoder.size, decoder.state_dict(), tokenizer, card, _MAX_SEQ_LENGTH)
    write_directory(files, out, settings.weights)
    make_golden(out)
