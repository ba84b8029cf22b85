"""Lines of text files, plain or packed, in bounded memory: an endless line is refused."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from lingxi.errors import InputError

# Bytes of the longest line: a book is shorter.
MOST_LINE = 16 * 2**20
PACKED = (".gz", ".bz2", ".parquet")
# Text packs to a fifth, tables of it to a fiftieth; what unpacks to more is made to fill a machine.
_MOST_TIMES, _ALWAYS = 200, 64 * 2**20


def numbered_lines(path: Path, most: int = MOST_LINE) -> Iterator[tuple[int, str]]:
    """Stream the lines of a UTF-8 file (`.gz`, `.bz2` too) with their numbers, from 1, without their ends.

    Raises InputError naming the file, and the line where one is at fault: it is missing, torn, not UTF-8, has
    a line of over `most` bytes, or unpacks to more than text would.
    """
    if not path.is_file():
        raise InputError(f"no file at {path}", "correct the path, or unpack the archive again")
    room = most_unpacked(path)
    try:
        with opened(path) as file:
            number = 0
            while line := file.readline(most + 1):
                number, room = number + 1, room - len(line)
                _check(path, number, len(line) > most, room < 0)
                yield number, _decoded(line, path, number)
    except (OSError, EOFError, zlib.error) as problem:
        raise InputError(f"{path} cannot be read ({problem})", "write or download it again") from problem


def opened(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where its name ends in .gz or .bz2."""
    if path.suffix == ".bz2":
        return cast(IO[bytes], bz2.open(path))
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def most_unpacked(path: Path) -> int:
    """Most bytes that a file of text may hold: its size, or where it is packed, what text could unpack to."""
    size = path.stat().st_size
    return max(_ALWAYS, size * _MOST_TIMES) if path.suffix in PACKED else size


def _check(path: Path, number: int, long: bool, full: bool) -> None:
    if full:
        raise InputError(
            f"{path} unpacks to more than {_MOST_TIMES} times its size",
            "unpack it yourself and give the file, if it is to be trusted",
        )
    if long:
        raise InputError(f"{path}:{number} is a line of many megabytes", "split it into lines")


def _decoded(line: bytes, path: Path, number: int) -> str:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as problem:
        reason = f"{path}:{number} is not UTF-8 ({problem.reason})"
        raise InputError(reason, "convert the file, for example with iconv") from problem
    return text.removesuffix("\n").removesuffix("\r")
