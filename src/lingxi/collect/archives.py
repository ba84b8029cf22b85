"""Open what others packed: folders as they are, tar archives and Debian packages unpacked into a cache."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
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
        detail = _last_line(getattr(problem, "stderr", "") or str(problem))
        raise InputError(
            f"apt-get could not download {package} ({detail})",
            'download the .deb elsewhere and give its path in the recipe, or set it to "none"',
        ) from problem
    found = sorted(cache.glob(f"{package}_*.deb"))
    if not found:
        raise InputError(
            f"apt-get left no {package}_*.deb in {cache}", "give the path of the .deb in the recipe"
        )
    return found[-1]


def fetched_source(package: str, cache: Path) -> Path:
    """Download a Debian source package into `cache` and return its upstream archive (.orig.tar.*).

    A private copy of the machine's package sources is used, turned to sources. Raises InputError as
    `fetched_deb`.
    """
    folder = cache / f"source-{package}"
    if found := sorted(folder.glob("*.orig.tar.*")):
        return found[-1]
    options = _source_options(cache / "apt")
    if not any((cache / "apt" / "lists").glob("*_Sources*")):
        _run(["apt-get", *options, "update"], cache, package)
    folder.mkdir(parents=True, exist_ok=True)
    # Only the upstream archive is wanted; a missing patch of the distribution does not matter.
    found_or_not = subprocess.run(
        ["apt-get", *options, "source", "--download-only", package],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    found = sorted(folder.glob("*.orig.tar.*"))
    if not found:
        raise InputError(
            f"apt-get could not download the source of {package} ({_last_line(found_or_not.stderr)})",
            "check the name and the network, or leave the package out",
        )
    return found[-1]


def fetched_npm(package: str, cache: Path) -> Path:
    """Download a package of the npm registry (`name@version`) into `cache` and return the archive."""
    folder = cache / ("npm-" + package.replace("/", "_"))
    if not sorted(folder.glob("*.tgz")):
        folder.mkdir(parents=True, exist_ok=True)
        _run(["npm", "pack", "--silent", package], folder, package)
    return sorted(folder.glob("*.tgz"))[-1]


def fetched_pypi(package: str, cache: Path) -> Path:
    """Download a release of PyPI (`name==version`, no dependencies) into `cache` and return the archive."""
    folder = cache / f"pypi-{package}"
    if not folder.is_dir() or not any(folder.iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", package], folder, package)
    return sorted(folder.iterdir())[-1]


def opened_archive(source: Path, cache: Path) -> Path:
    """A folder with the files of a wheel, zip, tar or Debian package; raises InputError as `opened_tar`."""
    if source.suffix == ".deb":
        return opened_deb(source, cache)
    return _opened(source, cache, _unpack_zip if source.suffix in (".whl", ".zip") else _unpack_tar)


def _source_options(folder: Path) -> list[str]:
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(_source_lists(Path("/etc/apt")), "utf-8")
    settings = {
        "APT::Sandbox::User": "root",
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _source_lists(etc: Path) -> str:
    """The machine's own `deb` lines as `deb-src`, from both forms of their files."""
    lines: list[str] = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        if path.is_file():
            lines += [
                f"deb-src {line[4:]}" for line in path.read_text("utf-8").splitlines() if line[:4] == "deb "
            ]
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        for part in path.read_text("utf-8").split("\n\n"):
            values = dict(
                line.split(": ", 1) for line in part.splitlines() if ": " in line and not line.startswith("#")
            )
            if "URIs" in values and "Suites" in values:
                components = values.get("Components", "main")
                lines += [
                    f"deb-src {values['URIs']} {suite} {components}" for suite in values["Suites"].split()
                ]
    return "\n".join(lines) + "\n"


def _run(command: list[str], folder: Path, package: str) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        detail = _last_line(getattr(problem, "stderr", "") or str(problem))
        raise InputError(
            f"{command[0]} could not fetch {package} ({detail})", "check the name and the network"
        ) from problem


def _last_line(text: str) -> str:
    return " ".join(text.strip().splitlines()[-1:])


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


def _unpack_zip(source: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            archive.extractall(folder)
    except (zipfile.BadZipFile, OSError) as problem:
        raise InputError(f"{source} cannot be unpacked ({problem})", "download it again") from problem


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
