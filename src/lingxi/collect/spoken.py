"""The language that a place in a package says: `man/de/man1`, `docs/pt_BR/`, `index.fr.html`."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from lingxi import languages

_LOCALE = re.compile(r"([a-z]{2,3})([_-]([A-Z]{2}|[A-Z][a-z]{3}|[a-z]{2}|hans|hant|\d{3}))?(@[a-z]+)?")
# Folders whose children are languages; elsewhere three letters are as likely `bin`, `doc` or `war`.
_OF_LANGUAGES = frozenset(
    ["man", "help", "i18n", "l10n", "lang", "langs", "language", "languages", "locale", "locales", "HTML"]
)
_SECTION = re.compile(r"man\d\w*")


def language_of_place(place: str) -> str | None:
    """Our code of the language a path names, its innermost folder first, or an ending before the suffix."""
    path = PurePosixPath(place.removesuffix(".gz"))
    ending = path.name.split(".")[-2] if path.name.count(".") > 1 else ""
    if (found := _code(ending, False)) is not None and path.stem != ending:
        return found
    parts = path.parts[:-1]
    for number in range(len(parts) - 1, -1, -1):
        above = parts[number - 1] if number else ""
        below = parts[number + 1] if number + 1 < len(parts) else ""
        sure = above in _OF_LANGUAGES or _SECTION.fullmatch(below) is not None
        if (found := _code(parts[number], sure)) is not None:
            return found
    return None


def _code(part: str, sure: bool) -> str | None:
    match = _LOCALE.fullmatch(part)
    if match is None or (len(match[1]) == 3 and not sure):
        return None
    code = languages.of_locale(part)
    known = languages.script(code) is not None and code.split("-")[0] not in languages.CONSTRUCTED
    return code if known else None
