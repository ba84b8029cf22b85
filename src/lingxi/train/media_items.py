"""Rows of pictures and recordings as items to be fitted: addresses, vectors of captions, weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lingxi.curate.media import key_of
from lingxi.records import Document, drawn
from lingxi.vectors import Floats

_CAPTIONS_AN_ITEM = 20


@dataclass(frozen=True, slots=True, eq=False)
class Toward:
    """Items of one modality: their media, what each counts, its group, and the vector [dim] to go towards."""

    media: tuple[str, ...]
    keys: tuple[str, ...]
    weights: Floats
    means: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """Vectors [n, dim] of different texts, and the place of each."""

    vectors: Floats
    places: Mapping[str, int]

    def mean(self, texts: Sequence[str]) -> Floats:
        """The mean vector of texts; a text that stands twice counts twice."""
        out: Floats = self.vectors[[self.places[text] for text in texts]].mean(axis=0)
        return out


def captions_of(rows: Sequence[Document], encode: Callable[[list[str]], Floats]) -> Captions:
    """The vectors of all captions, as documents."""
    texts = sorted({row.text for row in rows}, key=lambda text: (len(text), text))
    return Captions(encode(texts), {text: place for place, text in enumerate(texts)})


def pictures_towards(rows: Sequence[Document], captions: Captions, weights: Mapping[str, float]) -> Toward:
    """Pictures towards the mean of their captions."""
    told: dict[str, list[Document]] = {}
    for row in rows:
        if row.modality == "image" and row.media is not None:
            told.setdefault(row.media, []).append(row)
    means = [captions.mean([row.text for row in found]) for found in told.values()]
    first = [found[0] for found in told.values()]
    return _toward(first, means, weights)


def sounds_towards(
    rows: Sequence[Document], captions: Captions, weights: Mapping[str, float], own: float
) -> Toward:
    """Recordings towards the mean caption of their picture and `own` times the caption that they say."""
    pictured: dict[str, list[str]] = {}
    for row in rows:
        if row.modality == "image":
            pictured.setdefault(key_of(row), []).append(row.text)
    heard: dict[str, Document] = {}
    for row in rows:
        if row.modality == "audio" and row.media is not None:
            heard.setdefault(row.media, row)
    means = [
        captions.mean(pictured.get(key_of(row)) or [row.text]) + own * captions.mean([row.text])
        for row in heard.values()
    ]
    return _toward(list(heard.values()), means, weights)


def weight_of(source: str, weights: Mapping[str, float]) -> float:
    """What an item of a source counts: the weight of the longest name that its own holds, else 1."""
    named = [name for name in weights if name in source]
    return weights[max(named, key=len)] if named else 1.0


def some_captions(rows: Sequence[Document], captions: Captions) -> Floats:
    """Up to 20 captions of each item, drawn by hash: how captions vary anyway."""
    told: dict[str, set[str]] = {}
    for row in rows:
        told.setdefault(row.media or "", set()).add(row.text)
    chosen = {
        text
        for media, texts in told.items()
        for text in sorted(texts, key=lambda text: drawn(0, text))[:_CAPTIONS_AN_ITEM]
    }
    out: Floats = captions.vectors[sorted(captions.places[text] for text in chosen)]
    return out


def _toward(rows: Sequence[Document], means: Sequence[Floats], weights: Mapping[str, float]) -> Toward:
    return Toward(
        media=tuple(row.media or "" for row in rows),
        keys=tuple(key_of(row) for row in rows),
        weights=np.array([weight_of(row.source or "", weights) for row in rows], np.float32),
        means=np.stack(means).astype(np.float32),
    )
