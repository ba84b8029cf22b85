"""Answers measured: `python benchmarks/rag.py BENCHMARK --out FILE [--reranker R] [--quick 60]`.

BENCHMARK is the folder (unpacked) of the suite `benchmark`. Two sets. RGB in Chinese: each question over its
own passages, true and distracting; a passage is right if it contains the answer (normalised: case, width,
spaces and punctuation away), an extract likewise; asked over the distracting ones alone,
it must be refused. xquad:
questions of other languages against the English paragraphs; the set carries no answer strings, so a paragraph
is right if it is the question's own, and no extract is judged. Every pair is scored once and every way of
reranking replays these scores, so that ways differ by what they read and by nothing else.
"""

import argparse
import json
import time
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lingxi import Embedder, Reranker
from lingxi.apps.ask import AskSettings, Passages, ask
from lingxi.apps.ask.adaptive import Rule, reranked
from lingxi.apps.ask.calibration import Calibration, read_calibration, shipped
from lingxi.evaluate.readers import read_set
from lingxi.evaluate.suite import chosen, read_suite
from lingxi.evaluate.tasks import Ranking
from lingxi.index import Hit
from lingxi.metrics import bootstrap_interval

POOL = 20
TOPS = (1, 3, 5)


class Once:
    """A reranker that judges each pair once, and says what the pairs it was asked for cost."""

    def __init__(self, reranker: Any) -> None:
        self._reranker = reranker
        self._known: dict[tuple[str, str], tuple[float, float]] = {}
        self.pairs, self.seconds = 0, 0.0

    def predict(self, pairs: Any, **_: Any) -> Any:
        pairs = list(pairs)
        fresh = [pair for pair in pairs if pair not in self._known]
        if fresh:
            began = time.process_time()
            scores = self._reranker.predict(fresh, show_progress_bar=False)
            each = (time.process_time() - began) / len(fresh)
            self._known |= {pair: (float(s), each) for pair, s in zip(fresh, scores, strict=True)}
        self.pairs += len(pairs)
        self.seconds += sum(self._known[pair][1] for pair in pairs)
        return np.array([self._known[pair][0] for pair in pairs])


class Remembering:
    """An embedder that embeds each text once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder, self.dim = embedder, embedder.dim
        self.fingerprint = embedder.fingerprint
        self._known: dict[tuple[str, str], Any] = {}

    def encode_document(self, inputs: Sequence[str], **_: Any) -> Any:
        return self._of("document", inputs, self._embedder.encode_document)

    def encode_query(self, inputs: Sequence[str], **_: Any) -> Any:
        return self._of("query", inputs, self._embedder.encode_query)

    def _of(self, side: str, texts: Sequence[str], encode: Any) -> Any:
        fresh = [text for text in dict.fromkeys(texts) if (side, text) not in self._known]
        if fresh:
            made = encode(fresh, show_progress_bar=False)
            self._known |= {(side, text): vector for text, vector in zip(fresh, made, strict=True)}
        return np.stack([self._known[side, text] for text in texts])


class Fixed:
    """An index whose search was done before: the same hits for whoever asks."""

    def __init__(self, hits: list[Hit]) -> None:
        self._hits = hits

    def search(self, query: str, top_k: int = 10, **_: Any) -> list[Hit]:
        return self._hits[:top_k]


def plain(text: str) -> str:
    """A text as answers are compared."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in folded if c.isalnum())


def contains(text: str, answers: Sequence[str]) -> bool:
    return any(plain(answer) in plain(text) for answer in answers if plain(answer))


def ways(margin: float) -> dict[str, Rule]:
    """Ways of reranking; `full` reads all 20, a lead of the first skips, a confidence stops."""
    out = {f"full, blend {b:g}": Rule(None, 0.9, POOL, b) for b in (1.0, 0.5, 0.25)}
    for blend in (0.5, 0.25):
        for sure in (0.8, 0.9, 0.95):
            out[f"adaptive {sure:g}, blend {blend:g}"] = Rule(margin, sure, 4, blend)
    return out


def ranked(task: Ranking, query: int, hits: list[Hit], found: Passages) -> list[bool]:
    """Whether each of the first five passages is right."""
    if task.answers:
        return [contains(hit.text, task.answers[query]) for hit in hits[:5]]
    return [found.position(hit) in task.judged[query] for hit in hits[:5]]


def measured(
    task: Ranking, found: Passages, embedder: Remembering, judge: Once | None, scale: Calibration
) -> dict[str, list[float]]:
    values: dict[str, list[float]] = defaultdict(list)
    for i, question in enumerate(task.queries):
        searched = found.only(task.candidates[i]) if task.candidates else found
        first = searched.search(question, top_k=POOL)
        orders = {"retrieval": first}
        for name, rule in ways(scale.margin).items() if judge else ():
            judge.pairs, judge.seconds = 0, 0.0
            orders[name], cost, _ = reranked(judge, question, first, rule)
            values[f"{name} | pairs saved"].append(cost.saved)
            values[f"{name} | seconds"].append(judge.seconds)
        for name, hits in orders.items():
            right = ranked(task, i, hits, found)
            for top in TOPS:
                values[f"{name} | right in top {top}"].append(float(any(right[:top])))
            if task.answers:
                answered(values, name, question, hits, task.answers[i], embedder, scale)
        if task.answers and task.candidates:
            wrong = [p for p in task.candidates[i] if not contains(task.documents[p], task.answers[i])]
            refusals(values, question, first, found.only(wrong) if wrong else None, embedder, scale)
    return values


def answered(
    values: dict[str, list[float]],
    name: str,
    question: str,
    hits: list[Hit],
    answers: Sequence[str],
    embedder: Remembering,
    scale: Calibration,
) -> None:
    """Extracts of one and of two sentences, nothing refused, and whether what they cite has the answer."""
    if "full" in name and "0.5" not in name:
        return
    for count in (1, 2):
        settings = AskSettings(sentences=count, threshold=0.0)
        answer = ask(Fixed(hits), question, embedder=embedder, settings=settings, calibration=scale)
        values[f"{name} | extract of {count} has the answer"].append(float(contains(answer.text, answers)))
    cited = [hit for hit in hits for c in answer.citations if hit.path == c.path]
    if cited:
        good = [contains(hit.text, answers) for hit in cited]
        values[f"{name} | citations to a right passage"].append(sum(good) / len(good))


def refusals(
    values: dict[str, list[float]],
    question: str,
    first: list[Hit],
    wrong: Passages | None,
    embedder: Remembering,
    scale: Calibration,
) -> None:
    """Refused over distracting passages alone, and answered where the answer is there."""
    there = ask(Fixed(first), question, embedder=embedder, calibration=scale)
    values["answered with its passages"].append(float(not there.refused))
    values["sure with"].append(there.sure)
    if wrong is not None:
        absent = ask(wrong, question, embedder=embedder, calibration=scale)
        values["refused over distracting passages"].append(float(absent.refused))
        values["sure without"].append(absent.sure)


def tasks(root: Path, names: list[str], quick: int | None, languages: list[str] | None) -> list[Ranking]:
    suite = chosen(read_suite("benchmark"), tuple(names))
    suite = suite.model_copy(update={"queries": quick or 300})
    out: list[Ranking] = []
    for settings in suite.sets:
        if settings.name == "xquad" and languages:
            few = max(10, (quick or 300) // len(languages))
            settings = settings.model_copy(update={"languages": tuple(languages), "queries": few})
        out += [task for task in read_set(settings, suite, root) if isinstance(task, Ranking)]
    return out


def auc(true: Sequence[float], false: Sequence[float]) -> float:
    """Chance that a question with its passages looks surer than one without."""
    a, b = np.asarray(true)[:, None], np.asarray(false)[None]
    return float((a > b).mean() + 0.5 * (a == b).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="lingxi-pico")
    parser.add_argument("--reranker")
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--quick", type=int)
    parser.add_argument("--sets", nargs="*", default=["rgb-zh", "xquad"])
    parser.add_argument("--languages", nargs="*")
    given = parser.parse_args()
    embedder = Remembering(Embedder(given.model))
    judge = Once(Reranker(given.reranker)) if given.reranker else None
    fingerprint = embedder.fingerprint()
    scale = read_calibration(given.calibration) if given.calibration else shipped(fingerprint)
    pooled: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for task in tasks(given.benchmark, given.sets, given.quick, given.languages):
        began = time.process_time()
        found = Passages(task.documents, embedder)
        values = measured(task, found, embedder, judge, scale)
        for name, row in values.items():
            pooled[task.head.name][name] += row
        print(
            task.head.name,
            task.head.language,
            len(task.queries),
            f"{time.process_time() - began:.0f} s",
            flush=True,
        )
        given.out.write_text(json.dumps(reported(pooled, given), indent=1, ensure_ascii=False) + "\n")
    print(given.out.read_text())


def reported(pooled: dict[str, dict[str, list[float]]], given: argparse.Namespace) -> dict[str, Any]:
    sets: dict[str, Any] = {}
    for name, values in pooled.items():
        rows = {
            key: {"mean": float(np.mean(row)), "interval": bootstrap_interval(row), "n": len(row)}
            for key, row in values.items()
        }
        if "sure without" in values:
            rows["auc of sure"] = {"mean": auc(values["sure with"], values["sure without"])}
        sets[name] = rows
    return {"model": given.model, "reranker": given.reranker, "sets": sets}


if __name__ == "__main__":
    main()
