"""Who answers better: the best sentences, or a language model over the same passages.

    python benchmarks/answers.py BENCHMARK --out FILE [--gguf MODEL.gguf | --llm URL --llm-model NAME]

BENCHMARK is the folder (unpacked) of the suite `benchmark`; questions of nq-open, which has answer strings,
over its passages (those that answer, and as many others as `--passages` leaves room for). Each question is
asked with its passage and without it. Told apart for the extract and the model: how many answers contain the
right one, how many citations are of a passage that contains it, how many questions are refused with and
without the passage, how many sentences of the model are withheld. Nothing is refused before the model is
asked (threshold 0).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

from injection import local, reported
from lingxi import Embedder
from lingxi.apps.ask import Answer, AskSettings, LlmSettings, Passages, ask, opened
from lingxi.apps.ask.llm import Says
from lingxi.index import Hit
from rag import Fixed, Remembering, contains, tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--llm")
    parser.add_argument("--llm-model", default="model")
    parser.add_argument("--model", default="lingxi-pico", help="another embedder")
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--passages", type=int, default=600)
    parser.add_argument("--only-with", action="store_true", help="leave out the questions without passage")
    parser.add_argument("--read", type=int, default=3, help="passages that an answer is made from")
    given = parser.parse_args()
    embedder = Remembering(Embedder(given.model))
    asked, texts = material(given)
    found = Passages(texts, embedder)
    through: dict[str, list[float]] = defaultdict(list)
    settings = AskSettings(threshold=0.0, passages=given.read)
    for question, own, answers in asked:
        for there in (True, False)[: 1 + (not given.only_with)]:
            rest = [i for i in range(len(texts)) if there or i != own]
            hits = found.only(rest).search(question, top_k=20)
            for name, llm in {"extract": None, "model": model(given)}.items():
                began = time.monotonic()
                options: dict[str, Any] = {"embedder": embedder, "llm": llm, "settings": settings}
                answer = ask(Fixed(hits), question, **options)
                through[f"{name} | seconds"].append(time.monotonic() - began)
                take(through, f"{name} | {'with' if there else 'without'}", answer, hits, answers)
        given.out.write_text(json.dumps(reported(through), indent=1) + "\n")
    print(given.out.read_text())


def material(given: argparse.Namespace) -> tuple[list[tuple[str, int, tuple[str, ...]]], list[str]]:
    """Questions with the place of their passage and their answers, and the passages."""
    task = tasks(given.benchmark, ["nq-open"], given.questions, None)[0]
    assert task.answers
    asked = [
        (question, min(task.judged[i]), task.answers[i])
        for i, question in enumerate(task.queries)
        if contains(task.documents[min(task.judged[i])], task.answers[i])
    ]
    own = {place for _, place, _ in asked}
    others = [i for i in range(len(task.documents)) if i not in own]
    more = Random(0).sample(others, min(len(others), max(0, given.passages - len(own))))
    places = {old: new for new, old in enumerate(sorted(own | set(more)))}
    texts = [task.documents[i] for i in places]
    return [(question, places[place], answers) for question, place, answers in asked], texts


def model(given: argparse.Namespace) -> Says:
    """The model that is asked."""
    if given.gguf:
        return local(given.gguf)
    return opened(LlmSettings(url=given.llm, model=given.llm_model))


def take(
    through: dict[str, list[float]], row: str, answer: Answer, hits: list[Hit], answers: tuple[str, ...]
) -> None:
    """What one answer shows."""
    through[f"{row} | refused"].append(float(answer.refused))
    through[f"{row} | has the answer"].append(float(contains(answer.text, answers)))
    through[f"{row} | written by the model"].append(float(answer.how == "llm"))
    said = len(answer.withheld) + len(answer.citations)
    if answer.withheld or answer.how == "llm":
        through[f"{row} | sentences withheld"].append(len(answer.withheld) / max(1, said))
        whole = " ".join([one.text for one in answer.withheld] + [answer.text] * (answer.how == "llm"))
        through[f"{row} | the model said the answer"].append(float(contains(whole, answers)))
    cited = [hit for hit in hits for one in answer.citations if one.path == hit.path]
    if cited:
        right = [contains(hit.text, answers) for hit in cited]
        through[f"{row} | citations to a right passage"].append(sum(right) / len(right))


if __name__ == "__main__":
    main()
