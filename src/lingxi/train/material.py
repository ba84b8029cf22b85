"""What a phase's batches are made of: its rows, the negatives mined for them, its mixture and widths."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from lingxi.embedder import Embedder
from lingxi.encoding import encoder
from lingxi.errors import InputError, LingxiWarning
from lingxi.model.files import locate
from lingxi.model.tokens import Tokens
from lingxi.records import read_pairs
from lingxi.train.checkpoint_start import Start
from lingxi.train.contrast import Contrast
from lingxi.train.gradcache import Objective
from lingxi.train.guards import no_benchmark_rows
from lingxi.train.mined import mined_pairs
from lingxi.train.mixture import contrast_sampler, sampler_of
from lingxi.train.phases import ContrastiveSettings, MiningSettings, MixtureSettings, RerankerSettings
from lingxi.train.running import Training, first
from lingxi.train.settings import TrainSettings
from lingxi.train.store import Store
from lingxi.train.storing import build_store
from lingxi.train.teachers import Teacher
from lingxi.train.watches import GuardSettings
from lingxi.train.writing import EMBEDDER, write_model

# Tokens of a text, and characters, that a miner reads.
_MINED_TOKENS, _MINED_CHARACTERS = 512, 2_000


def check_mixtures(settings: TrainSettings, store: Store, own: Store) -> None:
    """Raise now what a later phase would stop at: a mixture that these pairs do not have, a missing model.

    `own` holds the rows that negatives are mined for: without the pairs of other runs.
    """
    for name in ("lexicon", "weak", "supervised", "reranker"):
        phase = getattr(settings, name)
        if phase is not None:
            _check_mixture(name, phase, own if phase.mining is not None else store)
    if settings.reranker:
        for model in (settings.reranker.start, settings.reranker.miner):
            if model is not None:
                locate(model)


def _check_mixture(name: str, phase: ContrastiveSettings | RerankerSettings, store: Store) -> None:
    try:
        sampler_of(store, phase.mixture)
        if isinstance(phase, ContrastiveSettings) and phase.instruction_rate:
            contrast_sampler(store, phase.mixture.language_balance)
    except InputError as error:
        where = "the run's own pairs, which it mines in" if phase.mining else "the pairs"
        raise InputError(f"train.{name}, {where}: {error.reason}", error.remedy) from None


def mined_from(run_store: Store, settings: TrainSettings, own: Path, folder: Path) -> Store:
    """The rows that phases mine negatives for: those of the run's own pairs."""
    phases = (settings.weak, settings.supervised, settings.reranker)
    if not settings.pairs or all(phase is None or phase.mining is None for phase in phases):
        return run_store
    return build_store([own], folder / "store-own", settings.seed)


def check_rows(files: Sequence[Path], store: Store, guards: GuardSettings, folder: Path) -> None:
    """Raise GuardError where a row shows the benchmark to the model; warn of positives among own negatives.

    Those never count as negatives, but whoever mined them should know.
    """
    if wrong := store.counts["own_positives"]:
        told = f"{wrong:,} negatives of the pairs are positives of their own row; they are left out"
        warnings.warn(told, LingxiWarning, stacklevel=2)
    checked = folder / "benchmark-checked"
    if guards.benchmark is None or checked.exists():
        return
    for file in files:
        for _ in no_benchmark_rows(read_pairs(file), guards.benchmark.expanduser(), folder / "benchmark"):
            pass
    checked.touch()


def phase_store(run: Training, name: str, phase: ContrastiveSettings, start: Start) -> Store:
    """The rows of a phase: all, or those that it mines negatives for, by the model as it now is."""
    mining = phase.mining
    if mining is None:
        return run.store
    miner, found = run.folder / f"miner-{name}", run.folder / f"mined-{name}.parquet"
    if not found.exists():
        # The checkpoint of a phase that was stopped is not loaded yet, so this is what the phase begins with.
        write_model(run, start, "embedder", miner)
    path = first(run.ranks, lambda: mined_file(run, phase.mixture, mining, str(miner), name))
    return first(run.ranks, lambda: build_store([path], run.folder / f"store-{name}", run.settings.seed))


def mined_file(
    run: Training, mixture: MixtureSettings, mining: MiningSettings, miner: str | None, name: str
) -> Path:
    """The file of a phase's rows with their mined negatives; `miner` None is the embedder of this run."""
    path = run.folder / f"mined-{name}.parquet"
    if path.exists():
        return path
    searcher = Embedder(miner or run.folder / EMBEDDER)
    searcher.max_seq_length = min(searcher.max_seq_length, _MINED_TOKENS)
    return mined_pairs(run.pairs.trained, mixture, mining, encoder(searcher, _MINED_CHARACTERS), path)


def contrast(
    run: Training,
    phase: ContrastiveSettings,
    tokens: Tokens,
    dims: tuple[int, ...],
    store: Store,
    *,
    instructed: bool,
) -> Objective:
    """The objective of a contrastive phase over a store's rows."""
    check_teacher(run.teacher, dims)
    mixed = contrast_sampler(store, phase.mixture.language_balance) if phase.instruction_rate else None
    weight = run.settings.teacher.weight * phase.teacher_weight
    drawn_from = sampler_of(store, phase.mixture)
    return Contrast(
        sampler=drawn_from,
        contrasting=mixed,
        tokens=tokens,
        settings=phase,
        dims=dims,
        teacher=run.teacher,
        teacher_weight=weight,
        instructed=instructed,
        dim_weights=run.settings.dim_weights or None,
        taught_dims=dims[-1:] if run.settings.teacher.widths == "full" else None,
    )


def check_teacher(teacher: Teacher | None, dims: tuple[int, ...]) -> None:
    """Raise InputError for a teacher whose vectors are narrower than the network's."""
    if teacher is not None and teacher.vectors.shape[1] < dims[-1]:
        raise InputError(
            f"the teacher's vectors have {teacher.vectors.shape[1]} components, the network's {dims[-1]}",
            "train without train.teacher, or by a teacher that is as wide",
        )


def widths(settings: TrainSettings, hidden: int) -> tuple[int, ...]:
    """Matryoshka widths; raises InputError where they do not end with the network's."""
    from lingxi.model.sizes import matryoshka_dims

    dims = settings.dims or tuple(matryoshka_dims(hidden))
    if dims[-1] != hidden:
        raise InputError(f"dims end at {dims[-1]}, the width is {hidden}", "end train.dims with the width")
    return dims
