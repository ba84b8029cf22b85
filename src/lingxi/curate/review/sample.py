"""The rows that people read: drawn by seed, so many of each stratum of source, language and score.

`sample.jsonl` holds the rows, `sample.json` what they were drawn from: after a new curate another sample is
drawn, in which every row that has a verdict and still exists has its place.
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
from lingxi.errors import InputError
from lingxi.records import Pair, batches, drawn, numbered_jsonl, pair_schema, pairs_of, stable_hash

SAMPLE, ORIGIN = "sample.jsonl", "sample.json"
MOST_TEXT = 1500
"""Characters of a side that a reviewer sees."""
_SCANNED = ("id", "source", "query_language", "document_language", "scores", "dropped")
_Place = tuple[str, int]
"""The file of a row and its position there."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A row as a reviewer sees it, its stratum, and how many rows of the run that stratum has."""

    id: str
    stratum: str
    instruction: str
    query: str
    answer: str
    query_language: str
    document_language: str
    source: str
    dropped: str | None
    margin: float | None = None
    rows: int = 1


@dataclass(slots=True)
class _Survey:
    """What one pass over a run keeps: positions with the smallest hashes, and counts, of each stratum."""

    heaps: dict[str, list[tuple[int, str, _Place]]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(default_factory=Counter)
    judged: list[tuple[str, _Place]] = field(default_factory=list)


def draw_sample(
    curated: Path, out: Path, size: int, seed: int, dropped: bool = False, judged: Collection[str] = ()
) -> list[Shown]:
    """Draw about `size` rows of a curated folder, as many of each stratum, and write them to `out`.

    With `dropped` the dropped rows are strata too, by reason. A sample of these very rows is kept; another is
    drawn anew, with the rows named in `judged` (ids of verdicts) that still exist. Raises InputError without
    curated rows.
    """
    files = (KEPT_FILE, DROPPED_FILE) if dropped else (KEPT_FILE,)
    origin = {name: _fingerprint(curated / name) for name in files}
    if (out / SAMPLE).exists() and origin.items() <= _origin(out).items():
        return read_sample(out)
    survey = _survey(curated, files, size, seed, frozenset(judged))
    if not survey.counts:
        raise InputError(f"{curated} holds no rows", "run the curate stage first")
    chosen = _read(curated, _chosen(survey, size), survey.counts)
    out.mkdir(parents=True, exist_ok=True)
    _replace(out / SAMPLE, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in chosen))
    _replace(out / ORIGIN, json.dumps({"seed": seed, "size": size, "drawn from": origin}, indent=1) + "\n")
    return chosen


def read_sample(out: Path) -> list[Shown]:
    """The sample of a review folder, in its order."""
    return [Shown(**row) for _, row in numbered_jsonl(out / SAMPLE)]


def stratum_of(row: Pair) -> str:
    """Source, languages and the band of the margin score, or the reason why the row was dropped."""
    if row.dropped:
        return f"dropped: {row.dropped.split(':')[0]}"
    return f"{group_of(row)} {band_of(row.scores.get('margin'))}"


def group_of(row: Pair | Shown) -> str:
    """Source and languages: what the strata of one kind of row have in common."""
    return f"{row.source} {row.query_language}>{row.document_language}"


def band_of(margin: float | None) -> str:
    """The band of a margin score."""
    return "unscored" if margin is None else "low" if margin < 1.1 else "high"


def _survey(curated: Path, files: Sequence[str], size: int, seed: int, judged: frozenset[str]) -> _Survey:
    """One pass over the columns that strata need: no text is read, of a row only its place is kept."""
    found = _Survey()
    for name in files:
        for position, row in enumerate(_scanned(curated / name)):
            stratum, shown = stratum_of(row), _shown_id(row)
            found.counts[stratum] += 1
            if shown in judged:
                found.judged.append((stratum, (name, position)))
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
    """The judged rows, then one of each stratum in turn until there are enough.

    Which strata come first is drawn by their names; one with judged rows waits until others have as many.
    """
    places = [place for _, place in survey.judged]
    had = Counter(stratum for stratum, _ in survey.judged)
    turns = [
        (had[name] + turn, stable_hash(name), place)
        for name, heap in survey.heaps.items()
        for turn, (_, _, place) in enumerate(sorted(heap, reverse=True))
    ]
    return places + [place for _, _, place in heapq.nsmallest(max(0, size - len(places)), turns)]


def _read(curated: Path, places: Sequence[_Place], counts: Mapping[str, int]) -> list[Shown]:
    """The rows at these places, in the order of the places."""
    found: dict[_Place, Shown] = {}
    for name in sorted({name for name, _ in places}):
        wanted, start = sorted(position for own, position in places if own == name), 0
        for batch in batches(curated / name, pair_schema()):
            inside = [position for position in wanted if start <= position < start + batch.num_rows]
            taken = pairs_of(batch.take([position - start for position in inside])) if inside else ()
            for position, row in zip(inside, taken, strict=True):
                found[name, position] = _shown(row, counts)
            start += batch.num_rows
    return [found[place] for place in places]


def _shown_id(row: Pair) -> str:
    # A duplicate that was dropped has the id of the row that stayed.
    return f"{row.id}~" if row.dropped else row.id


def _shown(row: Pair, counts: Mapping[str, int]) -> Shown:
    stratum = stratum_of(row)
    return Shown(
        _shown_id(row),
        stratum,
        row.instruction,
        row.query[:MOST_TEXT],
        row.positives[0].text[:MOST_TEXT] if row.positives else "",
        row.query_language,
        row.document_language,
        row.source,
        row.dropped,
        row.scores.get("margin"),
        counts[stratum],
    )


def _origin(out: Path) -> dict[str, Any]:
    """What the sample of a folder was drawn from; nothing where it does not say."""
    path = out / ORIGIN
    return dict(json.loads(path.read_text("utf-8"))["drawn from"]) if path.is_file() else {}


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
