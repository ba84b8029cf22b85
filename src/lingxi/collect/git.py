"""Git on repositories of strangers: the one that was named is read and no other, whoever's it may be."""

from __future__ import annotations

import os
from pathlib import Path

from lingxi.errors import InputError

# What a repository has; as links they would be another's.
_PARTS = {"HEAD": Path.is_file, "objects": Path.is_dir, "refs": Path.is_dir}
# By these a repository says that its objects, or all of it, lie in another one.
_ELSEWHERE = ("commondir", "objects/info/alternates", "objects/info/http-alternates")


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


def environment() -> dict[str, str]:
    """This process's environment without what tells git where to read; it asks for no password."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**plain, "GIT_TERMINAL_PROMPT": "0"}
