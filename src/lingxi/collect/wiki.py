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
from lingxi.collect.instructions import SECTION, TITLE
from lingxi.collect.origin import Origin, pair
from lingxi.errors import InputError, MissingExtraError
from lingxi.parse.headings import HOLLOW
from lingxi.records import Pair, digest

_ARTICLES = 0
_LEAST_TEXT, _MOST_TEXT = 80, 4000
# Longer pages are lists and logs.
_MOST_WIKITEXT = 400_000


def read_dump(path: Path, origin: Origin) -> Iterator[Pair]:
    """Stream the pairs of a dump, or of every dump of a folder; raises InputError for a broken one."""
    if path.is_dir():
        for inner in sorted(p for p in path.rglob("*.xml*") if not p.is_symlink()):
            yield from read_dump(inner, origin)
        return
    mwxml = _library("mwxml")
    try:
        with closing(_opened(path)) as file:
            dump = mwxml.Dump.from_file(file)
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
