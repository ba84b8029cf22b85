"""The golden file: a few texts with the vectors or scores they must get, kept beside the weights.

`golden/golden.json` holds the texts, `golden/vectors.safetensors` the full-width unit vectors
[n, hidden] or the scores [n]. The root of a model directory holds weight shards only, because
servers load every `*.safetensors` they find there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lingxi import prompts
from lingxi.errors import ModelError
from lingxi.model.files import write_json

_JSON, _ARRAYS = "golden/golden.json", "golden/vectors.safetensors"
_VERSION = 1

_DOCUMENTS = (
    "",
    "a",
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other.",
    "北京是中华人民共和国的首都。",
    "人工智能正在改变搜索引擎。",
    "東京は日本の首都です。",
    "서울은 대한민국의 수도이다.",
    "Мы живём в маленьком городе у реки.",
    "ภาษาไทยเขียนโดยไม่เว้นวรรคระหว่างคำ",
    "اللغة العربية تُكتب من اليمين إلى اليسار.",
    "यह वाक्य हिन्दी में है।",
    "Ninapenda kusoma vitabu vya historia.",
    "El gato duerme en la silla de la cocina.",
    "Die Prüfung wurde auf nächste Woche verschoben.",
    "def quicksort(xs):\n    if len(xs) < 2:\n        return xs\n    pivot, *rest = xs\n    "
    "return quicksort([x for x in rest if x < pivot]) + [pivot] + quicksort([x for x in rest if x >= pivot])",
    "SELECT name, count(*) FROM visits WHERE year = 2024 GROUP BY name ORDER BY 2 DESC;",
    "  leading spaces, a tab\there, and a newline\nbefore the end\n",
    "2024-11-23T20:45:00Z 127.0.0.1 GET /index.html 200 5316",
    "🙂👍🏽 emoji, combining e\u0301 and ﬁ ligature",
    "A user may write <|im_end|> and <|endoftext|> as plain text.",
    "Symptoms of diabetes include thirst, frequent urination, tiredness and loss of weight. " * 12,
)
_QUERIES = (
    "What is the capital of China?",
    "Explain gravity",
    "糖尿病有哪些症状？",
    "a Python function that does quicksort",
    "¿Dónde duerme el gato?",
)


@dataclass(frozen=True, slots=True)
class GoldenText:
    """One text; `task` makes it a query of that task, `query` makes it a rerank pair's document.

    `image` is a picture beside it, as a `data:` URL, in the golden file of a VL model.
    """

    text: str
    task: str | None = None
    query: str | None = None
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Golden:
    """Texts and what they must get: `values` is [n, hidden] vectors or [n] scores."""

    kind: str
    texts: tuple[GoldenText, ...]
    values: NDArray[np.float32]


def embedding_texts() -> tuple[GoldenText, ...]:
    """What an embedder's golden file is made of: documents in many scripts, and instructed queries."""
    queries = [GoldenText(text, task=prompts.DEFAULT_TASK) for text in _QUERIES]
    return (*(GoldenText(text) for text in _DOCUMENTS), *queries)


def rerank_texts() -> tuple[GoldenText, ...]:
    """What a reranker's golden file is made of: each query with documents that fit and that do not."""
    return tuple(
        GoldenText(document, task=prompts.DEFAULT_TASK, query=query)
        for query in _QUERIES
        for document in _DOCUMENTS[2:8] + _DOCUMENTS[15:16]
    )


def calibration_texts() -> Sequence[str]:
    """Texts whose vectors give the int8 scale of a model that has no golden file."""
    return [t.text for t in embedding_texts() if t.task is None]


def write_golden(directory: Path, golden: Golden) -> None:
    """Write the golden file of a model directory."""
    texts = [
        {"text": t.text, "task": t.task, "query": t.query} | ({"image": t.image} if t.image else {})
        for t in golden.texts
    ]
    write_json(directory / _JSON, {"version": _VERSION, "kind": golden.kind, "texts": texts})
    save_file({"values": np.ascontiguousarray(golden.values, dtype=np.float32)}, directory / _ARRAYS)


def read_golden(directory: Path) -> Golden | None:
    """Read the golden file; None where there is none; raises ModelError where it is damaged or newer."""
    path = directory / _JSON
    if not path.exists():
        return None
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values = load_file(directory / _ARRAYS)["values"]
        texts = tuple(GoldenText(**t) for t in described["texts"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"{path}: damaged golden file ({error})", "copy the folder golden/ again") from None
    if described["version"] != _VERSION or len(texts) != len(values):
        raise ModelError(
            f"{path}: golden file of version {described['version']}", "use the lingxi version that wrote it"
        )
    return Golden(described["kind"], texts, values)


def read_golden_vectors(directory: Path) -> NDArray[np.float32] | None:
    """The golden vectors [n, hidden] of an embedder, or None where it has none."""
    golden = read_golden(directory)
    return golden.values if golden is not None and golden.kind == "embedder" else None
