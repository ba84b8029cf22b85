"""The evaluate stage: every chosen set, every system, one row for each metric, language and mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from lingxi import metrics
from lingxi.collect.archives import opened_tar
from lingxi.config import Settings
from lingxi.evaluate.report import CHANCE, Score, write_report
from lingxi.evaluate.suites import BitextSet, RetrievalSet, Sampling, SetName, SimilaritySet, Suite, read_set
from lingxi.evaluate.systems import Bm25, EmbedderSystem, Encoder, Judge, Matrix, RerankerSystem, System

_DEPTH = 10


class EvaluateSettings(Settings):
    """What is measured, on how much of it."""

    benchmark: Path
    """Folder of the benchmark, or a tar archive (.tar.zst too) of it."""
    cache: Path = Path("~/.cache/lingxi/sources")
    """Where the archive is unpacked; may be deleted at any time."""
    sets: tuple[SetName, ...] = ("xquad", "cosqa", "tatoeba")
    """Sets to measure, in this order."""
    tatoeba_languages: tuple[str, ...] | None = None
    """Languages of Tatoeba by their three letters; all 112 when unset."""
    queries: int = Field(default=300, ge=1)
    """Most queries of a retrieval set, drawn by seed."""
    documents: int = Field(default=3000, ge=1)
    """Largest corpus; larger ones are thinned of irrelevant passages."""
    card_languages: tuple[str, ...] = ("en>en", "es>en", "zh>en", "spa", "cmn", "swh")
    """Languages that the model card names beside the means."""
    bm25: bool = True
    """Whether the BM25 floor is measured too."""
    rerank: tuple[SetName, ...] = ("cosqa",)
    """Retrieval sets the reranker is measured on, when there is one."""
    rerank_depth: int = Field(default=50, ge=1)
    """Documents of each query that the reranker sees."""
    resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples behind each interval."""
    seed: int = 0
    """Seed of the samples and the intervals."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """Values of one metric for one system on one suite, before they become a row."""

    suite: Suite
    system: str
    metric: str
    values: metrics.Floats


@dataclass(frozen=True, slots=True)
class EvaluateReport:
    """The measured rows: for each set first the means over languages, then each language."""

    scores: tuple[Score, ...]


def evaluate_models(
    settings: EvaluateSettings, embedder: Encoder, reranker: Judge | None, out: Path
) -> EvaluateReport:
    """Measure an embedder (and a reranker over it) beside BM25 and chance; write the report to `out`.

    Raises InputError when the benchmark or one of its sets cannot be read.
    """
    folder = opened_tar(settings.benchmark, settings.cache)
    sampling = Sampling(settings.queries, settings.documents, settings.tatoeba_languages, settings.seed)
    scores: list[Score] = []
    for name in settings.sets:
        systems = _systems(settings, name, embedder, reranker)
        suites = list(read_set(name, folder, sampling))
        rows, measured = _measure_set(suites, systems, settings)
        scores += [*_means(measured, settings), *rows]
    write_report(scores, out)
    return EvaluateReport(tuple(scores))


def _systems(
    settings: EvaluateSettings, name: SetName, embedder: Encoder, reranker: Judge | None
) -> list[System]:
    own = EmbedderSystem(embedder)
    systems: list[System] = [own]
    if reranker is not None and name in settings.rerank:
        systems.append(RerankerSystem(own, reranker, settings.rerank_depth))
    # A lexical score says little of graded similarity, and STS is not asked of BM25 anywhere.
    if settings.bm25 and name != "sts":
        systems.append(Bm25())
    return systems


def _measure_set(
    suites: Sequence[Suite], systems: Sequence[System], settings: EvaluateSettings
) -> tuple[list[Score], list[_Measured]]:
    rows: list[Score] = []
    measured: list[_Measured] = []
    for suite in suites:
        if isinstance(suite, SimilaritySet):
            rows += [_similarity(suite, system, settings) for system in systems]
            continue
        found = [item for system in systems for item in _measure(suite, system)] + list(_chance(suite))
        rows += [_row(item, settings) for item in found]
        measured += found
    return rows, measured


def _measure(suite: RetrievalSet | BitextSet, system: System) -> Iterator[_Measured]:
    if isinstance(suite, BitextSet):
        yield _Measured(suite, system.name, "accuracy", _bitext(suite, system))
        return
    scores = system.score(suite.queries, suite.documents, instruction=suite.instruction)
    ranked = graded(scores, suite)
    yield _Measured(suite, system.name, "ndcg@10", metrics.ndcg_at_k(ranked, _judged(suite), _DEPTH))
    if suite.code:
        yield _Measured(suite, system.name, "mrr@10", metrics.mrr_at_k(ranked, _DEPTH))


def graded(scores: Matrix, suite: RetrievalSet) -> metrics.Floats:
    """Grades [queries, 10] of the best documents of each query, equal scores in the order of the corpus."""
    top = np.argsort(-scores, axis=1, kind="stable")[:, :_DEPTH]
    rows = [[grades.get(int(at), 0.0) for at in row] for row, grades in zip(top, suite.grades, strict=True)]
    return np.array(rows, dtype=np.float64)


def _bitext(suite: BitextSet, system: System) -> metrics.Floats:
    """Mean of both directions for each pair."""
    forward, backward = system.match(suite.left, suite.right, instruction=suite.instruction)
    return (metrics.nearest_accuracy(forward) + metrics.nearest_accuracy(backward)) / 2


def _chance(suite: RetrievalSet | BitextSet) -> Iterator[_Measured]:
    if isinstance(suite, BitextSet):
        yield _Measured(suite, CHANCE, "accuracy", np.full(len(suite.left), 1 / len(suite.left)))
        return
    values = metrics.chance_ndcg(_judged(suite), len(suite.documents), _DEPTH)
    yield _Measured(suite, CHANCE, "ndcg@10", np.full(len(values), values.mean()))


def _similarity(suite: SimilaritySet, system: System, settings: EvaluateSettings) -> Score:
    found = system.compare(suite.left, suite.right, instruction=suite.instruction)
    # Constant scores rank nothing: their correlation is undefined, and reported as none.
    value = float(np.nan_to_num(metrics.spearman(found, suite.gold)))
    resamples = min(settings.resamples, 500)
    low, high = metrics.bootstrap_spearman(found, suite.gold, resamples=resamples, seed=settings.seed)
    return Score(suite.name, suite.language, system.name, "spearman", value, low, high, len(suite.gold))


def _row(item: _Measured, settings: EvaluateSettings) -> Score:
    low, high = metrics.bootstrap_interval(item.values, resamples=settings.resamples, seed=settings.seed)
    value, suite = float(item.values.mean()), item.suite
    return Score(suite.name, suite.language, item.system, item.metric, value, low, high, len(item.values))


def _means(measured: Sequence[_Measured], settings: EvaluateSettings) -> Iterator[Score]:
    """One row a system and metric: the mean over languages, English to English left out."""
    crossing = [item for item in measured if item.suite.language != "en>en"]
    for system, metric in dict.fromkeys((item.system, item.metric) for item in crossing):
        groups = [item for item in crossing if (item.system, item.metric) == (system, metric)]
        if len(groups) < 2:
            continue
        values = [item.values for item in groups]
        low, high = metrics.bootstrap_macro(values, resamples=settings.resamples, seed=settings.seed)
        value = float(np.mean([group.mean() for group in values]))
        name, count = groups[0].suite.name, sum(len(group) for group in values)
        yield Score(name, f"mean of {len(groups)}", system, metric, value, low, high, count)


def _judged(suite: RetrievalSet) -> list[list[float]]:
    return [list(grades.values()) for grades in suite.grades]
