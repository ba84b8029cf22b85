"""Code search measured: MRR@10 and nDCG@10 of `lingxi code search` beside TF-IDF, BM25, MiniLM and nano alone.

    python benchmarks/code_search.py --benchmark benchmark.tar.zst [--model DIR] [--queries 300] [--out FILE.json]
    python benchmarks/code_search.py --tune      # the weights of `lingxi.apps.code.rank`, on other repositories

All systems get the same units (path, qualified name, code) of the same files; a definition's score is that of its
best unit. Repositories are PyPI packages that no training run reads, with every docstring removed; a docstring's
first sentence asks for its function. Sets of single answers become repositories of one file each.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lingxi import metrics
from lingxi.apps.code import CodeIndex
from lingxi.apps.code.units import split_title, units
from lingxi.collect.archives import opened_archive, opened_tar
from lingxi.collect.registries import FETCHED
from lingxi.evaluate.codesearch import CHINESE
from lingxi.evaluate.readers import read_set
from lingxi.evaluate.suite import resolve
from lingxi.evaluate.systems import System, Texts
from lingxi.parse.documented import summary_of
from lingxi.records import read_jsonl

CACHE = Path("~/.cache/lingxi").expanduser()
FRESH = "trimesh==5.2.0"
# Kept out of training as those of the code-search set are; the weights are chosen on them and on nothing else.
TUNED_ON = ("networkx==3.4.2", "boltons==25.0.0", "more-itertools==10.5.0")
SORTING = ("algorithms==1.0.1", "networkx==3.4.2")
INSTRUCTION = "Given a question about coding, retrieval code or passage that can solve user's question"
DEPTH = 10
_NAMED = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Units:
    """The units of files as the index makes them: `texts` to rank, and the key of what each belongs to."""

    def __init__(self, files: Mapping[str, str], by_name: bool) -> None:
        found = [unit for path, text in files.items() for unit in units(text, "python", path)]
        self.texts = [unit.for_embedding() for unit in found]
        titles = [split_title(unit.title) for unit in found]
        self.keys = [f"{path}\t{name}" if by_name else path for path, name in titles]


@dataclass(frozen=True)
class Material:
    """Files by path, and queries with the grades of what they ask for (`path` or `path\\tname`)."""

    name: str
    files: Mapping[str, str]
    queries: Sequence[str]
    judged: Sequence[Mapping[str, float]]
    by_name: bool

    def key(self, path: str, name: str) -> str:
        """What is ranked: a definition of a repository, or a file of a set of single answers."""
        return f"{path}\t{name}" if self.by_name else path


# --- material --------------------------------------------------------------------------------------


def repository(package: str, chinese: bool = False) -> Material:
    """A package without its docstrings; queries are their first sentences, or those asked in Chinese."""
    folder = opened_archive(FETCHED["pypi"](package, CACHE / "sources"), CACHE / "sources")
    asked = {row["q"]: row["zh"] for row in read_jsonl(CHINESE) if row["l"] == "python"}
    files: dict[str, str] = {}
    pairs: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        try:
            bare, said = without_docstrings(path.read_text("utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        place = path.relative_to(folder).as_posix()
        if "/tests/" in place:
            continue
        files[place] = bare
        for name, docstring in said:
            summary = first_sentence(docstring)
            query = asked.get(summary_of(docstring, "python"), "") if chinese else summary
            if query and len(summary.split()) >= 4:
                pairs.setdefault(query, f"{place}\t{name}")
    held = set(Units(files, True).keys)
    pairs = {query: key for query, key in pairs.items() if key in held}
    return Material(package.split("=")[0], files, list(pairs), [{key: 1.0} for key in pairs.values()], True)


def without_docstrings(source: str) -> tuple[str, list[tuple[str, str]]]:
    """A module without docstrings, and the qualified names of its functions with theirs."""
    lines = source.encode().split(b"\n")
    said: list[tuple[str, str]] = []
    # Last first, so that offsets before stay right.
    for node, name in sorted(_documented(ast.parse(source), ""), key=lambda one: -one[0].body[0].lineno):
        text = node.body[0]
        if not isinstance(node, ast.Module | ast.ClassDef):
            said.append((name, ast.get_docstring(node) or ""))
        first, last = text.lineno - 1, text.end_lineno - 1
        rest = lines[first][: text.col_offset] + (b"..." if len(node.body) == 1 else b"")
        lines[first : last + 1] = [rest + lines[last][text.end_col_offset :]]
    return b"\n".join(line.rstrip() for line in lines).decode(), said[::-1]


def _documented(node: Any, name: str) -> Iterator[tuple[Any, str]]:
    for child in ast.iter_child_nodes(node):
        own = f"{name}.{child.name}".strip(".") if isinstance(child, _NAMED) else name
        yield from _documented(child, own)
    if isinstance(node, ast.Module | _NAMED) and ast.get_docstring(node) is not None:
        yield node, name


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring's summary."""
    return summary_of(docstring, "python").split(". ")[0].strip()


def answers(name: str, archive: Path) -> Material:
    """A set of single answers, each a file of its own."""
    suite = resolve("benchmark", (), (name,))
    task = next(iter(read_set(suite.sets[0], suite, opened_tar(archive, CACHE / "sources"))))
    files = {f"d{i}.py": text for i, text in enumerate(task.documents)}
    judged = [{f"d{i}.py": grade for i, grade in own.items()} for own in task.judged]
    return Material(name, files, task.queries, judged, False)


def drawn(material: Material, count: int, seed: int = 0) -> Material:
    """The material with `count` of its queries."""
    chosen = sorted(
        random.Random(seed).sample(range(len(material.queries)), min(count, len(material.queries)))
    )
    queries = [material.queries[i] for i in chosen]
    return Material(
        material.name, material.files, queries, [material.judged[i] for i in chosen], material.by_name
    )


def write(material: Material, folder: Path) -> Path:
    """The material's files in a folder."""
    for path, text in material.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    return folder


# --- systems ---------------------------------------------------------------------------------------

Found = list[list[str]]


def alone(system: System, material: Material) -> Found:
    """The best keys of each query under a system that scores the units' texts."""
    made = Units(material.files, material.by_name)
    scores = np.concatenate(
        list(system.blocks(Texts(material.queries, INSTRUCTION), Texts(made.texts))), axis=1
    )
    order = np.argsort(-scores, axis=1, kind="stable")
    return [first_of(made.keys[at] for at in row) for row in order]


def first_of(keys: Iterator[str]) -> list[str]:
    """The first different keys of a ranking."""
    found: dict[str, None] = {}
    for key in keys:
        found.setdefault(key)
        if len(found) == DEPTH:
            break
    return list(found)


def fused(index: CodeIndex, material: Material) -> Found:
    """The best keys of each query as `lingxi code search` gives them."""
    found = []
    for query in material.queries:
        hits = index.search(query, 5 * DEPTH).hits
        found.append(first_of(material.key(hit.path, hit.name) for hit in hits))
    return found


def measured(found: Found, material: Material) -> dict[str, Any]:
    """MRR@10 and nDCG@10 with 95 % bootstrap intervals, in hundredths."""
    grades = np.zeros((len(found), DEPTH))
    for row, keys in enumerate(found):
        for column, key in enumerate(keys):
            grades[row, column] = material.judged[row].get(key, 0.0)
    values = {
        "mrr@10": metrics.mrr_at_k(grades, DEPTH),
        "ndcg@10": metrics.ndcg_at_k(grades, [list(own.values()) for own in material.judged], DEPTH),
    }
    return {
        name: [round(100 * float(x), 1) for x in (one.mean(), *metrics.bootstrap_interval(one))]
        for name, one in values.items()
    }
