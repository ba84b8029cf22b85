"""A queue of documents and feedback: JSON Lines that others append to, read from where it was left.

A row with `text` is a document (`id`, `title`), one with `deleted` takes its id out, one with `chosen` is
feedback. Documents become files of a spool folder, which the index reads like any other; feedback is kept as
it came. The place is written after what was read is: a row that was read twice changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingxi.records import digest

SPOOL, CLICKS, PLACE = "spool", "clicks.jsonl", "queue.place"
# Bytes of a queue that are read at a time.
_MOST = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Taken:
    """What was read: documents written, documents taken out, feedback, and lines that are neither."""

    documents: int = 0
    deleted: int = 0
    clicks: int = 0
    refused: int = 0


def take(home: Path, queue: Path, now: float) -> Taken:
    """Read what was appended to a queue since the last time; `now` stamps feedback without a time."""
    place = _place(home, queue)
    lines, after = _lines(queue, place)
    taken = sort(home, lines, now)
    _remember(home, queue, after)
    return taken


def sort(home: Path, lines: Iterator[bytes] | list[bytes], now: float) -> Taken:
    """Put rows where they belong: files of the spool, feedback in its file."""
    spool = home / SPOOL
    spool.mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys(("documents", "deleted", "clicks", "refused"), 0)
    clicks: list[str] = []
    for line in lines:
        row = _row(line)
        match row:
            case {"chosen": _}:
                clicks.append(json.dumps({"time": now, **row}, ensure_ascii=False) + "\n")
                counts["clicks"] += 1
            case {"deleted": key}:
                _file(spool, str(key)).unlink(missing_ok=True)
                counts["deleted"] += 1
            case {"text": str(text)} if text.strip():
                _write(_file(spool, str(row.get("id") or digest(text))), text, row.get("title"))
                counts["documents"] += 1
            case _:
                counts["refused"] += bool(line.strip())
    _append(home / CLICKS, clicks)
    return Taken(**counts)


def clicks(home: Path) -> list[dict[str, Any]]:
    """All feedback that was kept; a half-written line is left out."""
    path = home / CLICKS
    rows = [_row(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    return [dict(row) for row in rows if row]


def _lines(queue: Path, place: int) -> tuple[list[bytes], int]:
    """Whole lines after a place, and where they end; a queue that was cut short begins anew."""
    if not queue.exists():
        return [], place
    start = place if place <= queue.stat().st_size else 0
    with queue.open("rb") as file:
        file.seek(start)
        data = file.read(_MOST)
    whole = data[: data.rfind(b"\n") + 1]
    return whole.splitlines(), start + len(whole)


def _row(line: bytes) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _file(spool: Path, key: str) -> Path:
    # By hash: an id may hold slashes, or two dots.
    return spool / f"{digest(key)}.md"


def _write(path: Path, text: str, title: Any) -> None:
    whole = f"# {' '.join(str(title).split())}\n\n{text}" if title else text
    if path.exists() and path.read_text(encoding="utf-8") == whole:
        return
    partial = path.with_suffix(".partial")
    partial.write_text(whole, encoding="utf-8")
    partial.replace(path)


def _append(path: Path, lines: list[str]) -> None:
    if lines:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())


def _place(home: Path, queue: Path) -> int:
    path = home / PLACE
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return int(known.get(str(queue.resolve()), 0))


def _remember(home: Path, queue: Path, place: int) -> None:
    path = home / PLACE
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({**known, str(queue.resolve()): place}), "utf-8")
    partial.replace(path)
