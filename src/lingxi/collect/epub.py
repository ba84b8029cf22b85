"""Chapters of EPUB books, in reading order: a zip of XHTML with a package file that lists it."""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from lingxi.collect.archives import check_zip
from lingxi.collect.bounded import refuse_entities
from lingxi.errors import InputError

# More than any book without its pictures; a chapter is a file of text.
MOST_BOOK, MOST_CHAPTER = 512 * 2**20, 10_000_000
_CONTAINER = "META-INF/container.xml"
_ROOT = ".//{urn:oasis:names:tc:opendocument:xmlns:container}rootfile"
_OPF, _DC = "{http://www.idpf.org/2007/opf}", "{http://purl.org/dc/elements/1.1/}"
_BROKEN = (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, KeyError, zlib.error)


@dataclass(frozen=True, slots=True)
class Chapter:
    """The XHTML of a chapter, where in the book it lies, and the book's title and language."""

    place: str
    data: bytes
    title: str | None
    language: str | None


def chapters(path: Path, place: str) -> Iterator[Chapter]:
    """Stream the chapters of a book.

    Raises InputError for a book that is torn, unpacks to more than a book, names files outside of itself, or
    declares XML entities.
    """
    try:
        with zipfile.ZipFile(path) as book:
            check_zip(book, place, MOST_BOOK)
            root = _xml(book, _CONTAINER, place).find(_ROOT)
            package = "" if root is None else root.get("full-path", "")
            yield from _listed(book, package, place)
    except (*_BROKEN, ElementTree.ParseError) as problem:
        raise InputError(f"{place} is no readable EPUB ({problem})", "download it again") from problem


def _listed(book: zipfile.ZipFile, package: str, place: str) -> Iterator[Chapter]:
    tree = _xml(book, package, place)
    said = {name: _text(tree, name) for name in ("title", "language")}
    items = {item.get("id"): item for item in tree.iter(f"{_OPF}item")}
    seen: set[str] = set()
    for reference in tree.iter(f"{_OPF}itemref"):
        item = items.get(reference.get("idref"))
        if item is None or "html" not in item.get("media-type", ""):
            continue
        inside = _inside(package, item.get("href", ""), place)
        # A spine may name a chapter without end.
        if inside not in seen:
            seen.add(inside)
            yield Chapter(f"{place}#{inside}", _read(book, inside, place), said["title"], said["language"])


def _inside(package: str, href: str, place: str) -> str:
    """Where a chapter lies in the zip; its address is relative to the package file."""
    found = posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote(href.partition("#")[0])))
    if found.startswith(("/", "..")):
        raise InputError(f"{place} names {href!r}, which lies outside of it", "do not trust this book")
    return found


def _xml(book: zipfile.ZipFile, name: str, place: str) -> ElementTree.Element:
    data = _read(book, name, place)
    refuse_entities(data, f"{place}#{name}")
    return ElementTree.fromstring(data)


def _read(book: zipfile.ZipFile, name: str, place: str) -> bytes:
    size = book.getinfo(name).file_size
    if size > MOST_CHAPTER:
        raise InputError(f"{place}#{name} unpacks to {size / 1e6:,.0f} MB", "do not trust this book")
    return book.read(name)


def _text(tree: ElementTree.Element, name: str) -> str | None:
    found = tree.find(f".//{_DC}{name}")
    return (found.text or "").strip() or None if found is not None else None
