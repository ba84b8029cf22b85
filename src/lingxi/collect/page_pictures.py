"""Pages of PDFs as pictures: one row a page, `text` what stands on it, `media` its picture.

Rendered by poppler's `pdftoppm` and read by its `pdftotext`, for one file at a time and with a time limit.
`uri` is the document's place: the group that splits never cut.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

from lingxi.collect.origin import Origin
from lingxi.errors import InputError
from lingxi.records import Document, digest

MOST_PAGES = 60
_DOTS_AN_INCH = 50
_SECONDS = 300
_MOST_BYTES = 200 << 20
_LEAST_CHARACTERS, _MOST_CHARACTERS = 200, 2_000


def read_pages(root: Path, origin: Origin, folder: Path) -> Iterator[Document]:
    """Pages with text of every PDF below `root`, pictures in `folder`; at most 60 of a document.

    The language is `origin`'s, else what the file's name ends in (`install.de.pdf`, `guide-fr.pdf`). Raises
    InputError without poppler.
    """
    if shutil.which("pdftoppm") is None or shutil.which("pdftotext") is None:
        raise InputError("pdftoppm is not installed", "install poppler-utils")
    for path in [root] if root.is_file() else sorted((*root.rglob("*.pdf"), *root.rglob("*.pdf.gz"))):
        try:
            yield from _of_document(path, root, origin, folder)
        except (subprocess.SubprocessError, OSError, EOFError, zlib.error, InputError) as problem:
            origin.left_out.append(f"{path}: {problem}")


def _of_document(path: Path, root: Path, origin: Origin, folder: Path) -> Iterator[Document]:
    place = path.name if path == root else path.relative_to(root).as_posix()
    made = folder / digest(place)
    plain = path if path.suffix == ".pdf" else _unpacked(path, made)
    pictures = _rendered(plain, made)
    texts = _run(["pdftotext", "-l", str(MOST_PAGES), str(plain), "-"]).split("\f")
    for number, (picture, text) in enumerate(zip(pictures, texts, strict=False), 1):
        said = " ".join(text.split())
        if len(said) >= _LEAST_CHARACTERS:
            yield Document(
                id=digest(origin.source, place, str(number)),
                text=said[:_MOST_CHARACTERS],
                title=f"page {number}",
                language=origin.language or language_of(path),
                source=origin.source,
                licence=origin.licence,
                uri=place,
                modality="image",
                media=str(picture),
            )


def language_of(path: Path) -> str:
    """The code at the end of a document's name, or "und"."""
    found = re.search(r"[._-]([a-z]{2,3})(?:[_-][A-Za-z]{2,4})?\.pdf(?:\.gz)?$", path.name)
    return found[1] if found else "und"


def _unpacked(path: Path, folder: Path) -> Path:
    """A `.pdf.gz` unpacked into `folder`, of at most 200 MB."""
    with gzip.open(path) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise InputError(f"{path} unpacks to more than {_MOST_BYTES:,} bytes", "leave it out")
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "document.pdf"
    place.write_bytes(data)
    return place


def _rendered(path: Path, folder: Path) -> list[Path]:
    """Pictures of the first pages, in their order; what is there already is not rendered again."""
    if not any(folder.glob("page-*.png")):
        folder.mkdir(parents=True, exist_ok=True)
        command = ["pdftoppm", "-png", "-r", str(_DOTS_AN_INCH), "-l", str(MOST_PAGES)]
        _run([*command, str(path), str(folder / "page")])
    return sorted(folder.glob("page-*.png"), key=lambda picture: int(picture.stem.split("-")[-1]))


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True)
    return done.stdout.decode("utf-8", "replace")
