"""Fetch packages of others' registries into a cache: Debian by apt-get, npm by npm, PyPI by pip."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Lock

from lingxi.collect.git import environment, repository_of
from lingxi.errors import InputError
from lingxi.records import digest

# Packages in one call of apt-get.
_TOGETHER = 100
_UPDATE = Lock()
_GIT = re.compile(r"(https|ssh|git)://[\w.@:-]+/|[\w.-]+@[\w.-]+:[\w./-]+$")


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


def fetched_debs(packages: Sequence[str], cache: Path) -> dict[str, Path]:
    """Download many packages at once; returns those that came, one that is missing stops none of the others.

    Raises InputError when apt-get is absent.
    """
    cache.mkdir(parents=True, exist_ok=True)
    there = {path.name.partition("_")[0]: path for path in sorted(cache.glob("*.deb"))}
    wanted = [name for name in packages if name not in there]
    for start in range(0, len(wanted), _TOGETHER):
        _download(wanted[start : start + _TOGETHER], cache)
    there = {path.name.partition("_")[0]: path for path in sorted(cache.glob("*.deb"))}
    return {name: there[name] for name in packages if name in there}


def _download(packages: Sequence[str], cache: Path) -> None:
    """By one call; where apt-get refuses one name it refuses all, so then one by one."""
    try:
        done = subprocess.run(["apt-get", "download", *packages], cwd=cache, capture_output=True, text=True)
    except OSError as problem:
        raise InputError(f"apt-get is not there ({problem})", "collect on a Debian system") from problem
    if done.returncode and len(packages) > 1:
        for name in packages:
            _download([name], cache)


def named_debs(patterns: Sequence[str]) -> list[str]:
    """Names of Debian packages that match shell patterns, sorted; raises InputError without apt."""
    if not any(set("*?[") & set(pattern) for pattern in patterns):
        return list(patterns)
    try:
        done = subprocess.run(["apt-cache", "pkgnames"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        raise InputError(f"apt-cache does not answer ({problem})", "collect on a Debian system") from problem
    known = sorted(done.stdout.split())
    return [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]


def sizes_of_debs(packages: Sequence[str]) -> dict[str, int]:
    """Download sizes in bytes of the distribution's packages."""
    found: dict[str, int] = {}
    for start in range(0, len(packages), 500):
        command = ["apt-cache", "show", "--no-all-versions", *packages[start : start + 500]]
        shown = subprocess.run(command, capture_output=True, text=True).stdout
        for stanza in shown.split("\n\n"):
            values = dict(re.findall(r"^(Package|Size): (.*)$", stanza, re.M))
            if len(values) == 2:
                found[values["Package"]] = int(values["Size"])
    return found


def fetched_indices(codes: Sequence[str], cache: Path) -> Path:
    """Download the indices of package descriptions in these languages and return their folder."""
    folder = cache / f"descriptions-{digest(*codes)}"
    lists = folder / "lists"
    with _UPDATE:
        _update_indices(codes, folder, lists)
    return lists


def _update_indices(codes: Sequence[str], folder: Path, lists: Path) -> None:
    if not any(lists.glob("*Translation-*")):
        asked = {"Acquire::Languages": ",".join(codes), "Acquire::GzipIndexes": "false"}
        options = _private(folder, asked)
        _run(["apt-get", *options, "update"], folder, "the package descriptions")


def fetched_source(package: str, cache: Path) -> Path:
    """Download a Debian source package into `cache` and return its upstream archive (.orig.tar.*).

    A private copy of the machine's package sources is used, turned to sources. Raises InputError as
    `fetched_deb`.
    """
    folder = cache / f"source-{package}"
    if found := _upstream(folder):
        return found[-1]
    # Several sources are fetched at a time, and apt-get updates a folder for one alone.
    with _UPDATE:
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
    found = _upstream(folder)
    if not found:
        raise InputError(
            f"apt-get could not download the source of {package} ({_last_line(found_or_not.stderr)})",
            "check the name and the network, or leave the package out",
        )
    return found[-1]


def _upstream(folder: Path) -> list[Path]:
    """The upstream archives in a folder, without the signatures beside them."""
    return [path for path in sorted(folder.glob("*.orig.tar.*")) if path.suffix not in (".asc", ".sig")]


def fetched_git(url: str, cache: Path, depth: int = 1) -> Path:
    """Clone the newest `depth` commits of a repository (https, ssh, git or a local path) into `cache`.

    Raises InputError for an address of another kind, or one that git cannot clone.
    """
    url = address_of(url)
    if url.startswith("-") or "::" in url or not (_GIT.match(url) or Path(url).is_dir()):
        raise InputError(f"{url!r} is no address of a repository", "give https://…, ssh://…, or a local path")
    if Path(url).is_dir():
        repository_of(Path(url))
    key = digest(url) if depth == 1 else digest(url, str(depth))
    folder = cache / f"git-{name_of_git(url)}-{key}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(folder.name + ".part")
        shutil.rmtree(partial, ignore_errors=True)
        # Local clones would share objects by links; hooks and submodules of others are never run or read.
        safe = ["-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never"]
        clone = ["clone", "--quiet", "--depth", str(depth), "--no-tags", "--no-local"]
        clone.append("--no-recurse-submodules")
        _run(["git", *safe, *clone, "--", url, str(partial)], cache, url)
        partial.rename(folder)
    return folder


def address_of(url: str) -> str:
    """An address as git reads it from any folder: a local path is absolute."""
    local = Path(url).expanduser() if url.startswith("~/") else Path(url)
    return str(local.resolve()) if not url.startswith("-") and local.is_dir() else url


def name_of_git(url: str) -> str:
    """The name of a repository: the last part of its address."""
    return re.sub(
        r"\W+", "-", address_of(url).rstrip("/").removesuffix(".git").rstrip("/").rpartition("/")[2]
    )


def fetched_npm(package: str, cache: Path) -> Path:
    """Download a package of the npm registry (`name@version`) into `cache` and return the archive."""
    folder = cache / ("npm-" + package.replace("/", "_"))
    if not sorted(folder.glob("*.tgz")):
        folder.mkdir(parents=True, exist_ok=True)
        # Scripts of strangers are not run, and a name that is an option is none.
        _run(["npm", "pack", "--silent", "--ignore-scripts", "--", _named(package)], folder, package)
    return sorted(folder.glob("*.tgz"))[-1]


def fetched_pypi(package: str, cache: Path) -> Path:
    """Download a release of PyPI (`name==version`, no dependencies) into `cache` and return the archive."""
    folder = cache / f"pypi-{package}"
    if not folder.is_dir() or not any(folder.iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        _run([*pip, "--", _named(package)], folder, package)
    return sorted(folder.iterdir())[-1]


def _named(package: str) -> str:
    if not re.fullmatch(r"@?[A-Za-z0-9][\w./@=+!~-]*", package) or ".." in package:
        raise InputError(f"{package!r} is no name of a package", "give name, name@version or name==version")
    return package


def bare_name(package: str) -> str:
    """A package's name without its version: `name==version`, `name@version`, `@scope/name@version`."""
    return re.split(r"==|(?<=.)@", package)[0]


# By the registry that has the package; Debian's binary packages are many, and fetched together.
FETCHED: Mapping[str, Callable[[str, Path], Path]] = {
    "deb": fetched_deb,
    "source": fetched_source,
    "npm": fetched_npm,
    "pypi": fetched_pypi,
}


def _source_options(folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    own = folder.resolve() / "sources.list"
    own.write_text(_source_lists(Path("/etc/apt")), "utf-8")
    return _private(folder, {"Dir::Etc::SourceList": own, "Dir::Etc::SourceParts": "/dev/null"})


def _private(folder: Path, asked: Mapping[str, str | Path]) -> list[str]:
    """Options of apt-get for a state of its own below `folder`, in whatever folder it is called."""
    state = folder.resolve()
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    settings = {
        "APT::Sandbox::User": "root",
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache",
        **asked,
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
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, env=environment())
    except (OSError, subprocess.CalledProcessError) as problem:
        detail = _last_line(getattr(problem, "stderr", "") or str(problem))
        raise InputError(
            f"{command[0]} could not fetch {package} ({detail})", "check the name and the network"
        ) from problem


def _last_line(text: str) -> str:
    return " ".join(text.strip().splitlines()[-1:])
