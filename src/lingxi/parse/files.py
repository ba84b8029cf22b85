"""What a file is, and its text: plain, Markdown, code, HTML, PDF; anything else is skipped with a reason."""

from __future__ import annotations

import codecs
import io
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingxi.errors import MissingExtraError

_MARKDOWN = (".md", ".markdown", ".mdx", ".qmd", ".rmd")
_HTML = (".html", ".htm", ".xhtml")
_CODE = {
    suffix: language
    for language, suffixes in {
        "python": ".py .pyi",
        "java": ".java",
        "javascript": ".js .mjs .cjs .jsx",
        "typescript": ".ts .mts .cts",
        "tsx": ".tsx",
        "go": ".go",
        "rust": ".rs",
        "c": ".c .h",
        "cpp": ".cc .cpp .cxx .hh .hpp .hxx",
        "c_sharp": ".cs",
        "ruby": ".rb",
        "php": ".php",
        "bash": ".sh .bash",
        "sql": ".sql",
    }.items()
    for suffix in suffixes.split()
}
KINDS = ("text", "markdown", "rst", "code", "html", "pdf")
LANGUAGES = tuple(sorted(set(_CODE.values())))
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SHEBANG = re.compile(rb"#!\S*?(?:/env\s+)?(?:\S*/)?(python|bash|sh|node|ruby|php)[\d.]*\s")
_INTERPRETERS = {b"sh": "bash", b"node": "javascript"}
_SNIFFED = 8192
_LARGEST_TEXT = 10_000_000
_DATA = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".lock", ".map", ".xml", ".ipynb")
_LARGEST_DATA = 250_000
_LARGEST_PDF = 100_000_000


@dataclass(frozen=True, slots=True)
class Content:
    """The text of a file. `kind` is text, markdown, rst, code, html or pdf; `language` is set for code.

    Newlines are as in the file. Text of HTML and PDF is extracted (HTML as Markdown, a form feed
    after each page of a PDF); `places` then gives, for every line of the text, the line of the HTML
    file or the page of the PDF it comes from. `title` is what a PDF says of itself.
    """

    text: str
    kind: str
    language: str | None = None
    places: tuple[int, ...] | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a file has no text to search."""

    reason: str


def kind_of(path: Path, head: bytes = b"") -> tuple[str, str | None]:
    """Kind and code language of a file, by its name, or by its first bytes where the name says nothing."""
    suffix = path.suffix.lower()
    if head[:1024].lstrip().startswith(b"%PDF-") or suffix == ".pdf":
        return "pdf", None
    if suffix in _MARKDOWN:
        return "markdown", None
    if suffix == ".rst":
        return "rst", None
    if suffix in _HTML:
        return "html", None
    if suffix in _CODE:
        return "code", _CODE[suffix]
    shebang = None if suffix else _SHEBANG.match(head)
    if shebang:
        return "code", _INTERPRETERS.get(shebang[1], shebang[1].decode())
    return "text", None


def suffixes_of(name: str) -> tuple[str, ...]:
    """The endings of names that say a kind (none for `text`) or a code language."""
    if name == "code":
        return tuple(_CODE)
    kinds = {"markdown": _MARKDOWN, "rst": (".rst",), "html": _HTML, "pdf": (".pdf",)}
    return kinds.get(name) or tuple(suffix for suffix, language in _CODE.items() if language == name)


def size_limit(path: Path) -> int:
    """Largest size in bytes that is read: a PDF carries images, other files are text alone.

    Large JSON and tables are a program's data: nobody searches a vocabulary by meaning, and it costs
    more to embed than all the documents beside it.
    """
    suffix = path.suffix.lower()
    if suffix in _DATA:
        return _LARGEST_DATA
    return _LARGEST_PDF if suffix == ".pdf" else _LARGEST_TEXT


def decode(path: Path, data: bytes) -> Content | Skip:
    """The text of a file from its bytes, or why there is none.

    Raises MissingExtraError where the reader of HTML or PDF is not installed.
    """
    kind, language = kind_of(path, data)
    if not data.strip():
        return Skip("empty")
    if path.suffix.lower() == ".svg":
        # Its markup is numbers: passages of it stand in the way of every search.
        return Skip("drawing")
    if kind == "pdf":
        return _decode_pdf(data)
    if kind == "html":
        return _decode_html(data)
    text = _decode_text(data)
    return text if isinstance(text, Skip) else Content(text, kind, language)


def _decode_text(data: bytes) -> str | Skip:
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data[:_SNIFFED]:
        return Skip("binary")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return Skip("not UTF-8 text (convert it, for example with iconv)")


def _decode_html(data: bytes) -> Content | Skip:
    try:
        import trafilatura
        from trafilatura.utils import decode_file
    except ImportError as error:
        raise MissingExtraError(error.name or "trafilatura", "search", "reading HTML") from None
    source = _decode_text(data)
    if isinstance(source, Skip):
        if source.reason == "binary":
            return source
        source = str(decode_file(data))
    try:
        text = trafilatura.extract(
            source, output_format="markdown", include_comments=False, favor_recall=True
        )
        text = _clean(text or trafilatura.html2txt(source) or "")
    except Exception as error:  # a page that breaks the parser must not stop the others
        return Skip(f"HTML that cannot be read ({type(error).__name__})")
    if not text.strip():
        return Skip("HTML without text")
    return Content(text, "html", None, _places_in_html(text, source))


def _places_in_html(text: str, source: str) -> tuple[int, ...]:
    """Line of the HTML where each extracted line begins; where it is not found, that of the line before."""
    places: list[int] = []
    at, line = 0, 1
    for extracted in text.split("\n"):
        words = re.match(r"[\W_]*([^<>&\n]{1,40}?)(?=[<>&\n*`|\[]|$|(?<=.{40}))", extracted)
        found = source.find(words[1], at) if words and words[1].strip() else -1
        if found >= 0:
            line += source.count("\n", at, found)
            at = found
        places.append(line)
    return tuple(places)


def _decode_pdf(data: bytes) -> Content | Skip:
    try:
        import pypdf
    except ImportError as error:
        raise MissingExtraError(error.name or "pypdf", "search", "reading PDF") from None
    # It reports every oddity of a file on its own logger; what matters is raised.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            return Skip("PDF that asks for a password")
        pages = [_clean(page.extract_text()) for page in reader.pages]
        title = _clean(str((reader.metadata and reader.metadata.title) or "")).strip()
    except pypdf.errors.DependencyError:
        return Skip("encrypted PDF (needs the library 'cryptography')")
    except Exception as error:  # a damaged file fails anywhere in the reader, with any exception
        return Skip(f"damaged PDF ({type(error).__name__})")
    if not any(page.strip() for page in pages):
        return Skip("PDF without text (scanned pages need text recognition first)")
    return Content("\f\n".join(pages), "pdf", None, _pages_of_lines(pages), title or None)


def _pages_of_lines(pages: list[Any]) -> tuple[int, ...]:
    return tuple(number for number, page in enumerate(pages, 1) for _ in page.split("\n"))


def _clean(text: str) -> str:
    """Lone surrogates (from broken fonts) are no text; form feeds are kept for the ends of pages."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\f", " ")
