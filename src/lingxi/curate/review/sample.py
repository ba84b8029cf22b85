"""The rows that people read: drawn by seed, so many of each stratum of source, language and score.

`sample.jsonl` holds the rows, `sample.json` what they were drawn from: after a new curate another sample is
drawn, in which every row that has a verdict and still exists has its place. Such rows are what the verdicts
left, so they say nothing of the new files' precision: they are marked `again` and added to the fresh ones.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lingxi.curate.files import DROPPED_FILE, KEPT_FILE
from lingxi.curate.review.shown import Shown, shown_id, shown_of, stratum_of
from lingxi.errors import InputError
from lingxi.records import Pair, batches, drawn, numbered_jsonl, pair_schema, pairs_of, stable_hash

SAMPLE, ORIGIN = "sample.jsonl", "sample.json"
ROWS, SEED = 200, 0
"""What a first sample is drawn by where nobody says."""
_SCANNED = ("id", "source", "query_language", "document_language", "scores", "dropped")
_Place = tuple[str, int]
"""The file of a row and its position there."""


@dataclass(slots=True)
class _Survey:
    """What one pass over a run keeps: positions with the smallest hashes, and counts, of each stratum."""

    heaps: dict[str, list[tuple[int, str, _Place]]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(default_factory=Counter)
    judged: list[tuple[str, _Place]] = field(default_factory=list)
    again: list[_Place] = field(default_factory=list)


def draw_sample(
    curated: Path,
    out: Path,
    size: int | None = None,
    seed: int | None = None,
    dropped: bool = False,
    judged: Collection[str] = (),
) -> list[Shown]:
    """Draw about `size` fresh rows of a curated folder, as many of each stratum, and write them to `out`.

    With `dropped` the dropped rows are strata too, by reason. A sample of these very rows is kept, unless
    another size or seed is asked for (None: what it has, or `ROWS` and `SEED`); else it is drawn anew, with
    the rows named in `judged` (ids of verdicts) that still exist: as its own where these very rows were
    sampled for them, else as `again`, beside it. Raises InputError without curated rows.
    """
    old = _origin(out)
    files = {name: _fingerprint(curated / name) for name in (KEPT_FILE, *([DROPPED_FILE] if dropped else []))}
    origin = {
        "seed": old.get("seed", SEED) if seed is None else seed,
        "size": old.get("size", ROWS) if size is None else size,
    }
    same = files.items() <= old.get("drawn from", {}).items()
    if same and origin.items() <= old.items():
        return read_sample(out)
    if same:
        files = {name: _fingerprint(curated / name) for name in old["drawn from"]}
    fresh = _fresh(out, old.get("drawn from", {}), files)
    survey = _survey(curated, list(files), origin["size"], origin["seed"], frozenset(judged), fresh)
    if not survey.counts:
        raise InputError(f"{curated} holds no rows", "run the curate stage first")
    chosen = _read(curated, _chosen(survey, origin["size"]), survey)
    out.mkdir(parents=True, exist_ok=True)
    _replace(out / SAMPLE, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in chosen))
    _replace(out / ORIGIN, json.dumps({**origin, "drawn from": files}, indent=1) + "\n")
    return chosen


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


def _survey(
    curated: Path, files: Sequence[str], size: int, seed: int, judged: frozenset[str], fresh: frozenset[str]
) -> _Survey:
    """One pass over the columns that strata need: no text is read, of a row only its place is kept."""
    found = _Survey()
    for name in files:
        for position, row in enumerate(_scanned(curated / name)):
            stratum, shown = stratum_of(row), shown_id(row)
            found.counts[stratum] += 1
            if shown in judged:
                if shown in fresh:
                    found.judged.append((stratum, (name, position)))
                else:
                    found.again.append((name, position))
                continue
            heap, entry = found.heaps[stratum], (-drawn(seed, row.id), row.id, (name, position))
            if len(heap) < size:
                heapq.heappush(heap, entry)
            elif entry > heap[0]:
                heapq.heapreplace(heap, entry)
    return found


def _scanned(path: Path) -> Iterator[Pair]:
    """The rows of a file without their texts."""
    import pyarrow as pa

    schema = pa.schema([pair_schema().field(name) for name in _SCANNED])
    for batch in batches(path, schema):
        columns = [batch.column(name).to_pylist() for name in _SCANNED]
        for key, source, query, document, scores, dropped in zip(*columns, strict=True):
            yield Pair(
                key, "", "", (), (), "", "bitext", query, document, source, "", dict(scores or ()), dropped
            )


def _chosen(survey: _Survey, size: int) -> list[_Place]:
    """The judged rows, then one of each stratum in turn until there are enough, then those shown again.

    Which strata come first is drawn by their names; one with judged rows waits until others have as many.
    """
    places = [place for _, place in survey.judged]
    had = Counter(stratum for stratum, _ in survey.judged)
    turns = [
        (had[name] + turn, stable_hash(name), place)
        for name, heap in survey.heaps.items()
        for turn, (_, _, place) in enumerate(sorted(heap, reverse=True))
    ]
    places += [place for _, _, place in heapq.nsmallest(max(0, size - len(places)), turns)]
    return places + survey.again


def _read(curated: Path, places: Sequence[_Place], survey: _Survey) -> list[Shown]:
    """The rows at these places, in the order of the places."""
    found: dict[_Place, Shown] = {}
    again = frozenset(survey.again)
    for name in sorted({name for name, _ in places}):
        wanted, start = sorted(position for own, position in places if own == name), 0
        for batch in batches(curated / name, pair_schema()):
            inside = [position for position in wanted if start <= position < start + batch.num_rows]
            taken = pairs_of(batch.take([position - start for position in inside])) if inside else ()
            for position, row in zip(inside, taken, strict=True):
                found[name, position] = shown_of(row, survey.counts, (name, position) in again)
            start += batch.num_rows
    return [found[place] for place in places]


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
