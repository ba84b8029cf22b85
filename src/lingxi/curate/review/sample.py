"""The rows that people read: drawn by seed, so many of each stratum of source, language and score."""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lingxi.curate.run import DROPPED_FILE, KEPT_FILE
from lingxi.errors import InputError
from lingxi.records import Pair, drawn, numbered_jsonl, read_pairs, stable_hash

SAMPLE = "sample.jsonl"
_MOST_TEXT = 1500


@dataclass(frozen=True, slots=True)
class Shown:
    """A row as a reviewer sees it, and the stratum that it stands for."""

    id: str
    stratum: str
    instruction: str
    query: str
    answer: str
    query_language: str
    document_language: str
    source: str
    dropped: str | None


def draw_sample(curated: Path, out: Path, size: int, seed: int) -> list[Shown]:
    """Draw about `size` rows of a curated folder, as many of each stratum, and write them to `out`.

    A sample that is there already is kept: verdicts belong to it. Raises InputError without curated rows.
    """
    path = out / SAMPLE
    if path.exists():
        return read_sample(out)
    heaps: dict[str, list[tuple[int, str, Shown]]] = defaultdict(list)
    for row in _rows(curated):
        shown = _shown(row)
        heapq.heappush(heaps[shown.stratum], (-drawn(seed, row.id), row.id, shown))
        if len(heaps[shown.stratum]) > size:
            heapq.heappop(heaps[shown.stratum])
    if not heaps:
        raise InputError(f"{curated} holds no rows", "run the curate stage first")
    chosen = _evenly(heaps, size)
    out.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(asdict(shown), ensure_ascii=False) + "\n" for shown in chosen)
    partial = path.with_suffix(".part")
    partial.write_text(text, "utf-8")
    partial.replace(path)
    return chosen


def read_sample(out: Path) -> list[Shown]:
    """The sample of a review folder, in its order."""
    return [Shown(**row) for _, row in numbered_jsonl(out / SAMPLE)]


def stratum_of(row: Pair) -> str:
    """Source, languages and the band of the margin score, or the reason why the row was dropped."""
    if row.dropped:
        return f"dropped: {row.dropped.split(':')[0]}"
    margin = row.scores.get("margin")
    band = "unscored" if margin is None else "low" if margin < 1.1 else "high"
    return f"{row.source} {row.query_language}>{row.document_language} {band}"


def _rows(curated: Path) -> Iterator[Pair]:
    for name in (KEPT_FILE, DROPPED_FILE):
        yield from read_pairs(curated / name)


def _evenly(heaps: dict[str, list[tuple[int, str, Shown]]], size: int) -> list[Shown]:
    """One of each stratum in turn until there are enough; which strata come first is drawn by their names."""
    queues = {
        name: [shown for _, _, shown in sorted(heap, reverse=True)]
        for name, heap in sorted(heaps.items(), key=lambda item: stable_hash(item[0]))
    }
    drawn: list[Shown] = []
    while len(drawn) < size and any(queues.values()):
        for queue in queues.values():
            if queue and len(drawn) < size:
                drawn.append(queue.pop(0))
    return drawn


def _shown(row: Pair) -> Shown:
    # A duplicate that was dropped has the id of the row that stayed.
    return Shown(
        f"{row.id}~" if row.dropped else row.id,
        stratum_of(row),
        row.instruction,
        row.query[:_MOST_TEXT],
        row.positives[0].text[:_MOST_TEXT] if row.positives else "",
        row.query_language,
        row.document_language,
        row.source,
        row.dropped,
    )
