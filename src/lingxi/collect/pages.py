"""Pages: HTML, Markdown, reStructuredText, plain text, PDF, EPUB and manual pages, alone or in trees.

Each becomes a document in Markdown (a book one a chapter). What cannot be read is named, the rest goes on.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from lingxi.collect.bounded import files_below, read_whole, refuse_entities
from lingxi.collect.epub import chapters
from lingxi.collect.origin import Origin, document, unless_refused
from lingxi.collect.spoken import language_of_place, names_below
from lingxi.errors import InputError
from lingxi.lines import opened
from lingxi.parse import Content, Skip, decode, kind_of, sections, size_limit
from lingxi.parse.roff import is_roff, read_roff
from lingxi.parse.rst import rst_as_markdown
from lingxi.records import Document

_SUFFIXES = (".html", ".htm", ".xhtml", ".md", ".markdown", ".mdx", ".qmd", ".rmd", ".rst", ".txt", ".pdf")
_MANUAL = re.compile(r".+\.[1-9n][a-z]*")
_SECTION = re.compile(r"man[1-9n]\w*")
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$\n?", re.S | re.M)
_STATED = re.compile(r"^(title|lang|language)[ \t]*:[ \t]*[\"']?(.+?)[\"']?[ \t]*\r?$", re.M)
_LANG = re.compile(rb"<html\b[^>]{0,2000}?\b(?:xml:)?lang\s*=\s*[\"']?([A-Za-z0-9_-]{2,20})", re.I)
_TITLE = re.compile(rb"<title\b[^>]{0,200}>(.{1,1000}?)</title", re.I | re.S)
_MOST_TITLE = 200

Read = Callable[[str, Path, Origin], Iterator[Document]]


def read_pages(path: Path, origin: Origin) -> Iterator[Document]:
    """Stream the documents of a page, or of every page below a folder in path order; links are not followed.

    The language is what the page states, else as `spoken.language_of_place`. Raises InputError for a single
    file that cannot be read; those of a folder are noted in `origin.left_out`.
    """
    top = path.absolute().parent
    if path.is_file():
        read = _reader_of(path)
        if read is None:
            raise InputError(f"{path} is no page", "give HTML, Markdown, text, PDF, EPUB or a manual page")
        said = language_of_place(path.name, names_below(top), origin.language)
        yield from read(path.name, path, replace(origin, language=said))
        return
    beside = names_below(path)
    # A folder of one language may be given itself, as `man/de`.
    whole = language_of_place(f"{top.name}/{path.name}/page", names_below(top.parent), origin.language)
    for place, inner in files_below(path):
        if read := _reader_of(inner):
            said = language_of_place(place, beside, origin.language) or whole
            yield from unless_refused(read(place, inner, replace(origin, language=said)), origin, inner)


def _reader_of(path: Path) -> Read | None:
    name = _unpacked_name(path).lower()
    if name.endswith(".epub"):
        return _book
    if name.endswith(_SUFFIXES):
        return _page
    if _MANUAL.fullmatch(name) and (_SECTION.fullmatch(path.parent.name) or _begins_as_roff(path)):
        return _manual
    return None


def _unpacked_name(path: Path) -> str:
    return path.name.removesuffix(".gz")


def _begins_as_roff(path: Path) -> bool:
    """Many names end in a number, as those of libraries do."""
    try:
        with opened(path) as file:
            return is_roff(file.read(4096).decode("latin-1"))
    except (OSError, EOFError):
        return False


def _page(place: str, path: Path, origin: Origin) -> Iterator[Document]:
    name = Path(_unpacked_name(path))
    data = read_whole(path, size_limit(name))
    if kind_of(name)[0] == "html":
        yield from _of_html(place, data, None, None, origin)
    elif (content := _decoded(name, data, place)) is not None:
        title, language, text = _of_content(content)
        yield from _said(origin, place, text, title, language)


def _of_content(content: Content) -> tuple[str | None, str | None, str]:
    """Title, stated language and Markdown of a page that is no HTML."""
    if content.kind == "pdf":
        return content.title, None, content.text.replace("\f\n", "\n\n")
    if content.kind == "rst":
        text = rst_as_markdown(content.text)
        return _first_heading(text), None, text
    if content.kind == "markdown":
        front = _FRONT.match(content.text)
        stated = dict(_STATED.findall(front[1])) if front else {}
        text = content.text[front.end() :] if front else content.text
        language = stated.get("lang") or stated.get("language")
        return stated.get("title") or _first_heading(text), language, text
    return _first_line(content.text), None, content.text


def _of_html(
    place: str, data: bytes, title: str | None, language: str | None, origin: Origin
) -> Iterator[Document]:
    refuse_entities(data, place)
    content = _decoded(Path("page.html"), data, place)
    if content is not None:
        stated = _LANG.search(data[:65536])
        heading = _first_heading(content.text) or _html_title(data) or title
        said = stated[1].decode() if stated else language
        yield from _said(origin, place, content.text, heading, said)


def _book(place: str, path: Path, origin: Origin) -> Iterator[Document]:
    for chapter in chapters(path, place):
        rows = _of_html(chapter.place, chapter.data, chapter.title, chapter.language, origin)
        yield from unless_refused(rows, origin, chapter.place)


def _manual(place: str, path: Path, origin: Origin) -> Iterator[Document]:
    content = _decoded(Path("manual.txt"), read_whole(path, size_limit(Path("manual.txt"))), place)
    if content is not None:
        title, text = read_roff(content.text)
        yield from _said(origin, place, text, title, None)


def _decoded(name: Path, data: bytes, place: str) -> Content | None:
    """The text of a page; None where it is empty. Raises InputError for what is no text."""
    content = decode(name, data)
    if isinstance(content, Skip):
        if content.reason in ("empty", "HTML without text"):
            return None
        raise InputError(f"{place}: {content.reason}", "convert it, or leave it out")
    return content


def _said(
    origin: Origin, place: str, text: str, title: str | None, language: str | None
) -> Iterator[Document]:
    if text.strip():
        yield document(origin, place, text.strip(), title=title, language=language)


def _first_heading(markdown: str) -> str | None:
    titles = (section.title.split(" > ")[0] for section in sections(markdown) if section.title)
    return next((title for title in titles if len(title) <= _MOST_TITLE), None)


def _first_line(text: str) -> str | None:
    """A short first line that stands alone, as above a letter."""
    found = re.match(r"\s*(\S[^\n]{0,120}?)[ \t]*\r?\n(?:[ \t]*\r?\n|[=\-~*]{3,})", text)
    return found[1] if found else None


def _html_title(data: bytes) -> str | None:
    found = _TITLE.search(data[:65536])
    return " ".join(html.unescape(found[1].decode("utf-8", "replace")).split()) if found else None
