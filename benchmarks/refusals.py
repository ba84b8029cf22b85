"""When to answer: how many questions without an answer are refused, by how many with one are lost.

    python benchmarks/refusals.py TRAIN BENCHMARK --out FILE [--model M] [--questions 150]

TRAIN and BENCHMARK are the folders (unpacked) of the two archives. Each question is asked with the passages
that answer it and without them: SQuAD's sentences (TRAIN), RGB in Chinese over its own passages, xquad in
English and in Chinese. The shipped scale (`sure` in `lingxi.apps.ask.calibration`) is what SQuAD's
questions fit; it is measured on the other sets, which it has not seen. Then each set fits its own scale on
half of its questions and is measured on the other half, six times: what calibrating on one's own
collection gives.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi import Embedder
from lingxi.apps.ask import Passages
from lingxi.apps.ask.calibrate import bounded_threshold, fitted, signals
from lingxi.apps.ask.calibration import Logistic
from lingxi.metrics import bootstrap_interval
from rag import Remembering, auc, contains, tasks

LOST = (0.05, 0.1, 0.2, 0.3)
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """Passages, and questions with the places of those that answer and of those that are searched."""

    passages: Sequence[str]
    questions: Sequence[tuple[str, frozenset[int], Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Rows:
    """The signals of questions with (1) and without (0) their passages; `number` is the question's."""

    values: Array
    there: Array
    number: Array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="lingxi-pico")
    parser.add_argument("--questions", type=int, default=150)
    given = parser.parse_args()
    embedder = Remembering(Embedder(given.model))
    material = {
        "squad": squad(given.train / "qa_squad_nqg_test.jsonl", given.questions),
        "rgb-zh": rgb(given.benchmark),
        "xquad en": xquad(given.benchmark / "xquad", "en", given.questions),
        "xquad zh": xquad(given.benchmark / "xquad", "zh", given.questions),
    }
    report: dict[str, Any] = {}
    rows = {name: rows_of(asked, embedder) for name, asked in material.items()}
    shared = scale(rows["squad"], np.ones(len(rows["squad"].there), bool))
    report["scale"] = shared.model_dump()
    for name, own in rows.items():
        report[name] = {"fitted on squad": curve(shared, own, np.ones(len(own.there), bool))}
        parts = [half(own, seed) for seed in range(6)]
        curves = [curve(scale(own, part), own, ~part) for part in parts]
        report[name]["fitted on half of it"] = {
            key: np.mean([one[key] for one in curves], axis=0).round(3).tolist() for key in curves[0]
        }
        given.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(given.out.read_text("utf-8"))


def squad(path: Path, questions: int) -> Asked:
    """Questions over 1,500 sentences: their own, those beside them in the articles, and others."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    texts = list(dict.fromkeys(row["p"] for row in lines))
    at = {text: i for i, text in enumerate(texts)}
    own: dict[str, set[int]] = {}
    for row in lines:
        own.setdefault(row["q"], set()).add(at[row["p"]])
    drawn = random.Random(0).sample(sorted(own), questions)
    kept = {j for q in drawn for i in own[q] for j in range(max(0, i - 3), min(len(texts), i + 4))}
    rest = [i for i in range(len(texts)) if i not in kept]
    kept |= set(random.Random(0).sample(rest, max(0, 1500 - len(kept))))
    place = {old: new for new, old in enumerate(sorted(kept))}
    everywhere = range(len(place))
    return Asked(
        [texts[i] for i in place], [(q, frozenset(place[i] for i in own[q]), everywhere) for q in drawn]
    )


def rgb(root: Path) -> Asked:
    """Each question over its own passages; those that contain the answer answer it."""
    task = tasks(root, ["rgb-zh"], None, None)[0]
    assert task.answers and task.candidates
    return Asked(
        list(task.documents),
        [
            (question, frozenset(i for i in own if contains(task.documents[i], answers)), own)
            for question, own, answers in zip(task.queries, task.candidates, task.answers, strict=True)
        ],
    )


def xquad(folder: Path, language: str, questions: int) -> Asked:
    """Questions over the 240 paragraphs of their language."""
    read = lambda name: map(json.loads, (folder / name).read_text("utf-8").splitlines())  # noqa: E731
    texts = {row["id"]: row["text"] for row in read("corpus.jsonl") if row["id"].startswith(f"{language}:")}
    at = {name: i for i, name in enumerate(texts)}
    pairs = [line.split("\t") for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()]
    own = {pair[0]: at[pair[1]] for pair in pairs if pair[1] in at}
    asked = [row for row in read("queries.jsonl") if row["id"] in own]
    everywhere = range(len(texts))
    return Asked(
        list(texts.values()),
        [
            (row["text"], frozenset([own[row["id"]]]), everywhere)
            for row in random.Random(0).sample(asked, questions)
        ],
    )


def rows_of(asked: Asked, embedder: Remembering) -> Rows:
    """The signals of each question, with the passages that answer it and without."""
    found = Passages(asked.passages, embedder)
    values, there, number = [], [], []
    for i, (question, own, searched) in enumerate(asked.questions):
        for label, places in ((1, list(searched)), (0, [j for j in searched if j not in own])):
            if places and own:
                hits = found.only(places).search(question, top_k=20)
                values.append(signals(embedder, question, hits, 5))
                there.append(label)
                number.append(i)
    return Rows(np.array(values), np.array(there), np.array(number))


def half(rows: Rows, seed: int) -> Array:
    """Which rows are of the first half of the questions."""
    order = np.random.default_rng(seed).permutation(rows.number.max() + 1)
    return np.asarray((order % 2 == 0)[rows.number])


def scale(rows: Rows, part: Array) -> Logistic:
    """The scale that some of the rows fit, its threshold where a tenth of the answered is lost."""
    return fitted(rows.values[part].tolist(), rows.there[part].tolist(), bounded_threshold)


def curve(made: Logistic, rows: Rows, part: Array) -> dict[str, Any]:
    """Refused without an answer (and its interval) at given shares refused with one; at the threshold."""
    chances, there = made.of(rows.values[part]), rows.there[part]
    out: dict[str, Any] = {"auc": auc(chances[there == 1], chances[there == 0])}
    for lost in LOST:
        refused = (chances[there == 0] < np.quantile(chances[there == 1], lost)).astype(float)
        out[f"refused at {lost:.0%} lost"] = [float(refused.mean()), *bootstrap_interval(refused)]
    for label, name in ((0, "refused at the threshold"), (1, "lost at the threshold")):
        refused = (chances[there == label] < made.threshold).astype(float)
        out[name] = [float(refused.mean()), *bootstrap_interval(refused)]
    return out


if __name__ == "__main__":
    main()
