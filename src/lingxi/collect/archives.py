"""Open what others packed: folders as they are; tar, zip and Debian packages unpacked, within bounds.

An archive that would unpack to more than it should, or to places outside its folder, is refused by name.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lingxi.errors import InputError, MissingExtraError

# More than any package of source or text holds.
MOST_BYTES = 4 * 2**30
MOST_FILES = 500_000
# Headers of a tar that say more of a file than fits into its own (pax, GNU) are read whole into memory.
MOST_HEADER, MOST_HEADERS = 2**20, 256 * 2**20
_ZIPS = (".whl", ".zip", ".jar")


def opened_tar(source: Path, cache: Path) -> Path:
    """The folder of files that `source` is, or holds as an archive: unpacked once under `cache`.

    Raises InputError when the source is missing or cannot be unpacked.
    """
    folder = _opened(source, cache, _unpack_tar)
    return folder if folder == source.expanduser() else _innermost(folder)


def opened_deb(source: Path, cache: Path) -> Path:
    """A folder with the files of a Debian package (or an unpacked one); raises InputError as `opened_tar`."""
    return _opened(source, cache, _unpack_deb)


def opened_archive(source: Path, cache: Path) -> Path:
    """A folder with the files of a wheel, zip, tar or Debian package; raises InputError as `opened_tar`."""
    if source.suffix == ".deb":
        return opened_deb(source, cache)
    return _opened(source, cache, _unpacker(source))


@contextmanager
def unpacked(source: Path, cache: Path) -> Iterator[Path]:
    """The source itself where it is a folder or no archive; else its files in a folder that is removed after.

    Raises InputError as `opened_tar`.
    """
    source = source.expanduser()
    if not source.exists():
        raise InputError(f"no file or folder at {source}", "correct the path in the recipe")
    if source.is_dir() or not is_archive(source):
        yield source
        return
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="open-") as folder:
        _unpacker(source)(source, Path(folder))
        yield Path(folder)


def unpack_beside(source: Path) -> Path:
    """Unpack an archive that lies in an unpacked package into a folder beside it, and remove the archive."""
    folder = source.with_name(f"{source.stem}-{source.suffix[1:]}")
    folder.mkdir()
    _unpacker(source)(source, folder)
    source.unlink()
    return folder


def is_archive(path: Path) -> bool:
    """Whether a file is one that this module unpacks, by its name."""
    return path.suffix in (*_ZIPS, ".deb", ".tgz", ".tar") or ".tar." in path.name


def _unpacker(source: Path) -> Callable[[Path, Path], None]:
    if source.suffix == ".deb":
        return _unpack_deb
    return _unpack_zip if source.suffix in _ZIPS else _unpack_tar


def file_hash(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _opened(source: Path, cache: Path, unpack: Callable[[Path, Path], None]) -> Path:
    source = source.expanduser()
    if source.is_dir():
        return source
    if not source.is_file():
        raise InputError(f"no file or folder at {source}", "correct the path in the recipe")
    folder = cache.expanduser() / f"{source.name.split('.')[0]}-{file_hash(source)[:16]}"
    if not folder.is_dir():
        # Unpacked beside and renamed, so that an interrupted run leaves no half folder to be trusted.
        partial = folder.with_name(folder.name + ".part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        unpack(source, partial)
        partial.rename(folder)
    return folder


def _innermost(folder: Path) -> Path:
    """Archives often hold one folder, and that the files."""
    while len(inner := list(folder.iterdir())) == 1 and inner[0].is_dir():
        folder = inner[0]
    return folder


def _unpack_tar(source: Path, folder: Path) -> None:
    with source.open("rb") as packed:
        _unpack_stream(packed, source.suffix == ".zst", source, folder, "check that the archive is whole")


def _unpack_stream(packed: IO[bytes], by_zstd: bool, source: Path, folder: Path, fix: str) -> None:
    try:
        if by_zstd:
            with _plain_zstd(packed) as plain:
                _extract(plain, source, folder)
            return
        with tarfile.open(fileobj=packed, tarinfo=_bounded_headers()) as archive:
            _members(archive, source, folder)
    except (tarfile.TarError, OSError, EOFError) as problem:
        raise InputError(f"{source} cannot be unpacked ({problem})", fix) from problem


def _extract(plain: IO[bytes], source: Path, folder: Path) -> None:
    with tarfile.open(fileobj=plain, mode="r|", tarinfo=_bounded_headers()) as archive:
        _members(archive, source, folder)


def _bounded_headers() -> type[tarfile.TarInfo]:
    """Headers for one archive, refused before they are read where they, or all together, are too large."""

    class Bounded(tarfile.TarInfo):
        spent = 0

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Bounded:
            header = super().frombuf(buf, encoding, errors)
            if header.type == tarfile.GNUTYPE_SPARSE:
                raise tarfile.ReadError("it holds a sparse file")
            if header.type in _MORE:
                cls.spent += header.size
                if header.size > MOST_HEADER or cls.spent > MOST_HEADERS:
                    raise tarfile.ReadError(f"a header of {header.size:,} bytes, {cls.spent:,} in all")
            return header

    return Bounded


_MORE = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def _members(archive: tarfile.TarFile, source: Path, folder: Path) -> None:
    """Extract the files of an archive; links that leave it are left out, files that do are refused."""
    total = 0
    for number, member in enumerate(archive):
        total += member.size
        _check_bounds(str(source), number, total, MOST_BYTES)
        try:
            archive.extract(member, folder, filter="data")
        except (tarfile.AbsoluteLinkError, tarfile.LinkOutsideDestinationError, tarfile.SpecialFileError):
            continue
        except tarfile.FilterError as problem:
            raise InputError(
                f"{source} holds {member.name!r}, which lies outside of it", "do not trust this archive"
            ) from problem


def _check_bounds(named: str, files: int, total: int, most: int) -> None:
    if total > most or files > MOST_FILES:
        raise InputError(
            f"{named} unpacks to more than {most / 2**30:g} GiB or {MOST_FILES:,} files",
            "unpack it yourself and give the folder, if it is to be trusted",
        )


def _unpack_zip(source: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            check_zip(archive, str(source), MOST_BYTES)
            for item in archive.infolist():
                archive.extract(item, folder)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as problem:
        raise InputError(f"{source} cannot be unpacked ({problem})", "download it again") from problem


def check_zip(archive: zipfile.ZipFile, named: str, most: int) -> None:
    """Raise InputError for a zip that unpacks to more than `most` bytes, or holds what lies outside of it."""
    inside = archive.infolist()
    _check_bounds(named, len(inside), sum(item.file_size for item in inside), most)
    for item in inside:
        if item.filename.startswith("/") or ".." in Path(item.filename).parts:
            raise InputError(
                f"{named} holds {item.filename!r}, which lies outside of it", "do not trust this archive"
            )


@contextmanager
def _plain_zstd(packed: IO[bytes]) -> Iterator[IO[bytes]]:
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("zstandard", "train", "unpacking .zst") from None
    try:
        with zstandard.ZstdDecompressor().stream_reader(packed) as plain:
            yield plain
    except zstandard.ZstdError as problem:
        raise OSError(str(problem)) from problem


def _unpack_deb(source: Path, folder: Path) -> None:
    """Read the `ar` container: 60-byte headers, bodies on even offsets, the files in data.tar.*."""
    with source.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise InputError(f"{source} is no Debian package", "download it again")
        while header := file.read(60):
            stated = header[48:58].strip()
            # A size below zero would lead back to where this header stands.
            if not (header.isascii() and stated.isdigit()):
                break
            name, size = header[:16].decode("ascii").strip().rstrip("/"), int(stated)
            if name.startswith("data.tar"):
                _unpack_stream(
                    io.BytesIO(file.read(size)), name.endswith(".zst"), source, folder, "download it again"
                )
                return
            file.seek(size + size % 2, 1)
    raise InputError(f"{source} holds no data.tar", "download it again")
