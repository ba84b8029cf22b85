"""Texts and pictures found by one another in every language, beside words of file names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lingxi.evaluate.lexical import Bm25
from lingxi.evaluate.media import Found, Items, Ranks, asked_in, joined, languages_of, mean_of, ranked, summed
from lingxi.evaluate.media_settings import MediaEvaluateSettings
from lingxi.evaluate.media_sides import Learned, Vectors
from lingxi.evaluate.systems import Texts
from lingxi.languages import is_resourced
from lingxi.vectors import Floats


def with_texts(
    name: str,
    items: Items,
    vectors: Floats,
    texts: Vectors,
    learned: Learned,
    settings: MediaEvaluateSettings,
) -> Iterator[Found]:
    """Text to item and back: means over languages, then the languages that are shown, with the floor."""
    codes = languages_of(items, settings.least)
    asked = {code: asked_in(items, code) for code in codes}
    found = {code: ranked(texts.of(told) @ vectors.T, right) for code, (told, right) in asked.items()}
    yield from _means(f"text→{name}", found)
    yield from _unseen(f"text→{name}", found, {code: told for code, (told, _) in asked.items()}, learned)
    for code in [code for code in settings.shown if code in found]:
        told, right = asked[code]
        yield summed(f"text→{name}, {code}", found[code])
        yield summed(f"text→{name}, {code}, words of file names (BM25)", ranked(by_names(told, items), right))
    back = {code: _back(vectors, texts.of(told), right) for code, (told, right) in asked.items()}
    yield from _means(f"{name}→text", back)
    yield from (summed(f"{name}→text, {code}", back[code]) for code in settings.shown if code in back)


def by_names(texts: Sequence[str], items: Items) -> Floats:
    """BM25 scores [texts, items] against the names of the files, which is what there is without a model."""
    named = Texts([Path(media).stem.replace("-", " ").replace("_", " ") for media in items.media])
    return np.concatenate(list(Bm25().blocks(Texts(list(texts)), named)))


def every_language(name: str, items: Items, vectors: Floats, texts: Vectors, least: int) -> Iterator[Found]:
    """Text to item in each language; ● marks one with little text and few labels to learn from."""
    for code in languages_of(items, least):
        told, right = asked_in(items, code)
        mark = "" if is_resourced(code) else " ●"
        yield summed(f"text→{name} {code}{mark}", ranked(texts.of(told) @ vectors.T, right))


def _back(vectors: Floats, texts: Floats, right: np.ndarray) -> Ranks:
    has = right.any(axis=0)
    return ranked(vectors[has] @ texts.T, np.ascontiguousarray(right[:, has].T))


def _means(name: str, found: dict[str, Ranks]) -> Iterator[Found]:
    low = [code for code in found if not is_resourced(code)]
    high = [code for code in found if is_resourced(code)]
    for told, codes in (("", list(found)), (" of classes 3–5", high), (" with few resources", low)):
        if codes and (told == "" or len(codes) < len(found)):
            yield mean_of(f"{name}, {len(codes)} languages{told}", [found[code] for code in codes])


def _unseen(
    name: str, found: dict[str, Ranks], told: dict[str, list[str]], learned: Learned
) -> Iterator[Found]:
    """The captions that no item of training carries."""
    parts = []
    for code, ranks in found.items():
        new = np.array([text not in learned.captions for text in told[code]])
        if learned.captions and new.any():
            parts.append(Ranks(ranks.ranks[new], ranks.items, ranks.chance_1, ranks.chance_10))
    if parts:
        yield summed(f"{name}, captions that training has not seen", joined(parts))
