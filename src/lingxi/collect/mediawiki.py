"""Translation pairs from MediaWiki's messages: `*/i18n/{lang}.json` joined by key with `en.json` beside it.

Wiki syntax is taken off both sides; a parameter (`$1`) leaves no trace. The Debian package `mediawiki` is
the source, its files are GPL-2+. One message in all languages is one group.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

from lingxi import languages
from lingxi.collect.origin import Origin, translation
from lingxi.errors import InputError
from lingxi.records import Pair

# American Sign Language comes as SignWriting codes (`M512x518S15a37…`), no text to a tokeniser.
LEFT_OUT = languages.CONSTRUCTED | {"ase"}
LICENCE = "GPL-2+"
SOURCE = "mediawiki"

_COMMENT = re.compile(r"<!--.*?-->", re.S)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_CHOICE = re.compile(r"\{\{\s*(?:PLURAL|GENDER|GRAMMAR)\s*:[^{}|]*\|([^{}]*)\}\}", re.I)
_INSERT = re.compile(r"\{\{[^{}]*\}\}")
_EXPLICIT = re.compile(r"\d+=")
_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)*([^\[\]|]*)\]\]")
_WEB_LINK = re.compile(r"\[(?:https?:)?//[^\s\]]+\s*([^\]]*)\]|\[\$\d+\s+([^\]]*)\]")
_ADDRESS = re.compile(r"https?://\S+")
_PARAMETER = re.compile(r"\$(?:\d+|\{\w+\}|[A-Z]{4,})")
_WIKI_QUOTE = re.compile(r"'{2,}|__[A-Z]+__")
_LEAD = re.compile(r"^[*#:;=\s]+|[=\s]+$", re.M)
_HOLLOW = re.compile(r"\(\s*\)|\[\s*\]|\{\s*\}|\"\s*\"|“\s*”|„\s*[“”]|«\s*»|「\s*」|『\s*』|‘\s*’|''")
_SPACE = re.compile(r"\s+")
_GAP = re.compile(r"\s+([,.;:!?)](?:\s|$))")


OWN = Origin(SOURCE, LICENCE)


def read_pairs(folder: Path, origin: Origin = OWN) -> Iterator[Pair]:
    """Stream X -> English pairs of every message under an unpacked MediaWiki, in path order.

    Raises InputError when the folder holds no messages.
    """
    found = sorted(path for path in folder.rglob("en.json") if "i18n" in path.parts)
    if not found:
        raise InputError(f"{folder} holds no */i18n/en.json", "give MediaWiki's folder or its Debian package")
    for path in found:
        yield from _pairs_beside(path, path.relative_to(folder).parent.as_posix(), origin)


def clean(text: str) -> str:
    """One line of plain text from a message: syntax, markup and parameters removed."""
    text = _TAG.sub(" ", html.unescape(_COMMENT.sub(" ", text)))
    # From the inside out: a choice may stand inside another.
    while (shorter := _CHOICE.sub(_last_choice, text)) != text:
        text = shorter
    while (shorter := _INSERT.sub(" ", text)) != text:
        text = shorter
    text = _WEB_LINK.sub(lambda found: found[1] or found[2] or " ", _LINK.sub(r"\1", text))
    text = _WIKI_QUOTE.sub("", _PARAMETER.sub(" ", _ADDRESS.sub(" ", text)))
    text = _SPACE.sub(" ", _LEAD.sub("", text))
    return _SPACE.sub(" ", _GAP.sub(r"\1", _HOLLOW.sub(" ", text))).strip(" -–—:;,|/")


def _pairs_beside(english_file: Path, name: str, origin: Origin) -> Iterator[Pair]:
    english = {key: cleaned for key, text in _messages(english_file).items() if (cleaned := clean(text))}
    for path in sorted(english_file.parent.glob("*.json")):
        code = languages.normalise(path.stem)
        if path.stem in ("en", "qqq") or code == "en" or code.split("-")[0] in LEFT_OUT:
            continue
        for key, text in _messages(path).items():
            if key in english:
                yield translation(origin, f"{origin.source}:{name}#{key}", code, clean(text), english[key])


def _messages(path: Path) -> dict[str, str]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as problem:
        raise InputError(
            f"{path} is no readable message file ({problem})", "unpack the package again"
        ) from problem
    return {key: text for key, text in loaded.items() if isinstance(text, str) and not key.startswith("@")}


def _last_choice(found: re.Match[str]) -> str:
    """The general form: the last alternative that is not bound to one number, as `12=a dozen` is."""
    options = found[1].split("|")
    general = [option for option in options if not _EXPLICIT.match(option.strip())]
    return (general or options)[-1]
