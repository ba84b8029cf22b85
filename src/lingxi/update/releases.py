"""Releases of a model that is updated, in one folder: which serves is said by one file, replaced in one step.

    HOME/serving.json      {"release": 3, "before": 2}
    HOME/releases/0003/    release.json, embedder/, bridge.safetensors where old vectors need a map
    HOME/trying/           an update in progress, which is no release yet

A release is whole before it is named, and is named by renaming its folder; then the pointer changes. A
process that is killed at any moment leaves a pointer to a whole release.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lingxi.errors import InputError, StoreError
from lingxi.model.files import locate

POINTER, RELEASES, TRYING, SAID = "serving.json", "releases", "trying", "release.json"
EMBEDDER, BRIDGE = "embedder", "bridge.safetensors"
_KEPT = 3


@dataclass(frozen=True, slots=True)
class Release:
    """A model that serves or served.

    `model` asks queries; `space` is the model whose vectors are stored, which documents are embedded with;
    both are directories. `bridged` says whether queries go over the map in the release's folder. `said` holds
    what was measured.
    """

    number: int
    model: str
    space: str
    bridged: bool = False
    said: Mapping[str, Any] = field(default_factory=dict)


def begin(home: Path, model: str) -> Release:
    """Make a folder of releases whose first is `model`, or open the one that is there."""
    if (home / POINTER).exists():
        return serving(home)
    place = str(locate(model).resolve())
    first = Release(0, place, place, said={"begun from": model})
    folder = home / TRYING / "first"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(folder, first)
    return promote(home, folder, None)


def serving(home: Path) -> Release:
    """The release that serves; raises StoreError where nothing does."""
    return read(folder_of(home, _pointer(home)["release"]))


def promote(home: Path, folder: Path, before: int | None) -> Release:
    """Give a finished folder its number and let it serve; `before` is what `back` goes to."""
    release = read(folder)
    place = folder_of(home, release.number)
    place.parent.mkdir(parents=True, exist_ok=True)
    if folder != place:
        # A release of that number was never named by the pointer: it is of a process that was killed.
        shutil.rmtree(place, ignore_errors=True)
        settle(folder)
        folder.replace(place)
        settle(place.parent)
    point(home, release.number, before)
    return release


def back(home: Path) -> Release:
    """Let the release before serve again; raises StoreError where there is none."""
    pointer = _pointer(home)
    if pointer["before"] is None:
        raise StoreError(f"{home}: no release before this one", "nothing needs to be done")
    release = read(folder_of(home, pointer["before"]))
    earlier = release.said.get("before")
    point(
        home, release.number, earlier if earlier is not None and folder_of(home, earlier).exists() else None
    )
    return release


def next_number(home: Path) -> int:
    """The number of the next release: no number that was pointed to is used twice."""
    there = [int(path.name) for path in (home / RELEASES).iterdir()] if (home / RELEASES).is_dir() else []
    return max(there, default=-1) + 1


def tidy(home: Path) -> None:
    """Drop what is neither serving, nor before it, nor read by one of these, but for the last few."""
    pointer = _pointer(home)
    kept = {number for number in pointer.values() if number is not None}
    used = {Path(read(folder_of(home, number)).space) for number in kept}
    numbers = sorted(int(path.name) for path in (home / RELEASES).iterdir())
    for number in numbers[: -_KEPT or None]:
        folder = folder_of(home, number)
        if number not in kept and folder / EMBEDDER not in used:
            shutil.rmtree(folder, ignore_errors=True)


def folder_of(home: Path, number: int) -> Path:
    """The folder of a release."""
    return home.resolve() / RELEASES / f"{number:04d}"


def read(folder: Path) -> Release:
    """The release of a folder; raises StoreError where it cannot be read."""
    try:
        return Release(**json.loads((folder / SAID).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as problem:
        raise StoreError(f"{folder}: no release ({problem})", "go back with `lingxi update back`") from None


def write(folder: Path, release: Release) -> None:
    """Say in a folder what release it is."""
    text = json.dumps(asdict(release), indent=1, ensure_ascii=False) + "\n"
    (folder / SAID).write_text(text, encoding="utf-8")


def point(home: Path, number: int, before: int | None) -> None:
    """Name the release that serves, in one step."""
    coming = home / f"{POINTER}.coming"
    with coming.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"release": number, "before": before}))
        file.flush()
        os.fsync(file.fileno())
    coming.replace(home / POINTER)
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


def _pointer(home: Path) -> dict[str, Any]:
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
