"""Measured rows on disk: `scores.json` for programs, `scores.md` for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

JSON_FILE = "scores.json"
TABLE_FILE = "scores.md"


@dataclass(frozen=True, slots=True)
class Score:
    """One measured value: the mean of `metric` over `n` queries or pairs with its 95 % interval `low` to
    `high`.

    `value` is 0 to 1 (Spearman and p-MRR: −1 to 1).
    """

    set: str
    language: str
    system: str
    metric: str
    value: float
    low: float
    high: float
    n: int


def write_report(scores: Sequence[Score], out: Path) -> None:
    """Write `scores.json` (a list of rows) and `scores.md` (one table, values in percent) to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [asdict(score) for score in scores]
    (out / JSON_FILE).write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (out / TABLE_FILE).write_text(as_markdown(scores), "utf-8")


def read_report(out: Path) -> tuple[Score, ...]:
    """The rows of a folder's `scores.json`."""
    return tuple(Score(**row) for row in json.loads((out / JSON_FILE).read_text("utf-8")))


def as_markdown(scores: Sequence[Score]) -> str:
    """A Markdown table of the rows in their order, values and intervals times 100."""
    head = "| set | language | metric | system | value × 100 | 95 % interval | n |\n"
    return head + "|---|---|---|---|---:|---|---:|\n" + "".join(_line(score) for score in scores)


def _line(score: Score) -> str:
    interval = f"{100 * score.low:.1f} – {100 * score.high:.1f}"
    named = f"| {score.set} | {score.language} | {score.metric} | {score.system} "
    return f"{named}| {100 * score.value:.1f} | {interval} | {score.n} |\n"
