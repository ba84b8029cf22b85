"""The same query under two instructions, each with its own right document (after FollowIR, arXiv 2403.15246).

Three sources: SIB-200 sentences (their translation, or another sentence on the topic), BANKING77 (the name
of an intent, or another query with it), and medical conditions of our own (symptoms, treatment, causes or
prevention). In the control the other instruction is a random one that asks for none of the documents: a
target that falls as far under it was not moved by what the instruction says.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lingxi.evaluate.readers.asked import Asked, draw, wanted
from lingxi.evaluate.suite import SUITES
from lingxi.evaluate.tasks import CONTROL, Instructed, Task
from lingxi.tables import field, numbered

SIB200 = "cls_bitext_sib200_test.jsonl"
BANKING77 = "cls_banking77_test.jsonl"
MEDICAL = SUITES / "instructions-medical.jsonl"

TRANSLATION = "Given an English sentence, retrieve its Spanish translation"
TOPIC = "Given an English sentence, retrieve another sentence on the same topic"
INTENT = "Given a question to a bank, name the intent behind it"
SAME_INTENT = "Given a question to a bank, retrieve another question with the same intent"
ASPECTS: Mapping[str, str] = {
    "symptoms": "Extract symptoms related to {}",
    "treatment": "Retrieve treatments of {}",
    "causes": "Retrieve what causes {}",
    "prevention": "Retrieve ways to prevent {}",
}
# Instructions of other trades: nothing in these sets answers them.
RANDOM = (
    "Given a chess position, retrieve the best next move",
    "Given the name of a song, retrieve its lyrics",
    "Given a recipe, retrieve wines that go with it",
    "Given a street address, retrieve opening hours",
    "Given a stock symbol, retrieve yesterday's closing price",
    "Given a film title, retrieve reviews that criticise it",
)


@dataclass(frozen=True, slots=True)
class _Case:
    """A query with the instruction it is asked under, the other one, and the document it wants."""

    id: str
    query: str
    instruction: str
    other: str
    target: str


def instructions(asked: Asked) -> Iterator[Task]:
    """Tasks by source, each once with the other instruction and once with a random one."""
    sources = {"sib200": _sib200, "banking77": _banking77, "medical": _medical}
    names = [name + end for name in sources for end in ("", CONTROL)]
    for name in wanted(asked, names):
        cases, documents = sources[name.removesuffix(CONTROL)](asked)
        if name.endswith(CONTROL):
            rng = random.Random(asked.seed)
            cases = [_Case(c.id, c.query, c.instruction, rng.choice(RANDOM), c.target) for c in cases]
        yield _task(asked, name, cases, documents)


def _task(asked: Asked, name: str, cases: Sequence[_Case], documents: Sequence[str]) -> Instructed:
    texts = tuple(dict.fromkeys(documents))
    place = {text: number for number, text in enumerate(texts)}
    return Instructed(
        asked.head(name),
        tuple(case.id for case in cases),
        tuple(case.query for case in cases),
        tuple(case.instruction for case in cases),
        tuple(case.other for case in cases),
        texts,
        tuple(place[case.target] for case in cases),
    )


def _sib200(asked: Asked) -> tuple[list[_Case], list[str]]:
    path = asked.path.parent / SIB200
    texts: dict[str, dict[str, str]] = {"eng_Latn": {}, "spa_Latn": {}}
    topics: dict[str, list[str]] = defaultdict(list)
    for number, row in numbered(path):
        if row.get("l") in texts:
            key = field(row, "id", path, number)
            texts[row["l"]][key] = field(row, "t", path, number)
            if row["l"] == "eng_Latn":
                topics[field(row, "y", path, number)].append(key)
    rng = random.Random(asked.seed)
    english, spanish = texts["eng_Latn"], texts["spa_Latn"]
    topic = {key: name for name, keys in topics.items() for key in keys}
    cases = []
    for key in draw(sorted(set(english) & set(spanish)), asked.queries, asked.seed):
        if not (near := [other for other in topics[topic[key]] if other != key]):
            continue
        alike = rng.choice(near)
        cases.append(_Case(f"{key}-translation", english[key], TRANSLATION, TOPIC, spanish[key]))
        cases.append(_Case(f"{key}-topic", english[key], TOPIC, TRANSLATION, english[alike]))
    return cases, [*english.values(), *spanish.values()]


def _banking77(asked: Asked) -> tuple[list[_Case], list[str]]:
    path = asked.path.parent / BANKING77
    rows = [(field(row, "t", path, n), field(row, "y", path, n)) for n, row in numbered(path)]
    groups: dict[str, list[str]] = defaultdict(list)
    for text, label in rows:
        groups[label].append(text)
    rng = random.Random(asked.seed)
    cases: list[_Case] = []
    for number in draw(range(len(rows)), asked.queries, asked.seed):
        text, label = rows[number]
        if not (near := [other for other in groups[label] if other != text]):
            continue
        alike = rng.choice(near)
        cases.append(_Case(f"{number}-intent", text, INTENT, SAME_INTENT, _words(label)))
        cases.append(_Case(f"{number}-same", text, SAME_INTENT, INTENT, alike))
    others = draw([text for text, _ in rows], asked.documents, asked.seed)
    return cases, [*map(_words, groups), *others, *(case.target for case in cases)]


def _medical(asked: Asked) -> tuple[list[_Case], list[str]]:
    cases, documents = [], []
    for row in map(json.loads, Path(MEDICAL).read_text("utf-8").splitlines()):
        name = row["condition"]
        for aspect, said in ASPECTS.items():
            rest = [other for key, other in ASPECTS.items() if key != aspect]
            for number, other in enumerate(rest):
                case = f"{name}-{aspect}-{number}"
                cases.append(_Case(case, name, said.format(name), other.format(name), row[aspect]))
            documents.append(row[aspect])
    return cases, documents


def _words(label: str) -> str:
    return label.replace("_", " ")
