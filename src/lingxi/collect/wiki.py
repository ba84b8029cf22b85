"""Pairs from MediaWiki's XML dumps (`…-pages-articles.xml`, `.bz2`): titles ask for articles, headings for
sections. Read as a stream by mwxml, wiki syntax taken off by mwparserfromhell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from lingxi.collect.bounded import Prolog, files_below
from lingxi.collect.instructions import SECTION, TITLE
from lingxi.collect.origin import Origin, pair, unless_refused
from lingxi.errors import InputError, MissingExtraError
from lingxi.languages import normalise
from lingxi.lines import opened
from lingxi.parse.headings import HOLLOW
from lingxi.records import Pair, digest

_ARTICLES = 0
_PROJECT = re.compile(r"wik(i|tionary|ibooks|inews|iquote|isource|iversity|ivoyage)$")
_CODE = re.compile(r"[a-z]{2,3}(-[a-z]+)*")
# Wikis whose name is no code of a language, or that of another one.
_WIKIS = {"simple": "en", "als": "gsw", "be_x_old": "be"}
_LEAST_TEXT, _MOST_TEXT = 80, 4000
# An article with its markup is never larger, so memory stays bounded.
_MOST_PAGE = 64 * 2**20
# Longer pages are lists and logs.
_MOST_WIKITEXT = 400_000


def read_dump(path: Path, origin: Origin) -> Iterator[Pair]:
    """Stream the pairs of a dump, or of every dump of a folder.

    The language is the origin's, else the wiki's. Raises InputError for a broken dump, and for a wiki whose
    name says no language where the origin does not either.
    """
    if path.is_dir():
        for _, inner in files_below(path):
            if ".xml" in inner.name:
                yield from unless_refused(read_dump(inner, origin), origin, inner)
        return
    mwxml = _library("mwxml")
    try:
        with closing(opened(path)) as file:
            dump = mwxml.Dump.from_file(_Paged(file, path))
            code = origin.language or _language(dump.site_info.dbname or "", path)
            for page in dump.pages:
                if page.namespace == _ARTICLES and not page.redirect:
                    yield from _page(page, code, origin)
    except (OSError, EOFError, ValueError, SyntaxError, UnicodeError) as problem:
        raise InputError(f"{path} is no readable dump ({problem})", "download it again") from problem


def _language(wiki: str, path: Path) -> str:
    """Our code of the language that a wiki's name begins with: `swwiki`, `zh_min_nanwiki`, `enwiktionary`."""
    named = _PROJECT.sub("", wiki)
    code = normalise(_WIKIS.get(named, named))
    if not _CODE.fullmatch(code):
        raise InputError(
            f"{path}: the wiki {wiki!r} says no language",
            'set it for the source, for example language = "en"',
        )
    return code


def sections(wikitext: str) -> Iterator[tuple[str, str]]:
    """Heading (empty for the lead) and plain text of each section of a page, subsections apart."""
    parser = _library("mwparserfromhell")
    for section in parser.parse(wikitext).get_sections(flat=True, include_lead=True):
        headings = section.filter_headings()
        title = str(headings[0].title.strip_code()).strip() if headings else ""
        for heading in headings:
            section.remove(heading)
        lines = (line.strip(" *#:;") for line in str(section.strip_code()).splitlines())
        yield title, "\n".join(line for line in lines if line)


def _page(page: Any, code: str, origin: Origin) -> Iterator[Pair]:
    revision = next(iter(page), None)
    text = getattr(revision, "text", None) or ""
    if len(text) > _MOST_WIKITEXT:
        return
    group = f"{origin.source}:{page.id}"
    for heading, body in sections(text):
        if len(body) < _LEAST_TEXT or heading.casefold() in HOLLOW:
            continue
        query = f"{page.title}: {heading}" if heading else page.title
        instruction = SECTION if heading else TITLE
        key, shown = digest(group, query, body), body[:_MOST_TEXT]
        yield pair(
            origin,
            key,
            group,
            query,
            shown,
            task="retrieval",
            instruction=instruction,
            languages=(code, code),
        )


class _Paged:
    """A dump as it is read: refused where it declares entities, or a page does not end."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path, self._since = file, path, 0
        self._prolog = Prolog(str(path))

    def read(self, size: int = 1 << 16) -> bytes:
        """The next bytes, at most 64 KiB of them; raises InputError as the class says."""
        data = self._file.read(min(size, 1 << 16) if size > 0 else 1 << 16)
        self._prolog.feed(data)
        self._since = 0 if b"</page>" in data else self._since + len(data)
        if self._since > _MOST_PAGE:
            raise InputError(f"{self._path} holds a page of over {_MOST_PAGE >> 20} MiB", "leave it out")
        return data


def _library(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise MissingExtraError(name, "collect", "reading MediaWiki dumps") from None
