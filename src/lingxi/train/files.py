"""Arrays on disk: the files of a store of rows, their names and kinds, and whether they are whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError

FORMAT = 1
NAMES = "names.json"
# A passage's columns stand once for positives and once for negatives: `first` says where a row's begin.
PASSAGES = {"bytes": "u1", "offsets": "<i8", "first": "<i8", "ids": "<u8", "scores": "<f4"}
COLUMNS = {
    "queries.bytes": "u1",
    "queries.offsets": "<i8",
    **{f"{side}.{name}": kind for side in ("positives", "negatives") for name, kind in PASSAGES.items()},
    "groups": "<u8",
    "query_hashes": "<u8",
    "strata": "<u4",
    "document_languages": "<u4",
    "similarities": "<f4",
    "teacher_scores": "<f4",
    # Rows by stratum, strata in the order of their names: what the mixture draws from.
    "by_stratum": "<u4",
    # Rows whose query stands under another instruction too, by the hash of the query.
    "contrast_hashes": "<u8",
    "contrast_rows": "<u4",
}
REBUILD = "delete the folder; it is built again from the pairs"


def save_whole(path: Path, array: NDArray[Any]) -> None:
    """Write an array as `.npy`, which stands under its name only when complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, array)
    partial.replace(path)


def mapped(folder: Path, rows: int) -> dict[str, NDArray[Any]]:
    """Every column as a read-only memory map; raises InputError where a file is missing or torn."""
    columns = {name: _mapped(folder / name, kind) for name, kind in COLUMNS.items()}
    _check(folder, rows, columns)
    return columns


def _mapped(path: Path, kind: str) -> NDArray[Any]:
    size = path.stat().st_size if path.is_file() else -1
    if size < 0 or size % np.dtype(kind).itemsize:
        raise InputError(f"{path} is {'torn' if size >= 0 else 'missing'}", REBUILD)
    # An empty file cannot be mapped.
    return np.memmap(path, kind, "r").view(np.ndarray) if size else np.empty(0, kind)


def _check(folder: Path, rows: int, columns: Mapping[str, NDArray[Any]]) -> None:
    """Lengths must agree: a file that was cut short would give wrong texts, not an error."""
    wanted = dict.fromkeys(
        ("groups", "query_hashes", "strata", "document_languages", "similarities", "by_stratum"), rows
    )
    for side in ("positives", "negatives"):
        passages = len(columns[f"{side}.ids"])
        wanted |= {f"{side}.first": rows + 1, f"{side}.offsets": passages + 1, f"{side}.scores": passages}
    wanted |= {"queries.offsets": rows + 1, "teacher_scores": rows}
    torn = [name for name, length in wanted.items() if len(columns[name]) != length]
    sides = ("queries", "positives", "negatives")
    if not torn:
        torn = [s for s in sides if columns[f"{s}.offsets"][-1] != len(columns[f"{s}.bytes"])]
    if torn:
        raise InputError(f"{folder}: {', '.join(torn)} is torn", REBUILD)
