"""The contract of one model: golden texts in every shape of a batch, at every precision, long and cut.

A text has one vector (a pair one score), wherever it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from lingxi import prompts
from lingxi.check.limits import limit_rows
from lingxi.check.precisions import precision_rows
from lingxi.check.report import EXACT, LOSSY, Report, Row, Tolerance, Values, row
from lingxi.check.subject import Subject, cuts_unsaid, open_subject
from lingxi.embedder import Embedder
from lingxi.errors import InputError, ModelError
from lingxi.model.files import locate
from lingxi.model.golden import Golden, read_golden

_GOLDEN = "golden file"
_THREADS = 8
# Longer inputs cost minutes on a CPU; asked for by number, they are checked too.
LONGEST = 8192
_OTHER_TASK = (
    "Given a passage in any language, find passages that tell of the same thing, whatever the words, "
    "the language or the length; a passage that only shares words with it is not one of them"
)


def check_model(
    model: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    tolerance: Tolerance | None = None,
    longest: int = LONGEST,
) -> Report:
    """Compute a model's golden texts in every way and compare; inputs are at most `longest` tokens.

    Raises ModelError without a golden file, InputError for a `longest` below 2.
    """
    if longest < 2:
        raise InputError(f"longest is {longest}", "choose 2 tokens or more")
    golden = golden_of(model)
    subject = open_subject(model, golden.kind, device=device, dtype=dtype)
    allowed = tolerance or (EXACT if subject.exact else LOSSY)
    with cuts_unsaid():
        rows = tuple(_rows(subject, golden, allowed, longest))
    return Report(str(model), golden.kind, rows)


def golden_of(model: str | Path) -> Golden:
    """The golden file of a model; raises ModelError where it has none."""
    directory = locate(model)
    golden = read_golden(directory)
    if golden is None:
        raise ModelError(
            f"{directory}: no golden file",
            "write one with `lingxi check MODEL --write` (lingxi.check.make_golden), on a machine you trust",
        )
    return golden


def _rows(subject: Subject, golden: Golden, tolerance: Tolerance, longest: int) -> Iterator[Row]:
    yield from _shapes(subject, golden, tolerance)
    yield _threads(subject, golden, tolerance)
    yield from _instructions(subject, golden, tolerance)
    yield from limit_rows(subject, golden, tolerance, longest)
    if isinstance(subject.model, Embedder):
        yield from precision_rows(subject.model, golden, tolerance)


def _shapes(subject: Subject, golden: Golden, tolerance: Tolerance) -> Iterator[Row]:
    texts, values, compute = golden.texts, golden.values, subject.compute
    everyone = np.arange(len(texts))
    lengths = np.array([len(i) for i in subject.ids(texts)])
    orders = {
        "together": everyone,
        "longest first": np.argsort(-lengths, kind="stable"),
        "shortest first": np.argsort(lengths, kind="stable"),
        "another order": np.random.default_rng(0).permutation(everyone),
    }
    for check, order in orders.items():
        yield row(check, _GOLDEN, compute([texts[i] for i in order]), values[order], tolerance)
    alone = np.concatenate([compute([text]) for text in texts])
    yield row("alone", _GOLDEN, alone, values, tolerance)
    equal = np.concatenate([compute([text] * 3) for text in texts])
    yield row("equal lengths", _GOLDEN, equal, values.repeat(3, axis=0), tolerance)
    long = replace(texts[int(lengths.argmax())], text=texts[int(lengths.argmax())].text * 8)
    yield row("beside a long text", _GOLDEN, compute([long, *texts])[1:], values, tolerance)


def _threads(subject: Subject, golden: Golden, tolerance: Tolerance) -> Row:
    """Eight threads ask one model at once, each for another part of the texts."""
    parts = [list(range(start % 4, len(golden.texts), 4)) for start in range(_THREADS)]
    with ThreadPoolExecutor(_THREADS) as pool:
        got = list(pool.map(lambda part: subject.compute([golden.texts[i] for i in part]), parts))
    wanted = golden.values[[i for part in parts for i in part]]
    return row(f"{_THREADS} threads at once", _GOLDEN, np.concatenate(got), wanted, tolerance)


def _instructions(subject: Subject, golden: Golden, tolerance: Tolerance) -> Iterator[Row]:
    """A long instruction is computed once for all that share it, and changes nothing but itself."""
    asked = [replace(t, task=_OTHER_TASK) for t in golden.texts if t.task is not None]
    if not asked:
        return
    alone = np.concatenate([subject.compute([text]) for text in asked])
    yield row("shared instruction", "alone, no shared prefix", subject.compute(asked), alone, tolerance)
    yield from (
        row(f"instruction by {way}", _GOLDEN, got, wanted, tolerance)
        for way, got, wanted in _ways(subject, golden)
    )


def _ways(subject: Subject, golden: Golden) -> Iterator[tuple[str, Values, Values]]:
    """The ways to say the default instruction, with what they give and what they must give."""
    at = [i for i, t in enumerate(golden.texts) if t.task == prompts.DEFAULT_TASK]
    if not at:
        return
    texts, wanted = [golden.texts[i] for i in at], golden.values[at]
    model = subject.model
    if not isinstance(model, Embedder):
        yield "default", subject.compute([replace(t, task=None) for t in texts]), wanted
        return
    raw = [t.text for t in texts]
    yield "task", model.encode(raw, instruction=prompts.DEFAULT_TASK, show_progress_bar=False), wanted
    yield "prompt", model.encode(raw, prompt=prompts.query_prefix(), show_progress_bar=False), wanted
    if model.prompts["query"] == prompts.query_prefix():
        yield "name", model.encode_query(raw, show_progress_bar=False), wanted
