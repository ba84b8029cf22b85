"""Results as Markdown between two marks of docs/performance.md, and as JSON with every lap."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speed.results import Result, Row
from speed.summary import Spread

BEGIN, END = "<!-- results: written by make bench -->", "<!-- end of results -->"
HEAD = (
    "system",
    "CPU s",
    "wall s",
    "× CPU",
    "× wall",
    "a CPU second",
    "of the limit",
    "peak MB",
    "agrees",
    "",
)


def markdown(results: Sequence[Result], about: dict[str, Any]) -> str:
    """The machine, the limits, and one table a workload."""
    return "\n\n".join([_machine(about), *(table(result) for result in results)])


def table(result: Result) -> str:
    """One workload: a line for each system, absent ones by name with the reason."""
    lines = [
        f"**{result.title}** ({result.tokens} tokens; × against {result.baseline}; "
        f"load {result.load_before[0]:.1f} before, {result.load_after[0]:.1f} after)\n",
        _line(HEAD),
        _line(["---", *["---:"] * (len(HEAD) - 2), "---"]),
        *(_line(_cells(row, result)) for row in result.rows),
        *(_line([a.label, *[""] * (len(HEAD) - 2), f"absent: {a.reason}"]) for a in result.absent),
    ]
    return "\n".join(lines)


def write(results: Sequence[Result], about: dict[str, Any], page: Path, data: Path) -> None:
    """Put the tables between the marks of `page`, all laps into `data`; raises ValueError without marks."""
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} has no place for results: it needs the lines {BEGIN!r} and {END!r}")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    body = f"![ratios of all systems]({page.stem}.svg)\n\n{markdown(results, about)}"
    page.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")
    content = {**about, "results": [asdict(result) for result in results]}
    data.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _machine(about: dict[str, Any]) -> str:
    machine, limits = about["machine"], about["limits"]
    stated = [
        f"{kind} {found['rate'] / 1e9:.0f} G operations/s ({found['instructions']})"
        for kind, found in limits.items()
    ]
    limit = "; ".join(stated) if stated else f"not measured: {about['no_limit']}"
    libraries = ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    return (
        f"{machine['processor']}, {machine['usable_cores']} of {machine['cores']} cores, "
        f"{' '.join(machine['instructions'])}; {machine['system']}, Python {machine['python']}; {libraries}. "
        f"Rounds: {about['rounds']}. Limit of one core: {limit}."
    )


def _cells(row: Row, result: Result) -> list[str]:
    unit = result.unit
    return [
        row.label,
        _spread(row.cpu),
        _spread(row.wall),
        _ratio(row.ratio.cpu, row.ratio.tie) if row.ratio else "",
        f"{row.ratio.wall.median:.2f}" if row.ratio else "",
        f"{row.rate:,.0f} {unit}" if row.rate >= 10 else f"{row.rate:.2f} {unit}",
        f"{row.share:.0%}" if row.share is not None else "",
        f"{row.memory.peak / 1e6:,.0f}" if result.name != "memory" else _memory(row),
        _near(row.near),
        row.note,
    ]


def _memory(row: Row) -> str:
    found = row.memory
    loaded, after = found.loaded / 1e6, found.resident / 1e6
    return f"{found.peak / 1e6:,.0f} (loaded {loaded:,.0f}, after {after:,.0f})"


def _spread(found: Spread) -> str:
    digits = 2 if found.median >= 1 else 4
    return f"{found.median:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _ratio(found: Spread, tie: bool) -> str:
    text = f"{found.median:.2f} [{found.low:.2f}, {found.high:.2f}]"
    return f"{text} tie" if tie else text


def _near(near: tuple[str, float] | None) -> str:
    if near is None:
        return "other network"
    kind, value = near
    return f"cosine ≥ {_floor(value)}" if kind == "cosine" else f"score ± {value:.1e}"


def _floor(value: float) -> str:
    """Cut, not rounded: a cosine of .99996 is not 1."""
    return f"{int(value * 1e6) / 1e6:.6f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
