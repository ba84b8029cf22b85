"""What a check found: rows of differences and tolerances, what was left out and why, causes in words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
"""What golden texts get: vectors [n, width] or scores [n]."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest difference allowed: `cosine` of 1 − cosine, `score` of a score or a vector's component."""

    cosine: float
    score: float


# fp32 sums in another order stay below the first, half-precision or int8 arithmetic below the second.
EXACT = Tolerance(1e-6, 2e-5)
LOSSY = Tolerance(1e-3, 3e-2)
# What int8 may differ from itself where sums are taken in another order: a number on the edge of two codes
# falls to either, and later layers hand the step on.
ROUNDED = Tolerance(1e-4, 5e-3)


@dataclass(frozen=True, slots=True)
class Row:
    """One way of computing and what it was compared with.

    `cosine` is the worst 1 − cosine of two vectors of one text (None for scores), `score` the worst
    difference of a rerank score or of the similarity of two texts, `difference` the largest of a component
    (of a score, for scores).
    """

    check: str
    compared: str
    cosine: float | None
    score: float
    difference: float
    tolerance: Tolerance

    @property
    def ok(self) -> bool:
        """Whether all differences are within the tolerance; NaN never is."""
        cosine = self.cosine is None or self.cosine <= self.tolerance.cosine
        return cosine and self.score <= self.tolerance.score and self.difference <= self.tolerance.score


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that could not be made, and why."""

    check: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found about one model; `against` is None for the model alone."""

    model: str
    kind: str
    rows: tuple[Row, ...]
    against: str | None = None
    skipped: tuple[Skipped, ...] = ()
    causes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every row is within its tolerance."""
        return all(row.ok for row in self.rows)


def row(check: str, compared: str, got: Values, wanted: Values, tolerance: Tolerance) -> Row:
    """Compare vectors [n, width] or scores [n] of the same texts in the same order."""
    difference = float(np.abs(got - wanted).max(initial=0))
    if got.ndim == 1:
        return Row(check, compared, None, difference, difference, tolerance)
    cosine = float(cosine_gaps(got, wanted).max(initial=0))
    return Row(check, compared, cosine, _similarity_gap(got, wanted), difference, tolerance)


def cosine_gaps(got: Values, wanted: Values) -> NDArray[np.float64]:
    """1 − cosine of each row of two matrices [n, width], at least 0; 1 for a row of zeros."""
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    gaps = 1 - (a * b).sum(1) / np.where(norms == 0, 1, norms)
    return np.asarray(np.maximum(gaps, 0))


def _similarity_gap(got: Values, wanted: Values) -> float:
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    return float(np.abs(a @ a.T - b @ b.T).max(initial=0))


def report_values(report: Report) -> dict[str, Any]:
    """The report as JSON values; a difference that is not a number is null."""
    return {
        "model": report.model,
        "kind": report.kind,
        "against": report.against,
        "ok": report.ok,
        "rows": [_row_values(r) for r in report.rows],
        "skipped": [{"check": s.check, "reason": s.reason} for s in report.skipped],
        "causes": list(report.causes),
        "notes": list(report.notes),
    }


def _row_values(r: Row) -> dict[str, Any]:
    return {
        "check": r.check,
        "compared": r.compared,
        "cosine": _number(r.cosine),
        "score": _number(r.score),
        "difference": _number(r.difference),
        "tolerance": {"cosine": r.tolerance.cosine, "score": r.tolerance.score},
        "ok": r.ok,
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def report_lines(report: Report) -> Iterator[str]:
    """The report as lines for a terminal: the table, then what was left out, causes, notes, the verdict."""
    wide = max((len(r.check) for r in report.rows), default=5)
    yield f"     {'check':{wide}}  1-cosine    score  component  at most          compared with"
    for r in report.rows:
        yield _line(r, wide)
    yield from (f"skip {s.check:{wide}}  {s.reason}" for s in report.skipped)
    yield from (f"cause: {cause}" for cause in report.causes)
    yield from (f"note: {note}" for note in report.notes)
    bad = sum(not r.ok for r in report.rows)
    yield f"{len(report.rows) - bad} of {len(report.rows)} rows within tolerance"


def _line(r: Row, wide: int) -> str:
    sign = "ok  " if r.ok else "FAIL"
    cosine = "       –" if r.cosine is None else f"{r.cosine:8.1e}"
    most = f"{r.tolerance.cosine:.0e} / {r.tolerance.score:.0e}"
    return f"{sign} {r.check:{wide}}  {cosine} {r.score:8.1e}   {r.difference:8.1e}  {most:15}  {r.compared}"
