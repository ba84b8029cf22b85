"""The curves of a run as one picture: loss, in-batch accuracy, dev score, learning rate and speed by step.

Read from `log.jsonl` and `dev.jsonl` of each phase; drawn by matplotlib, without a window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError, MissingExtraError
from lingxi.train.watches import DEV_FILE, LOG_FILE, logged

Values = NDArray[np.float64]

# Okabe and Ito's colours, told apart by colour-blind readers too.
_BLUE, _GREEN, _PINK, _ORANGE, _SKY, _GREY = "#0072b2", "#009e73", "#cc79a7", "#d55e00", "#3d9bcf", "#666666"
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8e8e8",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "figure.constrained_layout.use": True,
}
# A smoothed line is a mean about this share of the steps to either side, and no fewer than so many.
_SHARE, _FEWEST = 0.01, 4
# The scale leaves out this share of the highest raw values, so that a spike does not flatten the rest.
_SPIKES = 0.005


@dataclass(frozen=True, slots=True)
class Panel:
    """One row of the picture: a figure of the log under its label; `height` is relative."""

    figure: str
    label: str
    colour: str
    height: float = 1.0
    noisy: bool = True


PANELS = (
    Panel("loss", "loss", _BLUE, 1.5),
    Panel("accuracy", "in-batch accuracy", _GREEN),
    Panel("score", "dev score", _PINK, noisy=False),
    Panel("gradient_norm", "gradient norm", _GREY, 0.7),
    Panel("tokens_per_second", "tokens a second", _SKY, 0.7),
    Panel("rate", "share of\nlearning rate", _ORANGE, 0.7, noisy=False),
)


def draw_curves(folders: Sequence[Path], out: Path) -> Path:
    """Write the picture (by the suffix of `out`: png, svg, pdf) of one or several phases, side by side.

    Each folder is a phase's, named by its last part. Rows without numbers in any phase are left out.
    Raises InputError where a folder has no log, MissingExtraError without matplotlib.
    """
    phases = {folder.name: _curves(folder) for folder in folders}
    panels = [panel for panel in PANELS if any(panel.figure in curves for curves in phases.values())]
    figure_class, style = _matplotlib()
    with style(_STYLE):
        heights = [panel.height for panel in panels]
        figure = figure_class(figsize=(max(6.4, 4.2 * len(phases)), 1.7 * sum(heights) + 0.5), dpi=144)
        grid = figure.subplots(
            len(panels), len(phases), sharex="col", squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        for column, (name, curves) in zip(grid.T, phases.items(), strict=True):
            _column(column, panels, name, curves)
        figure.align_ylabels(grid[:, 0])
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out)
    return out


def _curves(folder: Path) -> dict[str, tuple[Values, Values]]:
    """Steps and values of each figure of a phase."""
    rows = logged(folder / LOG_FILE)
    if not rows:
        raise InputError(f"{folder}: no steps in {LOG_FILE}", "name the folder of a phase that was trained")
    found: dict[str, tuple[Values, Values]] = {}
    for panel in PANELS:
        source = logged(folder / DEV_FILE) if panel.figure == "score" else rows
        points = [(row["step"], row[panel.figure]) for row in source if panel.figure in row]
        if points:
            steps, values = np.array(points, np.float64).T
            found[panel.figure] = steps, values
    return found


def _column(
    column: Sequence[Any], panels: Sequence[Panel], name: str, curves: Mapping[str, tuple[Values, Values]]
) -> None:
    for axes, panel in zip(column, panels, strict=True):
        if panel.figure not in curves:
            axes.set_axis_off()
            continue
        _draw(axes, panel, *curves[panel.figure])
    column[0].set_title(name, loc="left", fontweight="bold")
    lowest = [axes for axes, panel in zip(column, panels, strict=True) if panel.figure in curves][-1]
    lowest.set_xlabel("step")
    lowest.tick_params(labelbottom=True)


def _draw(axes: Any, panel: Panel, steps: Values, values: Values) -> None:
    axes.set_ylabel(panel.label)
    if panel.noisy:
        axes.plot(steps, values, color=panel.colour, alpha=0.22, linewidth=0.5)
        axes.plot(steps, smoothed(values), color=panel.colour, linewidth=1.6)
        axes.set_ylim(*_limits(values))
    elif panel.figure == "score":
        axes.plot(steps, values, color=panel.colour, marker="o", markersize=3, linewidth=1.3)
        axes.axhline(values[0], color="#888888", linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(f"start {values[0]:.3f}", (1, values[0]), (0, 3), xycoords=("axes fraction", "data"),
                      fontsize=8, ha="right", textcoords="offset points", color="#666666")  # fmt: skip
        best = int(values.argmax())
        axes.annotate(f"{values[best]:.3f}", (steps[best], values[best]), (0, 5), fontsize=8, ha="center",
                      textcoords="offset points", color=panel.colour)  # fmt: skip
        axes.margins(y=0.2)
    else:
        axes.plot(steps, values, color=panel.colour, linewidth=1.3)
        axes.set_ylim(bottom=0)


def smoothed(values: Values) -> Values:
    """The mean of each value's neighbours, weighted by a Gaussian; at the ends, of those that there are."""
    width = min(max(_FEWEST, _SHARE * len(values)), len(values) / 4)
    reach = int(3 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(width, 1e-9)) ** 2)
    sums, weights = (
        np.convolve(x, kernel)[reach : reach + len(values)] for x in (values, np.ones_like(values))
    )
    return np.asarray(sums / weights, np.float64)


def _limits(values: Values) -> tuple[float, float]:
    low, high = float(values.min()), float(np.quantile(values, 1 - _SPIKES))
    high = max(high, float(smoothed(values).max()))
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


def _matplotlib() -> tuple[Any, Any]:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "train", "the picture of the curves") from None
    return Figure, rc_context
