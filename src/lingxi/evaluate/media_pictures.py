"""Pictures by pictures, by classes, by picture and text together; pages by what stands on them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lingxi import pictures
from lingxi.evaluate.lexical import Bm25
from lingxi.evaluate.media import Found, Items, Ranks, colours, measured, ranked, summed
from lingxi.evaluate.media_sides import Encoder, Vectors, unit
from lingxi.evaluate.systems import Texts
from lingxi.metrics import bootstrap_interval
from lingxi.records import Document, stable_hash
from lingxi.vectors import Floats

Shares = dict[str, float]


def image_to_image(name: str, items: Items, vectors: Floats, encoder: Encoder) -> Iterator[Found]:
    """Each picture searched by a changed view of it, and the same by colours alone."""
    opened = [pictures.opened(media) for media in items.media]
    views = [changed(picture, place) for place, picture in enumerate(opened)]
    right = np.eye(len(opened), dtype=bool)
    yield measured(f"changed view→{name}", encoder.encode_pictures(views) @ vectors.T, right)
    floor = np.stack([colours(view) for view in views]) @ np.stack([colours(one) for one in opened]).T
    yield measured(f"changed view→{name}, by colours", floor, right)


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


def classified(
    places: Sequence[str], vectors: Floats, texts: Vectors, classes: Mapping[str, Mapping[str, str]]
) -> Shares:
    """Classes by folder, named in each language, without training on them: shares right, and the floors.

    `mean` is over classes, `largest` what the largest class always would give. Empty without such folders.
    """
    found = [next((part for part in Path(place).parts if part in classes), None) for place in places]
    kept = [place for place, one in enumerate(found) if one is not None]
    if not kept:
        return {}
    truth = np.array([str(found[place]) for place in kept])
    names = sorted(set(truth))
    counts = Counter(truth)
    out: Shares = {"pictures": len(kept), "classes": len(names), "largest": max(counts.values()) / len(kept)}
    for language in sorted({code for told in classes.values() for code in told}):
        said = texts.of([classes[name][language] for name in names])
        right = np.array(names)[(vectors[kept] @ said.T).argmax(1)] == truth
        low, high = bootstrap_interval(right.astype(float))
        mean = float(np.mean([right[truth == name].mean() for name in names]))
        out |= {language: float(right.mean()), f"{language} low": low, f"{language} high": high}
        out[f"{language} mean"] = mean
    return out


def with_and_without(
    titles: Sequence[str], words: Sequence[str], pictures_: Floats, queries: Vectors, documents: Vectors
) -> tuple[list[Found], Shares]:
    """Titles searched among keywords alone, pictures alone, and both: what the picture adds, with intervals.

    The difference of recall is paired over titles, 95 % bootstrap.
    """
    asked, told = queries.of(titles), documents.of(words)
    floor = np.concatenate(list(Bm25().blocks(Texts(list(titles)), Texts(list(words)))))
    # Equal titles are one question with several answers.
    right = np.array([[one == other for other in titles] for one in titles])
    ways = {"keywords": asked @ told.T, "keywords by BM25": floor, "picture": asked @ pictures_.T}
    for share in (1.0, 0.5, 0.25):
        ways[f"keywords and {share:g} × picture"] = asked @ unit(told + share * pictures_).T
    ranks = {way: ranked(np.asarray(scores, np.float32), right) for way, scores in ways.items()}
    found = [summed(f"drawing by its title, {way}", one) for way, one in ranks.items()]
    added: Shares = {}
    for way in [way for way in ways if " × " in way]:
        added |= _added(way, ranks[way], ranks["keywords"])
    return found, added


def _added(way: str, one: Ranks, base: Ranks) -> Shares:
    out: Shares = {}
    for k in (1, 10):
        gain = (one.ranks <= k).astype(float) - (base.ranks <= k)
        low, high = bootstrap_interval(gain)
        out |= {f"{way} @{k}": float(gain.mean()), f"{way} @{k} low": low, f"{way} @{k} high": high}
    return out


def pages(rows: Sequence[Document], vectors: Floats, queries: Vectors, documents: Vectors) -> list[Found]:
    """A sentence of a page searched among all pages: by picture, by text, by both, and by BM25."""
    asked = [sentence_of(row.text) for row in rows]
    kept = [place for place, sentence in enumerate(asked) if sentence]
    if len(kept) < 2:
        return []
    sentences = [str(asked[place]) for place in kept]
    right = np.eye(len(rows), dtype=bool)[kept]
    bodies = [row.text.replace(str(asked[place] or "\0"), " ") for place, row in enumerate(rows)]
    said, told = queries.of(sentences), documents.of([body[:1500] for body in bodies])
    words = np.concatenate(list(Bm25().blocks(Texts(sentences), Texts(bodies))))
    ways = {
        "by its picture": said @ vectors.T,
        "by the rest of its text": said @ told.T,
        "by both": said @ unit(told + vectors).T,
        "by the rest of its text, BM25": words,
    }
    return [
        measured(f"sentence→page {way}", np.asarray(scores, np.float32), right)
        for way, scores in ways.items()
    ]


def sentence_of(text: str) -> str | None:
    """A sentence of 40 to 200 characters, drawn by the text's hash; None where there is none."""
    found = [one for one in re.split(r"(?<=[.!?。])\s+", text) if 40 <= len(one) <= 200]
    return found[stable_hash(text) % len(found)] if found else None
