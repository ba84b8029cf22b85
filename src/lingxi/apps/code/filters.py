"""Where to look: languages and paths of a repository as places of the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from lingxi.apps.code.build import LEFT_OUT, split_path, stored_path
from lingxi.apps.code.languages import named
from lingxi.errors import InputError, MissingExtraError

_PATTERN = frozenset("*?[!")


def places_below(stored: Collection[str], languages: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Files and folders of the store to look in, for the given languages and paths; none for everywhere.

    Raises InputError for an unknown language, and where no file of the index is left.
    """
    if not languages and not paths:
        return []
    held = dict.fromkeys(split_path(one)[0] for one in stored)
    wanted = [one for one in held if one != LEFT_OUT and (not languages or one in named(languages))]
    if not wanted:
        raise InputError(
            f"no file in {', '.join(languages)} is indexed",
            f"there are: {', '.join(sorted(set(held) - {LEFT_OUT}))}",
        )
    if not paths:
        return [stored_path(language, "").rstrip("/") for language in wanted]
    inside = [one for one in stored if split_path(one)[0] in wanted]
    return [place for path in paths for place in _places(path, inside, wanted)]


def _places(path: str, stored: Sequence[str], languages: Sequence[str]) -> list[str]:
    if _PATTERN & set(path):
        found = _matching(path, stored)
    else:
        plain = str(PurePosixPath(path)).removeprefix("/")
        below = [stored_path(one, "" if plain == "." else plain).rstrip("/") for one in languages]
        found = [one for one in below if any(file == one or file.startswith(f"{one}/") for file in stored)]
    if not found:
        raise InputError(
            f"{path}: no indexed file there", "give a path from the top of the repository, or a pattern"
        )
    return found


def _matching(pattern: str, stored: Sequence[str]) -> list[str]:
    try:
        from pathspec import GitIgnoreSpec
    except ImportError:
        raise MissingExtraError("pathspec", "search", "patterns of paths") from None
    spec = GitIgnoreSpec.from_lines([pattern])
    return [one for one in stored if spec.match_file(split_path(one)[1])]
