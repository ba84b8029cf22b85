"""Pictures and recordings of a recipe: packages or folders to rows with captions, drawings rendered.

Comes in: sources (a reader, and Debian packages or folders of one's own). Comes out: `rows.parquet`, one row
a caption, and what was made on the way (emoji, drawings, pages, spoken captions) in `parts` beside it.
Unpacked packages stay in the cache, since rows hold addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from lingxi.collect import archives, drawn, page_pictures, pictures, recordings, registries
from lingxi.collect.origin import Origin
from lingxi.collect.voices import SpeakSettings, speak
from lingxi.config import Settings
from lingxi.errors import InputError
from lingxi.records import Document, write_documents

MediaReader = Literal[
    "folder", "stamps", "clipart", "emoji", "pages", "speech-folder", "speech-stamps", "speech-words"
]
ROWS = "rows.parquet"
PARTS = "parts"
"""What was made on the way, named by what it was made of: another run of the stage keeps it."""
Read = Callable[[Path, Origin], Iterator[Document]]
_SIMPLE: Mapping[str, Read] = {
    "folder": pictures.read_folder,
    "stamps": pictures.read_stamps,
    "clipart": pictures.read_clipart,
    "speech-folder": recordings.read_folder,
    "speech-stamps": recordings.read_stamp_speech,
    "speech-words": recordings.read_words,
}


class MediaSource(Settings):
    """One source of pictures or recordings: Debian packages, or folders of one's own, and their reader."""

    reader: MediaReader
    deb: tuple[str, ...] = ()
    """Debian packages by name."""
    paths: tuple[Path, ...] = ()
    """Folders of one's own, or of unpacked packages."""
    licence: str
    """Licence, kept on every row."""
    name: str | None = None
    """What rows say of their source; else the package and its version, or the folder's name."""
    language: str | None = None
    """Language of captions that do not say it."""
    names: str | None = None
    """For emoji: the npm package with CLDR's annotations, `name@version`, or its unpacked folder."""
    cap: int | None = Field(default=None, ge=1)
    """Most pictures or recordings, those that are drawn by their place's hash."""

    @model_validator(mode="after")
    def _checked(self) -> MediaSource:
        if bool(self.deb) == bool(self.paths):
            raise ValueError("a source has one of deb and paths")
        if (self.reader == "emoji") != (self.names is not None):
            raise ValueError("names are for the reader emoji, which needs them")
        if self.name is not None and len(self.deb or self.paths) > 1:
            raise ValueError("name is for a source of one package or folder")
        return self


class MediaCollectSettings(Settings):
    """Sources, how large drawings are rendered, and captions spoken by espeak-ng, if any are."""

    sources: tuple[MediaSource, ...]
    side: int = Field(default=240, ge=32, le=2048)
    """The longer side of a rendered drawing, in pixels."""
    speak: SpeakSettings | None = None
    cache: Path = Path("~/.cache/lingxi/packages")


@dataclass(frozen=True, slots=True)
class MediaCollected:
    """Rows written, by modality and by source, and what was left out, with the reason."""

    rows: int
    images: int
    sounds: int
    sources: Mapping[str, int]
    left_out: Sequence[str]


def collect_media(settings: MediaCollectSettings, out: Path) -> MediaCollected:
    """Read every source into `out`/rows.parquet; raises InputError where a package or folder is missing."""
    rows: list[Document] = []
    left_out: list[str] = []
    for source in settings.sources:
        for name, folder in _folders(source, settings.cache.expanduser()):
            origin = Origin(name, source.licence, source.language)
            made = out / PARTS / name
            read = reader_of(source.reader, made, _names(source, settings.cache.expanduser()))
            found = capped(list(read(folder, origin)), source.cap)
            if not found:
                raise InputError(f"{name} has nothing for the reader {source.reader}", "choose another")
            rows += drawn.rendered(found, made, settings.side, origin)
            left_out += origin.left_out
    if settings.speak is not None:
        rows += speak(
            [row for row in rows if row.modality == "image"], out / PARTS / "espeak", settings.speak
        )
    write_documents(rows, out / ROWS)
    media = {(row.modality, row.media) for row in rows}
    counts = {kind: sum(1 for found, _ in media if found == kind) for kind in ("image", "audio")}
    return MediaCollected(len(rows), counts["image"], counts["audio"], by_source(rows), left_out)


def reader_of(name: str, folder: Path, names: Path | None) -> Read:
    """The reader of that name; what it makes lies in `folder`. Raises InputError for an unknown one."""
    if name in _SIMPLE:
        return _SIMPLE[name]
    if name == "pages":
        return lambda root, origin: page_pictures.read_pages(root, origin, folder)
    if name != "emoji":
        raise InputError(
            f"unknown reader {name!r}", f"choose one of: {', '.join((*_SIMPLE, 'emoji', 'pages'))}"
        )
    if names is None:
        raise InputError("emoji without names", "give CLDR's annotations")
    return lambda root, origin: pictures.read_emoji(_font(root), names, folder, origin)


def capped(rows: Sequence[Document], most: int | None) -> list[Document]:
    """Rows of at most so many pictures or recordings: those whose hash is smallest, in the old order."""
    from lingxi.records import drawn as number

    if most is None:
        return list(rows)
    kept = sorted({row.media or "" for row in rows}, key=lambda media: number(0, Path(media).name))[:most]
    return [row for row in rows if row.media in set(kept)]


def by_source(rows: Sequence[Document]) -> dict[str, int]:
    """How many rows each source gave."""
    ordered = sorted(row.source or "" for row in rows)
    return {name: len(list(found)) for name, found in groupby(ordered)}


def _folders(source: MediaSource, cache: Path) -> Iterator[tuple[str, Path]]:
    for path in source.paths:
        folder = path.expanduser().absolute()
        if not folder.exists():
            raise InputError(f"no folder at {folder}", "correct paths in the recipe")
        yield source.name or folder.name, folder
    for name in source.deb:
        package = registries.fetched_deb(name, cache)
        # The file's name holds the version, which the rows are to state.
        yield source.name or package.stem, archives.opened_deb(package, cache)


def _names(source: MediaSource, cache: Path) -> Path | None:
    if source.names is None:
        return None
    own = Path(source.names).expanduser()
    folder = (
        own if own.is_dir() else archives.opened_archive(registries.fetched_npm(source.names, cache), cache)
    )
    return next((path for path in sorted(folder.rglob("annotations")) if path.is_dir()), folder)


def _font(root: Path) -> Path:
    fonts = [root] if root.is_file() else sorted(root.rglob("*.ttf"))
    if len(fonts) != 1:
        raise InputError(f"{root} holds {len(fonts)} fonts", "name the font's file")
    return fonts[0]
