"""A smaller model of a larger one: teacher → weighed → cut → recovered → written.

`distil` is the flow on one screen. What a run writes in its folder: `start/` (the student as it was cut),
`pool/` (the teacher's answers), `recovery/` (checkpoints and log), `student/`, and `manifest.json`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi import manifest
from lingxi.check import make_golden
from lingxi.compress import cut, narrow, pool, recover, vocabulary
from lingxi.compress.bill import Bill, bill_of, card_of
from lingxi.compress.contributions import (
    Contributions,
    Loss,
    Network,
    Removal,
    of_cosine,
    of_verdict,
    removals,
    weigh,
)
from lingxi.compress.settings import DistilSettings
from lingxi.compress.student import Student, write_student
from lingxi.config import to_json
from lingxi.engine.devices import choose_devices
from lingxi.errors import InputError, ModelError
from lingxi.model.decoder import Decoder
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.files import hash_weights, locate, read_answer_rows, read_config, read_output_head
from lingxi.model.layout import Kind, read_kind, read_prompts
from lingxi.model.network import Headed, read_network, read_network_tokens
from lingxi.model.tokens import Tokens, read_description
from lingxi.train.gradcache import Figures
from lingxi.train.mixture import Sampler, sampler
from lingxi.train.store import Store, open_store
from lingxi.train.storing import build_store

Say = Callable[[str], None]
# Room for an instruction beside a text; a reranker's body has a query and a document.
_PROMPT = 32
# Rows drawn at a time for the vocabulary's texts.
_DRAWN = 64


@dataclass(frozen=True, slots=True)
class Opened:
    """A teacher in memory: its network in fp32, its tokenizer, and what its directory says."""

    directory: Path
    kind: Kind
    network: Network
    tokens: Tokens
    head: torch.Tensor | None
    answer_row: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Distilled:
    """What a distillation made, and its bill."""

    out: Path
    bill: Bill
    figures: Figures


def distil(settings: DistilSettings, folder: Path, say: Say) -> Distilled:
    """Make a student of a teacher; a run that was stopped goes on from what lies in `folder`.

    Raises InputError where the recipe does not fit the teacher or the pairs, ModelError for a model that
    cannot be read, TrainingError where recovery fails.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    began = time.perf_counter()
    teacher = open_teacher(locate(settings.teacher))
    store = _store(settings, folder)
    student, said = make_student(settings, teacher, store, say)
    start = folder / "start"
    if not start.exists():
        _write(student, student.state, start, settings, said, {})
    state, figures = _recovered(settings, teacher, student, store, folder, say)
    out = folder / "student"
    shutil.rmtree(out, ignore_errors=True)
    bill = _write(student, state, out, settings, said, figures)
    _write_manifest(settings, teacher, folder, said, bill, figures, time.perf_counter() - began)
    return Distilled(out, bill, figures)


def open_teacher(directory: Path) -> Opened:
    """Read a teacher; raises ModelError where it has dense heads after its pooling, or is no one kind."""
    kind = read_kind(directory)
    if kind is None and read_config(directory).get("model_type") == "qwen3":
        raise ModelError(f"{directory}: neither an embedder nor a reranker", "add modules.json as published")
    kind = kind or "embedder"
    network = read_network(directory, torch.float32)
    if isinstance(network, Headed):
        raise ModelError(
            f"{directory}: has dense heads after its pooling, which are not cut", "distil its vectors instead"
        )
    tokens = read_network_tokens(directory, network.size.vocab)
    if kind == "embedder" or not isinstance(network, Decoder):
        return Opened(directory, kind, network, tokens, None, None)
    yes, no = tokens.answer("yes"), tokens.answer("no")
    row = read_answer_rows(directory, network.size, yes, no)
    return Opened(directory, kind, network, tokens, read_output_head(directory, network.size), row)


def make_student(
    settings: DistilSettings, teacher: Opened, store: Store | None, say: Say
) -> tuple[Student, dict[str, Any]]:
    """Weigh the teacher on real texts and cut it; returns the student and what was measured."""
    sequences = _calibration(settings, teacher, store)
    found = weigh(teacher.network, sequences)
    gone = _removed(settings, teacher, sequences)
    layers = [i for i in range(teacher.network.size.layers) if i not in {each.layer for each in gone}]
    for each in gone:
        say(f"layer {each.layer} left out: the loss is {each.loss:.4f}")
    plan = cut.plan_of(teacher.network.size, found, layers, settings.shape)
    student = _cut(settings, teacher, plan)
    if settings.shape.width:
        student = _narrowed(settings, student, found)
    if settings.vocabulary:
        student = _pruned(settings, teacher, student, _needed(store), say)
    return student, _measured(found, gone, student)


def _removed(settings: DistilSettings, teacher: Opened, sequences: list[list[int]]) -> list[Removal]:
    wanted, have = settings.shape.layers, teacher.network.size.layers
    if wanted is None or wanted == have:
        return []
    if wanted > have:
        raise InputError(f"shape.layers is {wanted}, the teacher has {have}", f"choose 1 to {have}")
    loss: Loss = of_cosine if teacher.answer_row is None else of_verdict(teacher.answer_row)
    return removals(teacher.network, sequences, loss, wanted)


def _cut(settings: DistilSettings, teacher: Opened, plan: cut.Plan) -> Student:
    network = teacher.network
    state = cut.cut_state(network.state_dict(), network.size, plan)
    size = cut.cut_size(network.size, plan)
    return Student(teacher.directory, size, network.pooling, plan, state, teacher.head, None, None)


def _narrowed(settings: DistilSettings, student: Student, found: Contributions) -> Student:
    width = settings.shape.width or student.size.hidden
    size = narrow.narrow_size(student.size, width)
    if isinstance(student.size, EncoderSize):  # narrow_size has refused it
        raise InputError("an encoder's width is not cut", "leave out shape.width")
    basis = narrow.basis_of(found.covariance, width, settings.shape.width_by)
    head = None if student.head is None else student.head @ basis.axes
    state = narrow.narrow_state(student.state, student.size, basis)
    return replace(student, size=size, state=state, head=head, basis=basis)


def _pruned(settings: DistilSettings, teacher: Opened, student: Student, store: Store, say: Say) -> Student:
    wanted = settings.vocabulary
    assert wanted is not None
    counts = vocabulary.count_tokens(teacher.tokens.user, _texts_of(store, settings))
    frame = {i for text in vocabulary.frame_texts() for i in teacher.tokens.prompt(text)}
    frame |= {*teacher.tokens.before, *teacher.tokens.after, teacher.tokens.end}
    description = read_description(teacher.directory / "tokenizer.json")
    made = vocabulary.prune(
        description,
        counts,
        frame,
        size=wanted.size,
        min_count=wanted.min_count,
        rows=student.size.vocab,
    )
    say(f"{len(made.ids):,} of {student.size.vocab:,} tokens kept: {made.covered:.2%} of what texts hold")
    rows = torch.tensor(made.ids)
    tables = ("embed_tokens.weight", "embeddings.word_embeddings.weight")
    state = {name: t[rows] if name in tables else t for name, t in student.state.items()}
    head = None if student.head is None else student.head[rows]
    size = replace(student.size, vocab=len(made.ids))
    return replace(student, size=size, state=state, head=head, vocabulary=made)


def _texts_of(store: Store, settings: DistilSettings) -> Iterator[str]:
    """Texts of each language of the vocabulary, drawn by the pool's mixture: no one source decides.

    Raises InputError for a language without texts.
    """
    wanted = settings.vocabulary
    assert wanted is not None
    for language in wanted.languages:
        draws = _sampler_of(store, settings, language)
        rng = np.random.default_rng((settings.seed, 78))
        read = 0
        while read < wanted.texts:
            for row in store.rows(draws.draw(rng, _DRAWN).numbers):
                sides = [(row.query_language, row.query), (row.document_language, row.positives[0].text)]
                texts = [text for of, text in sides if of == language]
                read += len(texts)
                yield from texts


def _sampler_of(store: Store, settings: DistilSettings, language: str) -> Sampler:
    """Draws rows whose queries are in a language, of the pool's tasks that have some."""
    mixture = settings.pool.mixture
    there = {stratum.task for stratum in store.strata if stratum.language == language}
    tasks = {task: weight for task, weight in mixture.tasks.items() if task in there and weight > 0}
    if not tasks:
        raise InputError(
            f"the pairs have no texts in {language} of the pool's tasks",
            f"languages there: {', '.join(sorted({s.language for s in store.strata})[:60])}",
        )
    sources = {name: f for name, f in mixture.emphasis.items() if name not in store.languages}
    emphasis = {**sources, "*": 0.0, language: 1.0}
    return sampler(store, tasks, mixture.language_balance, emphasis, sources=mixture.sources)


def _calibration(settings: DistilSettings, teacher: Opened, store: Store | None) -> list[list[int]]:
    """Ids of texts of the pool's kind, that all measures are taken on."""
    drawn = settings.pool.model_copy(update={"rows": settings.calibration})
    if settings.answers is not None:
        texts = list(pool.read_pool(settings.answers, teacher.kind).texts[: 2 * settings.calibration])
    else:
        texts = list(_draw(settings, teacher, _needed(store), drawn).texts)[: 2 * settings.calibration]
    return _ids(teacher.kind, teacher.tokens, settings)(texts)


def _draw(settings: DistilSettings, teacher: Opened, store: Store, drawn: Any) -> pool.Pool:
    qwen = read_config(teacher.directory).get("model_type") == "qwen3"
    prompt = None if qwen else read_prompts(teacher.directory)["query"]
    return pool.draw_pool(teacher.kind, store, drawn, settings.seed, prompt)


def _ids(kind: Kind, tokens: Tokens, settings: DistilSettings) -> recover.Ids:
    most = settings.pool.max_tokens + _PROMPT
    if kind == "embedder":
        return lambda texts: pool.embedder_ids(tokens, texts, most)
    return lambda texts: pool.reranker_ids(tokens, texts, most + settings.pool.max_tokens)


def _store(settings: DistilSettings, folder: Path) -> Store | None:
    if not settings.pairs:
        return None
    if len(settings.pairs) == 1 and settings.pairs[0].is_dir():
        return open_store(settings.pairs[0])
    return build_store(settings.pairs, folder / "store", settings.seed)


def _needed(store: Store | None) -> Store:
    if store is None:
        raise InputError("the recipe names no pairs", 'set pairs = ["…/pairs.parquet"]')
    return store


def _recovered(
    settings: DistilSettings, teacher: Opened, student: Student, store: Store | None, folder: Path, say: Say
) -> tuple[Mapping[str, torch.Tensor], Figures]:
    if settings.recovery is None:
        return student.state, {}
    texts, answers = _answers(settings, teacher, store, folder, say)
    tokens = read_network_tokens(folder / "start", student.size.vocab)
    ids = _ids(teacher.kind, tokens, settings)
    network = student.network()
    objective: Any
    if teacher.kind == "embedder":
        axes = None if student.basis is None else student.basis.axes
        recover.check_widths(student.size.hidden, answers.shape[1], axes, settings.recovery)
        objective = recover.Imitation(texts, answers, ids, settings.recovery, axes)
    else:
        row = _answer_row(network, student.head, tokens)
        objective = recover.Verdicts(texts, answers, ids, settings.recovery, row)
    say(f"recovery: {settings.recovery.steps} steps of {settings.recovery.batch_rows} rows")
    recipe = {"recipe": to_json(settings.recovery), "start": hash_weights(folder / "start")}
    return recover.recover(
        network,
        objective,
        settings.recovery,
        folder / "recovery",
        settings.seed,
        recipe,
        choose_devices(settings.device)[0],
    )


def _answers(
    settings: DistilSettings, teacher: Opened, store: Store | None, folder: Path, say: Say
) -> tuple[pool.Pool, np.ndarray[Any, Any]]:
    if settings.answers is not None:
        texts = pool.read_pool(settings.answers, teacher.kind)
        return texts, pool.read_answers(texts, settings.answers)
    place = folder / "pool"
    if not (place / "rows.npy").exists():
        pool.write_pool(_draw(settings, teacher, _needed(store), settings.pool), place)
    texts = pool.read_pool(place, teacher.kind)
    say(f"pool: {len(texts.rows):,} rows of {len(texts.texts):,} texts")
    most = (
        settings.pool.max_tokens + _PROMPT + (settings.pool.max_tokens if teacher.kind == "reranker" else 0)
    )
    return texts, pool.ask(texts, pool.teacher_of(teacher.kind, teacher.directory), place, most)


def _answer_row(network: Network, head: torch.Tensor | None, tokens: Tokens) -> Callable[[], torch.Tensor]:
    yes, no = tokens.answer("yes"), tokens.answer("no")
    if head is not None:
        row = head[yes] - head[no]
        return lambda: row.to(network.device)
    return lambda: network.embed_tokens.weight[yes] - network.embed_tokens.weight[no]


def _measured(found: Contributions, gone: Sequence[Removal], student: Student) -> dict[str, Any]:
    out: dict[str, Any] = {
        "influence": list(found.influence),
        "removed": [asdict(each) for each in gone],
        "layers": list(student.plan.layers),
        "groups": [list(each) for each in student.plan.groups],
    }
    if student.basis:
        out["energy"] = student.basis.share
    if student.vocabulary:
        out |= {"tokens": len(student.vocabulary.ids), "covered": student.vocabulary.covered}
    return out


def _write(
    student: Student,
    state: Mapping[str, torch.Tensor],
    out: Path,
    settings: DistilSettings,
    said: Mapping[str, Any],
    figures: Figures,
) -> Bill:
    """A directory with its golden file, whole or not at all."""
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    bill = bill_of(student)
    card = card_of(student, settings, bill, said, figures)
    write_student(student, state, partial, settings.weights, card)
    make_golden(partial)
    partial.replace(out)
    return bill


def _write_manifest(
    settings: DistilSettings,
    teacher: Opened,
    folder: Path,
    said: dict[str, Any],
    bill: Bill,
    figures: Figures,
    seconds: float,
) -> None:
    inputs = {"teacher": hash_weights(teacher.directory)}
    inputs |= {str(i): manifest.hash_file(p) for i, p in enumerate(settings.pairs) if p.is_file()}
    stated = to_json(settings)
    key = manifest.key_of("distil", inputs, stated, "")
    counts = {"bill": asdict(bill), "measured": said, "last_step": dict(figures)}
    outputs = {"student": hash_weights(folder / "student")}
    manifest.write(folder, manifest.Manifest("distil", key, inputs, stated, outputs, counts, seconds))
