"""How much an embedder's vectors count in one repository: measured on it, without anyone's labels.

The questions of `probe` are asked over a sample of the repository's units, each over its own function without
what was asked. The weight of the vectors is the one under which the functions come first most often
(MRR@10, all other weights as in `rank.WEIGHTS`): the middle of the weights that do about as well as the best.
A repository that says too little of itself goes by the package's own source. What was found lies beside the
index, and is found again when the index has doubled or halved.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lingxi.apps.code.probe import Probe, probes
from lingxi.apps.code.rank import WEIGHTS, weights_for
from lingxi.apps.code.sample import Vectors, mrr_under, tried_on
from lingxi.apps.code.units import Unit, units
from lingxi.index.build import Embeds
from lingxi.index.store import LanceStore, Row, in_words

FILE = "trust.json"
# With 120 questions MRR has a standard error of 3 points, and less between two weights on the same ones.
PROBES, FEWEST = 120, 30
# Units that they are asked over, and files that these are drawn from.
_SAMPLE, _FILES = 1000, 1200
TRIED = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0)
# Points of MRR below the best that are about as good; and what a weight e times the shipped one has to gain,
# so that chance alone moves none far.
_ALIKE, _CAUTION = 0.5, 0.5
# A repository of fewer units is searched by the shipped weight if it says too little of itself.
_SMALL = 200
# The same of the package's own source: 4 s of embedding, once an embedder.
_OWN, _OWN_FILES = 600, 120


@dataclass(frozen=True, slots=True)
class Trust:
    """What vectors count for words, and how that was found.

    `files` is the size of the index then, `on` what was asked ("it", "lingxi", or "" where nothing was and
    the shipped weight stands), `probes` how many questions; `mrr` has the MRR@10 in hundredths by weight.
    """

    vector: float
    files: int
    on: str
    probes: int
    mrr: Mapping[str, float]

    def stands_for(self, files: int) -> bool:
        """Whether an index of so many files is still the one that was measured, near enough."""
        return self.files / 2 <= files <= 2 * self.files


def read_trust(place: Path) -> Trust | None:
    """What was measured for the index in a folder; None where nothing was, or it cannot be read."""
    try:
        return Trust(**json.loads((place / FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_trust(place: Path, trust: Trust) -> Trust:
    """Keep what was measured, in one step."""
    fresh = place / f"{FILE}.new"
    fresh.write_text(json.dumps(asdict(trust)), "utf-8")
    fresh.replace(place / FILE)
    return trust


def trust_in(store: LanceStore, files: Collection[str], embedder: Embeds, cache: Path) -> Trust:
    """Measure on a store, or on the package's own source, which is kept in `cache` for this embedder."""
    rows = drawn_rows(store, files)
    asked = probes(rows, PROBES)
    if len(asked) >= FEWEST:
        with in_words(store.path):
            known = store.vectors({row["path"] for row in rows})
        return _trust(asked, rows, known, embedder, len(files), "it")
    if len(rows) < _SMALL:
        return Trust(WEIGHTS["words"].vector, len(files), "", 0, {})
    return replace(_by_own_source(embedder, cache), files=len(files))


def drawn_rows(store: LanceStore, files: Collection[str]) -> list[Row]:
    """At most 1,000 units of a store, drawn; the same ones each time."""
    draw = random.Random(0)
    paths = sorted(files)
    rows = store.rows(draw.sample(paths, min(_FILES, len(paths))))
    held = [row for row in rows if row["text"]]
    return draw.sample(held, min(_SAMPLE, len(held)))


def middle(found: Mapping[float, float], shipped: float) -> float:
    """The geometric mean of the weights at most half a point below the best.

    One that is `e` times the shipped one, or an `e`-th of it, is set back by half a point, and by the
    square of the logarithm further off.
    """
    worth = {w: value - _CAUTION * math.log(w / shipped) ** 2 for w, value in found.items()}
    near = [math.log(w) for w, value in worth.items() if value >= max(worth.values()) - _ALIKE]
    return round(math.exp(sum(near) / len(near)), 2)


def _by_own_source(embedder: Embeds, cache: Path) -> Trust:
    """What the package's own source says of an embedder, measured once."""
    said = json.dumps(sorted(embedder.fingerprint().items()))
    place = cache / f"trust-{hashlib.sha256(said.encode()).hexdigest()[:20]}"
    if known := read_trust(place):
        return known
    rows = _own_rows()
    texts = [Unit(0, 0, 0, 0, row["title"], row["text"]).for_embedding() for row in rows]
    made = embedder.encode_document(texts, show_progress_bar=False)
    vectors = {(row["title"], row["text"]): vector for row, vector in zip(rows, made, strict=True)}
    place.mkdir(parents=True, exist_ok=True)
    return write_trust(place, _trust(probes(rows, PROBES), rows, vectors, embedder, len(rows), "lingxi"))


def _own_rows() -> list[Row]:
    """Units of the package's source, drawn."""
    draw, top = random.Random(0), Path(__file__).parents[2]
    rows = [
        {"key": f"{path}#{number}", "path": f"/python/{path.name}", "title": unit.title, "text": unit.text}
        for path in draw.sample(sorted(top.rglob("*.py")), _OWN_FILES)
        for number, unit in enumerate(units(path.read_text("utf-8"), "python", path.name))
    ]
    return draw.sample(rows, min(_OWN, len(rows)))


def _trust(
    asked: Sequence[Probe], rows: Sequence[Row], vectors: Vectors, embedder: Embeds, files: int, on: str
) -> Trust:
    tried = tried_on(
        asked, [row for row in rows if (row["title"], row["text"]) in vectors], vectors, embedder
    )
    found = {weight: mrr_under(tried, weights_for("words", weight)) for weight in TRIED}
    return Trust(
        middle(found, WEIGHTS["words"].vector),
        files,
        on,
        len(asked),
        {f"{w:g}": value for w, value in found.items()},
    )
