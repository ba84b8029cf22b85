"""The ledger: of each source, language and task, how many rows came in, fell for which reason, and stayed."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lingxi.curate.agreement import Stratum
from lingxi.errors import InputError, MissingExtraError
from lingxi.records import require_pyarrow

# Languages in the plot, and licences of a source that are named.
_SHOWN, _LICENCES = 60, 8


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows in and kept, and dropped rows by reason."""

    rows: int
    kept: int
    dropped: dict[str, int]


@dataclass(frozen=True, slots=True)
class CurateReport:
    """The ledger: counts of all rows, of each source and each language of the query; sources' licences.

    A source has the licences of the rows that stayed, the most frequent first; of all where none did.
    """

    total: Counts
    by_source: dict[str, Counts]
    by_language: dict[str, Counts]
    by_task: dict[str, Counts]
    licences: dict[str, str]
    agreement: tuple[Stratum, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict, compare=False)


class Clock:
    """Seconds that each part of a stage took, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 1)


class Ledger:
    """Counts rows batch by batch."""

    def __init__(self) -> None:
        self.all: Counter[str | None] = Counter()
        self.sources: dict[str, Counter[str | None]] = {}
        self.languages: dict[str, Counter[str | None]] = {}
        self.tasks: dict[str, Counter[str | None]] = {}
        self.licences: dict[str, Counter[tuple[bool, str]]] = {}

    def note(self, batch: Any, reasons: Any) -> None:
        """Count the rows of an Arrow batch under their reasons, an Arrow array (null: kept)."""
        pa = require_pyarrow()
        names = ("source", "licence", "query_language", "task")
        table = pa.table({**{name: batch.column(name) for name in names}, "reason": reasons})
        for row in table.group_by([*names, "reason"]).aggregate([([], "count_all")]).to_pylist():
            self._add(*(row[name] for name in (*names, "reason", "count_all")))

    def _add(
        self, source: str, licence: str, language: str, task: str, reason: str | None, count: int
    ) -> None:
        self.licences.setdefault(source, Counter())[reason is None, licence] += count
        self.all[reason] += count
        self.sources.setdefault(source, Counter())[reason] += count
        self.languages.setdefault(language, Counter())[reason] += count
        self.tasks.setdefault(task, Counter())[reason] += count

    def report(self, strata: Sequence[Stratum], seconds: Mapping[str, float]) -> CurateReport:
        """What was counted, with what the base embedder found and the seconds of each part."""
        return CurateReport(
            _counts(self.all),
            _table(self.sources),
            _table(self.languages),
            _table(self.tasks),
            {source: _licences(own) for source, own in sorted(self.licences.items())},
            tuple(strata),
            dict(seconds),
        )


def _counts(reasons: Counter[str | None]) -> Counts:
    dropped = {reason: count for reason, count in reasons.most_common() if reason is not None}
    return Counts(reasons.total(), reasons[None], dropped)


def _licences(counts: Counter[tuple[bool, str]]) -> str:
    stayed = any(kept for kept, _ in counts)
    own = sorted((-count, name) for (kept, name), count in counts.items() if kept == stayed)
    more = f"; and {len(own) - _LICENCES} more" if len(own) > _LICENCES else ""
    return "; ".join(name for _, name in own[:_LICENCES]) + more


def _table(counters: dict[str, Counter[str | None]]) -> dict[str, Counts]:
    ordered = sorted(counters.items(), key=lambda item: (-item[1].total(), item[0]))
    return {name: _counts(reasons) for name, reasons in ordered}


def read_ledger(path: Path) -> CurateReport:
    """The ledger of a file; raises InputError where there is none."""
    if not path.is_file():
        raise InputError(f"no ledger at {path}", "run the curate stage first")
    table = json.loads(path.read_text("utf-8"))
    counts = {
        key: {name: Counts(**own) for name, own in table[key].items()}
        for key in ("by_source", "by_language", "by_task")
    }
    return CurateReport(
        total=Counts(**table["total"]),
        by_source=counts["by_source"],
        by_language=counts["by_language"],
        by_task=counts["by_task"],
        licences=table["licences"],
        agreement=tuple(Stratum(**own) for own in table["agreement"]),
        seconds=table["seconds"],
    )


def as_markdown(report: CurateReport) -> str:
    """The ledger as tables: all rows by reason, then by task, source and language."""
    total = report.total
    lines = [f"# {total.rows:,} rows in, {total.kept:,} kept", ""]
    if report.seconds:
        lines += ["| part | seconds | rows a second |", "|---|---:|---:|"]
        lines += [f"| {name} | {s:,.1f} | {_rate(total.rows, s)} |" for name, s in report.seconds.items()]
    lines += ["", "| reason | rows |", "|---|---:|"]
    lines += [f"| {reason} | {count:,} |" for reason, count in total.dropped.items()]
    for title, table in (
        ("task", report.by_task),
        ("source", report.by_source),
        ("language", report.by_language),
    ):
        licence = " licence |" if title == "source" else ""
        lines += ["", f"| {title} | in | kept | most dropped for |{licence}"]
        lines += ["|---|---:|---:|---|" + ("---|" if licence else "")]
        lines += [_line(name, own, report.licences if licence else None) for name, own in table.items()]
    return "\n".join(lines) + "\n"


def _rate(rows: int, seconds: float) -> str:
    return f"{rows / seconds:,.0f}" if seconds >= 0.1 else ""


def plot(report: CurateReport) -> str:
    """The languages with most rows as bars, kept and dropped by reason, as SVG text; needs matplotlib."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "evaluate", "drawing the ledger") from None
    shown = list(report.by_language.items())[:_SHOWN][::-1]
    reasons = list(report.total.dropped)[:7]
    figure = Figure(figsize=(9, 1 + 0.2 * len(shown)), layout="constrained")
    axes = figure.subplots()
    names, left = [name for name, _ in shown], [0] * len(shown)
    for label, colour, values in _bars(shown, reasons):
        axes.barh(names, values, left=left, label=label, color=colour, height=0.8)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.set_xlabel("rows")
    axes.legend(fontsize=8, loc="lower right")
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    text = io.StringIO()
    # The same bytes for the same ledger: ids by a salt of our own, and no date.
    with rc_context({"svg.hashsalt": "lingxi"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


_COLOURS = ("#009e73", "#d55e00", "#0072b2", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000", "#bbbbbb")


def _bars(shown: Sequence[tuple[str, Counts]], reasons: Sequence[str]) -> list[tuple[str, str, list[int]]]:
    rows = [("kept", [own.kept for _, own in shown])]
    rows += [(reason, [own.dropped.get(reason, 0) for _, own in shown]) for reason in reasons]
    rows.append(
        ("other reasons", [own.rows - sum(v[i] for _, v in rows) for i, (_, own) in enumerate(shown)])
    )
    return [(name, colour, values) for (name, values), colour in zip(rows, _COLOURS, strict=False)]


def _line(name: str, own: Counts, licences: Mapping[str, str] | None) -> str:
    most = ", ".join(f"{reason} {count:,}" for reason, count in list(own.dropped.items())[:3])
    licence = f" {licences.get(name, '')} |" if licences is not None else ""
    return f"| {name} | {own.rows:,} | {own.kept:,} | {most} |{licence}"
