"""From a teacher to a student that has learnt nothing yet: what is weighed, and what is cut by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from lingxi.compress import cut, narrow, reading, vocabulary
from lingxi.compress.contributions import (
    Contributions,
    Loss,
    Removal,
    of_cosine,
    of_verdict,
    removals,
    weigh,
)
from lingxi.compress.settings import DistilSettings
from lingxi.compress.student import Student
from lingxi.compress.teacher import Opened
from lingxi.errors import InputError
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.network import TABLES
from lingxi.model.tokens import read_description
from lingxi.train.store import Store

Say = Callable[[str], None]


def make_student(
    settings: DistilSettings, teacher: Opened, store: Store | None, say: Say
) -> tuple[Student, dict[str, Any]]:
    """Weigh the teacher on real texts and cut it; returns the student and what was measured."""
    sequences = reading.calibration(settings, teacher, store)
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
        student = _pruned(settings, teacher, student, reading.needed(store), say)
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
    counts = vocabulary.count_tokens(teacher.tokens.user, reading.texts_of(store, settings))
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
        prior=wanted.prior,
    )
    say(f"{len(made.ids):,} of {student.size.vocab:,} tokens kept: {made.covered:.2%} of what texts hold")
    rows = torch.tensor(made.ids)
    state = {name: t[rows] if name in TABLES else t for name, t in student.state.items()}
    head = None if student.head is None else student.head[rows]
    size = replace(student.size, vocab=len(made.ids))
    return replace(student, size=size, state=state, head=head, vocabulary=made)


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
