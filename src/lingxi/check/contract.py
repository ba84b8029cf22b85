"""The contract of one model: golden texts in every shape of a batch, at every precision, long and cut.

A text has one vector (a pair one score), wherever it is computed. What is computed in int8 is held near the
golden file and the plain network, and to itself: batches, orders and threads change nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lingxi import prompts
from lingxi.check.limits import limit_rows
from lingxi.check.precisions import precision_rows
from lingxi.check.report import EXACT, ROUNDED, Report, Row, Skipped, Tolerance, Values, row
from lingxi.check.subject import Subject, cuts_unsaid, open_subject
from lingxi.embedder import Embedder
from lingxi.errors import InputError, ModelError
from lingxi.model.files import locate
from lingxi.model.golden import Golden, GoldenText, read_golden

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
    engine: str | None = None,
    weights: str | None = None,
    tolerance: Tolerance | None = None,
    longest: int = LONGEST,
) -> Report:
    """Compute a model's golden texts in every way and compare; inputs are at most `longest` tokens.

    `engine` and `weights` are the embedder's; `tolerance` is that of every row. Raises ModelError
    without a golden file, InputError for a `longest` below 2.
    """
    if longest < 2:
        raise InputError(f"longest is {longest}", "choose 2 tokens or more")
    golden = golden_of(model)
    subject = open_subject(model, golden.kind, device=device, dtype=dtype, engine=engine, weights=weights)
    with cuts_unsaid():
        found = list(_rows(subject, golden, tolerance, longest))
    rows = tuple(r for r in found if isinstance(r, Row))
    skipped = tuple(s for s in found if isinstance(s, Skipped))
    return Report(str(model), golden.kind, rows, skipped=skipped)


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


@dataclass(frozen=True, slots=True)
class _Ground:
    """What the shapes of batches are compared with, its name, and how near they must be.

    `orders`: the same texts in another order; `parts`: other texts beside them, with which they may share
    what they begin with, or not.
    """

    texts: tuple[GoldenText, ...]
    values: Values
    name: str
    orders: Tolerance
    parts: Tolerance


def _rows(subject: Subject, golden: Golden, given: Tolerance | None, longest: int) -> Iterator[Row | Skipped]:
    near = given or subject.golden_tolerance
    together = subject.compute(golden.texts)
    yield row("together", _GOLDEN, together, golden.values, near)
    if subject.model.weights == "int8" and not subject.late:
        yield _cost(subject, golden, together, near)
    ground = _ground(subject, golden, together, given)
    yield from _shapes(subject, ground)
    yield _threads(subject, ground)
    yield from _instructions(subject, golden, near, ground.parts)
    if subject.late:
        yield Skipped("padded, long, cut", "its network is the embedder's: lingxi check EMBEDDER")
        return
    yield from limit_rows(subject, golden, given, longest)
    if isinstance(subject.model, Embedder):
        yield from precision_rows(subject.model, golden, near)


def _ground(subject: Subject, golden: Golden, together: Values, given: Tolerance | None) -> _Ground:
    """The golden file; of what may lawfully differ from it but not from itself, its own values."""
    if subject.golden_tolerance == subject.tolerance and subject.model.weights != "int8":
        near = given or subject.tolerance
        return _Ground(golden.texts, golden.values, _GOLDEN, near, near)
    parts = ROUNDED if subject.model.weights == "int8" and subject.shares else EXACT
    return _Ground(golden.texts, together, "together", given or EXACT, given or parts)


def _cost(subject: Subject, golden: Golden, got: Values, tolerance: Tolerance) -> Row:
    """What int8 changes: the same ids through the plain network, whose matrices are fp32."""
    plain = subject.by_plain(subject.ids(golden.texts))
    return row("what int8 costs", "the same weights in fp32, by torch", got, plain, tolerance)


def _shapes(subject: Subject, ground: _Ground) -> Iterator[Row]:
    texts, values, compute = ground.texts, ground.values, subject.compute
    everyone = np.arange(len(texts))
    lengths = np.array([len(i) for i in subject.ids(texts)])
    orders = {
        "longest first": np.argsort(-lengths, kind="stable"),
        "shortest first": np.argsort(lengths, kind="stable"),
        "another order": np.random.default_rng(0).permutation(everyone),
    }
    for check, order in orders.items():
        got = compute([texts[i] for i in order])
        yield row(check, ground.name, got, values[order], ground.orders)
    alone = np.concatenate([compute([text]) for text in texts])
    yield row("alone", ground.name, alone, values, ground.parts)
    equal = np.concatenate([compute([text] * 3) for text in texts])
    yield row("equal lengths", ground.name, equal, values.repeat(3, axis=0), ground.parts)
    long = replace(texts[int(lengths.argmax())], text=texts[int(lengths.argmax())].text * 8)
    yield row("beside a long text", ground.name, compute([long, *texts])[1:], values, ground.parts)


def _threads(subject: Subject, ground: _Ground) -> Row:
    """Eight threads ask one model at once, each for another part of the texts."""
    parts = [list(range(start % 4, len(ground.texts), 4)) for start in range(_THREADS)]
    with ThreadPoolExecutor(_THREADS) as pool:
        got = list(pool.map(lambda part: subject.compute([ground.texts[i] for i in part]), parts))
    wanted = ground.values[[i for part in parts for i in part]]
    return row(f"{_THREADS} threads at once", ground.name, np.concatenate(got), wanted, ground.parts)


def _instructions(subject: Subject, golden: Golden, near: Tolerance, own: Tolerance) -> Iterator[Row]:
    """A long instruction is computed once for all that share it, and changes nothing but itself."""
    asked = [replace(t, task=_OTHER_TASK) for t in golden.texts if t.task is not None]
    if not asked:
        return
    alone = np.concatenate([subject.compute([text]) for text in asked])
    yield row("shared instruction", "alone, no shared prefix", subject.compute(asked), alone, own)
    yield from (
        row(f"instruction by {way}", _GOLDEN, got, wanted, near)
        for way, got, wanted in _ways(subject, golden)
    )


def _ways(subject: Subject, golden: Golden) -> Iterator[tuple[str, Values, Values]]:
    """The ways to say the default instruction, with what they give and what they must give."""
    model = subject.model
    usual = prompts.DEFAULT_TASK if isinstance(model, Embedder) else model.default_task
    at = [i for i, t in enumerate(golden.texts) if t.task == usual and t.image is None]
    if not at:
        return
    texts, wanted = [golden.texts[i] for i in at], golden.values[at]
    if not isinstance(model, Embedder):
        yield "default", subject.compute([replace(t, task=None) for t in texts]), wanted
        return
    raw = [t.text for t in texts]
    yield "task", model.encode(raw, instruction=prompts.DEFAULT_TASK, show_progress_bar=False), wanted
    prompt = usual if model.vision else prompts.query_prefix()
    yield "prompt", model.encode(raw, prompt=prompt, show_progress_bar=False), wanted
    if model.prompts["query"] == prompts.query_prefix():
        yield "name", model.encode_query(raw, show_progress_bar=False), wanted
