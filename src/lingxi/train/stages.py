"""The training of one life, phase after phase: what each takes from the one before, and what is written.

    from scratch: tokenizer → lexicon → language      from a model: as it is, or with adapters
    then: weak → supervised → reranker                models: weak/, embedder/, kept/*, reranker/

A phase keeps its log, checkpoints and curves in `phases/NAME`, and goes on where it was stopped. Several
processes (torchrun) share the loops; the first writes the files.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lingxi.errors import InputError
from lingxi.model.decoder import Decoder
from lingxi.model.int4 import GROUP, check_group, nearest_packed
from lingxi.model.layout import Kind
from lingxi.train import scratch
from lingxi.train.checkpoint_start import Start, open_for_training
from lingxi.train.curves import draw_curves
from lingxi.train.encoders import encode_by, encoder_of, packed_encoder
from lingxi.train.gradcache import cached_step
from lingxi.train.held_out import split_pairs, write_suite
from lingxi.train.judge import Judgement
from lingxi.train.language import language_step
from lingxi.train.lora import attach
from lingxi.train.material import (
    check_mixtures,
    check_rows,
    contrast,
    mined_file,
    mined_from,
    phase_store,
    widths,
)
from lingxi.train.mixture import sampler_of
from lingxi.train.parallel import ALONE, Ranks, fill, split, whole
from lingxi.train.phases import RerankerSettings
from lingxi.train.running import PHASES, Card, MakeGolden, Training, amp, first, placed, run_phase, watch
from lingxi.train.settings import SCRATCH, TrainSettings
from lingxi.train.storing import build_store
from lingxi.train.teachers import read_teacher
from lingxi.train.writing import EMBEDDER, RERANKER, WEAK, base_of, check_prompts, write_kept, write_model


def train_models(
    pairs: Path,
    settings: TrainSettings,
    folder: Path,
    card: Card,
    make_golden: MakeGolden,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train what the settings name on the pairs of a Parquet file; returns counts and last figures.

    Raises InputError, ModelError, GuardError or TrainingError with what is wrong and how to mend it.
    """
    torch.manual_seed(settings.seed)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    folder.mkdir(parents=True, exist_ok=True)
    parts = first(ranks, lambda: split_pairs(pairs, settings.held_out, settings.seed, folder / "held-out"))
    files = [parts.trained, *(path.expanduser() for path in settings.pairs)]
    store = first(ranks, lambda: build_store(files, folder / "store", settings.seed))
    own = first(ranks, lambda: mined_from(store, settings, parts.trained, folder))
    check_mixtures(settings, store, own)
    first(ranks, lambda: check_rows(files, store, settings.guards, folder))
    taught = [p for p in (settings.lexicon, settings.weak, settings.supervised) if p and p.teacher_weight]
    teacher = first(ranks, lambda: read_teacher(store, settings.teacher, folder / "teacher", taught))
    run = Training(parts, store, settings, folder, card, make_golden, ranks, teacher)
    figures: dict[str, Any] = {"pairs": len(store), "taught": len(teacher.rows) if teacher else 0}
    if parts.held is not None and ranks.first:
        write_suite(parts.held, folder / "held-out")
    start, lexicon = _start(run, figures)
    if settings.weak or settings.supervised or settings.start == SCRATCH:
        _train_embedder(run, start, figures)
    if settings.reranker:
        _train_reranker(run, settings.reranker, lexicon, figures)
    if ranks.first and (folder / PHASES).exists():
        draw_curves(sorted((folder / PHASES).iterdir(), key=_in_order), folder / "curves.png")
    return figures


def _start(run: Training, figures: dict[str, Any]) -> tuple[Start, scratch.Origin | None]:
    """The network that the contrastive phases begin with, and for one from scratch where it comes from."""
    settings = run.settings
    if settings.start != SCRATCH:
        return placed(open_for_training(settings.start), run), None
    origin = scratch.begin(run.store, settings, run.folder, lambda make: first(run.ranks, make))
    dims = widths(settings, origin.size.hidden)
    if settings.lexicon:
        objective = contrast(run, settings.lexicon, origin.tokens, dims, run.store, instructed=False)
        work = cached_step(packed_encoder(origin.lexicon), objective, settings.lexicon.chunk_tokens)
        # Token vectors are one table: the first rank trains them, and the others read its last checkpoint.
        alone = replace(run, ranks=Ranks(run.ranks.rank, 1, torch.device("cpu")))
        phase = settings.lexicon
        figures["lexicon"] = first(
            run.ranks, lambda: run_phase(alone, "lexicon", phase, origin.lexicon, work)
        )
    # Without a lexicon there is nothing to start as: the language model begins from noise.
    begun = origin.embedder() if settings.lexicon else origin.fresh()
    start = placed(begun, run)
    if settings.language:
        step = language_step(start.decoder, scratch.texts_of(run.store), start.tokens, settings.language)
        figures["language"] = run_phase(run, "language", settings.language, start.decoder, step)
    return start, origin


def _train_embedder(run: Training, start: Start, figures: dict[str, Any]) -> None:
    settings, network = run.settings, start.network
    if any(phase and phase.tokens == "int4" for phase in (settings.weak, settings.supervised)):
        check_group(network.hidden, GROUP)
    begun = _readied(run, start, "embedder")
    split(network, run.ranks)
    dims = widths(settings, network.size.hidden)
    encode = encode_by(network, amp(run))
    named = {"weak": settings.weak, "supervised": settings.supervised}
    phases = [(name, phase) for name, phase in named.items() if phase]
    for name, phase in phases:
        store = phase_store(run, name, phase, start)
        if phase.tokens == "int4":
            _round_tokens(start)
        objective = contrast(run, phase, start.tokens, dims, store, instructed=True)
        step = cached_step(encode, objective, phase.chunk_tokens, run.ranks)
        beside = watch(run, name, start, phase)
        figures[name] = run_phase(run, name, phase, network, step, beside, math.log(phase.batch_pairs))
        if (name, phase) != phases[-1]:
            write_model(run, start, "embedder", run.folder / WEAK)
    write_model(run, start, "embedder", run.folder / EMBEDDER, begun if phases else None)
    for name, phase in phases:
        write_kept(run, start, "embedder", name, phase)


def _train_reranker(
    run: Training, settings: RerankerSettings, origin: scratch.Origin | None, figures: dict[str, Any]
) -> None:
    start = _reranker_start(run, settings, origin)
    yes, no = start.answers()
    begun = _readied(run, start, "reranker")
    path = first(
        run.ranks, lambda: mined_file(run, settings.mixture, settings.mining, settings.miner, RERANKER)
    )
    store = first(run.ranks, lambda: build_store([path], run.folder / "store-reranker", run.settings.seed))
    split(start.decoder, run.ranks)

    def answer_row() -> torch.Tensor:
        """w_yes − w_no with its gradient."""
        rows = start.output_rows()
        return rows[yes] - rows[no]

    judgement = Judgement(
        sampler_of(store, settings.mixture), start.tokens, answer_row, settings, run.teacher
    )
    step = cached_step(encoder_of(start.decoder, amp(run)), judgement, settings.chunk_tokens, run.ranks)
    trained = nn.ModuleDict({"decoder": start.decoder})
    # An adapter holds no head, so beside adapters it stays as it is.
    if start.head is not None:
        start.head.requires_grad_(not run.settings.lora)
        if not run.settings.lora:
            trained.register_parameter("head", start.head)
    chance = settings.listwise * math.log(1 + settings.negatives + settings.easy_negatives)
    figures["reranker"] = run_phase(run, "reranker", settings, trained, step, chance=chance)
    write_model(run, start, "reranker", run.folder / RERANKER, begun)
    write_kept(run, start, "reranker", "reranker", settings)


def _readied(run: Training, start: Start, kind: Kind) -> dict[str, torch.Tensor]:
    """Give a network its adapters and check its prompts; returns a copy of what it begins as.

    The first rank alone keeps one, to see at the end that training moved it.
    """
    kept = start.network.state_dict() if run.ranks.first else {}
    begun = {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}
    if run.settings.lora:
        attach(start.decoder, run.settings.lora, run.settings.seed)
    if run.settings.frozen_tokens:
        _freeze_tokens(start)
    if run.settings.last_layers is not None:
        _freeze_below(start, run.settings.last_layers)
    check_prompts(run, start, kind)
    return begun


def _freeze_tokens(start: Start) -> None:
    """Leave out of training every table that has a row a token, a position or a type."""
    for name, parameter in start.network.named_parameters():
        if parameter.dim() == 2 and "embed" in name:
            parameter.requires_grad_(False)


def _freeze_below(start: Start, last: int) -> None:
    """Leave out of training all that comes before the last layers."""
    network = start.network
    if last > len(network.layers):
        raise InputError(
            f"last_layers is {last}, the network has {len(network.layers)}",
            "lower train.last_layers, or leave it out",
        )
    network.requires_grad_(False)
    for block in network.layers[-last:]:
        block.requires_grad_(True)
    if isinstance(network, Decoder):
        network.norm.requires_grad_(True)


@torch.no_grad()
def _round_tokens(start: Start) -> None:
    """Take the token vectors that a directory with a table of four bits has, and train no table further."""
    vectors = start.network.embed_tokens.weight
    fill(vectors, nearest_packed(whole(vectors.detach()).cpu()).values())
    _freeze_tokens(start)


def _reranker_start(run: Training, settings: RerankerSettings, origin: scratch.Origin | None) -> Start:
    if settings.start is None and origin is not None:
        return placed(origin.reranker(), run)
    return placed(open_for_training(base_of(run.settings, "reranker")), run)


def _in_order(folder: Path) -> int:
    names = ("lexicon", "language", "weak", "supervised", "reranker")
    return names.index(folder.name) if folder.name in names else len(names)
