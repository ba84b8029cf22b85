"""Recordings, captions and pictures found by one another, speakers and captions held out apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lingxi.curate.media import key_of
from lingxi.evaluate.media import Found, Ranks, joined, ranked, summed
from lingxi.evaluate.media_settings import MediaEvaluateSettings
from lingxi.evaluate.media_sides import Learned, Vectors, unit
from lingxi.records import Document
from lingxi.vectors import Floats

_SHOWN_EXAMPLES = 12
# By whether training knew the speaker, and whether it knew neither picture nor caption.
_PARTS = {
    (True, True): "speaker known, captions held out",
    (False, False): "speaker held out, pictures trained on in other languages",
    (False, True): "speaker and captions held out",
}


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Recordings, one row each, and their vectors."""

    rows: Sequence[Document]
    vectors: Floats


def parts_of(clips: Clips, learned: Learned) -> dict[str, list[int]]:
    """Places of clips by what of them training knew."""
    out: dict[str, list[int]] = {}
    for place, row in enumerate(clips.rows):
        new = key_of(row) not in learned.keys and row.text not in learned.captions
        name = _PARTS.get((row.title in learned.speakers, new))
        if name is not None:
            out.setdefault(name, []).append(place)
    return out


def to_captions(
    clips: Clips,
    galleries: Sequence[Document],
    texts: Vectors,
    learned: Learned,
    settings: MediaEvaluateSettings,
) -> Iterator[Found]:
    """A recording among all captions of its language, and a caption among the recordings of one speaker."""
    captions = _captions(galleries)
    for name, places in parts_of(clips, learned).items():
        by_speaker: dict[str, Ranks] = {}
        back: dict[str, Ranks] = {}
        for speaker, own in _by_speaker(clips, places).items():
            told = captions.get(clips.rows[own[0]].language or "und", [])
            right = np.array([[clips.rows[place].text == text for text in told] for place in own])
            answered = right.any(axis=1) if len(told) else np.zeros(len(own), bool)
            if not answered.any():
                continue
            right = right[answered]
            scores = clips.vectors[np.array(own)[answered]] @ texts.of(told).T
            by_speaker[speaker] = ranked(scores, right)
            asked = right.any(axis=0)
            back[speaker] = ranked(
                np.ascontiguousarray(scores[:, asked].T), np.ascontiguousarray(right[:, asked].T)
            )
        if not by_speaker:
            continue
        yield summed(f"recording→caption, {name}", joined(list(by_speaker.values())))
        for speaker, ranks in by_speaker.items():
            if len(ranks.ranks) >= settings.speakers:
                yield summed(f"recording→caption, {speaker}, {name}", ranks)
                yield summed(f"caption→recording, {speaker}, {name}", back[speaker])


def to_words(clips: Clips, texts: Vectors, settings: MediaEvaluateSettings) -> Iterator[Found]:
    """Recordings of single words, whose texts are in English, among all those words."""
    told = sorted({row.text for row in clips.rows})
    right = np.array([[row.text == text for text in told] for row in clips.rows])
    scores = clips.vectors @ texts.of(told).T
    yield summed("word→English word, all speakers unheard", ranked(scores, right))
    for speaker, own in _by_speaker(clips, range(len(clips.rows))).items():
        if len(own) >= settings.speakers:
            yield summed(f"word→English word, {speaker}", ranked(scores[own], right[own]))


def to_pictures(
    clips: Clips,
    items: Sequence[Document],
    vectors: Floats,
    texts: Vectors,
    learned: Learned,
    told: Callable[[str], None] = lambda line: None,
) -> Iterator[Found]:
    """A recording in one language finds the picture captioned in another: English captions, speech in none.

    `items` are rows of pictures with English captions, `vectors` the pictures'. `told` hears what was found.
    """
    place_of = {key_of(row): place for place, row in enumerate(items)}
    english = texts.of([row.text for row in items])
    captions = np.array([row.text for row in items])
    ways = {
        "picture": vectors,
        "picture and English caption": unit(vectors + english),
        "English caption": english,
    }
    for name, places in parts_of(clips, learned).items():
        held = "captions held out" in name
        gallery = [p for p, row in enumerate(items) if not held or key_of(row) not in learned.keys]
        own = [
            p
            for p in places
            if clips.rows[p].language != "en" and place_of.get(key_of(clips.rows[p])) in set(gallery)
        ]
        if len(own) < 2:
            continue
        wanted = captions[[place_of[key_of(clips.rows[p])] for p in own]]
        right = wanted[:, None] == captions[gallery][None]
        for way, found in ways.items():
            ranks = ranked(clips.vectors[own] @ found[gallery].T, right)
            yield summed(f"recording→{way}, {name}", ranks)
            hits = [p for p, rank in zip(own, ranks.ranks, strict=True) if rank == 1]
            for p in hits[:_SHOWN_EXAMPLES]:
                row = clips.rows[p]
                caption = captions[place_of[key_of(row)]]
                told(f"{name}: {Path(row.media or '').name} ({row.title}) “{row.text}” → {way} “{caption}”")


def _captions(rows: Sequence[Document]) -> dict[str, list[str]]:
    """Language to the different captions of pictures."""
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.language or "und", set()).add(row.text)
    return {language: sorted(texts) for language, texts in found.items()}


def _by_speaker(clips: Clips, places: Sequence[int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place in places:
        row = clips.rows[place]
        speaker, language = row.title or "speaker", row.language or "und"
        # A voice of espeak-ng speaks many languages.
        found.setdefault(speaker if language in speaker else f"{speaker} {language}", []).append(place)
    return dict(sorted(found.items()))
