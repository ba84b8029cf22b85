"""Proof that a runtime equals the model: the golden texts, computed in every shape a batch can have.

Alone, all together, in another order, as a batch of equal lengths and beside a long text, each
compared with the golden values by the largest absolute difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.embedder import Embedder
from lingxi.errors import ModelError
from lingxi.model.files import locate
from lingxi.model.golden import Golden, GoldenText, embedding_texts, read_golden, rerank_texts, write_golden
from lingxi.model.layout import read_kind
from lingxi.reranker import Reranker

Compute = Callable[[Sequence[GoldenText]], NDArray[np.float32]]

# Largest absolute difference allowed in a component or a score: fp32 sums in another order stay
# below the first, half-precision weights or arithmetic below the second.
FLOAT32_TOLERANCE = 2e-5
HALF_TOLERANCE = 2e-2


@dataclass(frozen=True, slots=True)
class Row:
    """One way of computing the golden texts: how far it is from the golden values, and how far it may be."""

    check: str
    difference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the difference is within the tolerance; NaN never is."""
        return self.difference <= self.tolerance


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found about one model."""

    model: str
    kind: str
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether every row is within its tolerance."""
        return all(row.ok for row in self.rows)


def check(model: str | Path, *, device: str | None = None, dtype: str | None = None) -> Report:
    """Compute a model's golden texts in every shape and compare; raises ModelError without a golden file."""
    directory = locate(model)
    golden = read_golden(directory)
    if golden is None:
        raise ModelError(
            f"{directory}: no golden file",
            "write one with lingxi.parity.make_golden(directory), on a trusted machine",
        )
    compute = _compute(directory, golden.kind, device, dtype)
    exact = dtype in (None, "float32") and device in (None, "cpu")
    tolerance = FLOAT32_TOLERANCE if exact else HALF_TOLERANCE
    rows = tuple(Row(name, d, tolerance) for name, d in _differences(golden, compute).items())
    return Report(str(model), golden.kind, rows)


def make_golden(directory: Path) -> None:
    """Write the golden file of a model directory, computed in fp32 on the CPU."""
    kind = read_kind(directory) or "embedder"
    texts = embedding_texts() if kind == "embedder" else rerank_texts()
    compute = _compute(directory, kind, "cpu", "float32")
    write_golden(directory, Golden(kind, texts, compute(texts)))


def _compute(directory: Path, kind: str, device: str | None, dtype: str | None) -> Compute:
    if kind == "reranker":
        reranker = Reranker(directory, device=device, dtype=dtype)
        return lambda texts: _scores(reranker, texts)
    embedder = Embedder(directory, device=device, dtype=dtype)
    return lambda texts: _vectors(embedder, texts)


def _vectors(embedder: Embedder, texts: Sequence[GoldenText]) -> NDArray[np.float32]:
    rendered = [t.text if t.task is None else prompts.query(t.text, t.task) for t in texts]
    return embedder.encode(rendered, show_progress_bar=False)


def _scores(reranker: Reranker, texts: Sequence[GoldenText]) -> NDArray[np.float32]:
    pairs = [(t.query or "", t.text) for t in texts]
    return reranker.predict(pairs, instruction=texts[0].task, show_progress_bar=False)


def _differences(golden: Golden, compute: Compute) -> dict[str, float]:
    texts, values = golden.texts, golden.values
    rng = np.random.default_rng(0)
    order = rng.permutation(len(texts))
    longest = max(range(len(texts)), key=lambda i: len(texts[i].text))
    long = GoldenText(texts[longest].text * 8, texts[longest].task, texts[longest].query)
    return {
        "together": _gap(compute(texts), values),
        "alone": max(_gap(compute([text]), values[i : i + 1]) for i, text in enumerate(texts)),
        "another order": _gap(compute([texts[i] for i in order]), values[order]),
        "equal lengths": max(_gap(compute([t] * 3), values[[i] * 3]) for i, t in enumerate(texts)),
        "beside a long text": _gap(compute([long, *texts])[1:], values),
    }


def _gap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.abs(a - b).max())
