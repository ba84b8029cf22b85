"""Open what others packed: folders as they are, tar archives and Debian packages unpacked into a cache."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from lingxi.errors import InputError


def opened_tar(source: Path, cache: Path) -> Path:
    """The folder of files that `source` is, or holds as an archive: unpacked once under `cache`.

    Raises InputError when the source is missing or cannot be unpacked.
    """
    folder = _opened(source, cache, _unpack_tar)
    return folder if folder == source.expanduser() else _innermost(folder)


def opened_deb(source: Path, cache: Path) -> Path:
    """A folder with the files of a Debian package (or an unpacked one); raises InputError as `opened_tar`."""
    return _opened(source, cache, _unpack_deb)


def fetched_deb(package: str, cache: Path) -> Path:
    """Download a package by `apt-get download` into `cache` (kept for the next run) and return the .deb.

    Raises InputError when apt-get is absent or cannot fetch the package.
    """
    cache.mkdir(parents=True, exist_ok=True)
    if found := sorted(cache.glob(f"{package}_*.deb")):
        return found[-1]
    try:
        subprocess.run(
            ["apt-get", "download", package], cwd=cache, check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as problem:
        detail = (getattr(problem, "stderr", "") or str(problem)).strip().splitlines()[-1:]
        raise InputError(
            f"apt-get could not download {package} ({' '.join(detail)})",
            'download the .deb elsewhere and give its path in the recipe, or set it to "none"',
        ) from problem
    found = sorted(cache.glob(f"{package}_*.deb"))
    if not found:
        raise InputError(
            f"apt-get left no {package}_*.deb in {cache}", "give the path of the .deb in the recipe"
        )
    return found[-1]


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
    try:
        if source.suffix == ".zst":
            _unpack_zstd(source, folder)
            return
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError, subprocess.CalledProcessError) as problem:
        raise InputError(
            f"{source} cannot be unpacked ({problem})", "check that the archive is whole"
        ) from problem


def _unpack_zstd(source: Path, folder: Path) -> None:
    """By the library `zstandard` where it is installed, else by the commands `tar` and `zstd`."""
    try:
        library = importlib.import_module("zstandard")
    except ImportError:
        command = ["tar", "--zstd", "-xf", str(source.resolve()), "-C", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        return
    try:
        with (
            source.open("rb") as packed,
            library.ZstdDecompressor().stream_reader(packed) as plain,
            tarfile.open(fileobj=plain, mode="r|") as archive,
        ):
            archive.extractall(folder, filter="data")
    except library.ZstdError as problem:
        raise OSError(str(problem)) from problem


def _unpack_deb(source: Path, folder: Path) -> None:
    if shutil.which("dpkg-deb"):
        try:
            subprocess.run(["dpkg-deb", "-x", str(source), str(folder)], check=True, capture_output=True)
        except subprocess.CalledProcessError as problem:
            raise InputError(f"{source} is no readable Debian package", "download it again") from problem
        return
    _unpack_deb_member(source, folder)


def _unpack_deb_member(source: Path, folder: Path) -> None:
    """Read the `ar` container in Python: 60-byte headers, bodies on even offsets, the files in data.tar.*."""
    with source.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise InputError(f"{source} is no Debian package", "download it again")
        while header := file.read(60):
            name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
            if name.startswith("data.tar"):
                member = folder.with_name(f"{folder.name}-{name}")
                member.write_bytes(file.read(size))
                _unpack_tar(member, folder)
                member.unlink()
                return
            file.seek(size + size % 2, 1)
    raise InputError(f"{source} holds no data.tar", "download it again")
