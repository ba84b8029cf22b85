"""Pairs from a folder of labelled JSONL files, one small reader per shape, licences from each `*.meta.json`.

Fields: `l` language, `q` query, `p` positive, `a`/`b` a pair, `s` similarity 0 to 5, `y` label, `t` text,
`c` candidates `[[text, grade], …]` (in command files, the command). `KINDS` says which reader takes which
file.
"""

from __future__ import annotations

import html
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingxi import languages
from lingxi.collect import instructions as asked
from lingxi.records import Pair, Passage, Task, digest, passage, read_jsonl

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where rows come from and how they are sampled: file stem, its licence, the run's seed and shares."""

    source: str
    licence: str
    seed: int = 0
    crosswise_share: float = 0.25
    topic_share: float = 0.1


Origins = Callable[[str, str], Origin]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file holds: the languages of its two sides, the task and the instruction of its rows."""

    read: Callable[[Iterable[Row], Origin, Kind], Iterator[Pair]]
    task: Task
    instruction: str
    query_language: str = "en"
    document_language: str = "en"


def read_folder(folder: Path, make_origin: Origins) -> Iterator[Pair]:
    """Stream the pairs of every file some reader knows, in name order.

    `make_origin(source, licence)` settles the sampling. Raises InputError for a line that is no JSON.
    """
    for path in sorted(folder.rglob("*.jsonl")):
        if kind := _kind_of(path.stem):
            yield from kind.read(read_jsonl(path), make_origin(path.stem, licence_of(path)), kind)


def unknown_files(folder: Path) -> list[str]:
    """What lies in a folder and no reader takes: names of files and of subfolders, meta files left out."""
    top = (path for path in sorted(folder.iterdir()) if not path.name.endswith(".meta.json"))
    return [path.name for path in top if path.suffix != ".jsonl" or not _kind_of(path.stem)]


def licence_of(path: Path) -> str:
    """The licence a data file's `*.meta.json` states; "not stated" where there is none, and so denied."""
    meta = path.with_name(path.stem + ".meta.json")
    if not meta.is_file():
        return "not stated"
    return str(json.loads(meta.read_text(encoding="utf-8")).get("lic", "not stated"))


def plain(text: str) -> str:
    """A text with its HTML entities read, also those a tokeniser pulled apart (`& # 124 ;`)."""
    if "&" not in text:
        return text.strip()
    for _ in range(2):
        text = html.unescape(_SPACED_ENTITY.sub(_entity, text))
    return text.strip()


def _bitext(rows: Iterable[Row], origin: Origin, kind: Kind) -> Iterator[Pair]:
    for row in rows:
        text, english = _unmarked(row["a"]), _unmarked(row["b"])
        code = languages.normalise(row["l"])
        yield _pair(origin, kind, _unspaced(text), [passage(english)], languages=(code, "en"))


def _captions(rows: Iterable[Row], origin: Origin, kind: Kind) -> Iterator[Pair]:
    for row in rows:
        english = plain(row["en"])
        for code, text in row.items():
            if code != "en":
                yield _pair(
                    origin, kind, plain(text), [passage(english)], digest(english), languages=(code, "en")
                )


def _flores(rows: Iterable[Row], origin: Origin, kind: Kind) -> Iterator[Pair]:
    """Sentences sharing an `id`: every language to English, a share to another language, a share by topic."""
    sentences: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sentences[row["id"]].append(row)
    chooser = random.Random(f"{origin.seed}:{origin.source}")
    topics = _by_topic(sentences)
    for identity, versions in sentences.items():
        english = [row for row in versions if row["l"] == "eng_Latn"]
        for row in versions:
            yield from _to_english(row, english, origin, kind, identity)
            if chooser.random() < origin.crosswise_share:
                yield _crosswise(row, chooser.choice(versions), origin, kind, identity)
            if chooser.random() < origin.topic_share:
                yield _same_topic(row, topics[row["l"]], origin, chooser)


def _to_english(row: Row, english: list[Row], origin: Origin, kind: Kind, identity: str) -> Iterator[Pair]:
    if english and row["l"] != "eng_Latn":
        sides = (languages.normalise(row["l"]), "en")
        yield _pair(origin, kind, row["t"], [passage(english[0]["t"])], identity, languages=sides)


def _crosswise(row: Row, other: Row, origin: Origin, kind: Kind, identity: str) -> Pair:
    sides = (languages.normalise(row["l"]), languages.normalise(other["l"]))
    return _pair(origin, kind, row["t"], [passage(other["t"])], identity, languages=sides)


def _same_topic(row: Row, topics: dict[str, list[str]], origin: Origin, chooser: random.Random) -> Pair:
    kind = Kind(_flores, "classification", asked.TOPIC)
    alike = [text for text in topics[row["y"]] if text != row["t"]] or [row["t"]]
    others = [topic for topic in sorted(topics) if topic != row["y"]]
    wrong = [passage(chooser.choice(topics[topic])) for topic in chooser.sample(others, min(3, len(others)))]
    code = languages.normalise(row["l"])
    right = [passage(chooser.choice(alike))]
    return _pair(origin, kind, row["t"], right, row["id"], wrong, languages=(code, code))


def _by_topic(sentences: dict[str, list[Row]]) -> dict[str, dict[str, list[str]]]:
    topics: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for versions in sentences.values():
        for row in versions:
            topics[row["l"]][row["y"]].append(row["t"])
    return topics


def _african_questions(rows: Iterable[Row], origin: Origin, kind: Kind) -> Iterator[Pair]:
    """A question in an African language: to its translation, and to the passage that answers it."""
    for row in rows:
        code = languages.normalise(row["l"])
        # AfriQA's pivot is French where the passages are of the French Wikipedia.
        pivot = "fr" if row["l"] in _FRENCH_PIVOT else "en"
        question, found = plain(row["q"]), plain(row["p"])
        group, sides = digest(found), (code, pivot)
        parallel = Kind(_bitext, "bitext", asked.PARALLEL)
        yield _pair(origin, parallel, question, [passage(plain(row["q_en"]))], group, languages=sides)
        yield _pair(origin, kind, question, [passage(found)], group, languages=sides)


def _questions(rows: Iterable[Row], origin: Origin, kind: Kind) -> Iterator[Pair]:
    for row in rows:
        found = plain(row["p"]).replace(" [SEP] ", "\n")
        yield _pair(origin, kind, plain(row["q"]), [passage(found)], row.get("focus") or digest(found))


def _commands(rows: Iterable[Row], origin: Origin, kind: Kind) -> Iterator[Pair]:
    """Descriptions of shell commands in many languages; two of one command line are translations too."""
    english: dict[tuple[str, str], set[str]] = defaultdict(set)
    table = list(rows)
    for row in table:
        if row["l"] == "en":
            english[_command_key(row)].add(plain(row["q"]))
    parallel = Kind(_commands, "bitext", asked.PARALLEL)
    for row in table:
        code, text = languages.normalise(row["l"]), plain(row["q"])
        command = passage(_OPTION.sub(r"\1", _SLOT.sub(r"\1", row["p"])).strip())
        yield _pair(origin, kind, text, [command], row["c"], languages=(code, kind.document_language))
        same = english.get(_command_key(row), set())
        # With two English descriptions of one line, which of them was translated is not known.
        if code != "en" and len(same) == 1:
            yield _pair(origin, parallel, text, [passage(next(iter(same)))], row["c"], languages=(code, "en"))


def _command_key(row: Row) -> tuple[str, str]:
    # The slots `{{path/to/file}}` are translated in the pages of other languages.
    return row["c"], _SLOT.sub("_", row["p"])


def _code_questions(rows: Iterable[Row], origin: Origin, kind: Kind) -> Iterator[Pair]:
    """Questions with code (`q2` a second wording); a label `y` of 0 says that the code does not answer."""
    for row in rows:
        code = passage(row["p"].strip())
        right, wrong = ([code], []) if row.get("y", 1) else ([], [code])
        for text in dict.fromkeys(filter(None, (row["q"], row.get("q2")))):
            yield _pair(origin, kind, plain(text), right, digest(code.text), wrong)


def _same(rows: Iterable[Row], origin: Origin, kind: Kind) -> Iterator[Pair]:
    for row in rows:
        # Code is no HTML: its `&` stay.
        first, second = (row[side].strip() if kind.task == "code" else plain(row[side]) for side in "ab")
        right, wrong = ([passage(second)], []) if row.get("y", 1) else ([], [passage(second)])
        yield _pair(origin, kind, first, right, negatives=wrong)


def _similarity(rows: Iterable[Row], origin: Origin, kind: Kind) -> Iterator[Pair]:
    for row in rows:
        scores = {"similarity": float(row["s"])}
        yield _pair(origin, kind, plain(row["a"]), [passage(plain(row["b"]))], scores=scores)


def _classes(rows: Iterable[Row], origin: Origin, kind: Kind) -> Iterator[Pair]:
    """Texts with a class, each to its label in words and to a text of its class; others' are negatives."""
    table = [(plain(row["t"]), str(row["y"])) for row in rows]
    classes: dict[str, list[str]] = defaultdict(list)
    for text, label in table:
        classes[label].append(text)
    chooser = random.Random(f"{origin.seed}:{origin.source}")
    for text, label in table:
        others = chooser.sample(sorted(set(classes) - {label}), min(4, len(classes) - 1))
        labels = [passage(_words(other)) for other in others]
        yield _pair(origin, kind, text, [passage(_words(label))], digest(text), labels)
        alike = chooser.choice([other for other in classes[label] if other != text] or [text])
        texts = [passage(chooser.choice(classes[other])) for other in others]
        yield _pair(origin, kind, text, [passage(alike)], digest(text), texts)


def _candidates(rows: Iterable[Row], origin: Origin, kind: Kind) -> Iterator[Pair]:
    """A question with graded candidates: grade 0 is a negative, anything above a positive of that score."""
    for row in rows:
        # Some lists carry more after the grade, such as a rank.
        graded = [passage(plain(text), float(grade)) for text, grade, *_ in row["c"]]
        right = [item for item in graded if item.score]
        wrong = [item for item in graded if not item.score]
        yield _pair(origin, kind, plain(row["q"]), right, digest(row["q"]), wrong)


def _pair(
    origin: Origin,
    kind: Kind,
    query: str,
    positives: list[Passage],
    group: str = "",
    negatives: Iterable[Passage] = (),
    *,
    languages: tuple[str, str] | None = None,
    scores: dict[str, float] | None = None,
) -> Pair:
    sides = languages or (kind.query_language, kind.document_language)
    return Pair(
        id=digest(origin.source, kind.task, *sides, query, *(item.id for item in positives)),
        group=f"{origin.source}:{group or digest(query)}",
        query=query,
        positives=tuple(positives),
        negatives=tuple(negatives),
        instruction=kind.instruction,
        task=kind.task,
        query_language=sides[0],
        document_language=sides[1],
        source=origin.source,
        licence=origin.licence,
        scores=scores or {},
    )


def _entity(found: re.Match[str]) -> str:
    name = f"&#{found[1]};" if found[1].isdigit() else f"&{found[1]};"
    # Only what is an entity: `a & bb ;` is left as it is.
    return name if html.unescape(name) != name else found[0]


def _unmarked(text: str) -> str:
    return " ".join(_MARKUP.sub(" ", plain(text)).split())


def _unspaced(text: str) -> str:
    return _BETWEEN_IDEOGRAPHS.sub("", text)


def _words(label: str) -> str:
    return " ".join(label.replace("_", " ").replace("?", "").split()).lower()


def _kind_of(stem: str) -> Kind | None:
    return next((kind for start, kind in KINDS.items() if stem.startswith(start)), None)


_SPACED_ENTITY = re.compile(r"&\s*#?\s*([0-9A-Za-z]{2,8})\s*;")
_MARKUP = re.compile(r"<[^<>]{1,200}>|[|]|(?:# ?)+(?=\s)|\\[nrt]")
_BETWEEN_IDEOGRAPHS = re.compile(r"(?<=[一-鿿，。、：；！？（）])\s+(?=[一-鿿，。、：；！？（）])")
# `[-r|--recursive]` offers two spellings of an option; the long one says more.
_OPTION = re.compile(r"\[-[\w?]\|(-[^\]|\s]+)\]")
_SLOT = re.compile(r"\{\{(.*?)\}\}")
_FRENCH_PIVOT = frozenset({"fon", "wol"})

# The first entry whose name a file's name starts with is its kind.
KINDS: dict[str, Kind] = {
    "bitext_": Kind(_bitext, "bitext", asked.PARALLEL),
    "captions_": Kind(_captions, "bitext", asked.PARALLEL),
    "sib200_flores": Kind(_flores, "bitext", asked.PARALLEL),
    "qa_afriqa": Kind(_african_questions, "retrieval", asked.WIKIPEDIA),
    "qa_squad": Kind(_questions, "retrieval", asked.WIKIPEDIA),
    "qa_zh": Kind(_questions, "retrieval", asked.WIKIPEDIA, "zh", "zh"),
    "qa_ja": Kind(_questions, "retrieval", asked.WIKIPEDIA, "ja", "ja"),
    "qa_policyqa": Kind(_questions, "retrieval", asked.POLICY),
    "med_medquad": Kind(_questions, "retrieval", asked.MEDICAL),
    "med_indiana": Kind(_questions, "retrieval", asked.RADIOLOGY),
    "long_qmsum": Kind(_questions, "retrieval", asked.MEETING),
    "code_tldr": Kind(_commands, "code", asked.SHELL, "en", "bash"),
    "code_nl2bash": Kind(_code_questions, "code", asked.SHELL, "en", "bash"),
    "code_concode": Kind(_code_questions, "code", asked.COMMENT, "en", "java"),
    "code_docstring_py": Kind(_code_questions, "code", asked.COMMENT, "en", "python"),
    "code_": Kind(_code_questions, "code", asked.CODING, "en", "python"),
    "code2code_java_cs": Kind(_same, "code", asked.SAME_CODE, "java", "csharp"),
    "sts_stsb_zh": Kind(_similarity, "sts", asked.SIMILAR, "zh", "zh"),
    "sts_stsb_fr": Kind(_similarity, "sts", asked.SIMILAR, "fr", "fr"),
    "sts_stsb_de": Kind(_similarity, "sts", asked.SIMILAR, "de", "de"),
    "sts_stsb_es": Kind(_similarity, "sts", asked.SIMILAR, "es", "es"),
    "sts_stsb_ja": Kind(_similarity, "sts", asked.SIMILAR, "ja", "ja"),
    "sts_stsb_ru": Kind(_similarity, "sts", asked.SIMILAR, "ru", "ru"),
    "sts_stsb_en": Kind(_similarity, "sts", asked.SIMILAR),
    "sts_jsts": Kind(_similarity, "sts", asked.SIMILAR, "ja", "ja"),
    "cls_banking77": Kind(_classes, "classification", asked.BANKING),
    "cls_zh": Kind(_classes, "classification", asked.CLINICAL, "zh", "zh"),
    "pair_zh": Kind(_same, "pair", asked.QUESTION, "zh", "zh"),
    "pair_med_rqe": Kind(_same, "pair", asked.QUESTION),
    "pair_msr": Kind(_same, "pair", asked.SIMILAR),
    "rerank_zh": Kind(_candidates, "retrieval", asked.SEARCH, "zh", "zh"),
    "rerank_": Kind(_candidates, "retrieval", asked.SEARCH),
}
