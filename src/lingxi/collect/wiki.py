"""Pairs from MediaWiki's XML dumps (`…-pages-articles.xml`, `.bz2`): titles ask for articles, headings for
sections. Read as a stream by mwxml, wiki syntax taken off by mwparserfromhell.
"""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from lingxi import languages
from lingxi.collect.bounded import files_below, refuse_entities
from lingxi.collect.instructions import SECTION, TITLE
from lingxi.collect.origin import Origin, pair, unless_refused
from lingxi.errors import InputError, MissingExtraError
from lingxi.parse.headings import HOLLOW
from lingxi.records import Pair, digest

_ARTICLES = 0
_LEAST_TEXT, _MOST_TEXT = 80, 4000
# An article with its markup is never larger, so memory stays bounded.
_MOST_PAGE = 64 * 2**20
# Longer pages are lists and logs.
_MOST_WIKITEXT = 400_000


def read_dump(path: Path, origin: Origin) -> Iterator[Pair]:
    """Stream the pairs of a dump, or of every dump of a folder; raises InputError for a broken one."""
    if path.is_dir():
        for _, inner in files_below(path):
            if ".xml" in inner.name:
                yield from unless_refused(read_dump(inner, origin), origin)
        return
    mwxml = _library("mwxml")
    try:
        with closing(_opened(path)) as file:
            dump = mwxml.Dump.from_file(_Paged(file, path))
            code = languages.of_locale((dump.site_info.dbname or "").removesuffix("wiki") or "en")
            for page in dump.pages:
                if page.namespace == _ARTICLES and not page.redirect:
                    yield from _page(page, code, origin)
    except (OSError, EOFError, ValueError, SyntaxError, UnicodeError) as problem:
        raise InputError(f"{path} is no readable dump ({problem})", "download it again") from problem


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
        self._file, self._path, self._since, self._begun = file, path, 0, False

    def read(self, size: int = 1 << 16) -> bytes:
        """The next bytes, at most 64 KiB of them; raises InputError as the class says."""
        data = self._file.read(min(size, 1 << 16) if size > 0 else 1 << 16)
        if not self._begun:
            refuse_entities(data, str(self._path))
            self._begun = True
        self._since = 0 if b"</page>" in data else self._since + len(data)
        if self._since > _MOST_PAGE:
            raise InputError(f"{self._path} holds a page of over {_MOST_PAGE >> 20} MiB", "leave it out")
        return data


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".bz2":
        return bz2.open(path)
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _library(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise MissingExtraError(name, "collect", "reading MediaWiki dumps") from None
