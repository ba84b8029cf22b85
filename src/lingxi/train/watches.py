"""Watches that stand beside the loop and stop a run that is going nowhere, minutes after it began.

A watch is a listener of the loop: it is told each step's number and figures, and raises GuardError. What
it has to remember is in the run's folder, so a run that was stopped and resumed is watched as one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from pydantic import Field, model_validator

from lingxi.config import Settings
from lingxi.errors import GuardError

Listener = Callable[[int, Mapping[str, float]], None]

LOG_FILE, DEV_FILE = "log.jsonl", "dev.jsonl"


class GuardSettings(Settings):
    """When a run is called wasted, and how far a written model may be from the one in memory."""

    loss_window: int = Field(default=100, ge=1)
    """Steps whose mean loss is compared; batches of different tasks differ much, so not too few."""
    loss_within: int = Field(default=400, ge=1)
    """Steps after the warm-up from which on the loss must be under that of the first window."""
    loss_margin: float = Field(default=0.01, ge=0, lt=1)
    """How far under, as a share of the first window's mean."""
    loss_patience: int = Field(default=4, ge=1)
    """So many windows in a row must be over that for the run to be stopped."""
    dev_every: int = Field(default=200, ge=1)
    """Steps between measurements of the dev probe."""
    dev_drop: float = Field(default=0.02, ge=0)
    """How far under its start the dev score may be, in the score's own units."""
    dev_patience: int = Field(default=3, ge=1)
    """So many measurements in a row must be further under for the run to be stopped."""
    benchmark: Path | None = None
    """Folder or archive of an evaluation suite: a row that overlaps stops the run before its first step."""
    export_tolerance: float | None = Field(default=None, gt=0)
    """Most that 1 − cosine, or a score, of the written model may differ; None: what its precision allows."""

    @model_validator(mode="after")
    def _checked(self) -> GuardSettings:
        if self.loss_window > self.loss_within:
            raise ValueError(f"loss_window {self.loss_window} is above loss_within {self.loss_within}")
        return self


@dataclass(slots=True)
class LossFalls:
    """Raises GuardError where the mean loss does not come, or stay, under that of the first steps.

    `chance` is the loss of guessing in nats, ln(candidates), where the loss has one: it is named in the
    error. The figure read is `loss`.
    """

    settings: GuardSettings
    warmup_steps: int
    chance: float | None = None
    _first: float | None = None
    _over: int = 0
    _window: list[float] = field(default_factory=list)

    def __call__(self, step: int, figures: Mapping[str, float]) -> None:
        """Be told of a step."""
        self._window.append(figures["loss"])
        if len(self._window) < self.settings.loss_window:
            return
        mean = fmean(self._window)
        self._window.clear()
        if self._first is None:
            self._first = mean
            return
        late = step + 1 >= self.warmup_steps + self.settings.loss_within
        # Written so that a mean that is not a number counts as not fallen.
        fallen = mean < self._first - self.settings.loss_margin * abs(self._first)
        self._over = self._over + 1 if late and not fallen else 0
        if self._over >= self.settings.loss_patience:
            raise self._stopped(step, mean, self._first)

    def _stopped(self, step: int, mean: float, first: float) -> GuardError:
        window = self.settings.loss_window
        reason = (
            f"the loss does not fall: {mean:.4g} over steps {step + 1 - window} to {step}, "
            f"{first:.4g} over the first {window}"
        )
        if self.chance is not None and mean >= self.chance:
            reason += f", no better than guessing ({self.chance:.4g})"
        return GuardError(
            reason,
            "look whether queries and positives belong together and whether the learning rate fits "
            "(0 or too high); a run that needs longer: raise guards.loss_within",
        )


@dataclass(slots=True)
class DevWatch:
    """Measures the dev probe every so many steps; raises GuardError where it stays below its start.

    `score` returns the probe's score, the higher the better; it must leave the random state alone. Each
    measurement is a row {"step", "score"} of `path`, where step counts the steps done: 0 is the start.
    """

    score: Callable[[], float]
    path: Path
    settings: GuardSettings
    steps: int
    measured: dict[int, float]
    writes: bool = True

    def __call__(self, step: int, figures: Mapping[str, float]) -> None:
        """Be told of a step; measures where it is due, and after the last of `steps`."""
        done = step + 1
        if done % self.settings.dev_every == 0 or done == self.steps:
            self.measure(done)

    def best(self) -> tuple[int, float]:
        """The number of steps after which the score was highest (the first of equals), and that score."""
        step = max(self.measured, key=lambda step: (self.measured[step], -step))
        return step, self.measured[step]

    def measure(self, done: int) -> None:
        """Measure now, after `done` steps, and log it; raises GuardError as the class says."""
        value = float(self.score())
        if not math.isfinite(value):
            raise GuardError(
                f"the dev score after {done} steps is {value}",
                "look whether the vectors are finite and the dev probe has queries with relevant documents",
            )
        self.measured[done] = value
        if self.writes:
            self._log(done, value)
        self._compare(done)

    def _log(self, done: int, value: float) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": done, "score": value}) + "\n")

    def _compare(self, done: int) -> None:
        # A resumed run may know of measurements that are still to come.
        past = [step for step in sorted(self.measured) if 0 < step <= done]
        start, drop = self.measured[0], self.settings.dev_drop
        last = past[-self.settings.dev_patience :]
        if len(last) < self.settings.dev_patience or any(self.measured[s] >= start - drop for s in last):
            return
        told = ", ".join(f"{self.measured[step]:.4g} after {step}" for step in last)
        best, value = self.best()
        raise GuardError(
            f"the dev score is more than {drop:g} below its start ({start:.4g}): {told}; "
            f"the best was {value:.4g} after {best} steps",
            "lower the learning rate, look whether the data is of the probe's kind, or take the best step; "
            "a run that must first get worse: raise guards.dev_drop or guards.dev_patience",
        )


def dev_watch(
    score: Callable[[], float], folder: Path, settings: GuardSettings, steps: int, *, writes: bool = True
) -> DevWatch:
    """A watch of a run of `steps` that goes on from the folder's `dev.jsonl`, or measures the start now.

    Every rank may call the score; only the one that `writes` logs it.
    """
    path = folder / DEV_FILE
    measured = {int(row["step"]): row["score"] for row in logged(path)}
    watch = DevWatch(score, path, settings, steps, measured, writes)
    if 0 not in measured:
        watch.measure(0)
    return watch


def logged(path: Path) -> list[dict[str, float]]:
    """The rows of a log by step; of a step that a resumed run did again, the later row. None without a file.

    A last line that was cut off when the run was killed is left out.
    """
    rows: dict[float, dict[str, float]] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines):
        try:
            row = json.loads(line)
        except ValueError:
            if number + 1 == len(lines):
                break
            raise
        rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]


def remembering(listener: Listener, folder: Path) -> Listener:
    """The listener, told first of the steps that the folder's log holds from before its first step.

    So a watch of a resumed run knows how the run began.
    """
    told = False

    def listen(step: int, figures: Mapping[str, float]) -> None:
        nonlocal told
        past = [] if told else logged(folder / LOG_FILE)
        told = True
        for row in past:
            if row["step"] < step:
                listener(int(row["step"]), row)
        listener(step, figures)

    return listen
