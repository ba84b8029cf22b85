"""Which files to index: what lies below the given paths, less what `.gitignore` and hiding leave out.

Nothing is left out in silence: files that could be meant (a link, a pipe, a file too large or unreadable) are
skipped with a reason; hidden and ignored ones are counted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lingxi.errors import InputError, MissingExtraError
from lingxi.parse import size_limit

# A folder that holds one of these is an index of ours.
TABLE, GENERATIONS = "segments.lance", "generations.json"

Scan = Callable[[str], Iterable[os.DirEntry[str]]]
# The largest size of a file, by its name, that is read.
Limit = Callable[[Path], float]


class Found(NamedTuple):
    """A file to index: its absolute path, and what tells cheaply whether it changed."""

    path: str
    size: int
    mtime_ns: int


class Skipped(NamedTuple):
    """A file that is not indexed, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class Walk:
    """What a walk found; `blocked` are folders that could not be read, so what lies there is unknown."""

    files: dict[str, Found] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    ignored: int = 0
    limit: Limit = size_limit


class _Rules(NamedTuple):
    """One `.gitignore`: its patterns hold below `folder`."""

    folder: str
    spec: Any


class _Folder(NamedTuple):
    path: str
    root: str
    rules: tuple[_Rules, ...]


def resolve(paths: Sequence[str | Path]) -> dict[str, str]:
    """Absolute path (links of the root followed) → the path as given; raises InputError for a missing one."""
    if isinstance(paths, (str, Path)):
        raise InputError(f"paths is one {type(paths).__name__}", "pass a list of paths")
    roots: dict[str, str] = {}
    for path in paths:
        given = Path(path).expanduser()
        if not given.exists():
            raise InputError(
                f"{path}: no such file or folder", "check the spelling and the folder you are in"
            )
        roots.setdefault(str(given.resolve()), str(given))
    if not roots:
        raise InputError("no paths were given", "name at least one file or folder")
    return roots


def is_below(path: str, root: str) -> bool:
    """Whether an absolute path is `root` or lies in it."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def walk(roots: Iterable[str], scan: Scan = os.scandir, limit: Limit = size_limit) -> Walk:
    """Find the files below absolute `roots`, in the order of their names; `scan` lists one folder.

    A file larger than its `limit` in bytes is skipped.

    A root that is named is read even where `.gitignore` would leave it out. Raises InputError for
    a root that cannot be read.
    """
    result = Walk(limit=limit)
    for root in roots:
        if not Path(root).is_dir():
            _take(root, Path(root).stat(), result)
            continue
        stack = [_Folder(root, root, _rules_above(root))]
        while stack:
            stack.extend(reversed(_visit(stack.pop(), scan, result)))
    return result


def _visit(folder: _Folder, scan: Scan, result: Walk) -> list[_Folder]:
    """Take the files of one folder; returns the folders in it to go on with."""
    try:
        entries = sorted(scan(folder.path), key=lambda entry: entry.name)
    except OSError as error:
        if folder.path == folder.root:
            raise InputError(
                f"{folder.path}: cannot be read ({error.strerror})", "check its permissions"
            ) from None
        result.blocked.append(folder.path)
        result.skipped.append(Skipped(folder.path, f"folder cannot be read ({error.strerror})"))
        return []
    names = {entry.name for entry in entries}
    if TABLE in names or GENERATIONS in names:
        return []
    rules = _with_own_rules(folder.path, folder.rules) if ".gitignore" in names else folder.rules
    below = []
    for entry in entries:
        if entry.name.startswith(".") or _is_ignored(entry, rules):
            result.ignored += 1
        elif entry.is_symlink():
            result.skipped.append(Skipped(entry.path, _why_no_link(entry.path, folder.root)))
        elif entry.is_dir(follow_symlinks=False):
            below.append(_Folder(entry.path, folder.root, rules))
        else:
            _take_entry(entry, result)
    return below


def _take_entry(entry: os.DirEntry[str], result: Walk) -> None:
    try:
        _take(entry.path, entry.stat(follow_symlinks=False), result)
    except OSError as error:
        result.skipped.append(Skipped(entry.path, f"cannot be read ({error.strerror})"))


def _take(path: str, status: os.stat_result, result: Walk) -> None:
    limit = result.limit(Path(path))
    if not stat.S_ISREG(status.st_mode):
        result.skipped.append(Skipped(path, "not a regular file"))
    elif status.st_size > limit:
        result.skipped.append(Skipped(path, f"larger than {limit / 1_000_000:g} MB"))
    elif not _is_text(path):
        result.skipped.append(Skipped(path.encode("utf-8", "replace").decode(), "file name is not UTF-8"))
    else:
        result.files[path] = Found(path, status.st_size, status.st_mtime_ns)


def _is_text(path: str) -> bool:
    return path.isascii() or not any("\ud800" <= character <= "\udfff" for character in path)


def _why_no_link(path: str, root: str) -> str:
    try:
        target = Path(path).resolve()
    except (OSError, RuntimeError):  # which of them says "a loop" depends on Python's version
        return "symbolic link that leads to itself"
    if not target.exists():
        return "broken symbolic link"
    if is_below(str(target), root):
        return "symbolic link to what lies in the folder itself"
    return "symbolic link that leaves the folder"


def _is_ignored(entry: os.DirEntry[str], rules: tuple[_Rules, ...]) -> bool:
    """The rules nearest to the file decide first, as in git."""
    if not rules:
        return False
    tail = "/" if entry.is_dir(follow_symlinks=False) else ""
    return _verdict(entry.path + tail, rules)


def _verdict(path: str, rules: tuple[_Rules, ...]) -> bool:
    for folder, spec in reversed(rules):
        include = spec.check_file(os.path.relpath(path, folder) + ("/" if path.endswith("/") else "")).include
        if include is not None:
            return bool(include)
    return False


def _rules_above(root: str) -> tuple[_Rules, ...]:
    """`.gitignore` files above `root` up to the top of the repository; none where they leave `root` out."""
    above = []
    for folder in (Path(root), *Path(root).parents):
        if folder != Path(root):
            above.append(folder)
        if (folder / ".git").exists():
            break
    else:
        return ()
    rules: tuple[_Rules, ...] = ()
    for folder in reversed(above):
        rules = _with_own_rules(str(folder), rules)
    return () if rules and _verdict(root + "/", rules) else rules


def _with_own_rules(folder: str, rules: tuple[_Rules, ...]) -> tuple[_Rules, ...]:
    try:
        text = (Path(folder) / ".gitignore").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return rules
    try:
        from pathspec import GitIgnoreSpec
    except ImportError:
        raise MissingExtraError("pathspec", "search", "reading .gitignore") from None
    return (*rules, _Rules(folder, GitIgnoreSpec.from_lines(text.splitlines())))
