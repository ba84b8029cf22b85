"""The language that a place in a package says: `man/de/man1`, `docs/pt_BR`, `index.fr.html`.

Two letters are often no language: `os`, `ml`, `ts`, `cs`, `in` are systems, programs and endings too. So a
name counts where manual pages have their language, where it names a region or a script, below a folder that
holds languages alone, with `index.xx.html`, and beside versions in English or in three other languages of
wide use, as `docs/fr` beside `docs/en`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path, PurePosixPath

from lingxi import languages
from lingxi.collect.origin import code_of

# The names in a folder, by its place; "." is the top.
Beside = Callable[[str], Collection[str]]
_LOCALE = re.compile(
    r"([a-z]{2,3})(?:([_-](?:[A-Z]{2}|[A-Z][a-z]{3}|hans|hant|\d{3})|@[a-z]+)|[_-][a-z]{2})?(?:@[a-z]+)?"
)
# Folders whose children are languages; those of `lang` or `languages` may be of programs.
_OF_LANGUAGES = frozenset(["man", "help", "i18n", "l10n", "locale", "locales", "HTML"])
_SECTION = re.compile(r"man[1-9n]\w*")
_ENOUGH = 3


def language_of_place(place: str, beside: Beside, stated: str | None = None) -> str | None:
    """Our code of the language of the page at `place`, a path in its package.

    The folder of a manual page says it as the page itself would; else it is `stated`, the source's; only
    where there is none either, what the path makes likely.
    """
    return _of_manual(place) or stated or _of_ending(place, beside) or _of_folder(place, beside)


def names_below(root: Path) -> Beside:
    """The names in the folders below a root; none where a folder cannot be read."""

    @lru_cache(maxsize=64)
    def names(place: str) -> frozenset[str]:
        folder = root / place
        return frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()

    return names


def _of_manual(place: str) -> str | None:
    parts = PurePosixPath(place).parts
    for above, part, below in zip(parts, parts[1:], parts[2:], strict=False):
        if above == "man" and _SECTION.fullmatch(below) and (found := _code(part)):
            return found
    return None


def _of_ending(place: str, beside: Beside) -> str | None:
    """As `guide.fr.html` beside `guide.en.html`, or beside `index.fr.html`."""
    path = PurePosixPath(place.removesuffix(".gz"))
    ending, last = path.with_suffix("").suffix[1:], path.suffix
    found = _code(ending) if len(ending) != 3 else None
    if found is None:
        return None
    names = {path.name, *(name.removesuffix(".gz") for name in beside(str(path.parent)))}
    start = path.name.removesuffix(f"{ending}{last}")
    versions = [n[len(start) : -len(last)] for n in names if n.startswith(start) and n.endswith(last)]
    if _is_sure(ending) or f"index.{ending}{last}" in names or _are_languages(versions):
        return found
    return None


def _of_folder(place: str, beside: Beside) -> str | None:
    """The innermost folder of a language."""
    for folder in PurePosixPath(place).parents:
        name, above = folder.name, folder.parent
        if (found := _code(name)) is None:
            continue
        if above.name in _OF_LANGUAGES or _is_sure(name):
            return found
        if len(name) != 3 and _are_languages(beside(str(above))):
            return found
    return None


def _are_languages(names: Collection[str]) -> bool:
    """Whether names that stand beside each other are versions of one thing in several languages."""
    codes = {code for name in names if len(name) != 3 and (code := _code(name)) is not None}
    wide = sum(map(languages.is_resourced, codes))
    return len(codes) > 1 and ("en" in codes or wide >= _ENOUGH)


def _is_sure(name: str) -> bool:
    """Whether a locale names a region or a script: that is no chance."""
    found = _LOCALE.fullmatch(name)
    return found is not None and found[2] is not None


def _code(name: str) -> str | None:
    """Our code of a locale in a written language; three letters are as likely `bin`, `doc` or `war`."""
    if _LOCALE.fullmatch(name) is None:
        return None
    code = code_of(name)
    known = languages.script(code) is not None and code.split("-")[0] not in languages.CONSTRUCTED
    return code if known else None
