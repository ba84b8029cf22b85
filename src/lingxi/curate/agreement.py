"""Do the two sides of a row mean the same? A base embedder's margin score, calibrated where it can judge.

margin(x, y) = cos(x, y) / ½ (mean cos(x, its k nearest answers) + mean cos(y, its k nearest queries))

(Artetxe and Schwenk 2019, arXiv 1811.01136). Rows are judged in strata of one task and pair of languages. In
each the same rows, shuffled, show what scores wrong pairs get: the threshold lets few of them pass, and
where true pairs are not told from shuffled ones the base cannot judge, so nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lingxi.config import Settings
from lingxi.encoding import Encode
from lingxi.records import Pair

Floats = NDArray[np.float64]

_NEIGHBOURS = 4
# Where fewer shuffled pairs lie, their share says little of the mixture.
_MANY = 0.5
# Fewer rows have no neighbours to speak of.
FEWEST = 50


class AgreementSettings(Settings):
    """How the base embedder judges."""

    model: str = "lingxi-pico"
    """The base embedder: one that ships, a directory, or a hub id."""
    rows: int = Field(default=1_000, ge=FEWEST)
    """Rows of each stratum that are judged, drawn by seed; the others are neither scored nor dropped."""
    sure: float = Field(default=0.5, gt=0, le=1)
    """How likely rows must be wrong, by the estimate of `calibrated`, for them to be dropped."""
    most_wrong: float = Field(default=0.1, ge=0, lt=1)
    """Largest share of wrong rows that is believed: of what people translated little is wrong, of mined
    pairs more."""
    least_auc: float = Field(default=0.95, ge=0.5, le=1)
    """Where right pairs rank above shuffled ones less often than this, the base cannot judge."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """What was found in one task and pair of languages; `threshold` is None where the base cannot judge."""

    task: str
    languages: str
    rows: int
    auc: float
    threshold: float | None
    below: int


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of the rows of a stratum [rows] by name; `agrees` is False where one falls below the threshold.

    Beside margin, difficulty, diversity and overlap: `rival`, by how much the nearest answer of another group
    is nearer than the row's own (above 0 it may be right too, and a false negative), and `twin`, the cosine
    of the nearest query of another group (near 1 the same is asked twice).
    """

    stratum: Stratum
    scores: dict[str, Floats]
    agrees: NDArray[np.bool_]


def judge(rows: Sequence[Pair], encode: Encode, settings: AgreementSettings, seed: int = 0) -> Scored:
    """Score the rows of one stratum (at least `FEWEST`) by a base embedder."""
    first = rows[0]
    asked = first.task in ("retrieval", "code")
    queries = encode([row.query for row in rows], first.instruction)
    answers = encode([row.positives[0].text for row in rows], None if asked else first.instruction)
    similar = np.asarray(queries @ answers.T, np.float64)
    scores = _scores(similar, queries, rows)
    auc, threshold = calibrated(scores["margin"], margins(similar, _apart(rows, seed)), settings)
    agrees = scores["margin"] >= (-np.inf if threshold is None else threshold)
    stratum = Stratum(
        first.task,
        f"{first.query_language}>{first.document_language}",
        len(rows),
        round(auc, 4),
        None if threshold is None else round(threshold, 4),
        int((~agrees).sum()),
    )
    return Scored(stratum, scores, agrees)


def calibrated(true: Floats, false: Floats, settings: AgreementSettings) -> tuple[float, float | None]:
    """The area under the curve of margins of the rows and of shuffled pairs, and the threshold it allows.

    Rows are a mixture of right pairs and a share π of pairs as wrong as shuffled ones, so below any margin t
    F(t) ≥ π S(t), with F the share of rows and S that of shuffled pairs below it: π is taken as the least
    F / S where S ≥ ½ (the estimate of a mixture's proportion by Blanchard et al. 2010), or `most_wrong`, as
    right rows that the base knows little of look wrong too. The threshold maximises π S(t) / `sure` − F(t):
    wrong rows dropped against all rows dropped. None where the base cannot judge: the right rows alone,
    (area − π / 2) / (1 − π), are not told from shuffled ones.
    """
    auc = area(true, false)
    points = np.sort(true)
    below = np.searchsorted(points, points, "left") / len(points)
    wrong = np.searchsorted(np.sort(false), points, "left") / len(false)
    many = wrong >= _MANY
    share = min(settings.most_wrong, (below[many] / wrong[many]).min() if many.any() else 0.0)
    if auc - share / 2 < settings.least_auc * (1 - share):
        return auc, None
    return auc, float(points[np.argmax(share * wrong / settings.sure - below)])


def _scores(similar: Floats, queries: NDArray[np.float32], rows: Sequence[Pair]) -> dict[str, Floats]:
    """The scores of each row [n] by name, of cosines [n, n] and the queries' vectors [n, dim]."""
    overlap = np.array([overlap_of(row) for row in rows])
    return {
        "margin": margins(similar, np.arange(len(rows))),
        "difficulty": difficulty(similar, rows, overlap),
        "diversity": diversity(np.asarray(queries, np.float64)),
        "overlap": overlap,
        "rival": elsewhere(similar, rows) - np.diagonal(similar),
        "twin": elsewhere(np.asarray(queries @ queries.T, np.float64), rows),
    }


def margins(similar: Floats, paired: NDArray[np.int64]) -> Floats:
    """The margin score of each query [n] with the answer it is paired with, from all cosines [n, n]."""
    k = min(_NEIGHBOURS, len(similar) - 1)
    rows = np.sort(similar, axis=1)[:, -k:].mean(axis=1)
    columns = np.sort(similar, axis=0)[-k:].mean(axis=0)
    own = similar[np.arange(len(similar)), paired]
    return np.asarray(own / np.maximum((rows + columns[paired]) / 2, 1e-6))


def area(true: Floats, false: Floats) -> float:
    """How often a true pair scores above a shuffled one, ties half: the area under the ROC curve."""
    order = np.sort(false)
    below = np.searchsorted(order, true, "left")
    equal = np.searchsorted(order, true, "right") - below
    return float((below + equal / 2).mean() / len(false))


def difficulty(similar: Floats, rows: Sequence[Pair], overlap: Floats) -> Floats:
    """Difficulty Score [n], 0 (easy) to 1.

    0.7 · (1 − (s⁺ − s⁻)) / 2 + 0.3 · (1 − overlap), where s⁺ is the cosine of query and positive, s⁻ that of
    the hardest answer of another group, and overlap the share of the query's words that stand in the answer.
    """
    ahead = np.diagonal(similar) - elsewhere(similar, rows)
    return np.asarray(np.clip(0.7 * (1 - ahead) / 2 + 0.3 * (1 - overlap), 0, 1), np.float64)


def elsewhere(similar: Floats, rows: Sequence[Pair]) -> Floats:
    """The highest cosine [n] of each row with one of another group, of all cosines [n, n]; -1 without one."""
    groups = np.unique([row.group for row in rows], return_inverse=True)[1]
    return np.asarray(np.where(groups[:, None] == groups[None, :], -1.0, similar).max(axis=1))


def diversity(vectors: Floats) -> Floats:
    """What each row adds [n]: one minus the mean cosine to its nearest other rows, 0 for a copy of them."""
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -1.0)
    k = min(_NEIGHBOURS, len(vectors) - 1)
    nearest = np.sort(similar, axis=1)[:, -k:].mean(axis=1)
    return np.asarray(np.clip(1 - nearest, 0, 1), np.float64)


def diversity_score(vectors: Floats) -> float:
    """Diversity Score of a set [n, dim]: the Vendi score (Friedman and Dieng 2023, arXiv 2210.02410).

    exp of the entropy of the eigenvalues of the cosines divided by n: how many texts that have nothing in
    common the set is worth, 1 to n.
    """
    values = np.linalg.eigvalsh(vectors.T @ vectors / len(vectors))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def overlap_of(row: Pair) -> float:
    """Share, 0 to 1, of the query's words (in one case) that stand in the positive."""
    words = set(row.query.casefold().split())
    return len(words & set(row.positives[0].text.casefold().split())) / len(words) if words else 0.0


def _apart(rows: Sequence[Pair], seed: int) -> NDArray[np.int64]:
    """Another row's answer for each row, of another group wherever there is one within reach."""
    order = np.random.default_rng(seed).permutation(len(rows))
    paired = np.empty(len(rows), np.int64)
    paired[order] = np.roll(order, 1)
    groups = [row.group for row in rows]
    for i in range(len(rows)):
        step = 0
        while groups[int(paired[i])] == groups[i] and step < len(rows):
            paired[i] = (paired[i] + 1) % len(rows)
            step += 1
    return paired
