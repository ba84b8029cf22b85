"""The rows that people read: drawn by seed, so many of each stratum of source, language and score.

`sample.jsonl` holds the rows, `sample.json` what they were drawn from: after a new curate another sample is
drawn, in which every row that has a verdict and still exists has its place. Such rows are what the verdicts
left, so they say nothing of the new files' precision: they are marked `again` and added to the fresh ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lingxi.curate.files import DROPPED_FILE, KEPT_FILE
from lingxi.curate.kinds import rows_at
from lingxi.curate.review.shown import Shown, shown_of
from lingxi.curate.review.survey import By, Chosen, Place, choose, stock_of
from lingxi.errors import InputError
from lingxi.records import numbered_jsonl

SAMPLE, ORIGIN = "sample.jsonl", "sample.json"
FIRST: Mapping[str, Any] = {"seed": 0, "size": 200, "by": "source"}
"""What a first sample is drawn by where nobody says."""


def draw_sample(
    curated: Path,
    out: Path,
    size: int | None = None,
    seed: int | None = None,
    dropped: bool = False,
    judged: Collection[str] = (),
    by: By | None = None,
) -> list[Shown]:
    """Draw about `size` fresh rows of a curated folder, as many of each stratum, and write them to `out`.

    Strata are what `survey` says; with `dropped` the dropped rows are strata too. A sample of these very rows
    is kept, unless another size, seed or `by` is asked for (None: what it has, or `FIRST`); else it is drawn
    anew, with the rows named in `judged` (ids of verdicts) that still exist: as its own where these very rows
    were sampled for them, else as `again`, beside it. Raises InputError without curated rows.
    """
    old = _origin(out)
    files = {name: _fingerprint(curated / name) for name in (KEPT_FILE, *([DROPPED_FILE] if dropped else []))}
    asked = {"seed": seed, "size": size, "by": by}
    origin: dict[str, Any] = {
        name: old.get(name, first) if asked[name] is None else asked[name] for name, first in FIRST.items()
    }
    same = files.items() <= old.get("drawn from", {}).items()
    if same and origin.items() <= old.items():
        return read_sample(out)
    if same:
        files = {name: _fingerprint(curated / name) for name in old["drawn from"]}
    fresh = _fresh(out, old.get("drawn from", {}), files)
    stocks = [stock_of(curated, name, origin["by"]) for name in files]
    chosen = choose(stocks, origin["size"], origin["seed"], frozenset(judged), fresh)
    if not chosen.rows.total():
        raise InputError(f"{curated} holds no rows", "run the curate stage first")
    sample = _read(curated, chosen)
    out.mkdir(parents=True, exist_ok=True)
    _replace(out / SAMPLE, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in sample))
    _replace(out / ORIGIN, json.dumps({**origin, "drawn from": files}, indent=1) + "\n")
    return sample


def read_sample(out: Path) -> list[Shown]:
    """The sample of a review folder, in its order."""
    return [Shown(**row) for _, row in numbered_jsonl(out / SAMPLE)]


def _fresh(out: Path, old: Mapping[str, str], files: Mapping[str, str]) -> frozenset[str]:
    """Ids of the old sample's rows that were drawn from a file that has not changed."""
    same = {name for name, found in old.items() if files.get(name) == found}
    return frozenset(
        shown.id
        for shown in (read_sample(out) if same else ())
        if not shown.again and (DROPPED_FILE if shown.dropped else KEPT_FILE) in same
    )


def _read(curated: Path, chosen: Chosen) -> list[Shown]:
    """The rows of a sample, in its order."""
    found: dict[Place, Shown] = {}
    for name in sorted({name for name, _ in chosen.places}):
        positions = np.array(sorted(position for own, position in chosen.places if own == name), np.int64)
        for position, row in rows_at([curated / name], positions):
            place, stratum = (name, position), chosen.stratum[name, position]
            found[place] = shown_of(row, stratum, chosen.rows[stratum], place in chosen.again)
    return [found[place] for place in chosen.places]


def _origin(out: Path) -> dict[str, Any]:
    """Seed, size and files that the sample of a folder was drawn by; nothing where it does not say."""
    path = out / ORIGIN
    known = path.is_file() and (out / SAMPLE).exists()
    return dict(json.loads(path.read_text("utf-8"))) if known else {}


def _fingerprint(path: Path) -> str:
    """A digest of a Parquet file's length and footer, which has offsets and statistics of every column."""
    if not path.is_file():
        raise InputError(f"no Parquet file at {path}", "run the curate stage first")
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(max(0, length - 8))
        footer = int.from_bytes(file.read(4), "little") + 8
        file.seek(max(0, length - footer))
        return hashlib.sha256(str(length).encode() + file.read()).hexdigest()[:20]


def _replace(path: Path, text: str) -> None:
    """Write a file that appears under its name only when complete."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, "utf-8")
    partial.replace(path)
