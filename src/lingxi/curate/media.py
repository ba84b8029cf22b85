"""Pictures and recordings kept or left out with a reason, and split so that nothing held out was learned.

Comes in: rows of `collect_media`. Comes out: `train.parquet` and `held-out.parquet`. A picture that cannot be
opened or is tiny, a recording that cannot be read or is too short, and a caption that many pictures carry are
left out. Near-duplicates (`looks`) are one group; a group, a document and all recordings of a picture's
captions are on one side. All of a held-out speaker is held out.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from pydantic import Field

from lingxi import pictures
from lingxi.config import Settings
from lingxi.curate.looks import groups, look, small
from lingxi.errors import InputError, LingxiWarning
from lingxi.media.sounds import open_sound
from lingxi.records import Document, drawn, read_documents, write_documents
from lingxi.vectors import Floats

TRAIN, HELD_OUT = "train.parquet", "held-out.parquet"
_MOST = 2**64


class MediaCurateSettings(Settings):
    """Bounds of what is kept, and what is held out: a share of the groups, and speakers."""

    least_side: int = Field(default=16, ge=1)
    least_seconds: float = Field(default=0.15, ge=0)
    most_items_a_caption: int = Field(default=30, ge=1)
    """A caption that more pictures of a source carry says nothing of any of them."""
    held_out: float = Field(default=0.25, ge=0, lt=1)
    held_speakers: tuple[str, ...] = ()
    """Speakers by name or shell pattern: all that they say is held out."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class MediaCurated:
    """Rows and items on both sides, groups of near-duplicates, and rows left out by reason."""

    train_rows: int
    held_rows: int
    train_items: int
    held_items: int
    groups: int
    dropped: Mapping[str, int]


def curate_media(settings: MediaCurateSettings, rows: Path, out: Path) -> MediaCurated:
    """Write both sides of the rows of a Parquet file; raises InputError where nothing is left."""
    given = list(read_documents(rows))
    dropped: Counter[str] = Counter()
    kept = _informative(given, settings, dropped)
    looked, kept = _openable(kept, settings, dropped)
    if not kept:
        raise InputError(f"{rows}: no picture or recording is left ({dict(dropped)})", "give other sources")
    grouped = groups_of(kept, looked)
    sides: dict[bool, list[Document]] = {True: [], False: []}
    for row in kept:
        sides[is_held(row, grouped[row.media or ""], settings)].append(row)
    write_documents(sides[False], out / TRAIN)
    write_documents(sides[True], out / HELD_OUT)
    items = {side: len({row.media for row in sides[side]}) for side in sides}
    return MediaCurated(
        train_rows=len(sides[False]),
        held_rows=len(sides[True]),
        train_items=items[False],
        held_items=items[True],
        groups=len(set(grouped.values())),
        dropped=dict(sorted(dropped.items())),
    )


def is_held(row: Document, group: str, settings: MediaCurateSettings) -> bool:
    """Whether a row of this group is held out: by its speaker, else by the hash of the group."""
    return _is_held_speaker(row, settings) or drawn(settings.seed, group) < settings.held_out * _MOST


def _is_held_speaker(row: Document, settings: MediaCurateSettings) -> bool:
    return row.modality == "audio" and any(
        fnmatchcase(row.title or "", pattern) for pattern in settings.held_speakers
    )


def groups_of(rows: Sequence[Document], looked: Mapping[str, Floats]) -> dict[str, str]:
    """Media to group: pictures by looks, pages by their document, recordings by their picture."""
    media = list(looked)
    looks = np.stack([looked[one] for one in media]) if media else np.zeros((0, 67), np.float32)
    places = groups(looks)
    pages = {row.media: key_of(row) for row in rows if (row.title or "").startswith("page ")}
    found = {one: pages.get(one) or media[place] for one, place in zip(media, places, strict=True)}
    by_key = {key_of(row): found[row.media] for row in rows if row.media in found}
    for row in rows:
        if row.media is not None and row.media not in found:
            found[row.media] = by_key.get(key_of(row), key_of(row))
    # A hash of names, not of addresses: the same rows are split the same in any folder.
    names = {one: key_of(row) for row in rows if (one := row.media) is not None}
    return {one: names.get(group, group) for one, group in found.items()}


def key_of(row: Document) -> str:
    """What a picture and the recordings of its captions share: the place in the package, without ending."""
    uri = row.uri or row.id
    return str(Path(uri).with_suffix("")) if row.modality == "image" else uri


def _informative(
    rows: Sequence[Document], settings: MediaCurateSettings, dropped: Counter[str]
) -> list[Document]:
    """Rows whose caption is there and not carried by too many pictures of their source."""
    carried = Counter({key: len(media) for key, media in _carriers(rows).items()})
    kept = []
    for row in rows:
        common = carried[(row.source, row.text)] > settings.most_items_a_caption
        if row.text.strip() and not common:
            kept.append(row)
        else:
            dropped["caption of many pictures" if common else "no caption"] += 1
    return kept


def _carriers(rows: Sequence[Document]) -> dict[tuple[str | None, str], set[str | None]]:
    found: dict[tuple[str | None, str], set[str | None]] = {}
    for row in rows:
        if row.modality == "image":
            found.setdefault((row.source, row.text), set()).add(row.media)
    return found


def _openable(
    rows: Sequence[Document], settings: MediaCurateSettings, dropped: Counter[str]
) -> tuple[dict[str, Floats], list[Document]]:
    """The looks of pictures that open, and the rows whose picture or recording does."""
    looked: dict[str, Floats] = {}
    reasons: dict[str, str | None] = {}
    for row in rows:
        media = row.media or ""
        if media not in reasons:
            reasons[media] = (
                _seen(media, settings, looked) if row.modality == "image" else _heard(media, settings)
            )
        reason = reasons[media]
        if reason is not None:
            dropped[reason] += 1
    return looked, [row for row in rows if reasons[row.media or ""] is None]


def _seen(media: str, settings: MediaCurateSettings, looked: dict[str, Floats]) -> str | None:
    try:
        picture = pictures.opened(media)
    except InputError:
        return "picture that does not open"
    if small(picture.size, settings.least_side):
        return "tiny picture"
    looked[media] = look(picture)
    return None


def _heard(media: str, settings: MediaCurateSettings) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LingxiWarning)
        try:
            sound = open_sound(Path(media))
        except InputError:
            return "recording that does not open"
    return "short recording" if sound.seconds < settings.least_seconds else None
