"""What a student costs beside its teacher, and the card that says so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lingxi.compress.cut import AnySize
from lingxi.compress.settings import DistilSettings
from lingxi.compress.student import Student
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.layout import Kind, card_head, read_kind
from lingxi.model.network import read_size

# A text of so many tokens is what operations are counted for.
TOKENS = 128


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters, and operations (a multiplication or an addition) of one text of `TOKENS` tokens."""

    parameters: int
    embedding: int
    network: int
    operations: int


@dataclass(frozen=True, slots=True)
class Bill:
    """Teacher and student side by side."""

    teacher: Cost
    student: Cost

    @property
    def network_share(self) -> float:
        """The student's part of the teacher's parameters that are not token vectors."""
        return self.student.network / self.teacher.network

    @property
    def operations_share(self) -> float:
        """The student's part of the teacher's operations."""
        return self.student.operations / self.teacher.operations


def cost_of(size: AnySize, tokens: int = TOKENS) -> Cost:
    """Count a shape: every matrix multiplies each token once, attention compares tokens with tokens."""
    table = size.vocab * size.hidden
    if isinstance(size, EncoderSize):
        table += (size.max_positions + size.offset + size.types) * size.hidden
        width, seen = size.hidden, tokens
        matrices = 4 * size.hidden * size.hidden + 2 * size.hidden * size.intermediate
    else:
        width = size.heads * size.head_dim
        seen = (tokens + 1) // 2 if size.causal else tokens
        matrices = size.hidden * (2 * width + 2 * size.kv_heads * size.head_dim)
        matrices += 3 * size.hidden * size.intermediate
    whole = size.parameters()
    compared = 2 * width * seen
    return Cost(whole, table, whole - table, size.layers * tokens * 2 * (matrices + compared))


def bill_of(student: Student) -> Bill:
    """The costs of a student and of the directory that it came from."""
    return Bill(cost_of(read_size(student.source)), cost_of(student.size))


def card_of(
    student: Student,
    settings: DistilSettings,
    bill: Bill,
    said: Mapping[str, Any],
    figures: Mapping[str, float],
) -> str:
    """README.md of a student: where it comes from, what was cut by which measure, what was learnt again."""
    kind: Kind = read_kind(student.source) or "embedder"
    found = _licence(student)
    head = card_head(kind, f"license: {found}\n" if found else "", ("sentence-transformers", "distillation"))
    size = student.size
    lines = [
        f"# {settings.name}",
        "",
        f"A student of {student.source.resolve().name}, cut from it and drawn back to its answers by "
        "`lingxi compress distil`.",
        "",
        "| | teacher | student | share |",
        "|---|---:|---:|---:|",
        _row("parameters", bill.teacher.parameters, bill.student.parameters),
        _row("of them not token vectors", bill.teacher.network, bill.student.network),
        _row(f"operations for {TOKENS} tokens", bill.teacher.operations, bill.student.operations),
        "",
        f"{size.layers} layers, {size.heads} heads, {size.intermediate} neurons, {size.hidden} wide, "
        f"{size.vocab:,} tokens. Layers of the teacher that were kept: {said['layers']}.",
    ]
    if student.vocabulary and settings.vocabulary:
        lines.append(
            f"The vocabulary is that of {', '.join(settings.vocabulary.languages)}; any other text is read "
            "in smaller pieces, and worse."
        )
    r = settings.recovery
    if r is None or not figures:
        lines.append("Nothing was trained: these are the teacher's weights, cut.")
        if settings.prompts == "instruct":
            lines.append(
                "Its queries come behind an instruction, which it has still to learn: tune it before use."
            )
    else:
        lines.append(
            f"Recovery: {r.steps} steps of {r.batch_rows} rows by vector ({r.embedding:g}), similarity "
            f"matrix ({r.similarity:g}) and ranking ({r.ranking:g})"
            + (f", with weights rounded to {r.rounded} in the forward pass." if r.rounded else ".")
        )
    return f"{head}\n" + "\n".join(lines) + "\n"


def _row(name: str, teacher: int, student: int) -> str:
    return f"| {name} | {teacher:,} | {student:,} | {student / teacher:.1%} |"


def _licence(student: Student) -> str | None:
    path = student.source / "README.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.match(r"---\n(?:.*\n)*?license: (\S+)\n(?:.*\n)*?---\n", text)
    return found[1] if found else None
