"""Pictures with captions: rows of modality "image", one for each caption, `media` the address of the picture.

Read are folders of unpacked packages: Tux Paint's stamps (captions in 78 languages), the drawings of
Openclipart (title and keywords inside the SVG), emoji (pictures of a colour font, names of CLDR), and any
folder of pictures (the name of the file is the caption). `uri` is the picture's place in its package: the
group that splits never cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lingxi.collect.cldr import names
from lingxi.collect.origin import Origin, code_of
from lingxi.errors import InputError, MissingExtraError
from lingxi.records import Document, digest

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".svg")
_TITLE, _WORD = "{http://purl.org/dc/elements/1.1/}title", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
# What clip art is filed under and says nothing of the picture.
_EMPTY_WORDS = frozenset(
    ("unsorted", "externalsource", "clip art", "clipart", "image", "png", "svg", "media")
)
_NO_TITLE = re.compile(r"^[\W\d_]*$|^(untitled|new document|clipart|\w{1,2})\W*\d*$", re.I)


def captioned(origin: Origin, picture: Path, root: Path, caption: str, language: str) -> Document:
    """One caption of a picture below `root`."""
    place = picture.relative_to(root).as_posix()
    return Document(
        id=digest(origin.source, place, language, caption),
        text=caption,
        language=language,
        source=origin.source,
        licence=origin.licence,
        uri=place,
        modality="image",
        media=str(picture),
    )


def read_stamps(root: Path, origin: Origin) -> Iterator[Document]:
    """Captions of Tux Paint's stamps below `root`: English on the first line, then `xx.utf8=…` for others."""
    for path in sorted(root.rglob("*.txt")):
        picture = _beside(path)
        if picture is None:
            origin.left_out.append(f"{path}: no picture beside it")
            continue
        for language, caption in stamp_captions(path).items():
            yield captioned(origin, picture, root, caption, language)


def stamp_captions(path: Path) -> dict[str, str]:
    """Language to caption in a stamp's text file; the first of a language counts (`en`, then `en_GB`)."""
    first, *others = path.read_text("utf-8", "replace").splitlines() or [""]
    found = {"en": first.strip()}
    for line in others:
        name, _, text = line.partition(".utf8=")
        if text.strip():
            found.setdefault(code_of(name), text.strip())
    return {language: text for language, text in found.items() if text}


def _beside(path: Path) -> Path | None:
    """The picture of the same name; a photograph before a drawing."""
    return next((other for end in SUFFIXES if (other := path.with_suffix(end)).is_file()), None)


def read_clipart(root: Path, origin: Origin) -> Iterator[Document]:
    """Title and keywords (two rows, both in English) of each SVG below `root` that has some."""
    for path in sorted(root.rglob("*.svg")):
        try:
            title, words = _described(path)
        except (ElementTree.ParseError, OSError) as problem:
            origin.left_out.append(f"{path}: {problem}")
            continue
        if title:
            yield captioned(origin, path, root, title, "en")
        if words:
            yield captioned(origin, path, root, ", ".join(words), "en")


def _described(path: Path) -> tuple[str | None, list[str]]:
    """The first title and the keywords; a file that defines entities is left alone."""
    text = path.read_bytes()
    if b"<!ENTITY" in text:
        raise ElementTree.ParseError("it defines entities")
    tree = ElementTree.fromstring(text)
    title = " ".join((tree.findtext(f".//{_TITLE}") or "").replace("_", " ").split())
    words = [" ".join((item.text or "").split()).lower() for item in tree.iter(_WORD)]
    kept = [word for word in dict.fromkeys(words) if word and word not in _EMPTY_WORDS]
    return (None if _NO_TITLE.match(title) else title), kept


def read_emoji(font: Path, annotations: Path, folder: Path, origin: Origin) -> Iterator[Document]:
    """Names, in every language of CLDR's `annotations`, of the single-character emoji of a bitmap `font`.

    The pictures are written into `folder`. Raises MissingExtraError without fonttools.
    """
    pictures = _glyphs(font, folder)
    for path in sorted(annotations.glob("*/annotations.json")):
        language = code_of(path.parent.name)
        for key, name in names(path):
            picture = pictures.get(key.split("/")[-1].removesuffix("\ufe0f"))
            if picture is not None and not _REGION.search(path.parent.name):
                yield captioned(origin, picture, folder, name, language)


_REGION = re.compile(r"-([A-Z]{2}|\d{3})$")


def _glyphs(font: Path, folder: Path) -> dict[str, Path]:
    """Character to picture for each bitmap of the largest size of a colour font (CBDT)."""
    try:
        from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
    except ImportError as absent:
        raise MissingExtraError("fonttools", "train", "reading emoji of a font") from absent
    opened: Any = TTFont(str(font), lazy=True)
    if "CBDT" not in opened:
        raise InputError(f"{font} has no colour bitmaps", "give a font with a CBDT table")
    folder.mkdir(parents=True, exist_ok=True)
    drawn, found = opened["CBDT"].strikeData[0], {}
    for code, glyph in opened.getBestCmap().items():
        if glyph in drawn and code > 0xFF:
            path = folder / f"{code:x}.png"
            path.write_bytes(drawn[glyph].imageData)
            found[chr(code)] = path
    return found


def read_folder(root: Path, origin: Origin) -> Iterator[Document]:
    """Every picture below a folder, captioned by its name without the ending, `_` and `-` as spaces."""
    if not root.is_dir():
        raise InputError(f"no folder at {root}", "correct the path")
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            words = re.sub(r"[_\-\s]+", " ", path.stem).strip()
            yield captioned(origin, path, root, words, origin.language or "und")
