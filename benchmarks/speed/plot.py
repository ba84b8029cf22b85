"""The ratios as a picture: one panel a workload, one bar a system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speed.results import Result, Row


def draw(results: Sequence[Result], path: Path) -> None:
    """Write bars of CPU ratios with their quartiles; workloads without ratios are left out."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    shown = [(r, rows) for r in results if (rows := [row for row in r.rows if row.ratio])]
    if not shown:
        return
    heights = [len(rows) + 1.5 for _, rows in shown]
    mpl.rcParams["svg.hashsalt"] = "lingxi"  # the same picture for the same figures
    figure, panels = pyplot.subplots(
        len(shown), 1, figsize=(8, 0.28 * sum(heights)), height_ratios=heights, squeeze=False
    )
    for panel, (result, rows) in zip(panels[:, 0], shown, strict=True):
        _panel(panel, result, rows)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _panel(panel: Any, result: Result, rows: Sequence[Row]) -> None:
    ratios = [(row.ratio.wall if result.name == "threads" else row.ratio.cpu) for row in rows if row.ratio]
    medians = [r.median for r in ratios]
    errors = [[r.median - r.low for r in ratios], [r.high - r.median for r in ratios]]
    colours = ["#c0392b" if row.label.startswith("lingxi") else "#7f8c8d" for row in rows]
    panel.barh(range(len(rows)), medians, xerr=errors, color=colours, height=0.7)
    panel.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=7)
    panel.invert_yaxis()
    panel.axvline(1, color="black", linewidth=0.6)
    panel.tick_params(axis="x", labelsize=7)
    kind = "wall" if result.name == "threads" else "CPU"
    panel.set_title(f"{result.title}: × {kind} seconds against {result.baseline}", fontsize=7, loc="left")
