"""What reviewers said, in an SQLite file: each verdict is on disk before the next row is shown."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from lingxi.errors import InputError
from lingxi.records import numbered_jsonl

VERDICTS = "verdicts.sqlite"
Verdict = Literal["accept", "reject", "fix"]
REASONS = ("not the same meaning", "wrong language", "not a sentence", "untranslated", "harmful", "other")


@dataclass(frozen=True, slots=True)
class Said:
    """One verdict: who said what of which row; a reason goes with `reject`, the mended answer with `fix`."""

    row: str
    reviewer: str
    verdict: Verdict
    reason: str | None = None
    fixed: str | None = None
    at: float = 0.0


class Verdicts:
    """The verdicts of a review folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / VERDICTS
        with self._open() as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS said (number INTEGER PRIMARY KEY, row TEXT NOT NULL, "
                "reviewer TEXT NOT NULL, verdict TEXT NOT NULL, reason TEXT, fixed TEXT, at REAL NOT NULL, "
                "UNIQUE (row, reviewer))"
            )

    def say(self, said: Said) -> None:
        """Keep a verdict; a reviewer's later one on a row replaces it. Raises InputError for nonsense."""
        if said.verdict not in ("accept", "reject", "fix") or not said.reviewer.strip():
            raise InputError(f"no verdict: {said.verdict!r} by {said.reviewer!r}", "accept, reject or fix")
        if said.verdict == "fix" and not (said.fixed or "").strip():
            raise InputError("a fix without a text", "write the mended answer")
        with self._open() as db:
            db.execute(
                "INSERT OR REPLACE INTO said (row, reviewer, verdict, reason, fixed, at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (said.row, said.reviewer, said.verdict, said.reason, said.fixed, said.at or time.time()),
            )

    def undo(self, reviewer: str) -> str | None:
        """Take back a reviewer's last verdict; returns its row, or None where there is none."""
        with self._open() as db:
            last = db.execute(
                "SELECT number, row FROM said WHERE reviewer = ? ORDER BY number DESC LIMIT 1", (reviewer,)
            ).fetchone()
            if last is None:
                return None
            db.execute("DELETE FROM said WHERE number = ?", (last[0],))
            return str(last[1])

    def all(self) -> list[Said]:
        """Every verdict in the order given."""
        with self._open() as db:
            found = db.execute(
                "SELECT row, reviewer, verdict, reason, fixed, at FROM said ORDER BY number"
            ).fetchall()
        return [Said(row[0], row[1], cast(Verdict, row[2]), *row[3:]) for row in found]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30)) as db, db:
            # Every verdict is flushed to the disk: a crash loses none.
            db.execute("PRAGMA synchronous = FULL")
            yield db


def said_of(fields: Mapping[str, Any]) -> Said:
    """A verdict from a JSON object; raises InputError where it is none."""
    texts = {key: fields.get(key) for key in ("row", "reviewer", "verdict", "reason", "fixed")}
    if not all(text is None or isinstance(text, str) for text in texts.values()):
        raise InputError("a field of the verdict is no text", "give row, reviewer and verdict")
    return Said(
        str(texts["row"] or ""),
        str(texts["reviewer"] or ""),
        cast(Verdict, texts["verdict"]),
        texts["reason"],
        texts["fixed"],
        float(fields.get("at") or 0.0),
    )


def export_verdicts(verdicts: Verdicts, path: Path) -> int:
    """Write the verdicts as JSON Lines; returns how many."""
    found = verdicts.all()
    path.write_text("".join(json.dumps(asdict(s), ensure_ascii=False) + "\n" for s in found), "utf-8")
    return len(found)


def import_verdicts(verdicts: Verdicts, path: Path) -> int:
    """Take in verdicts of another machine, or of Argilla or Label Studio exported in these fields."""
    count = 0
    newest = {(one.row, one.reviewer): one.at for one in verdicts.all()}
    for number, row in numbered_jsonl(path):
        try:
            said = said_of(row)
            # What was said here since stands.
            if newest.get((said.row, said.reviewer), 0.0) <= (said.at or math.inf):
                verdicts.say(said)
        except InputError as problem:
            raise InputError(
                f"{path}:{number} is no verdict ({problem})", "give row, reviewer and verdict"
            ) from None
        count += 1
    return count
