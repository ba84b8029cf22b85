"""Read files of strangers within bounds: no links are followed, nothing unpacks without end, no entities."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from lingxi.errors import InputError
from lingxi.lines import opened

# Where the declarations of an XML file stand, before anything that could use them.
_HEAD = 1 << 16


def files_below(place: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder in path order, by its path in there: hidden ones and links are left out.

    A file that is given itself is its own name.
    """
    if place.is_file():
        yield place.name, place
        return
    for path in sorted(place.rglob("*")):
        within = path.relative_to(place)
        if not path.is_symlink() and path.is_file() and not any(part[0] == "." for part in within.parts):
            yield within.as_posix(), path


def read_whole(path: Path, most: int) -> bytes:
    """The bytes of a file, unpacked where its name ends in .gz; raises InputError for more than `most`."""
    try:
        with opened(path) as file:
            data = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as problem:
        raise InputError(f"{path} cannot be read ({problem})", "download it again") from problem
    if len(data) > most:
        raise InputError(f"{path} holds more than {most / 1e6:g} MB", "split it, or leave it out")
    return data


def refuse_entities(data: bytes, named: str) -> None:
    """Raise InputError where the head of an XML file declares entities: they may expand without end."""
    # In UTF-16 a zero stands between the letters.
    if b"<!ENTITY" in data[:_HEAD].replace(b"\0", b""):
        raise InputError(f"{named} declares XML entities", "remove its DOCTYPE")


def refuse_entities_of(path: Path) -> None:
    """As `refuse_entities`, for a file."""
    with path.open("rb") as file:
        refuse_entities(file.read(_HEAD), str(path))
