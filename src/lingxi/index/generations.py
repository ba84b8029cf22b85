"""Which tables of an index folder hold what: one for each namespace and each model that it was moved to.

The table `segments` is generation 1 of the namespace without a name. `index upgrade` fills generation n + 1
beside generation n, and one small file, replaced in one step, says which is current and which came before.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from lingxi.errors import InputError, StoreError
from lingxi.parse.walk import GENERATIONS, TABLE

MEDIA = "media.npz"
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_TABLE = re.compile(r"segments(?:\.g(\d+))?(?:\.n-([\w-]+))?\.lance", re.ASCII)


@dataclass(frozen=True, slots=True)
class Generations:
    """The generation that answers, and the one before it while that is kept."""

    current: int = 1
    before: int | None = None


def read(path: Path) -> Generations:
    """What the folder says; generation 1 where it says nothing. Raises StoreError where it is damaged."""
    file = path / GENERATIONS
    if not file.exists():
        return Generations()
    try:
        return Generations(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise StoreError(
            f"{file}: cannot be read", "restore the index from a snapshot, or make it anew"
        ) from None


def write(path: Path, kept: Generations) -> None:
    """Say it, in one step."""
    coming = path / f"{GENERATIONS}.coming"
    with coming.open("w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(kept)))
        file.flush()
        os.fsync(file.fileno())
    coming.replace(path / GENERATIONS)


def is_index(path: Path) -> bool:
    """Whether a folder is an index."""
    return (path / GENERATIONS).exists() or (path / TABLE).exists()


def check_current(path: Path, generation: int) -> None:
    """Raise StoreError where a generation that is not the current one would be written to."""
    current = read(path).current
    if generation != current:
        raise StoreError(
            f"{path}: was moved to another model, or back, while this one had it open",
            "open it with that model; this one can still search",
        )


def table_name(generation: int, namespace: str) -> str:
    """The name of a table."""
    number = "" if generation == 1 else f".g{generation}"
    return f"segments{number}{f'.n-{namespace}' if namespace else ''}"


def media_name(namespace: str = "") -> str:
    """The file beside the tables that holds a namespace's pictures and sound, where it has some."""
    return f"media.n-{checked_namespace(namespace)}.npz" if namespace else MEDIA


def holds_media(place: str | Path, namespace: str = "") -> bool:
    """Whether an index holds pictures and sound; asked before what reads them is loaded."""
    return (Path(place).expanduser() / media_name(namespace)).is_file()


def tables(path: Path) -> dict[tuple[int, str], str]:
    """The tables of a folder by generation and namespace."""
    found = [_TABLE.fullmatch(entry.name) for entry in path.iterdir()] if path.is_dir() else []
    return {(int(match[1] or 1), match[2] or ""): match[0].removesuffix(".lance") for match in found if match}


def namespaces(path: Path) -> list[str]:
    """The namespaces of an index's current generation."""
    current = read(path).current
    return sorted(namespace for generation, namespace in tables(path) if generation == current)


def checked_namespace(namespace: str) -> str:
    """A name that can be one of a table; raises InputError for another."""
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise InputError(
            f"the namespace {namespace!r:.60}", "name it by up to 40 letters, digits, - and _ (ASCII)"
        )
    return namespace
