"""The training of one life, phase after phase: what each takes from the one before, and what is written.

    from scratch: tokenizer → lexicon → language      from a model: as it is, or with adapters
    then: weak → supervised → reranker                models: weak/, embedder/, kept/*, reranker/

A phase keeps its log, checkpoints and curves in `phases/NAME`, and goes on where it was stopped. Several
processes (torchrun) share the loops; the first writes the files.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import nn

from lingxi import prompts
from lingxi.collect.instructions import decides
from lingxi.embedder import Embedder
from lingxi.encoding import encoder
from lingxi.errors import InputError
from lingxi.model.decoder import Decoder
from lingxi.model.files import locate
from lingxi.model.layout import Kind, write_directory
from lingxi.model.tokens import Tokens
from lingxi.train import scratch
from lingxi.train.adapt import probe_ids
from lingxi.train.adapters import write_adapter
from lingxi.train.checkpoint_start import Start, open_for_training
from lingxi.train.checkpoints import ema_state, steps_done
from lingxi.train.contrast import Contrast
from lingxi.train.curves import draw_curves
from lingxi.train.encoders import encoder_of, packed_encoder, recompute
from lingxi.train.feeding import fed
from lingxi.train.gradcache import Figures, Objective, Step, cached_step
from lingxi.train.guards import weights_moved
from lingxi.train.held_out import Split, probe, split_pairs, write_suite
from lingxi.train.judge import Judgement
from lingxi.train.language import language_step
from lingxi.train.loop import Listener, Schedule, train
from lingxi.train.lora import attach, merged, plain_copy
from lingxi.train.mined import mined_pairs
from lingxi.train.mixture import Sampler, contrast_sampler, sampler
from lingxi.train.parallel import ALONE, Ranks, fill, split, whole_state
from lingxi.train.phases import (
    ContrastiveSettings,
    MiningSettings,
    MixtureSettings,
    PhaseSettings,
    RerankerSettings,
)
from lingxi.train.progress import live_line, tensorboard
from lingxi.train.served import exported_equals, prompts_match
from lingxi.train.settings import SCRATCH, LoraSettings, TrainSettings
from lingxi.train.store import Store
from lingxi.train.storing import build_store
from lingxi.train.teachers import Teacher, read_teacher
from lingxi.train.watches import DevWatch, LossFalls, dev_watch, remembering

Made = TypeVar("Made")
MakeGolden = Callable[[Path], None]
PHASES = "phases"
EMBEDDER, RERANKER, WEAK, KEPT, ADAPTER = "embedder", "reranker", "weak", "kept", "adapter"
# Kept with nothing rounded away: they are to be merged.
_KEPT_AS = "float32"
# Probes are cut at so many tokens, as training cuts: sooner than serving, and at a text's end only.
_PROBED_TOKENS = 512
# Tokens of a text, and characters, that a miner reads.
_MINED_TOKENS, _MINED_CHARACTERS = 512, 2_000


@dataclass(frozen=True, slots=True)
class Card:
    """What the model cards say that training does not know: the text of each README.md."""

    embedder: str
    reranker: str


@dataclass(frozen=True, slots=True)
class Training:
    """One run: what it trains on and with, where it writes, and what gives a directory its golden file."""

    pairs: Split
    store: Store
    settings: TrainSettings
    folder: Path
    card: Card
    make_golden: MakeGolden
    ranks: Ranks
    teacher: Teacher | None

    def phase(self, name: str) -> Path:
        """The folder of a phase."""
        return self.folder / PHASES / name


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
    parts = _first(ranks, lambda: split_pairs(pairs, settings.held_out, settings.seed, folder / "held-out"))
    files = [parts.trained, *(path.expanduser() for path in settings.pairs)]
    store = _first(ranks, lambda: build_store(files, folder / "store", settings.seed))
    _check_recipe(settings, store)
    teacher = _first(ranks, lambda: read_teacher(store, settings.teacher, folder / "teacher"))
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


def _check_recipe(settings: TrainSettings, store: Store) -> None:
    """Raise now what a later phase would stop at: a mixture that these pairs do not have, a missing model."""
    for phase in (settings.lexicon, settings.weak, settings.supervised, settings.reranker):
        if phase is not None:
            _sampler(store, phase.mixture)
        if isinstance(phase, ContrastiveSettings) and phase.instruction_rate:
            contrast_sampler(store, phase.mixture.language_balance)
    if settings.reranker:
        for model in (settings.reranker.start, settings.reranker.miner):
            if model is not None:
                locate(model)


def _first(ranks: Ranks, make: Callable[[], Made]) -> Made:
    """What the first rank makes and the others then find made."""
    if not ranks.first:
        ranks.wait()
        return make()
    made = make()
    ranks.wait()
    return made


def _start(run: Training, figures: dict[str, Any]) -> tuple[Start, scratch.Origin | None]:
    """The network that the contrastive phases begin with, and for one from scratch where it comes from."""
    settings = run.settings
    if settings.start != SCRATCH:
        return _on(open_for_training(settings.start), run), None
    origin = scratch.begin(run.store, settings, run.folder, lambda make: _first(run.ranks, make))
    dims = _dims(settings, origin.size.hidden)
    if settings.lexicon:
        objective = _contrast(run, settings.lexicon, origin.tokens, dims, run.store, instructed=False)
        work = cached_step(packed_encoder(origin.lexicon), objective, settings.lexicon.chunk_tokens)
        # Token vectors are one table: the first rank trains them, and the others read its last checkpoint.
        alone = replace(run, ranks=Ranks(run.ranks.rank, 1, torch.device("cpu")))
        phase = settings.lexicon
        figures["lexicon"] = _first(run.ranks, lambda: _phase(alone, "lexicon", phase, origin.lexicon, work))
    # Without a lexicon there is nothing to start as: the language model begins from noise.
    begun = origin.embedder() if settings.lexicon else origin.fresh(settings.seed)
    start = _on(begun, run)
    if settings.language:
        step = language_step(start.decoder, scratch.texts_of(run.store), start.tokens, settings.language)
        figures["language"] = _phase(run, "language", settings.language, start.decoder, step)
    return start, origin


def _on(start: Start, run: Training) -> Start:
    """The start on this process's device, computing as the recipe asks."""
    device = run.ranks.device
    head = None if start.head is None else nn.Parameter(start.head.to(device))
    if run.settings.recompute:
        recompute(start.decoder)
    return replace(start, decoder=start.decoder.to(device), head=head)


def _train_embedder(run: Training, start: Start, figures: dict[str, Any]) -> None:
    settings, decoder = run.settings, start.decoder
    begun = {name: tensor.detach().cpu().clone() for name, tensor in decoder.state_dict().items()}
    if settings.lora:
        attach(decoder, settings.lora, settings.seed)
    _check_prompts(run, start, "embedder")
    split(decoder, run.ranks)
    dims = _dims(settings, decoder.size.hidden)
    encode = encoder_of(decoder, _amp(run))
    phases = [
        (name, phase)
        for name, phase in (("weak", settings.weak), ("supervised", settings.supervised))
        if phase
    ]
    for name, phase in phases:
        store = _phase_store(run, name, phase, start)
        objective = _contrast(run, phase, start.tokens, dims, store, instructed=True)
        step = cached_step(encode, objective, phase.chunk_tokens, run.ranks)
        watch = _watch(run, name, start, phase)
        figures[name] = _phase(run, name, phase, decoder, step, watch, math.log(phase.batch_pairs))
        if (name, phase) != phases[-1]:
            _write(run, start, "embedder", run.folder / WEAK)
    _write(run, start, "embedder", run.folder / EMBEDDER, begun if phases else None)
    for name, phase in phases:
        _write_kept(run, start, "embedder", name, phase)


def _train_reranker(
    run: Training, settings: RerankerSettings, origin: scratch.Origin | None, figures: dict[str, Any]
) -> None:
    start = _reranker_start(run, settings, origin)
    yes, no = start.answers()
    begun = {name: tensor.detach().cpu().clone() for name, tensor in start.decoder.state_dict().items()}
    if run.settings.lora:
        attach(start.decoder, run.settings.lora, run.settings.seed)
    _check_prompts(run, start, "reranker")
    path = _first(run.ranks, lambda: _mined(run, settings.mixture, settings.mining, settings.miner, RERANKER))
    store = _first(run.ranks, lambda: build_store([path], run.folder / "store-reranker", run.settings.seed))
    split(start.decoder, run.ranks)

    def answer_row() -> torch.Tensor:
        """w_yes − w_no with its gradient."""
        rows = start.output_rows()
        return rows[yes] - rows[no]

    judgement = Judgement(_sampler(store, settings.mixture), start.tokens, answer_row, settings, run.teacher)
    step = cached_step(encoder_of(start.decoder, _amp(run)), judgement, settings.chunk_tokens, run.ranks)
    trained = nn.ModuleDict({"decoder": start.decoder})
    # An adapter holds no head, so beside adapters it stays as it is.
    if start.head is not None and not run.settings.lora:
        trained.register_parameter("head", start.head)
    chance = settings.listwise * math.log(1 + settings.negatives + settings.easy_negatives)
    figures["reranker"] = _phase(run, "reranker", settings, trained, step, chance=chance)
    _write(run, start, "reranker", run.folder / RERANKER, begun)
    _write_kept(run, start, "reranker", "reranker", settings)


def _reranker_start(run: Training, settings: RerankerSettings, origin: scratch.Origin | None) -> Start:
    if settings.start is None and origin is not None:
        return _on(origin.reranker(), run)
    return _on(open_for_training(_base(run.settings, "reranker")), run)


def _phase_store(run: Training, name: str, phase: ContrastiveSettings, start: Start) -> Store:
    """The rows of a phase: all, or those that it mines negatives for, by the model as it now is."""
    mining = phase.mining
    if mining is None:
        return run.store
    miner, found = run.folder / f"miner-{name}", run.folder / f"mined-{name}.parquet"
    if not found.exists():
        # The checkpoint of a phase that was stopped is not loaded yet, so this is what the phase begins with.
        _write(run, start, "embedder", miner)
    path = _first(run.ranks, lambda: _mined(run, phase.mixture, mining, str(miner), name))
    return _first(run.ranks, lambda: build_store([path], run.folder / f"store-{name}", run.settings.seed))


def _mined(
    run: Training, mixture: MixtureSettings, mining: MiningSettings, miner: str | None, name: str
) -> Path:
    path = run.folder / f"mined-{name}.parquet"
    if path.exists():
        return path
    searcher = Embedder(miner or run.folder / EMBEDDER)
    searcher.max_seq_length = min(searcher.max_seq_length, _MINED_TOKENS)
    return mined_pairs(run.pairs.trained, mixture, mining, encoder(searcher, _MINED_CHARACTERS), path)


def _contrast(
    run: Training,
    phase: ContrastiveSettings,
    tokens: Tokens,
    dims: tuple[int, ...],
    store: Store,
    *,
    instructed: bool,
) -> Objective:
    mixed = contrast_sampler(store, phase.mixture.language_balance) if phase.instruction_rate else None
    weight = run.settings.teacher.weight * phase.teacher_weight
    drawn_from = _sampler(store, phase.mixture)
    return Contrast(drawn_from, mixed, tokens, phase, dims, run.teacher, weight, instructed)


def _sampler(store: Store, mixture: MixtureSettings) -> Sampler:
    return sampler(
        store,
        mixture.tasks,
        mixture.language_balance,
        mixture.emphasis,
        sources=mixture.sources,
        without=decides,
    )


def _dims(settings: TrainSettings, hidden: int) -> tuple[int, ...]:
    """Matryoshka widths; raises InputError where they do not end with the network's."""
    from lingxi.model.sizes import matryoshka_dims

    dims = settings.dims or tuple(matryoshka_dims(hidden))
    if dims[-1] != hidden:
        raise InputError(f"dims end at {dims[-1]}, the width is {hidden}", "end train.dims with the width")
    return dims


def _phase(
    run: Training,
    name: str,
    phase: PhaseSettings,
    module: nn.Module,
    step: Step,
    watch: DevWatch | None = None,
    chance: float | None = None,
) -> Figures:
    """Train a module through one phase, watched; it ends with the averaged weights where those are kept."""
    folder, guards = run.phase(name), run.settings.guards
    listeners: list[Listener] = [remembering(LossFalls(guards, phase.warmup_steps, chance), folder)]
    if watch is not None:
        listeners.append(watch)
    with ExitStack() as shown:
        if run.ranks.first:
            done = steps_done(folder)
            listeners.append(shown.enter_context(live_line(name, phase.steps, done)))
            listeners.append(shown.enter_context(tensorboard(folder, done)))
        figures = train(
            module, step, _schedule(phase), folder, run.settings.seed,
            listeners=listeners, recipe=_learnt(run, phase), ranks=run.ranks,
        )  # fmt: skip
    if phase.ema is not None:
        _fill(module, ema_state(folder))
    return figures


@torch.no_grad()
def _fill(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Take the tensors of a state that training changes; of a split one each rank takes its part."""
    own = module.state_dict()
    for name, tensor in state.items():
        fill(own[name], tensor)


def _schedule(phase: PhaseSettings) -> Schedule:
    return Schedule(
        phase.steps,
        phase.learning_rate,
        phase.token_learning_rate,
        phase.warmup_steps,
        phase.checkpoint_every,
        phase.weight_decay,
        phase.max_norm,
        phase.ema,
        phase.kept_steps(),
    )


def _learnt(run: Training, phase: PhaseSettings) -> Mapping[str, Any]:
    """What else the outcome of a phase depends on: a checkpoint of another recipe is not gone on with."""
    return {"phase": json.loads(phase.model_dump_json(exclude={"checkpoint_every", "chunk_tokens"}))}


def _watch(run: Training, name: str, start: Start, phase: ContrastiveSettings) -> DevWatch | None:
    if run.pairs.held is None:
        return None
    score = probe(run.pairs.held, start.decoder, start.tokens, phase.max_tokens)
    if score is None:
        return None
    return dev_watch(score, run.phase(name), run.settings.guards, phase.steps, writes=run.ranks.first)


def _amp(run: Training) -> torch.dtype | None:
    """bfloat16 products on a GPU; a CPU computes in fp32."""
    return torch.bfloat16 if run.ranks.device.type == "cuda" else None


def _check_prompts(run: Training, start: Start, kind: Kind) -> None:
    """Training must feed the ids that serving will: asked before the first step."""
    if not run.ranks.first:
        return
    directory = run.folder / "prompts-probe"
    write_directory(_plain(start).files(kind, ""), directory)
    most = _probed_tokens(start, kind)
    prompts_match(directory, kind, lambda text: fed(start.tokens, text, most), most)
    shutil.rmtree(directory)


def _probed_tokens(start: Start, kind: Kind) -> int:
    """Tokens that probes are cut at, beside their prompt: fewer than the model reads."""
    frame = [*start.tokens.prompt(prompts.RERANK_PREFIX), *start.tokens.prompt(prompts.RERANK_SUFFIX)]
    room = start.max_seq_length // 2 if kind == "embedder" else start.max_seq_length - len(frame)
    return min(_PROBED_TOKENS, room)


def _plain(start: Start) -> Start:
    """The start without adapters: what it computes before they are trained."""
    state = {n: t.detach() for n, t in start.decoder.state_dict().items() if ".lora_" not in n}
    return replace(start, decoder=plain_copy(start.decoder, state))


def _write(
    run: Training, start: Start, kind: Kind, out: Path, begun: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write the network as a model directory, proved equal to that in memory.

    What it has `begun` as is given for the finished model: it must have moved, and its adapter is written.
    """
    state = whole_state(start.decoder, run.ranks)
    if not run.ranks.first:
        return
    finished = _finished(run, start, state)
    if begun is not None:
        names = {name.removesuffix(".lora_A.weight") + ".weight" for name in state if ".lora_A." in name}
        weights_moved(begun, finished.decoder.state_dict(), names or None)
        if run.settings.lora:
            adapted = _adapted(start.decoder, run.settings.lora, state)
            write_adapter(adapted, run.folder / f"{ADAPTER}-{kind}", _base(run.settings, kind), kind)
    _write_directory(run, finished, kind, out, run.settings.weights)


def _finished(run: Training, start: Start, state: Mapping[str, torch.Tensor]) -> Start:
    """The network as it is now, whole and on the CPU, with its adapters merged."""
    head = None if start.head is None else nn.Parameter(start.head.detach().cpu())
    plain = {name: tensor for name, tensor in state.items() if ".lora_" not in name}
    # At its start an adapter adds nothing, and there is nothing to merge.
    if run.settings.lora is None or not any(t.any() for n, t in state.items() if ".lora_B." in n):
        return replace(start, decoder=plain_copy(start.decoder, plain), head=head)
    adapted = _adapted(start.decoder, run.settings.lora, state)
    return replace(start, decoder=merged(adapted, probe_ids(start.tokens)), head=head)


def _adapted(decoder: Decoder, settings: LoraSettings, state: Mapping[str, torch.Tensor]) -> Decoder:
    """A decoder of the same shape with adapters, which holds `state`."""
    with torch.device("meta"):
        out = Decoder(decoder.size)
    attach(out, settings, seed=0)
    out.load_state_dict(state, assign=True)
    return out


def _base(settings: TrainSettings, kind: Kind) -> str:
    """The model that a kind starts from."""
    own = settings.reranker.start if kind == "reranker" and settings.reranker else None
    return own or settings.start


def _write_directory(run: Training, finished: Start, kind: Kind, out: Path, weights: str) -> None:
    card = run.card.embedder if kind == "embedder" else run.card.reranker
    write_directory(finished.files(kind, card), out, weights)
    tolerance = run.settings.guards.export_tolerance
    exported_equals(finished.decoder, out, kind, tolerance=tolerance, head=finished.head)
    run.make_golden(out)


def _write_kept(run: Training, start: Start, kind: Kind, name: str, phase: PhaseSettings) -> None:
    """The checkpoints that a phase kept, as model directories that can be merged."""
    if not phase.keep:
        return
    state = whole_state(start.decoder, run.ranks)
    if not run.ranks.first:
        return
    for path in sorted(run.phase(name).glob("weights-*.safetensors")):
        saved = {key.removeprefix("decoder."): value for key, value in load_file(path).items()}
        head = saved.pop("head", None)
        then = start if head is None else replace(start, head=nn.Parameter(head))
        step = int(path.stem.partition("-")[2])
        finished = _finished(run, then, {**state, **saved})
        _write_directory(run, finished, kind, run.folder / KEPT / f"{kind}-{name}-{step:06d}", _KEPT_AS)


def _in_order(folder: Path) -> int:
    names = ("lexicon", "language", "weak", "supervised", "reranker")
    return names.index(folder.name) if folder.name in names else len(names)
