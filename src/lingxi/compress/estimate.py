"""Before anything runs: a student's parameters, and the memory and hours that making it takes.

Every figure is arithmetic on the two shapes and the recipe; `Line.sum` shows it. Hours stand or fall with the
recipe's `[estimate]` table, which says how fast the device is and how much of that a training reaches.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from lingxi.compress.bill import TOKENS, Bill, cost_of
from lingxi.compress.cut import AnySize
from lingxi.compress.settings import DistilSettings, EstimateSettings
from lingxi.errors import InputError
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.files import locate
from lingxi.model.network import read_size
from lingxi.model.sizes import SIZES, size_named

_PUBLISHED = re.compile(r"Qwen/Qwen3-(Embedding|Reranker)-(\S+)")
_FLOAT = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One figure in words, with the sum that it comes from."""

    name: str
    value: float
    unit: str
    sum: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a recipe would make, and take."""

    teacher: AnySize
    student: AnySize
    bill: Bill
    lines: tuple[Line, ...]


def estimate(settings: DistilSettings) -> Estimate:
    """Resolve a recipe's shapes and count; nothing is read but `config.json`.

    A published model that is not here is known by its shape. Raises InputError where the recipe does not
    fit the teacher, ModelError for a teacher that is neither here nor known.
    """
    teacher = _size(settings.teacher)
    student = student_size(settings, teacher)
    bill = Bill(cost_of(teacher), cost_of(student))
    lines = [*_sizes(bill), *_memory(settings, bill, student)]
    if settings.recovery is not None and settings.estimate is not None:
        lines += _hours(settings, settings.estimate, bill, teacher.hidden)
    return Estimate(teacher, student, bill, tuple(lines))


def _size(name: str) -> AnySize:
    found = _PUBLISHED.fullmatch(name)
    known = f"{found[1].lower()}-{found[2]}" if found else name
    return size_named(known) if known in SIZES and not Path(name).is_dir() else read_size(locate(name))


def student_size(settings: DistilSettings, teacher: AnySize) -> AnySize:
    """The student's shape; raises InputError where the teacher has less than is asked for."""
    shape = settings.shape
    for name in ("layers", "heads", "intermediate"):
        wanted, have = getattr(shape, name), getattr(teacher, name)
        if wanted is not None and wanted > have:
            raise InputError(f"shape.{name} is {wanted}, the teacher has {have}", f"choose 1 to {have}")
    vocab = settings.vocabulary.size if settings.vocabulary else None
    size: AnySize = replace(
        teacher,
        layers=shape.layers or teacher.layers,
        intermediate=shape.intermediate or teacher.intermediate,
        hidden=shape.width or teacher.hidden,
        vocab=min(vocab or teacher.vocab, teacher.vocab),
    )
    if shape.heads is None or isinstance(size, EncoderSize) or isinstance(teacher, EncoderSize):
        return size
    return replace(size, heads=shape.heads, kv_heads=shape.heads * teacher.kv_heads // teacher.heads)


def _sizes(bill: Bill) -> list[Line]:
    out = []
    for name, cost in (("teacher", bill.teacher), ("student", bill.student)):
        said = f"{cost.embedding:,} token vectors + {cost.network:,} in layers"
        out.append(Line(f"{name}'s parameters", cost.parameters, "", said))
    out.append(_share("network", bill.student.network, bill.teacher.network))
    out.append(_share(f"operations of {TOKENS} tokens", bill.student.operations, bill.teacher.operations))
    return out


def _share(name: str, student: int, teacher: int) -> Line:
    return Line(f"student's share of the {name}", 100 * student / teacher, "%", f"{student:,} / {teacher:,}")


def _memory(settings: DistilSettings, bill: Bill, student: AnySize) -> list[Line]:
    teacher, own = bill.teacher.parameters, bill.student.parameters
    out = [Line("memory of the teacher in fp32", _FLOAT * teacher / 1e9, "GB", f"4 bytes × {teacher:,}")]
    out.append(Line("the student as fp16 on disk", 2 * own / 1e9, "GB", f"2 bytes × {own:,}"))
    if settings.recovery is None:
        return out
    said = f"(weights + gradients + two moments) 16 bytes × {own:,}"
    out.append(Line("memory of the student in training", 16 * own / 1e9, "GB", said))
    # What one layer keeps of a token for backward: its inputs, norms, projections and three wide ones.
    if isinstance(student, EncoderSize):
        kept = 8 * student.hidden + 2 * student.intermediate
    else:
        width = 2 * (student.heads + student.kv_heads) * student.head_dim
        kept = 4 * student.hidden + width + 3 * student.intermediate
    chunk = settings.recovery.chunk_tokens
    total = _FLOAT * chunk * student.layers * kept / 1e9
    said = f"4 bytes × {chunk:,} tokens of a chunk × {student.layers} layers × {kept:,} numbers"
    return [*out, Line("memory of its activations", total, "GB", said)]


def _hours(settings: DistilSettings, by: EstimateSettings, bill: Bill, dim: int) -> list[Line]:
    recovery = settings.recovery
    assert recovery is not None
    texts = settings.pool.candidates or by.texts_a_row + settings.pool.negatives
    asked = settings.pool.rows * texts * by.tokens_a_text
    batch = recovery.batch_rows * (recovery.listed or texts) * by.tokens_a_text
    learnt = recovery.steps * batch
    # A batch beyond one chunk is read twice forward (GradCache).
    passes = 8 if batch > recovery.chunk_tokens else 6
    speed = by.tflops * 1e12 * by.utilization
    answers = 2 * asked * bill.teacher.network
    recovers = passes * learnt * bill.student.network
    said = f"{by.tflops:g} TFLOP/s × {by.utilization:g}"
    kept = settings.pool.rows * texts
    return [
        Line(
            "the teacher's vectors on disk", 2 * kept * dim / 1e9, "GB", f"2 bytes × {kept:,} texts × {dim:,}"
        ),
        Line("speed", speed / 1e12, "TFLOP/s", said),
        Line(
            "the teacher's answers",
            answers / speed / 3600,
            "hours",
            f"2 × {asked:,} tokens × {bill.teacher.network:,} / speed",
        ),
        Line(
            "recovery",
            recovers / speed / 3600,
            "hours",
            f"{passes} × {learnt:,} tokens × {bill.student.network:,} / speed",
        ),
    ]
