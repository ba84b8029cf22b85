"""Read files of strangers within bounds: no links are followed, nothing unpacks without end, no entities."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from lingxi.errors import InputError
from lingxi.lines import opened

# What stands before the root of an XML file is a comment or two.
_MOST_PROLOG = 1 << 20
_AT_ONCE = 1 << 14


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


class Prolog:
    """What stands before the root of an XML file, fed as it is read; declarations of its own are refused.

    Entities may expand without end, and they are declared there.
    """

    def __init__(self, named: str) -> None:
        self._named, self._read, self._over = named, 0, False
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.EntityDeclHandler = self._declared
        self._parser.StartElementHandler = self._root

    def feed(self, data: bytes) -> bool:
        """Whether the root was reached, or what is no XML; nothing is the end of the file.

        Raises InputError for declarations, and where no root comes.
        """
        if self._over:
            return True
        self._read += len(data)
        try:
            self._parser.Parse(data, not data)
        except (expat.ExpatError, ValueError, LookupError):
            # Whoever reads it says what is wrong.
            self._over = True
        if not self._over and self._read > _MOST_PROLOG:
            raise InputError(f"{self._named} does not begin as XML", "check that it is what it says")
        return self._over

    def _doctype(self, _name: str, _system: str | None, _public: str | None, inside: int) -> None:
        if inside:
            self._declared()

    def _declared(self, *_said: object) -> None:
        raise InputError(f"{self._named} declares XML entities or other markup", "remove its DOCTYPE")

    def _root(self, *_said: object) -> None:
        self._over = True
        self._parser.StartElementHandler = None


def refuse_entities(data: bytes, named: str) -> None:
    """Raise InputError where an XML file declares entities, as `Prolog`."""
    prolog = Prolog(named)
    for start in range(0, len(data) + _AT_ONCE, _AT_ONCE):
        if prolog.feed(data[start : start + _AT_ONCE]):
            return


def refuse_entities_of(path: Path) -> None:
    """As `refuse_entities`, for a file."""
    prolog = Prolog(str(path))
    with path.open("rb") as file:
        while not prolog.feed(file.read(_AT_ONCE)):
            pass
