"""What an index would cost before it is made: segments, bytes and time, and what narrower vectors would lose.

Files are read and cut as they will be; a sample of their segments is embedded. Recall is measured on that
sample alone: for each query of it, how many of its ten nearest by the full vector a form finds among as
many segments as the sample has. In more segments it falls, so the figures order forms, and promise nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lingxi import vectors
from lingxi.errors import InputError
from lingxi.index.build import Embeds
from lingxi.index.stores.codes import coder
from lingxi.index.stores.layout import Floats, Layout, Precision
from lingxi.inputs import texts_alone
from lingxi.parse import Skip, decode
from lingxi.parse.segments import segments
from lingxi.parse.walk import resolve, walk

_WIDTHS = (1024, 512, 256, 128, 64)
_QUERIES, _NEAREST = 100, 10
# Bytes on disk for a byte of text: the text, its words and the full text index of them. Measured on this
# package's sources (4.36) and its documents (4.55).
_OF_TEXT = 4.4


@dataclass(frozen=True, slots=True)
class Form:
    """Vectors at a width and precision: bytes the first look reads and bytes kept, for all segments.

    `recall` is that of the first look alone, `rescored` of ten times as many candidates ordered by the full
    vector of that width; both are means over the sample's queries.
    """

    dim: int
    precision: Precision
    bytes_read: int
    bytes_kept: int
    recall: float
    rescored: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """Files, segments, bytes of text and of the whole index, seconds of embedding, and the forms.

    `sample` counts the segments that speed and recall were measured on.
    """

    files: int
    segments: int
    text_bytes: int
    index_bytes: int
    seconds: float
    sample: int
    forms: tuple[Form, ...]


def estimate(embedder: Embeds, paths: Sequence[str | Path], *, sample: int = 1000, seed: int = 0) -> Estimate:
    """What indexing `paths` would cost.

    Raises InputError where there is nothing to index, or for a `sample` below 20.
    """
    if sample < 20:
        raise InputError(f"a sample of {sample} segments", "choose 20 or more")
    files = texts = size = 0
    kept: list[str] = []
    draw = random.Random(seed)
    for found in _texts(paths):
        files += 1
        for text in found:
            texts, size = texts + 1, size + len(text.encode("utf-8", "replace"))
            # A reservoir: every segment is as likely to be in the sample as any other.
            if len(kept) < sample:
                kept.append(text)
            elif (place := draw.randrange(texts)) < sample:
                kept[place] = text
    if not kept:
        raise InputError("there is nothing to index", "name a folder with text, code, HTML or PDF files")
    began = time.perf_counter()
    full = np.asarray(texts_alone(embedder).encode_document(kept, show_progress_bar=False), np.float32)
    seconds = (time.perf_counter() - began) / len(kept) * texts
    held = int(size * _OF_TEXT) + texts * 4 * full.shape[1]
    return Estimate(files, texts, size, held, seconds, len(kept), tuple(_forms(full, texts, seed)))


def _texts(paths: Sequence[str | Path]) -> Iterator[list[str]]:
    for found in walk(resolve(paths)).files.values():
        try:
            content = decode(Path(found.path), Path(found.path).read_bytes())
        except OSError:
            continue
        own = [] if isinstance(content, Skip) else [part.for_embedding() for part in segments(content)]
        if own:
            yield own


def _forms(full: Floats, count: int, seed: int) -> Iterator[Form]:
    widest = full.shape[1]
    queries = np.random.default_rng(seed).permutation(len(full))[: min(_QUERIES, len(full))]
    wanted = _nearest(full[queries] @ full.T, queries, _NEAREST)
    for dim in [widest, *(width for width in _WIDTHS if width < widest)]:
        for precision in ("float32", "int8", "binary"):
            if precision == "binary" and dim % 8:
                continue
            layout = Layout(dim, precision=precision)
            read, kept = layout.bytes()
            found, again = _recalls(vectors.cut(full, dim), layout, queries, wanted)
            yield Form(dim, precision, int(read * count), kept * count, found, again)


def _recalls(
    own: Floats,
    layout: Layout,
    queries: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    wanted: list[set[int]],
) -> tuple[float, float]:
    codes = coder(layout)
    coded = codes(own)
    # Binary codes are compared as signs: their dot product falls as the number of differing signs grows.
    spread = (
        np.unpackbits(coded, axis=1)[:, : layout.dim].astype(np.float32) * 2 - 1 if codes.binary else coded
    )
    scores = np.asarray(spread[queries] @ spread.T, np.float32)
    exact = np.asarray(own[queries] @ own.T, np.float32)
    first = _nearest(scores, queries, _NEAREST)
    candidates = _nearest(scores, queries, layout.candidates(_NEAREST))
    masked = np.full_like(exact, -np.inf)
    for row, inside in enumerate(candidates):
        masked[row, list(inside)] = exact[row, list(inside)]
    second = _nearest(masked, queries, _NEAREST)
    return _shared(first, wanted), _shared(second, wanted)


def _nearest(
    scores: Floats, queries: np.ndarray[tuple[int, ...], np.dtype[np.int64]], count: int
) -> list[set[int]]:
    """The nearest segments of each query but itself."""
    held = scores.copy()
    held[np.arange(len(queries)), queries] = -np.inf
    return [set(row) for row in np.argsort(-held, axis=1, kind="stable")[:, :count].tolist()]


def _shared(found: list[set[int]], wanted: list[set[int]]) -> float:
    return float(np.mean([len(one & other) / len(other) for one, other in zip(found, wanted, strict=True)]))
