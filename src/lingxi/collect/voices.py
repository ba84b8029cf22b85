"""Captions spoken by espeak-ng: many languages, voices and speeds, where recordings are few.

The program (Debian's `espeak-ng`) is started for one clip at a time; the speaker of a row is the voice. What
comes out is synthetic, and says so in `source`.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from lingxi.config import Settings
from lingxi.errors import InputError
from lingxi.languages import normalise
from lingxi.records import Document, digest

SPOKEN = "espeak-ng, "
"""What the source of a spoken caption begins with; the rest is the caption's."""
_LEAST_BYTES = 4_000
# Voices that read another script than their language has, or romanise it.
_LEFT_OUT = frozenset({"zh", "cmn-latn-pinyin", "fa-latn", "chr-US-Qaaa-x-west"})
_OURS = {"cmn": "zh", "en-us": "en", "fr-fr": "fr", "pt-br": "pt"}


class SpeakSettings(Settings):
    """How many clips, of captions how long, in which variants of a voice, and languages said more often."""

    clips: int = Field(ge=1)
    seed: int = 1
    variants: tuple[str, ...] = ("m1", "m3", "m7", "f1", "f3", "f5")
    most_characters: int = Field(default=40, ge=1)
    often: tuple[str, ...] = ()
    """Languages that are drawn `times` as often."""
    times: int = Field(default=3, ge=1)
    of: tuple[str, ...] = ()
    """Only captions of sources whose name holds one of these; of all without."""
    each: int = Field(default=1, ge=1)
    """How many voices say a caption that was drawn."""


def speak(rows: Sequence[Document], folder: Path, settings: SpeakSettings) -> Iterator[Document]:
    """Rows of modality "audio": captions of picture rows, drawn by language, spoken into `folder`.

    `uri` is the picture's without its ending, so that a clip is split as its picture is. Raises InputError
    without espeak-ng.
    """
    if shutil.which("espeak-ng") is None:
        raise InputError("espeak-ng is not installed", "install it, for example: apt-get install espeak-ng")
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(settings.seed)
    names = voices()
    chosen = [
        row for row in rows if not settings.of or any(name in (row.source or "") for name in settings.of)
    ]
    told = _by_language(chosen, names, settings.most_characters)
    weights = [settings.times if language in settings.often else 1 for language in told]
    for _ in range(settings.clips // settings.each if told else 0):
        language = draw.choices(list(told), weights)[0]
        row = draw.choice(told[language])
        for variant in draw.sample(settings.variants, min(settings.each, len(settings.variants))):
            speed, pitch = draw.randint(120, 190), draw.randint(25, 75)
            clip = _said(row, names[language], variant, (speed, pitch), folder)
            if clip is not None:
                yield _row(row, clip, variant)


def voices() -> dict[str, str]:
    """Language (our code) to the first of espeak-ng's voices that speaks it."""
    listed = subprocess.run(["espeak-ng", "--voices"], capture_output=True, text=True, check=True).stdout
    found: dict[str, str] = {}
    for line in listed.splitlines()[1:]:
        name = line.split()[1]
        if name not in _LEFT_OUT and "-x-" not in name:
            found.setdefault(normalise(_OURS.get(name, name.split("-")[0])), name)
    return found


def _by_language(rows: Sequence[Document], names: dict[str, str], most: int) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = {}
    for row in rows:
        if row.language in names and len(row.text) < most:
            found.setdefault(row.language, []).append(row)
    return dict(sorted(found.items()))


def _said(row: Document, voice: str, variant: str, how: tuple[int, int], folder: Path) -> Path | None:
    """The clip, made where it is not there; None where espeak-ng says nothing."""
    speed, pitch = how
    path = folder / f"{digest(row.text, voice, variant, str(how))}.wav"
    if not path.is_file():
        command = [
            "espeak-ng",
            "-v",
            f"{voice}+{variant}",
            "-s",
            str(speed),
            "-p",
            str(pitch),
            "-w",
            str(path),
        ]
        done = subprocess.run([*command, "--", row.text], capture_output=True, check=False)
        if done.returncode or not path.is_file():
            return None
    return path if path.stat().st_size > _LEAST_BYTES else None


def _row(row: Document, clip: Path, variant: str) -> Document:
    return replace(
        row,
        id=digest("espeak-ng", clip.name, row.id),
        title=f"espeak-{variant}",
        source=f"{SPOKEN}{row.source}",
        uri=str(Path(row.uri or "").with_suffix("")),
        modality="audio",
        media=str(clip),
    )
