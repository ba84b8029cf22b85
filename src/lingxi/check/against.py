"""Rows of a model against another runtime: golden texts, instructions, long texts, special tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lingxi import prompts
from lingxi.asking import NoAnswerError
from lingxi.check.diagnosis import Compared, causes
from lingxi.check.limits import filled
from lingxi.check.precisions import widths
from lingxi.check.references import Reference, local_reference
from lingxi.check.report import LOSSY, Report, Row, Skipped, Tolerance, Values, row
from lingxi.check.server import Asking, server_reference
from lingxi.check.subject import Subject, cuts_unsaid, default_texts, open_subject
from lingxi.embedder import Embedder
from lingxi.errors import InputError
from lingxi.model.golden import GoldenText, read_golden
from lingxi.vectors import cut

_OTHER_TASK = "Given a question, find a text in the same language that answers it"
# Longer texts are asked of a runtime only on demand: many servers cut there, or take minutes.
LONG = 400


def check_against(
    model: str | Path,
    against: str,
    *,
    asking: Asking | None = None,
    device: str | None = None,
    dtype: str | None = None,
    engine: str | None = None,
    weights: str | None = None,
    tolerance: Tolerance | None = None,
    longest: int = LONG,
) -> Report:
    """Compare another runtime with the model: a library's name, `onnxruntime`, `onnx:FILE`, a model, a URL.

    Texts are at most `longest` tokens; `engine` and `weights` are the embedder's. Raises InputError
    where the runtime cannot be asked, MissingExtraError where its library is not installed, ModelError
    where a model cannot be loaded.
    """
    asking = asking or Asking()
    if asking.instructions not in (None, "text", "server"):
        raise InputError(f"instructions are {asking.instructions!r}", "choose text or server")
    subject = open_subject(model, device=device, dtype=dtype, engine=engine, weights=weights)
    with cuts_unsaid(), _reference(subject, against, asking) as reference:
        allowed = tolerance or (reference.tolerance if subject.exact else LOSSY)
        return _report(subject, replace(reference, tolerance=allowed), longest)


def _reference(subject: Subject, against: str, asking: Asking) -> AbstractContextManager[Reference]:
    if against.startswith(("http://", "https://")):
        return nullcontext(server_reference(subject, against, asking))
    if "://" in against:
        raise InputError(f"{against}: not an address of http", "begin it with http:// or https://")
    return local_reference(subject, against)


@dataclass(frozen=True, slots=True)
class _Set:
    """The texts that are compared: which are plain, and which hold special tokens."""

    texts: tuple[GoldenText, ...]
    groups: dict[str, list[int]]


def _report(subject: Subject, reference: Reference, longest: int) -> Report:
    chosen = _texts(subject, longest, reference.tasks)
    wanted = subject.compute(chosen.texts)
    if reference.specials and chosen.groups["special tokens"]:
        at = chosen.groups["special tokens"]
        wanted[at] = subject.reading_specials().compute([chosen.texts[i] for i in at])
    got = reference.compute(chosen.texts)
    alone = np.concatenate([reference.compute([text]) for text in chosen.texts])
    both = Compared(chosen.texts, got, alone, wanted, reference.tolerance)
    rows = [*_golden_rows(subject), *_rows(chosen, both)]
    notes: list[str] = []
    skipped = (
        [] if reference.tasks else [Skipped("another instruction", "no field of this dialect asks for it")]
    )
    rows += _extra_rows(subject, reference, chosen, got, wanted, skipped)
    special = chosen.groups["special tokens"]
    if special and not reference.specials and not all(r.ok for r in rows):
        rows, notes = _forgiven(subject, reference, chosen, both, rows)
    ok = all(r.ok for r in rows)
    found = () if ok else causes(subject, both)
    against = reference.name
    return Report(subject.name, subject.kind, tuple(rows), against, tuple(skipped), found, tuple(notes))


def _texts(subject: Subject, longest: int, tasks: bool) -> _Set:
    """The golden texts but the empty one, two of them under another instruction, and a long one."""
    golden = read_golden(subject.directory)
    sees = subject.model.vision is not None
    texts = [t for t in (golden.texts if golden else default_texts(subject.kind, sees=sees)) if t.text]
    queries = [t for t in texts if t.task is not None]
    other = [replace(t, task=_OTHER_TASK) for t in queries[: 2 * tasks]]
    long = filled(
        subject,
        replace(texts[0], task=queries[0].task if texts[0].query else None),
        min(longest, subject.longest),
    )
    everything = (*texts, *other, long)
    special = [i for i, t in enumerate(texts) if any(s in t.text for s in prompts.SPECIAL_TOKENS)]
    plain = [i for i in range(len(texts)) if i not in special]
    groups = {
        "documents": [i for i in plain if texts[i].task is None],
        "queries" if subject.kind == "embedder" else "pairs": [i for i in plain if texts[i].task is not None],
        "another instruction": [len(texts) + i for i in range(len(other))],
        "long text": [len(everything) - 1],
        "special tokens": special,
    }
    return _Set(everything, groups)


def _golden_rows(subject: Subject) -> Iterator[Row]:
    golden = read_golden(subject.directory)
    if golden is not None:
        got = subject.compute(golden.texts)
        yield row("this model here", "golden file", got, golden.values, subject.golden_tolerance)


def _rows(chosen: _Set, c: Compared) -> Iterator[Row]:
    got, alone, wanted = c.got, c.alone, c.wanted
    if got.ndim == 2:
        off = float(abs(got.shape[1] - wanted.shape[1]))
        yield Row("width", f"{got.shape[1]} against {wanted.shape[1]}", None, off, off, c.tolerance)
        if got.shape[1] > wanted.shape[1]:
            return
        length = float(np.abs(np.linalg.norm(got, axis=1) - 1).max())
        yield Row("unit length", "1", None, length, length, c.tolerance)
        wanted = cut(wanted, got.shape[1])
    for name, at in chosen.groups.items():
        if at:
            yield row(name, f"{len(at)} here", got[at], wanted[at], c.tolerance)
            yield row(f"{name}, alone", f"{len(at)} here", alone[at], wanted[at], c.tolerance)


def _extra_rows(
    subject: Subject, reference: Reference, chosen: _Set, got: Values, wanted: Values, skipped: list[Skipped]
) -> Iterator[Row]:
    """Several at once, and what a server may refuse: narrow vectors, the empty text."""
    at = [i for group in ("documents", "queries", "pairs") for i in chosen.groups.get(group, [])][:8]
    texts = [chosen.texts[i] for i in at]
    width = _width(got)
    if reference.threads and width <= _width(wanted):
        with ThreadPoolExecutor(4) as pool:
            found = np.concatenate(list(pool.map(lambda text: reference.compute([text]), texts)))
        right = cut(wanted[at], width) if width else wanted[at]
        yield row("four at once", f"{len(at)} here", found, right, reference.tolerance)
    if isinstance(subject.model, Embedder) and width == _width(wanted):
        yield from _narrow(subject.model, reference, texts, wanted[at], skipped)
        empty = [GoldenText("")]
        yield from _asked("empty text", reference, empty, subject.compute(empty), skipped)


def _width(values: Values) -> int:
    """Width of vectors; 0 of scores."""
    return values.shape[1] if values.ndim == 2 else 0


def _asked(
    name: str, reference: Reference, texts: Sequence[GoldenText], wanted: Values, skipped: list[Skipped]
) -> Iterator[Row]:
    try:
        yield row(name, f"{len(texts)} here", reference.compute(texts), wanted, reference.tolerance)
    except NoAnswerError as error:
        skipped.append(Skipped(name, error.reason))


def _narrow(
    embedder: Embedder,
    reference: Reference,
    texts: Sequence[GoldenText],
    wanted: Values,
    skipped: list[Skipped],
) -> Iterator[Row]:
    for width in widths(embedder)[:-1] if reference.narrow else []:
        name = f"{width} dimensions"
        assert reference.narrow is not None
        try:
            got = reference.narrow(texts, width)
        except NoAnswerError as error:
            skipped.append(Skipped(name, error.reason))
            continue
        if got.shape[1] == width:
            yield row(name, f"{len(texts)} here", got, cut(wanted, width), reference.tolerance)
        else:
            skipped.append(Skipped(name, f"the server ignores the field: {got.shape[1]} dimensions came"))


def _forgiven(
    subject: Subject, reference: Reference, chosen: _Set, c: Compared, rows: list[Row]
) -> tuple[list[Row], list[str]]:
    """Special tokens in user text may be read as control tokens, as the reference does: said, not failed."""
    at = chosen.groups["special tokens"]
    if c.got.shape[1:] != c.wanted.shape[1:]:
        return rows, []
    theirs = subject.reading_specials().compute([chosen.texts[i] for i in at])
    names = {"special tokens": c.got[at], "special tokens, alone": c.alone[at]}
    read = {
        n: row(n, "here, read as control tokens", v, theirs, reference.tolerance) for n, v in names.items()
    }
    if not all(r.ok for r in read.values()) or all(r.ok for r in rows if r.check in names):
        return rows, []
    c.wanted[at] = theirs
    note = "special tokens in user text are read as control tokens, as the reference implementation does"
    return [read.get(r.check, r) for r in rows], [note]
