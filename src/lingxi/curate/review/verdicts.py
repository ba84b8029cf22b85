"""What reviewers said, in an SQLite file: each verdict is on disk before the next row is shown."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from lingxi.errors import InputError
from lingxi.records import numbered_jsonl

VERDICTS = "verdicts.sqlite"
Verdict = Literal["accept", "reject", "fix"]
REASONS = ("not the same meaning", "wrong language", "not a sentence", "untranslated", "harmful", "other")


_COLUMNS = "row, reviewer, verdict, reason, fixed, at, seen"
# One verdict of a reviewer on a text: who mended a row may judge what it became.
_TABLE = (
    "CREATE TABLE IF NOT EXISTS said (number INTEGER PRIMARY KEY, row TEXT NOT NULL, reviewer TEXT NOT NULL, "
    "verdict TEXT NOT NULL, reason TEXT, fixed TEXT, at REAL NOT NULL, seen TEXT NOT NULL DEFAULT '', "
    "UNIQUE (row, reviewer, seen))"
)


@dataclass(frozen=True, slots=True)
class Said:
    """One verdict: who said what of which row; a reason goes with `reject`, the mended answer with `fix`.

    `seen` is the digest of the answer that was shown (`Shown.seen`), "" where it is not known.
    """

    row: str
    reviewer: str
    verdict: Verdict
    reason: str | None = None
    fixed: str | None = None
    at: float = 0.0
    seen: str = ""


class Verdicts:
    """The verdicts of a review folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / VERDICTS
        with self._open() as db:
            db.execute(_TABLE)
            if "seen" not in _columns(db):
                _add_seen(db)

    def say(self, said: Said) -> None:
        """Keep a verdict; a later one on the same text replaces it. Raises InputError for nonsense."""
        if said.verdict not in ("accept", "reject", "fix") or not said.reviewer.strip():
            raise InputError(f"no verdict: {said.verdict!r} by {said.reviewer!r}", "accept, reject or fix")
        if said.verdict == "fix" and not (said.fixed or "").strip():
            raise InputError("a fix without a text", "write the mended answer")
        with self._open() as db:
            values = (said.row, said.reviewer, said.verdict, said.reason, said.fixed)
            db.execute(
                f"INSERT OR REPLACE INTO said ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*values, said.at or time.time(), said.seen),
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
            found = db.execute(f"SELECT {_COLUMNS} FROM said ORDER BY number").fetchall()
        return [Said(row[0], row[1], cast(Verdict, row[2]), *row[3:]) for row in found]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30)) as db, db:
            # Every verdict is flushed to the disk: a crash loses none.
            db.execute("PRAGMA synchronous = FULL")
            yield db


def _columns(db: sqlite3.Connection) -> list[str]:
    return [str(column[1]) for column in db.execute("PRAGMA table_info(said)")]


def _add_seen(db: sqlite3.Connection) -> None:
    """Bring a file of before verdicts knew their text up to date; another process may have done so."""
    db.execute("BEGIN IMMEDIATE")
    if "seen" in _columns(db):
        return
    db.execute("ALTER TABLE said RENAME TO older")
    db.execute(_TABLE)
    had = _COLUMNS.removesuffix(", seen")
    db.execute(f"INSERT INTO said (number, {had}) SELECT number, {had} FROM older")
    db.execute("DROP TABLE older")


def said_of(fields: Mapping[str, Any]) -> Said:
    """A verdict from a JSON object; raises InputError where it is none."""
    texts = {key: fields.get(key) for key in ("row", "reviewer", "verdict", "reason", "fixed", "seen")}
    if not all(text is None or isinstance(text, str) for text in texts.values()):
        raise InputError("a field of the verdict is no text", "give row, reviewer and verdict")
    return Said(
        str(texts["row"] or ""),
        str(texts["reviewer"] or ""),
        cast(Verdict, texts["verdict"]),
        texts["reason"],
        texts["fixed"],
        float(fields.get("at") or 0.0),
        texts["seen"] or "",
    )


def export_verdicts(verdicts: Verdicts, path: Path) -> int:
    """Write the verdicts as JSON Lines; returns how many."""
    found = verdicts.all()
    path.write_text("".join(json.dumps(asdict(s), ensure_ascii=False) + "\n" for s in found), "utf-8")
    return len(found)


def import_verdicts(verdicts: Verdicts, path: Path) -> int:
    """Take in verdicts of another machine, or of Argilla or Label Studio exported in these fields."""
    count, take = 0, taker(verdicts)
    for number, row in numbered_jsonl(path):
        try:
            take(said_of(row))
        except InputError as problem:
            raise InputError(
                f"{path}:{number} is no verdict ({problem})", "give row, reviewer and verdict"
            ) from None
        count += 1
    return count


def taker(verdicts: Verdicts) -> Callable[[Said], None]:
    """Takes in verdicts of elsewhere: what was said here since stands, and so does what says the same.

    A verdict without a time counts as said now.
    """
    held: dict[tuple[str, str], list[Said]] = defaultdict(list)
    for one in verdicts.all():
        held[one.row, one.reviewer].append(one)

    def take(said: Said) -> None:
        # Files of other tools, and old ones, do not know the text: such a verdict may be on any.
        own = held[said.row, said.reviewer]
        rivals = [one for one in own if one.seen == said.seen or not (one.seen and said.seen)]
        same = any(replace(one, at=said.at, seen=said.seen) == said for one in rivals)
        if not same and not (said.at and any(one.at > said.at for one in rivals)):
            verdicts.say(said)

    return take
