"""Rows of every precision at every Matryoshka width: the codes must be those of the golden vectors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lingxi import vectors
from lingxi.check.report import LOSSY, Row, Tolerance, Values, row
from lingxi.check.subject import encoded
from lingxi.embedder import Embedder
from lingxi.model.files import read_config
from lingxi.model.golden import Golden

# Enough for codes: precisions are made of finished vectors, and each row computes the texts anew.
_TEXTS = 8


def precision_rows(embedder: Embedder, golden: Golden, tolerance: Tolerance) -> Iterator[Row]:
    """One row a precision and width, and how much of the cosine int8 keeps."""
    at = sorted(range(len(golden.texts)), key=lambda i: len(golden.texts[i].text))[-_TEXTS - 1 : -1]
    texts, wanted = [golden.texts[i] for i in at], golden.values[at]
    for precision in vectors.PRECISIONS:
        for width in widths(embedder):
            got = encoded(embedder, texts, precision=precision, truncate_dim=width)
            scale = vectors.int8_scale(golden.values, width)
            yield _coded(precision, got, vectors.cut(wanted, width), scale, tolerance)
    kept = _decoded(encoded(embedder, texts, precision="int8"), "int8", embedder.dim)
    yield row("int8 keeps the cosine", "float32 vectors", kept, wanted[:, : embedder.dim], LOSSY)


def widths(embedder: Embedder) -> list[int]:
    """The Matryoshka widths that the model names, else the powers of two, up to its full width."""
    named = read_config(embedder.directory).get("matryoshka_dimensions")
    found = named if isinstance(named, list) else [2**n for n in range(5, 14)]
    return sorted(
        {w for w in found if isinstance(w, int) and vectors.MIN_DIM <= w < embedder.dim} | {embedder.dim}
    )


def _coded(precision: str, got: np.ndarray, wanted: Values, scale: float, tolerance: Tolerance) -> Row:
    """Codes against those of the golden vectors. A component on the edge of two codes may have either: what
    that makes of a vector is added to the tolerance.
    """
    width = wanted.shape[1]
    low, code, high = (
        _decoded(vectors.quantize(wanted + shift, precision, scale), precision, width)
        for shift in (np.float32(-tolerance.score), np.float32(0), np.float32(tolerance.score))
    )
    edge = row("", "", low, high, tolerance)
    allowed = Tolerance(
        tolerance.cosine + (edge.cosine or 0), tolerance.score + max(edge.score, edge.difference)
    )
    allowed = tolerance if precision == "float32" else allowed
    return row(
        f"{precision}, {width} wide",
        "codes of the golden file",
        _decoded(got, precision, width),
        code,
        allowed,
    )


def _decoded(codes: np.ndarray, precision: str, width: int) -> Values:
    """Unit vectors [n, width] that codes stand for."""
    if precision == "binary":
        codes = (codes.astype(np.int16) + 128).astype(np.uint8)
    if precision in ("binary", "ubinary"):
        values = np.unpackbits(codes, axis=-1, count=width).astype(np.float32) * 2 - 1
    else:
        values = codes.astype(np.float32) - (128 if precision == "uint8" else 0)
    return vectors.cut(values, width)
