"""The evaluate stage: every set under every system, then the numbers with their intervals.

One unit is a set under a system. A unit that is there and was measured from the same set, sampling, system
and code is not measured again, so a run that was stopped goes on, and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lingxi import manifest
from lingxi.collect.archives import opened_tar
from lingxi.config import to_json
from lingxi.embedder import Embedder
from lingxi.errors import InputError
from lingxi.evaluate import results
from lingxi.evaluate.dense import Dense
from lingxi.evaluate.encoders import Own
from lingxi.evaluate.evidence import scores
from lingxi.evaluate.measure import Measured, measure
from lingxi.evaluate.named import system as named_system
from lingxi.evaluate.readers import files_of, read_set
from lingxi.evaluate.report import Score, write_report
from lingxi.evaluate.reranked import Reranked
from lingxi.evaluate.settings import EvaluateSettings
from lingxi.evaluate.suite import SetSettings, SuiteSettings, resolve
from lingxi.evaluate.systems import System
from lingxi.evaluate.tasks import Ranking, Task
from lingxi.reranker import Reranker

Say = Callable[[str], None]
# What an item's value depends on: other files of this room only show it.
_CODE = (
    "metrics",
    "vectors",
    "records",
    "prompts",
    "embedder",
    "reranker",
    "judging",
    "model/late",
    *(
        f"evaluate/{n}"
        for n in ("tasks", "readers", "measure", "systems", "lexical", "dense", "encoders", "reranked")
    ),
)
_TYPES_RERANKED = ("retrieval", "cross-lingual retrieval", "reranking", "code search", "rag")


@dataclass(frozen=True, slots=True)
class EvaluateReport:
    """The scores: for each set first the means over languages, then each language."""

    scores: tuple[Score, ...]
    seconds: float


def evaluate_named(
    settings: EvaluateSettings, names: Sequence[str], out: Path, say: Say = lambda line: None
) -> EvaluateReport:
    """Measure systems by name on the settings' suite and write the evaluation to `out`."""
    cache = settings.cache.expanduser()
    systems = [named_system(name, cache / "vectors") for name in (*names, *settings.beside)]
    return evaluate(_suite(settings), settings.root, systems, out, cache, settings.resamples, say)


def evaluate_models(
    settings: EvaluateSettings,
    name: str,
    embedder: Path | None,
    reranker: Path | None,
    out: Path,
    say: Say = lambda line: None,
) -> EvaluateReport:
    """Measure a run's embedder, and its reranker over it, under the run's name, beside the others.

    A run without an embedder has its reranker measured over the one that ships.
    """
    cache = settings.cache.expanduser()
    found = Own(Embedder(embedder), name) if embedder else Own(Embedder())
    systems: list[System] = [Dense(found, cache / "vectors")]
    if reranker is not None:
        judge = Reranker(reranker)
        told = repr(judge.fingerprint())
        systems.append(Reranked(systems[0], judge, settings.rerank_depth, told, f"{name} reranked"))
    systems += [named_system(other, cache / "vectors") for other in settings.beside]
    return evaluate(_suite(settings), settings.root, systems, out, cache, settings.resamples, say)


def _suite(settings: EvaluateSettings) -> SuiteSettings:
    return resolve(settings.suite, settings.overrides, settings.sets)


def evaluate(
    suite: SuiteSettings,
    root: Path | None,
    systems: Sequence[System],
    out: Path,
    cache: Path,
    resamples: int = 1000,
    say: Say = lambda line: None,
) -> EvaluateReport:
    """Measure systems on a suite; writes items, scores and reports to `out`, and goes on where it stopped.

    Raises InputError when the sets cannot be read, or two systems have one name.
    """
    started = time.perf_counter()
    names = [system.name for system in systems]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"two systems are named {twice[0]!r}", "leave one out, or rename its folder")
    folder = _sets_of(suite, root, cache, say)
    units: list[Path] = []
    items: list[Path] = []
    sources: dict[str, str] = {}
    for number, settings in enumerate(suite.sets):
        unit = _Set(settings, suite, folder, out)
        items.append(unit.items())
        sources[settings.name] = unit.source
        for done, system in enumerate(systems, number * len(systems) + 1):
            told = _counted(say, done, len(suite.sets) * len(systems))
            if (path := unit.measured(system, told)) is not None:
                units.append(path)
    if not units:
        raise InputError("none of the systems can be measured on these sets", "name another set or system")
    results.gather(items, out / results.ITEMS)
    results.gather(units, out / results.RESULTS)
    results.write_sources(out, sources)
    found = scores(results.read_groups(out), resamples, suite.seed)
    if not found:
        raise InputError("none of the systems can be measured on these sets", "name another set or system")
    write_report(found, out)
    return EvaluateReport(tuple(found), round(time.perf_counter() - started, 1))


def _counted(say: Say, done: int, total: int) -> Say:
    return lambda line: say(f"[{done}/{total}] {line}")


def _sets_of(suite: SuiteSettings, root: Path | None, cache: Path, say: Say) -> Path:
    """The folder of a suite's sets: opened where it is an archive, built where the suite says so."""
    where = root or suite.root
    if where is not None:
        return opened_tar(where, cache / "sources")
    if suite.built is None:
        raise InputError(f"the suite {suite.name!r} does not say where its sets lie", "give --root")
    from lingxi.evaluate import codesearch

    return codesearch.built(cache, say)


class _Set:
    """One set of a run: its tasks are read when something of it has to be measured."""

    def __init__(self, settings: SetSettings, suite: SuiteSettings, folder: Path, out: Path) -> None:
        self._settings = settings
        self._suite = suite
        self._folder = folder
        self._out = out
        self._tasks: list[Task] | None = None
        sampling = (suite.queries, suite.documents, suite.seed)
        data = [manifest.hash_file(path) for path in files_of(settings, folder)]
        read = repr((to_json(settings), sampling, data))
        self.source = hashlib.sha256(read.encode()).hexdigest()[:16]
        self._key = f"{read} {manifest.hash_code(*_CODE)}"

    def items(self) -> Path:
        """The file of the set's items, written where it is missing."""
        path = self._out / results.UNITS / f"{self._settings.name}.items.parquet"
        marker = path.with_suffix(".key")
        if not path.exists() or not marker.exists() or marker.read_text("utf-8") != self._key:
            results.write_items(path, self._read())
            marker.write_text(self._key, "utf-8")
        return path

    def measured(self, system: System, say: Say) -> Path | None:
        """The file of the set under a system, measured where it is missing; None where nothing applies."""
        if isinstance(system, Reranked) and self._settings.task not in _TYPES_RERANKED:
            return None
        path = results.unit_path(self._out, self._settings.name, system.name, system.fingerprint)
        key = hashlib.sha256((self._key + system.fingerprint + system.name).encode()).hexdigest()
        if results.unit_key(path) == key:
            return path
        began = time.perf_counter()
        results.write_unit(path, system.name, key, self._measure(system))
        say(f"{self._settings.name}: {system.name} in {time.perf_counter() - began:.1f} s")
        return path

    def _measure(self, system: System) -> Iterator[tuple[Task, Measured]]:
        for task in self._read():
            if isinstance(system, Reranked) and not isinstance(task, Ranking):
                continue
            for found in measure(task, system):
                yield task, found

    def _read(self) -> list[Task]:
        if self._tasks is None:
            self._tasks = list(read_set(self._settings, self._suite, self._folder))
        return self._tasks
