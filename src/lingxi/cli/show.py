"""What a person or a pipe gets to see: passages made safe for a terminal, JSON, progress, complaints."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from lingxi.index import AddReport, Hit

# Escape sequences whole (CSI, OSC and the two-character ones), so that no digits of them stay behind.
_ESCAPES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|(?:\x1b\\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]*[0-~]?"
)
# Control characters but tab and newline, and those that turn the direction of text around.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ue000\ue001]")
# Private characters that stand for the ends of the marked sentence until it is printed.
_OPEN, _CLOSE = "\ue000", "\ue001"
_PIPE_MARKS = {_OPEN: "»", _CLOSE: "«"}


def printable(text: str) -> str:
    """Text without terminal escapes and control characters."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def complain(line: str) -> None:
    """Print one line on stderr."""
    typer.echo(" ".join(printable(line).split()), err=True)


def dump(value: Any) -> None:
    """Print a value as one line of JSON; control characters come out escaped."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def hit_values(hit: Hit) -> dict[str, Any]:
    """A hit as JSON values, the best sentence with its text."""
    start, end = hit.sentence
    return {
        "path": hit.path,
        "place": hit.place,
        "first_line": hit.first_line,
        "last_line": hit.last_line,
        "start": hit.start,
        "end": hit.end,
        "score": hit.score,
        "scores": dict(hit.scores),
        "ranks": dict(hit.ranks),
        "text": hit.text,
        "sentence": {"start": start, "end": end, "text": hit.text[start - hit.start : end - hit.start]},
    }


def report_values(report: AddReport) -> dict[str, Any]:
    """What `add` did as JSON values."""
    names = ("added", "changed", "unchanged", "removed", "ignored", "segments", "seconds")
    skipped = [{"path": path, "reason": reason} for path, reason in report.skipped]
    return {**{name: getattr(report, name) for name in names}, "skipped": skipped}


def report_line(report: AddReport) -> str:
    """What `add` did in one line."""
    counts = [f"{getattr(report, name)} {name}" for name in ("added", "changed", "unchanged", "removed")]
    skipped = [f"{len(report.skipped)} skipped"] if report.skipped else []
    ignored = [f"{report.ignored} hidden or ignored"] if report.ignored else []
    return f"{', '.join(counts + skipped + ignored)} in {report.seconds:.1f} s"


def print_hits(hits: list[Hit], most_lines: int) -> None:
    """Print each hit as `path:line  score` and its passage, the sentence bold or between » and «."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for hit in hits:
        head = Text(printable(hit.place), style="cyan").append(f"  {hit.score:.3f}", style="dim")
        console.print(head)
        passage = _passage(hit, most_lines)
        console.print(_styled(passage) if console.is_terminal else _plain(passage))
        console.print()


def _passage(hit: Hit, most_lines: int) -> str:
    """The passage, indented, cut to the lines around its sentence; private marks at the sentence's ends."""
    start, end = (offset - hit.start for offset in hit.sentence)
    parts = (hit.text[:start], hit.text[start:end], hit.text[end:])
    before, sentence, after = map(printable, parts)
    marked = textwrap.dedent(f"{before}{_OPEN}{sentence}{_CLOSE}{after}").expandtabs(4).split("\n")
    first = next((i for i, line in enumerate(marked) if _OPEN in line), 0)
    top = max(0, min(first - (most_lines - 1) // 2, len(marked) - most_lines)) if most_lines else 0
    shown = marked[top : top + most_lines] if most_lines else marked
    above = ["…"] if top else []
    below = ["…"] if top + len(shown) < len(marked) else []
    return textwrap.indent("\n".join([*above, *shown, *below]), "    ")


def _styled(passage: str) -> Any:
    from rich.text import Text

    before, _, rest = passage.partition(_OPEN)
    sentence, _, after = rest.partition(_CLOSE)
    return Text(before).append(sentence, style="bold").append(after)


def _plain(passage: str) -> Any:
    from rich.text import Text

    for mark, sign in _PIPE_MARKS.items():
        passage = passage.replace(mark, sign)
    return Text(passage)


@contextmanager
def indexing(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A callable (done, all) that draws a bar on stderr, on a terminal only."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("indexing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("indexing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
