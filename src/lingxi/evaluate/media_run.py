"""All directions of held-out rows: texts, pictures and recordings searched by one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lingxi import pictures
from lingxi.evaluate.lexical import Bm25
from lingxi.evaluate.media import Found, Items, asked_in, colours, items_of, languages_of, measured
from lingxi.evaluate.systems import Texts
from lingxi.languages import is_resourced
from lingxi.records import Document
from lingxi.vectors import Floats


class Encoder(Protocol):
    """What is measured: vectors of all kinds in one space."""

    def encode_query(self, inputs: Any) -> Floats:
        """Vectors of texts that ask."""

    def encode_document(self, inputs: Any) -> Floats:
        """Vectors of texts that are found."""

    def encode_pictures(self, items: Any) -> Floats:
        """Vectors of pictures."""

    def encode_sounds(self, items: Any) -> Floats:
        """Vectors of sounds."""


def evaluate_rows(rows: Sequence[Document], encoder: Encoder, *, least: int = 50) -> list[Found]:
    """Measure every direction the rows allow; a language counts from `least` different captions."""
    found: list[Found] = []
    if any(row.modality == "image" for row in rows):
        items = items_of(rows, "image")
        vectors = encoder.encode_pictures([Path(media) for media in items.media])
        found += _with_texts("image", items, vectors, encoder, least)
        found += _image_to_image(items, vectors, encoder)
    if any(row.modality == "audio" for row in rows):
        items = items_of(rows, "audio")
        vectors = encoder.encode_sounds([Path(media) for media in items.media])
        found += _with_texts("audio", items, vectors, encoder, least)
    return found


def _with_texts(name: str, items: Items, vectors: Floats, encoder: Encoder, least: int) -> Iterator[Found]:
    """Text to item in each language and item to text, then the floor: file names matched by words."""
    for language in languages_of(items, least):
        texts, right = asked_in(items, language)
        mark = "" if is_resourced(language) else " ●"
        yield measured(f"text→{name} {language}{mark}", encoder.encode_query(texts) @ vectors.T, right)
    for language in [code for code in ("en", "fr", "ru") if code in languages_of(items, least)]:
        texts, right = asked_in(items, language)
        yield measured(f"{name}→text {language}", vectors @ encoder.encode_document(texts).T, right.T)
        yield measured(f"text→{name} {language}, file names by BM25", by_names(texts, items), right)


def by_names(texts: Sequence[str], items: Items) -> Floats:
    """BM25 scores [texts, items] against the names of the files, which is what there is without a model."""
    named = Texts([Path(media).stem.replace("-", " ").replace("_", " ") for media in items.media])
    return np.concatenate(list(Bm25().blocks(Texts(list(texts)), named)))


def _image_to_image(items: Items, vectors: Floats, encoder: Encoder) -> Iterator[Found]:
    """Each picture searched by a changed view of it, and the same by colours alone."""
    opened = [pictures.opened(media) for media in items.media]
    views = [changed(picture, place) for place, picture in enumerate(opened)]
    right = np.eye(len(opened), dtype=bool)
    yield measured("changed view→image", encoder.encode_pictures(views) @ vectors.T, right)
    floor = np.stack([colours(view) for view in views]) @ np.stack([colours(one) for one in opened]).T
    yield measured("changed view→image, by colours", floor, right)


def changed(picture: Any, seed: int) -> Any:
    """A picture cropped to 70–90 % of each side, mirrored, and its colours turned: another view of it."""
    from PIL import Image, ImageOps

    generator = np.random.default_rng(seed)
    width, height = picture.size
    share = generator.uniform(0.7, 0.9)
    left, top = (generator.uniform(0, 1 - share, 2) * (width, height)).astype(int)
    box = (left, top, left + max(1, int(width * share)), top + max(1, int(height * share)))
    hue, saturation, value = ImageOps.mirror(picture.crop(box)).convert("HSV").split()
    turned = hue.point([(level + 40) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")
