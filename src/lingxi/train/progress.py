"""How a run shows itself while it lasts: one live line on a terminal, and TensorBoard's event files.

Both are listeners of the loop; the log itself, `log.jsonl`, is the loop's own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from lingxi.errors import MissingExtraError
from lingxi.train.watches import Listener

if TYPE_CHECKING:
    from rich.progress import Progress

# What is shown is the mean of about so many of the last steps.
_SMOOTHED_OVER = 20


@contextmanager
def live_line(name: str, steps: int, first: int = 0, file: TextIO | None = None) -> Iterator[Listener]:
    """A listener that keeps one line current: step, loss, accuracy, tokens a second, time left.

    It writes to `file` (stderr unless given) where that is a terminal, and nothing in a pipe. `first` is
    the step that the run begins or goes on with. Read are the figures `loss`, and where they are there
    `accuracy` and `tokens_per_second`; what is shown is their running mean.
    """
    out = sys.stderr if file is None else file
    if not out.isatty():
        yield lambda step, figures: None
        return
    with _line(out) as bar:
        task = bar.add_task(name, total=steps, completed=first, shown="")
        smoothed = _Smoothed()

        def listener(step: int, figures: Mapping[str, float]) -> None:
            bar.update(task, completed=step + 1, shown=_shown(smoothed.told(figures)))

        yield listener


def _line(out: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # No bar: the figures fill a terminal of 80 columns.
    columns = (
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TextColumn("{task.fields[shown]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    # A minute of steps tells the speed: one step may take many seconds.
    return Progress(*columns, console=Console(file=out), speed_estimate_period=60)


def _shown(values: Mapping[str, float]) -> str:
    parts = [f"loss {values['loss']:.3f}"]
    if "accuracy" in values:
        parts.append(f"accuracy {values['accuracy']:.0%}")
    if "tokens_per_second" in values:
        parts.append(f"{values['tokens_per_second']:,.0f} tokens/s")
    return " · ".join(parts)


class _Smoothed:
    """Running means of figures, each over the steps that had it."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self._times: dict[str, int] = {}

    def told(self, figures: Mapping[str, float]) -> dict[str, float]:
        for name, value in figures.items():
            times = self._times[name] = min(self._times.get(name, 0) + 1, _SMOOTHED_OVER)
            before = self.values.get(name, 0.0)
            self.values[name] = before + (value - before) / times
        return self.values


@contextmanager
def tensorboard(folder: Path, first: int = 0) -> Iterator[Listener]:
    """A listener that writes every figure to TensorBoard event files in `folder`.

    `first` is the step that the run begins or goes on with: what an interrupted run wrote after it is
    hidden. Raises MissingExtraError where the library is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError("tensorboard", "train", "the TensorBoard log") from None
    with SummaryWriter(str(folder), purge_step=first or None) as writer:

        def listener(step: int, figures: Mapping[str, float]) -> None:
            for name, value in figures.items():
                if name != "step":
                    writer.add_scalar(name, value, step)

        yield listener
