"""Git on repositories of strangers: the one that was named is read and no other, whoever's it may be."""

from __future__ import annotations

import os
from pathlib import Path

from lingxi.errors import InputError

# What a repository has; as links they would be another's.
_PARTS = {"HEAD": Path.is_file, "objects": Path.is_dir, "refs": Path.is_dir}
# By these a repository says that its objects, or all of it, lie in another one.
_ELSEWHERE = ("commondir", "objects/info/alternates", "objects/info/http-alternates")

_PROTOCOLS = ("ext", "file", "git", "http", "https", "ssh")
# What a repository's own settings may not decide: nothing that they name is run, shown or fetched.
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.quotePath=false",
    "core.alternateRefsCommand=",
    "log.showSignature=false",
    "log.showRoot=false",
    "diff.external=",
    "diff.orderFile=/dev/null",
    "blame.ignoreRevsFile=",
    "gc.auto=0",
    "maintenance.auto=false",
    "i18n.logOutputEncoding=UTF-8",
    "protocol.allow=never",
    *(f"protocol.{name}.allow=never" for name in _PROTOCOLS),
)


def repository_of(folder: Path) -> Path:
    """The repository of a folder, absolute: its own `.git`, or the folder itself where it is a bare one.

    Raises InputError where there is none, and where another repository is named in its place.
    """
    inside = folder / ".git"
    found = inside if inside.is_symlink() or inside.exists() else folder
    if found.is_symlink() or not all(
        fits(found / name) and not (found / name).is_symlink() for name, fits in _PARTS.items()
    ):
        raise InputError(f"{folder} is no git repository of its own", "give the folder that holds .git")
    for name in _ELSEWHERE:
        if (found / name).is_symlink() or (found / name).exists():
            raise InputError(
                f"{found / name} names another repository", "give a whole clone: git clone --no-local"
            )
    return found.resolve()


def command(repository: Path, *arguments: str) -> list[str]:
    """The command that asks git about this repository, under settings that the repository cannot change."""
    options = [part for setting in _SETTINGS for part in ("-c", setting)]
    # Named outright, so that git looks for no other in the folders above.
    return ["git", "--no-pager", *options, f"--git-dir={repository}", *arguments]


def environment() -> dict[str, str]:
    """This process's environment without what tells git where to read; it asks for no password."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**plain, "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"}
