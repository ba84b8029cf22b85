"""Releases of a model that is updated, in one folder: which serves is said by one file, replaced in one step.

    HOME/serving.json      {"release": 3, "before": 2}
    HOME/anchor.json       {"release": 0}: losses are summed since that release; without it since the first
    HOME/releases/0003/    release.json, embedder/, bridge.safetensors where old vectors need a map,
                           learnt.parquet: pairs of this and earlier updates, which later ones keep in mind
    HOME/trying/           an update in progress, which is no release yet

A release is whole before it is named, and is named by renaming its folder; then the pointer changes. A
process that is killed at any moment leaves a pointer to a whole release.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lingxi.errors import InputError, StoreError
from lingxi.model.files import locate
from lingxi.update.pointers import ANCHOR, POINTER, anchor_of, put, serving_and_before, settle

RELEASES, TRYING, SAID = "releases", "trying", "release.json"
EMBEDDER, BRIDGE, LEARNT = "embedder", "bridge.safetensors", "learnt.parquet"
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
    return read(folder_of(home, serving_and_before(home)["release"]))


def anchor(home: Path) -> Release:
    """The release since which losses are summed: the first, or the one that was named.

    Raises StoreError where it is gone.
    """
    number = anchor_of(home)
    folder = folder_of(home, number)
    if not (folder / SAID).exists():
        raise StoreError(
            f"{home}: release {number}, since which losses are summed, is gone",
            "name another with `lingxi update anchor`",
        )
    return read(folder)


def name_anchor(home: Path, number: int) -> Release:
    """Sum losses since this release from now on; it is kept. Raises InputError where it is not there."""
    there = numbers(home)
    if number not in there:
        shown = ", ".join(map(str, there))
        raise InputError(f"{home} has no release {number}", f"name one of {shown}")
    release = read(folder_of(home, number))
    put(home, ANCHOR, {"release": number})
    return release


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
    pointer = serving_and_before(home)
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
    return max(numbers(home), default=-1) + 1


def numbers(home: Path) -> list[int]:
    """The numbers of the releases that are there, in order."""
    folder = home / RELEASES
    return sorted(int(path.name) for path in folder.iterdir()) if folder.is_dir() else []


def tidy(home: Path) -> None:
    """Drop all but the last few, what serves, what `back` goes to, the anchor, and what these read."""
    kept = {number for number in (*serving_and_before(home).values(), anchor_of(home)) if number is not None}
    there = [read(folder) for number in kept if (folder := folder_of(home, number)).exists()]
    used = {Path(place) for release in there for place in (release.model, release.space)}
    for number in numbers(home)[:-_KEPT]:
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
    put(home, POINTER, {"release": number, "before": before})
