"""A smaller model of a larger one: teacher → weighed → cut → recovered → written.

`distil` is the flow on one screen. What a run writes in its folder: `start/` (the student as it was cut),
`pool/` (the teacher's answers), `recovery/` (checkpoints and log), `student/`, and `manifest.json`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi import manifest
from lingxi.check import make_golden
from lingxi.compress import pool, reading, recover
from lingxi.compress.bill import Bill, bill_of, card_of
from lingxi.compress.settings import DistilSettings
from lingxi.compress.shaping import Say, make_student
from lingxi.compress.student import Student, write_student
from lingxi.compress.teacher import Opened, answer_row, open_teacher
from lingxi.config import to_json
from lingxi.engine.devices import choose_devices
from lingxi.errors import InputError
from lingxi.model.files import hash_weights, locate
from lingxi.model.network import read_network_tokens
from lingxi.prompts import query_prefix
from lingxi.train.gradcache import Figures
from lingxi.train.store import Store


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
    if settings.prompts == "instruct" and teacher.kind == "reranker":
        raise InputError('prompts = "instruct" is for embedders', "leave it out: a reranker has its template")
    store = reading.store_of(settings, folder)
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


def _recovered(
    settings: DistilSettings, teacher: Opened, student: Student, store: Store | None, folder: Path, say: Say
) -> tuple[Mapping[str, torch.Tensor], Figures]:
    if settings.recovery is None:
        return student.state, {}
    texts, answers = _answers(settings, teacher, student, store, folder, say)
    tokens = read_network_tokens(folder / "start", student.size.vocab)
    ids = reading.ids_of(teacher.kind, tokens, settings)
    network = student.network()
    objective: Any
    if teacher.kind == "embedder":
        axes = None if student.basis is None else student.basis.axes
        recover.check_widths(student.size.hidden, answers.shape[1], axes, settings.recovery)
        objective = recover.Imitation(texts, answers, ids, settings.recovery, axes)
    else:
        row = answer_row(network, student.head, tokens)
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
    settings: DistilSettings, teacher: Opened, student: Student, store: Store | None, folder: Path, say: Say
) -> tuple[pool.Pool, np.ndarray[Any, Any]]:
    if settings.answers is not None:
        texts = pool.read_pool(settings.answers, teacher.kind)
        return texts, pool.read_answers(texts, settings.answers)
    place = folder / "pool"
    if not (place / "rows.npy").exists():
        wanted = reading.read_anew(settings, teacher, student)
        drawn = reading.draw(settings, teacher, reading.needed(store), settings.pool, wanted)
        pool.write_pool(drawn, place)
    texts = pool.read_pool(place, teacher.kind)
    say(f"pool: {len(texts.rows):,} rows of {len(texts.texts):,} texts")
    most = reading.longest(teacher.kind, settings)
    return texts, pool.ask(texts, pool.teacher_of(teacher.kind, teacher.directory), place, most)


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
    asked = {"query": query_prefix(), "document": ""} if settings.prompts == "instruct" else None
    write_student(student, state, partial, settings.weights, card, asked)
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
