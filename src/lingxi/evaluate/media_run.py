"""All directions of held-out rows: texts, pictures and recordings searched by one another."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lingxi.collect.voices import SPOKEN
from lingxi.evaluate.media import Found, Items, items_of, table
from lingxi.evaluate.media_pictures import Shares, classified, image_to_image, pages, with_and_without
from lingxi.evaluate.media_settings import MediaEvaluateSettings
from lingxi.evaluate.media_sides import Encoder, Learned, Vectors, learned_from
from lingxi.evaluate.media_sounds import Clips, to_captions, to_pictures, to_words
from lingxi.evaluate.media_texts import every_language, with_texts
from lingxi.records import Document, read_documents
from lingxi.vectors import Floats

if TYPE_CHECKING:
    from lingxi.embedder import Embedder

# So many languages make captions a set of translations; fewer, and they are what one package says.
_MANY = 5


@dataclass(frozen=True, slots=True)
class MediaReport:
    """Every direction, each language, shares of classes and mixtures by name, and examples found."""

    found: Sequence[Found]
    languages: Sequence[Found]
    shares: Mapping[str, Shares]
    examples: Sequence[str]
    cpu_seconds: float

    @property
    def summary(self) -> str:
        """The directions and shares as Markdown."""
        lines = [
            f"| {name} | " + ", ".join(f"{key} {value:.3f}" for key, value in shares.items()) + " |"
            for name, shares in self.shares.items()
        ]
        told = ["", "| shares | |", "|---|---|", *lines] if lines else []
        return "\n".join([table(self.found), *told])


def evaluate_files(
    settings: MediaEvaluateSettings,
    model: Path,
    sides: tuple[Path | None, Path],
    out: Path | None = None,
    text: Embedder | None = None,
) -> MediaReport:
    """Measure a model's directory on the second of two Parquet files; the first is what it was trained on.

    Writes `scores.json` and `scores.md` into `out`.
    """
    from lingxi.media import MediaEmbedder

    started = time.process_time()
    known = learned_from(list(read_documents(sides[0]))) if sides[0] is not None else Learned()
    rows = list(read_documents(sides[1]))
    weights = None if settings.weights == "float32" else settings.weights
    encoder = MediaEmbedder(model, text=text, weights=weights)
    report = evaluate_rows(rows, encoder, known, settings)
    seconds = round(time.process_time() - started, 1)
    report = MediaReport(report.found, report.languages, report.shares, report.examples, seconds)
    if out is not None:
        (out / "scores.json").write_text(json.dumps(asdict(report), indent=1) + "\n", "utf-8")
        whole = "\n\n".join([report.summary, table(report.languages), *report.examples])
        (out / "scores.md").write_text(whole + "\n", "utf-8")
    return report


def evaluate_rows(
    rows: Sequence[Document],
    encoder: Encoder,
    learned: Learned = Learned(),
    settings: MediaEvaluateSettings = MediaEvaluateSettings(),
) -> MediaReport:
    """Measure every direction the rows allow; `learned` is what training saw, where it is known."""
    run = _Run(encoder, learned, settings)
    images = [row for row in rows if row.modality == "image"]
    for name, found in _by_source(images).items():
        run.pictures(name, found)
    for name, found in _by_source([row for row in rows if row.modality == "audio"]).items():
        run.sounds(name, found, images)
    return MediaReport(run.found, run.languages, run.shares, run.examples, 0.0)


class _Run:
    """One measurement: vectors that are used again, and what was found so far."""

    def __init__(self, encoder: Encoder, learned: Learned, settings: MediaEvaluateSettings) -> None:
        self._encoder, self._learned, self._settings = encoder, learned, settings
        self._queries, self._documents = Vectors(encoder.encode_query), Vectors(encoder.encode_document)
        self._seen: dict[str, Floats] = {}
        self.found: list[Found] = []
        self.languages: list[Found] = []
        self.shares: dict[str, Shares] = {}
        self.examples: list[str] = []

    def pictures(self, name: str, rows: Sequence[Document]) -> None:
        """Directions of the pictures of one source."""
        items = items_of(rows, "image")
        vectors = self._pictures(items.media)
        if all((row.title or "").startswith("page ") for row in rows):
            self.found += pages(rows, vectors, self._queries, self._documents)
        elif len({row.language for row in rows}) >= _MANY:
            found = with_texts(name, items, vectors, self._documents, self._learned, self._settings)
            self.found += found
            self.found += list(self._asked(name, items, vectors))
            self.languages += every_language(name, items, vectors, self._documents, self._settings.least)
        else:
            self._mixtures(name, rows, dict(zip(items.media, vectors, strict=True)))
        self.found += image_to_image(name, items, vectors, self._encoder)
        places = {row.media: row.uri or "" for row in rows}
        shares = classified(
            [places[one] for one in items.media], vectors, self._documents, self._settings.classes
        )
        if shares:
            self.shares[f"{name}, classes"] = shares

    def sounds(self, name: str, rows: Sequence[Document], images: Sequence[Document]) -> None:
        """Directions of the recordings of one source."""
        first = list({row.media: row for row in reversed(rows)}.values())[::-1]
        clips = Clips(first, self._encoder.encode_sounds([Path(row.media or "") for row in first]))
        captioned = [row for row in (*self._learned.rows, *images) if row.modality == "image"]
        pictured = _with_pictures(captioned, rows)
        if not pictured:
            self.found += _named(name, to_words(clips, self._documents, self._settings))
            return
        found = to_captions(clips, pictured, self._documents, self._learned, self._settings)
        self.found += _named(name, found)
        english = list({row.media: row for row in pictured if row.language == "en"}.values())
        if english:
            vectors = self._pictures([row.media or "" for row in english])
            told = self.examples.append
            found = to_pictures(clips, english, vectors, self._documents, self._learned, told)
            self.found += _named(name, found)

    def _asked(self, name: str, items: Items, vectors: Floats) -> Iterator[Found]:
        """The means once more, captions as queries, as a search asks."""
        found = with_texts(name, items, vectors, self._queries, Learned(), self._settings)
        yield replace(next(iter(found)), name=f"text as a query→{name}")

    def _mixtures(self, name: str, rows: Sequence[Document], vectors: Mapping[str, Floats]) -> None:
        """Of pictures with a title and keywords: what the picture adds to the keywords."""
        told: dict[str, list[str]] = {}
        for row in rows:
            told.setdefault(row.media or "", []).append(row.text)
        both = {media: texts for media, texts in told.items() if len(texts) > 1}
        if len(both) < self._settings.least:
            return
        titles, words = ([texts[place] for texts in both.values()] for place in (0, 1))
        seen = np.stack([vectors[media] for media in both])
        found, added = with_and_without(titles, words, seen, self._queries, self._documents)
        self.found += found
        self.shares[f"{name}, what the picture adds to recall"] = added

    def _pictures(self, media: Sequence[str]) -> Floats:
        fresh = [one for one in dict.fromkeys(media) if one not in self._seen]
        if fresh:
            vectors = self._encoder.encode_pictures([Path(one) for one in fresh])
            self._seen |= dict(zip(fresh, vectors, strict=True))
        return np.stack([self._seen[one] for one in media])


def _by_source(rows: Sequence[Document]) -> dict[str, list[Document]]:
    """Rows by the name of their source, the version left away."""
    found: dict[str, list[Document]] = {}
    for row in rows:
        found.setdefault((row.source or "rows").split("_")[0], []).append(row)
    return found


def _named(name: str, found: Iterable[Found]) -> list[Found]:
    """Directions with the name of the recordings' source before theirs."""
    return [replace(one, name=f"{name}: {one.name}") for one in found]


def _with_pictures(captioned: Sequence[Document], rows: Sequence[Document]) -> list[Document]:
    """Captions of the pictures that the source of these recordings has."""
    sources = {(row.source or "").removeprefix(SPOKEN) for row in rows}
    return [row for row in captioned if row.source in sources]
