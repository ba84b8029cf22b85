"""Fill a store of rows from curated Parquet: read once, one record batch in memory, whole or not at all."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi import manifest
from lingxi.errors import InputError
from lingxi.records import batches
from lingxi.train import columns
from lingxi.train.files import COLUMNS, FORMAT, NAMES
from lingxi.train.orders import contrasts, sorted_rows
from lingxi.train.store import Store, open_store

_CODE = ("records", *(f"train/{name}" for name in ("columns", "files", "orders", "store", "storing")))


def build_store(pairs: Sequence[Path], folder: Path, seed: int) -> Store:
    """Write the pairs of Parquet files as a store and open it; a store of the same pairs and seed is kept.

    Rows that are dropped, have no positive, or lack a text are left out and counted by reason. `seed` orders
    `Store.texts`. The folder appears under its name only when complete. Raises InputError where a file is
    missing, damaged, without rows, there twice, or lacks columns, where no pair is left, and where the folder
    holds something else or cannot be written.
    """
    inputs, settings = _inputs(pairs), {"seed": seed, "format": FORMAT}
    key = manifest.key_of("store", inputs, settings, manifest.hash_code(*_CODE))
    if not manifest.is_current(folder, key):
        _check_folder(folder)
        try:
            _write(pairs, folder, key, inputs, settings)
        except OSError as problem:
            remedy = "free some space, or choose another folder"
            raise InputError(f"{folder} cannot be written ({problem})", remedy) from problem
    return open_store(folder)


def _inputs(pairs: Sequence[Path]) -> dict[str, str]:
    """The hash of each file, after its first batch has told that it can be read."""
    if not pairs:
        raise InputError("no files of pairs are named", "name the curate stage's Parquet files")
    for path in pairs:
        if next(batches(path, columns.schema()), None) is None:
            raise InputError(
                f"{path} has no rows: there are no pairs to train on in it",
                "leave the file out, or look at the curate stage's ledger for the reasons",
            )
    found = {f"{number}/{path.name}": manifest.hash_file(path) for number, path in enumerate(pairs)}
    first: dict[str, Path] = {}
    for path, hashed in zip(pairs, found.values(), strict=True):
        if first.setdefault(hashed, path) is not path:
            raise InputError(f"{path} and {first[hashed]} hold the same", "name every file of pairs once")
    return found


def _check_folder(folder: Path) -> None:
    made = manifest.read(folder) if folder.is_dir() else None
    if folder.exists() and (made is None or made.stage != "store"):
        raise InputError(f"{folder} is there and is no store of rows", "choose another folder, or remove it")


@dataclass(slots=True)
class _Filling:
    """Files that columns are appended to, and what is known of the rows so far."""

    folder: Path
    open: ExitStack
    files: dict[str, Any] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    strata: dict[tuple[str, ...], int] = field(default_factory=dict)
    sizes: Counter[int] = field(default_factory=Counter)
    languages: dict[str, int] = field(default_factory=dict)

    def append(self, name: str, values: NDArray[Any]) -> None:
        """Write values at the end of a column."""
        if name not in self.files:
            self.files[name] = self.open.enter_context((self.folder / name).open("wb"))
        self.files[name].write(np.ascontiguousarray(values, dtype=COLUMNS[name]))

    def append_ends(self, name: str, lengths: NDArray[np.int64]) -> None:
        """Write where the items of a column end, after a leading zero."""
        if name not in self.files:
            self.append(name, np.zeros(1, np.int64))
        self.append(name, np.cumsum(lengths, dtype=np.int64) + self.totals[name])
        self.totals[name] += int(lengths.sum())

    def append_texts(self, name: str, column: Any) -> None:
        """Write texts and where they end."""
        data, lengths = columns.texts_of(column)
        self.append(f"{name}.bytes", data)
        self.append_ends(f"{name}.offsets", lengths)


def _write(
    pairs: Sequence[Path], folder: Path, key: str, inputs: dict[str, str], settings: dict[str, Any]
) -> None:
    started, partial = time.perf_counter(), folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with ExitStack() as stack:
        filling = _Filling(partial, stack)
        for path in pairs:
            for batch in batches(path, columns.schema()):
                rows, left_out = columns.kept(columns.typed(batch, path), path)
                filling.left_out.update(left_out)
                _add(filling, rows)
    counts = _counts(filling)
    _add_orders(filling)
    outputs = {file.name: str(file.stat().st_size) for file in sorted(partial.iterdir())}
    seconds = time.perf_counter() - started
    manifest.write(partial, manifest.Manifest("store", key, inputs, settings, outputs, counts, seconds))
    if folder.exists():
        shutil.rmtree(folder)
    partial.replace(folder)


def _counts(filling: _Filling) -> dict[str, Any]:
    rows, left_out = filling.totals["rows"], dict(sorted(filling.left_out.items()))
    if not rows:
        raise InputError(
            f"there are no pairs to train on: all are left out ({left_out})",
            "look at the curate stage's ledger for the reasons",
        )
    return {
        "rows_in": rows + sum(left_out.values()),
        "rows": rows,
        "left_out": left_out,
        "own_positives": filling.totals["own_positives"],
    }


def _add(filling: _Filling, rows: Any) -> None:
    import pyarrow.compute as pc

    filling.totals["rows"] += rows.num_rows
    filling.totals["own_positives"] += columns.own_positives(rows)
    filling.append_texts("queries", rows.column("query"))
    filling.append("query_hashes", columns.hashes(rows.column("query")))
    filling.append("groups", columns.hashes(rows.column("group")))
    filling.append("similarities", columns.scores(rows, "similarity"))
    filling.append("teacher_scores", columns.scores(rows, "teacher"))
    _add_strata(filling, rows)
    _add_languages(filling, rows.column("document_language").dictionary_encode())
    for side in columns.SIDES:
        column = rows.column(side)
        filling.append_texts(side, columns.passages(column, "text"))
        filling.append_ends(f"{side}.first", pc.fill_null(pc.list_value_length(column), 0).to_numpy())
        filling.append(f"{side}.ids", columns.hashes(columns.ids(rows, side)))
        graded = pc.fill_null(columns.passages(column, "score"), float("nan"))
        filling.append(f"{side}.scores", graded.to_numpy())


def _add_strata(filling: _Filling, rows: Any) -> None:
    coded = [rows.column(name).dictionary_encode() for name in columns.STRATUM]
    mixed = np.zeros(rows.num_rows, np.int64)
    for column in coded:
        mixed = mixed * len(column.dictionary) + column.indices.to_numpy()
    _, first, which = np.unique(mixed, return_index=True, return_inverse=True)
    keys = [tuple(column[int(row)].as_py() for column in coded) for row in first]
    numbers = np.array([filling.strata.setdefault(key, len(filling.strata)) for key in keys], np.int64)
    filling.append("strata", numbers[which])
    for number, size in zip(numbers, np.bincount(which, minlength=len(keys)), strict=True):
        filling.sizes[int(number)] += int(size)


def _add_languages(filling: _Filling, coded: Any) -> None:
    known = filling.languages
    names = coded.dictionary.to_pylist()
    numbers = np.array([known.setdefault(name, len(known)) for name in names], np.int64)
    filling.append("document_languages", numbers[coded.indices.to_numpy()])


def _add_orders(filling: _Filling) -> None:
    """Names, and the two orders of rows that need all of them."""
    keys, folder = list(filling.strata), filling.folder
    sizes = [filling.sizes[number] for number in range(len(keys))]
    strata_named = [[*key, size] for key, size in zip(keys, sizes, strict=True)]
    text = json.dumps({"strata": strata_named, "languages": list(filling.languages)}, ensure_ascii=False)
    (folder / NAMES).write_text(text, encoding="utf-8")
    strata, hashed = (np.memmap(folder / name, COLUMNS[name], "r") for name in ("strata", "query_hashes"))
    target = np.memmap(folder / "by_stratum", COLUMNS["by_stratum"], "w+", shape=len(strata))
    sorted_rows(strata, sorted(range(len(keys)), key=keys.__getitem__), sizes, target)
    found = contrasts(hashed, strata, [key[:2] for key in keys])
    for name, values in zip(("contrast_hashes", "contrast_rows"), found, strict=True):
        values.astype(COLUMNS[name]).tofile(folder / name)
