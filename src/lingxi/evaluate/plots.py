"""Plots of an evaluation as SVG text, the same bytes for the same numbers; drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from lingxi.errors import MissingExtraError

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#000000")
_STYLE = {
    "svg.hashsalt": "lingxi",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
}

Point = tuple[float, float, float, float]


@contextmanager
def figure(width: float, height: float) -> Iterator[tuple[Any, Any, list[str]]]:
    """Axes to draw on; the list holds the SVG when the block ends."""
    plt, svg = _pyplot(), list[str]()
    with plt.rc_context(_STYLE):
        drawn, axes = plt.subplots(figsize=(width, height))
        yield drawn, axes, svg
        buffer = io.StringIO()
        drawn.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
        plt.close(drawn)
    text = buffer.getvalue()
    svg.append(text[text.index("<svg") :])


def heat(rows: Sequence[str], columns: Sequence[str], values: npt.NDArray[np.float64], title: str) -> str:
    """Values 0 to 100 [rows, columns] as a strip: systems down, languages across."""
    # The title stands over the strip, beside the names of the systems: there must be room for both.
    names = 0.09 * max(map(len, rows))
    width = max(1.2 + names + 0.19 * len(columns), 0.4 + names + 0.1 * len(title))
    with figure(min(18.0, width), 0.9 + 0.3 * len(rows)) as (_, axes, svg):
        axes.grid(False)
        axes.imshow(values, aspect="auto", cmap="viridis", vmin=0, vmax=100)
        axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_title(title, loc="left")
        if len(columns) <= 16:
            for (y, x), value in np.ndenumerate(np.nan_to_num(values)):
                colour = "black" if value > 60 else "white"
                axes.text(x, y, f"{round(value) + 0:.0f}", ha="center", va="center", fontsize=7, color=colour)
    return svg[0]


def lines(series: Mapping[str, Sequence[Point]], x_label: str, y_label: str, *, log: bool = False) -> str:
    """Lines of (x, value, low, high) with their intervals shaded."""
    with figure(5.2, 3.4) as (_, axes, svg):
        for colour, (name, points) in zip(_colours(), series.items(), strict=False):
            x, value, low, high = (np.array(part) for part in zip(*sorted(points), strict=True))
            axes.plot(x, value, marker="o", markersize=4, color=colour, label=name)
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        if log:
            ticks = sorted({point[0] for points in series.values() for point in points})
            axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend(frameon=False)
    return svg[0]


def bars(groups: Sequence[str], series: Mapping[str, Sequence[Point | None]], y_label: str) -> str:
    """Bars side by side with their intervals; None leaves a gap."""
    with figure(max(5.2, 1.1 * len(groups)), 3.4) as (_, axes, svg):
        width = 0.8 / max(1, len(series))
        for i, (colour, (name, points)) in enumerate(zip(_colours(), series.items(), strict=False)):
            at = [g + (i - (len(series) - 1) / 2) * width for g, p in enumerate(points) if p]
            there = [p for p in points if p]
            error = np.array([[p[1] - p[2] for p in there], [p[3] - p[1] for p in there]])
            axes.bar(at, [p[1] for p in there], width * 0.92, yerr=error, color=colour, label=name, capsize=2,
                     error_kw={"linewidth": 0.8})  # fmt: skip
        axes.set_xticks(range(len(groups)), groups)
        axes.set_ylabel(y_label)
        axes.legend(frameon=False, ncols=2)
    return svg[0]


def scatter(old: npt.NDArray[np.float64], new: npt.NDArray[np.float64], old_name: str, new_name: str) -> str:
    """Every item under two systems, shaken apart a little: above the line the new one is better."""
    rng = np.random.default_rng(0)
    shaken = [v + rng.uniform(-0.012, 0.012, len(v)) for v in (old, new)]
    with figure(4.2, 4.2) as (_, axes, svg):
        axes.plot([-0.02, 1.02], [-0.02, 1.02], color="#888888", linewidth=0.8)
        axes.scatter(*shaken, s=6, color=COLOURS[0], alpha=0.35, linewidths=0, rasterized=True)
        axes.set_xlabel(old_name)
        axes.set_ylabel(new_name)
        axes.set_aspect("equal")
    return svg[0]


def _colours() -> Sequence[str]:
    return COLOURS * 4


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise MissingExtraError("matplotlib", "evaluate", "the report's plots") from None
    matplotlib.use("svg")
    from matplotlib import pyplot

    return pyplot
