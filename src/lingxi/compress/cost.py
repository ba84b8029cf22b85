"""What a variant costs, measured in a process of its own: milliseconds a query, documents a second, memory.

Times are CPU seconds of the process on one thread, which other work on the machine disturbs less than a
clock.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lingxi.compress.variants import Variant
from lingxi.model.golden import embedding_texts

_QUERIES, _DOCUMENTS = 20, 64
_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Cost:
    """`query` milliseconds (the median), `documents` a second, `memory` bytes beyond an empty process."""

    query: float
    documents: float
    memory: int


def cost(variant: Variant) -> Cost:
    """Open a variant in a new process and time the package's golden texts."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (variant,))


def _measured(variant: Variant) -> Cost:
    import torch

    torch.set_num_threads(1)
    empty = _held()
    encoder = variant.encoder()
    golden = embedding_texts()
    queries = [t.text for t in golden if t.task] * (_QUERIES // 5)
    plain = [t.text for t in golden if t.task is None and t.text]
    # No two alike: the engine computes equal texts once.
    documents = [f"{text} {i}" for i in range(_DOCUMENTS // 20) for text in plain]
    encoder.encode(documents[:8], None)  # buffers are made the first time
    asked = [_seconds(encoder, [query], golden[-1].task) for query in queries]
    took = _seconds(encoder, documents, None)
    return Cost(round(1000 * float(np.median(asked)), 2), round(len(documents) / took, 1), _held() - empty)


def _seconds(encoder: object, texts: list[str], task: str | None) -> float:
    began = time.process_time()
    encoder.encode(texts, task)  # type: ignore[attr-defined]
    return time.process_time() - began


def _held() -> int:
    """The memory the process holds, in bytes; where the system does not say, the most it has held."""
    # A new process inherits its parent's highest mark on Linux, so the mark says nothing of a variant.
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
