"""Make a late interaction of an embedder: rows read once, a head fitted in minutes, one directory.

lingxi late recipes/nano-reranker.toml
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import lingxi
from lingxi.config import to_json
from lingxi.embedder import Embedder
from lingxi.errors import InputError
from lingxi.judging.contract import Opening, Reading, probabilities
from lingxi.judging.late import Late
from lingxi.model.files import hash_weights
from lingxi.model.golden import Golden, rerank_texts, write_golden
from lingxi.model.late import LateConfig, write_late
from lingxi.model.layout import card_head
from lingxi.train.late_fit import fit
from lingxi.train.late_rows import Material, material
from lingxi.train.late_settings import LateSettings

Say = Callable[[str], None]
LOG = "log.jsonl"
_SAID_EVERY = 50


@dataclass(frozen=True, slots=True)
class LateTrained:
    """Where the directory is, the rows learnt from, accuracy in the last steps, and bytes of the weights."""

    out: Path
    rows: int
    accuracy: float
    bytes: int
    seconds: float


def train_late(settings: LateSettings, out: Path, say: Say = lambda line: None) -> LateTrained:
    """Train the head of a recipe and write the directory `out` with its golden file.

    Nothing is kept between: it takes minutes. Raises InputError where the embedder has no token states of its
    vectors' width or the pairs have no rows, ModelError as `Embedder`.
    """
    began = time.perf_counter()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    embedder = Embedder(settings.embedder, weights=settings.weights)
    if embedder.vision is not None:
        raise InputError(f"{settings.embedder} looks at pictures", "name an embedder of texts")
    found = material(settings, embedder, say)
    figures: list[Mapping[str, float]] = []

    def told(step: int, each: Mapping[str, float]) -> None:
        figures.append({"step": step, **each})
        loss, accuracy = _mean(figures, "loss"), _mean(figures, "accuracy")
        if (step + 1) % _SAID_EVERY == 0:
            say(f"step {step + 1}: loss {loss:.3f}, accuracy {accuracy:.3f}")

    head = fit(found, settings, told)
    name = settings.called or settings.embedder
    config = LateConfig(name, hash_weights(embedder.directory), head.projection.in_features)
    size = write_late(out, config, head)
    (out / "README.md").write_text(_card(settings, name, found), "utf-8")
    _write_golden(out, Embedder(settings.embedder, device="cpu", dtype="float32"))
    log = "".join(json.dumps(each) + "\n" for each in figures)
    (out.parent / LOG).write_text(log, "utf-8")
    return LateTrained(
        out, len(found.rows), _mean(figures, "accuracy"), size, round(time.perf_counter() - began, 1)
    )


def _write_golden(out: Path, embedder: Embedder) -> None:
    """What pairs score by the embedder as it is opened; by hand, as the name may mean another yet."""
    judge = Late(out, Opening(), embedder)
    texts = rerank_texts()
    reading = Reading(judge.default_task, judge.tokenizer, None, judge.stated_length)
    sequences, _ = judge.sequences([(text.query or "", text.text) for text in texts], reading)
    logits = judge.finish(judge.states(sequences))
    write_golden(out, Golden("reranker", texts, np.asarray(probabilities(logits), np.float32)))


def _mean(figures: list[Mapping[str, float]], name: str) -> float:
    last = figures[-_SAID_EVERY:]
    return round(sum(each[name] for each in last) / len(last), 4)


def _card(settings: LateSettings, embedder: str, found: Material) -> str:
    sources = sorted({row.source for row in found.rows})
    # Where files lay on the machine that made it says nothing to others.
    told = to_json(settings) | {"embedder": embedder, "pairs": [path.name for path in settings.pairs]}
    head = card_head("reranker", "license: apache-2.0\n", ("late-interaction", "multilingual"))
    return f"""{head}
# {settings.name}

A late interaction on the token states of `{embedder}`, which it is opened with: each token of a query
looks for the nearest token of a document (ColBERT, arXiv 2004.12832) by states that a projection maps, with
a learnt weight; the weighted mean is mixed with the embedder's cosine. Made by lingxi {lingxi.__version__}.

```python
from lingxi import Reranker

Reranker("this directory").rank("query", ["document", "another"])
```

## Training

{len(found.rows)} queries of {len(sources)} sources, each with the wrong documents that the embedder
finds nearest; {settings.steps} steps of {settings.queries} queries with {settings.documents} documents,
softmax over each query's documents. The embedder stays as it is.

Sources: {", ".join(sources)}.

```json
{json.dumps(told, indent=2, ensure_ascii=False)}
```
"""
