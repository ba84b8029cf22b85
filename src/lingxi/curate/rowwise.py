"""What a row shows by itself: a reason to drop it, and the numbers by which it is compared with others.

Row groups of the pairs files are judged in pieces, in as many processes as there are. A piece that is done is
a file of its own and is not done again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.curate.leaks import barred_rule, leak_rule
from lingxi.curate.rules import Rule, RuleSettings, first_reason, folded, rules
from lingxi.manifest import hash_code
from lingxi.records import Pair, digest, drawn, pair_schema, pairs_of, require_pyarrow, stable_hash
from lingxi.spread import Runner, spread

# Row groups of a piece: 200,000 rows as `records` writes them, some ten seconds of work.
_GROUPS = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of every row, as plain data that travels to another process."""

    rules: str
    benchmark: str | None
    distractors: bool
    barred: tuple[str, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Columns:
    """By row of the pairs files: `reason` [rows], a number into `reasons` (0: none); `key` and `draw` [rows].

    `key` is equal where task, query and positives are (folded); by `draw` rows are drawn.
    """

    reasons: list[str]
    reason: NDArray[np.int32]
    key: NDArray[np.uint64]
    draw: NDArray[np.uint64]

    def drop(self, positions: NDArray[np.int64], reason: str) -> None:
        """Give a reason to rows that have none yet."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        self.reason[positions[self.reason[positions] == 0]] = self.reasons.index(reason)

    def alive(self) -> NDArray[np.int64]:
        """Positions of the rows without a reason, in file order."""
        return np.flatnonzero(self.reason == 0)


def judge_rows(
    asked: Asked, files: Sequence[Path], out: Path, runner: Runner = "here", processes: int | None = None
) -> Columns:
    """Ask the row rules of every row of pairs files; pieces are kept in the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    pieces = [piece for path in files for piece in _pieces(asked, path, out)]
    return _columns([Path(path) for path in spread(judge_piece, pieces, runner, processes)])


def judge_piece(written: str) -> str:
    """Write the reasons and numbers of the rows of one piece (given as JSON) and answer with their file."""
    piece = json.loads(written)
    path = Path(piece["out"])
    if not path.exists():
        asked = Asked(**{**piece["asked"], "barred": tuple(piece["asked"]["barred"])})
        _write(_judged(asked, Path(piece["pairs"]), piece["start"]), path)
    return str(path)


def _pieces(asked: Asked, pairs: Path, out: Path) -> Iterator[str]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(pairs) as file:
        groups = file.num_row_groups
    # Pieces of other settings, of other rows or of other code have other names.
    state = pairs.stat()
    rows = f"{pairs.resolve()} {state.st_size} {state.st_mtime_ns}"
    name = digest(json.dumps(asdict(asked)), rows, hash_code("curate", "languages"))
    for start in range(0, groups, _GROUPS):
        path = str(out / f"{name}-{start}.parquet")
        yield json.dumps({"asked": asdict(asked), "pairs": str(pairs), "start": start, "out": path})


def key_of(row: Pair) -> int:
    """64 bits, equal for rows of one task whose query and positives differ in case and signs only."""
    sides = (folded(row.query), *(folded(item.text) for item in row.positives))
    return stable_hash("\x1f".join((row.task, *sides)))


def _judged(asked: Asked, pairs: Path, start: int) -> Iterator[tuple[str | None, int, int]]:
    rules_of_row = _rules(asked)
    for row in _rows(pairs, start):
        yield row.dropped or first_reason(row, rules_of_row), key_of(row), drawn(asked.seed, row.id)


def _rows(path: Path, start: int) -> Iterator[Pair]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        groups = range(start, min(start + _GROUPS, file.num_row_groups))
        for group in groups:
            for batch in file.read_row_group(group, columns=pair_schema().names).to_batches():
                yield from pairs_of(batch)


@lru_cache(maxsize=1)
def _rules(asked: Asked) -> Sequence[Rule]:
    """The rules of one row; a process builds them once, the index of the benchmark among them."""
    found: list[Callable[[Pair], str | None]] = [barred_rule(asked.barred)]
    found += rules(RuleSettings.model_validate_json(asked.rules))
    if asked.benchmark is not None:
        found.append(leak_rule(Path(asked.benchmark), distractors=asked.distractors))
    return found


def _write(judged: Iterator[tuple[str | None, int, int]], path: Path) -> None:
    pa = require_pyarrow()
    import pyarrow.parquet as pq

    # A row group may hold no rows.
    listed = list(judged)
    types = (("reason", pa.string()), ("key", pa.uint64()), ("draw", pa.uint64()))
    columns: dict[str, Any] = {
        name: pa.array([row[place] for row in listed], kind) for place, (name, kind) in enumerate(types)
    }
    partial = path.with_name(path.name + ".part")
    pq.write_table(pa.table(columns), partial, compression="zstd")
    partial.replace(path)


def _columns(parts: Sequence[Path]) -> Columns:
    pa = require_pyarrow()
    import pyarrow.parquet as pq

    if not parts:
        none = np.empty(0, np.uint64)
        return Columns(["kept"], np.empty(0, np.int32), none, none)
    table = pa.concat_tables(pq.read_table(path) for path in parts)
    coded = table.column("reason").combine_chunks().dictionary_encode()
    # The first name stands for rows that no rule drops.
    numbers = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32) + 1
    key, draw = (table.column(name).to_numpy() for name in ("key", "draw"))
    return Columns(["kept", *coded.dictionary.to_pylist()], numbers, key, draw)
