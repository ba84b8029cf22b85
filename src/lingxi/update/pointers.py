"""Small files that say which release serves and which is the anchor, each replaced in one step."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lingxi.errors import InputError, StoreError

POINTER, ANCHOR = "serving.json", "anchor.json"


def serving_and_before(home: Path) -> dict[str, Any]:
    """The numbers `release` and `before`.

    Raises InputError where nothing serves, StoreError where the file cannot be read.
    """
    path = home / POINTER
    if not path.exists():
        raise InputError(f"{home}: no updated model", "make one with `lingxi update MODEL --new DATA`")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"release": int(found["release"]), "before": found["before"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(
            f"{path}: cannot be read", 'write {"release": NUMBER, "before": null} into it'
        ) from None


def anchor_of(home: Path) -> int:
    """The number of the release since which losses are summed; 0 where none was named."""
    path = home / ANCHOR
    if not path.exists():
        return 0
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["release"])
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(f"{path}: cannot be read", "write it again with `lingxi update anchor`") from None


def put(home: Path, name: str, said: Mapping[str, int | None]) -> None:
    """Write a small file that is either as it was or as it is to be."""
    coming = home / f"{name}.coming"
    with coming.open("w", encoding="utf-8") as file:
        file.write(json.dumps(said))
        file.flush()
        os.fsync(file.fileno())
    coming.replace(home / name)
    settle(home)


def settle(folder: Path) -> None:
    """Have the disk hold a folder's entries, and the files in it, before anything names them."""
    for path in [folder, *(p for p in folder.rglob("*") if p.is_file())] if folder.is_dir() else []:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError:
            continue  # Some file systems cannot sync a folder.
        finally:
            os.close(handle)
