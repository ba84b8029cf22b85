"""The benchmark's sets as plain data, sampled by seed: retrieval, bitext and similarity.

Up to 300 queries of a set; corpora above 3,000 passages are thinned, but never of a passage that is
relevant to a sampled query.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lingxi.collect.instructions import CODING, PARALLEL, SIMILAR, WIKIPEDIA
from lingxi.errors import InputError
from lingxi.records import read_jsonl

SetName = Literal["xquad", "cosqa", "tatoeba", "sib200", "sts"]


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """Queries against documents; `grades[i]` maps positions of documents to the grade they have for query
    i.
    """

    name: str
    language: str
    queries: tuple[str, ...]
    documents: tuple[str, ...]
    grades: tuple[Mapping[int, float], ...]
    instruction: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class BitextSet:
    """Sentences of a language and their English translations, row by row."""

    name: str
    language: str
    left: tuple[str, ...]
    right: tuple[str, ...]
    instruction: str = PARALLEL


@dataclass(frozen=True, slots=True)
class SimilaritySet:
    """Two texts a row with the similarity people gave them, 0 to 5."""

    name: str
    language: str
    left: tuple[str, ...]
    right: tuple[str, ...]
    gold: tuple[float, ...]
    instruction: str = SIMILAR


Suite = RetrievalSet | BitextSet | SimilaritySet


@dataclass(frozen=True, slots=True)
class Sampling:
    """How much of a set is measured; `tatoeba_languages` of None means all of them."""

    queries: int = 300
    documents: int = 3000
    tatoeba_languages: tuple[str, ...] | None = None
    seed: int = 0


def read_set(name: SetName, folder: Path, sampling: Sampling) -> Iterator[Suite]:
    """Stream the suites of a set, one a language; raises InputError when its files are missing or damaged."""
    yield from _READERS[name](folder, sampling)


def _xquad(folder: Path, sampling: Sampling) -> Iterator[RetrievalSet]:
    """Question in language X against the English paragraphs; paragraph n is the same in every language."""
    queries = _by_language(folder / "xquad" / "queries.jsonl")
    corpus = _by_language(folder / "xquad" / "corpus.jsonl")
    judged = {query: document for query, document, _ in _qrels(folder / "xquad" / "qrels.tsv")}
    english, paragraphs = list(corpus["en"]), tuple(corpus["en"].values())
    place = {identity: number for number, identity in enumerate(english)}
    chosen = _sample(sorted(queries["en"]), sampling.queries, sampling.seed)
    for language, asked in sorted(queries.items()):
        kept = [identity for identity in chosen if identity in asked]
        grades = tuple({place[judged[f"{language}:{item}"].partition(":")[2]]: 1.0} for item in kept)
        texts = tuple(asked[identity] for identity in kept)
        yield RetrievalSet("xquad", f"{language}>en", texts, paragraphs, grades, WIKIPEDIA)


def _cosqa(folder: Path, sampling: Sampling) -> Iterator[RetrievalSet]:
    yield read_beir(folder / "cosqa_test", "cosqa_test", "en>python", CODING, sampling, code=True)


def read_beir(
    folder: Path, name: str, language: str, instruction: str, sampling: Sampling, *, code: bool = False
) -> RetrievalSet:
    """A folder with corpus.jsonl, queries.jsonl and qrels.tsv as one sampled set; raises InputError as
    `read_set`.
    """
    judged: dict[str, dict[str, float]] = defaultdict(dict)
    for query, document, grade in _qrels(folder / "qrels.tsv"):
        judged[query][document] = grade
    queries = {row["id"]: row["text"] for row in read_jsonl(folder / "queries.jsonl") if row["id"] in judged}
    corpus = {row["id"]: row["text"] for row in read_jsonl(folder / "corpus.jsonl")}
    chosen = _sample(sorted(queries), sampling.queries, sampling.seed)
    needed = {document for query in chosen for document in judged[query] if judged[query][document] > 0}
    kept = _thinned(sorted(corpus), needed, sampling)
    place = {identity: number for number, identity in enumerate(kept)}
    grades = tuple({place[d]: g for d, g in judged[query].items() if d in place} for query in chosen)
    texts, documents = tuple(queries[q] for q in chosen), tuple(corpus[d] for d in kept)
    return RetrievalSet(name, language, texts, documents, grades, instruction, code)


def _tatoeba(folder: Path, sampling: Sampling) -> Iterator[BitextSet]:
    pairs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in read_jsonl(folder / "bitext_tatoeba.jsonl"):
        pairs[row["l"]].append((row["a"], row["b"]))
    for language in _wanted(sorted(pairs), sampling.tatoeba_languages):
        left, right = zip(*pairs[language], strict=True)
        yield BitextSet("tatoeba", language, left, right)


def _sib200(folder: Path, sampling: Sampling) -> Iterator[BitextSet]:
    sentences: dict[str, dict[str, str]] = defaultdict(dict)
    for row in read_jsonl(folder / "cls_bitext_sib200_test.jsonl"):
        sentences[row["l"]][row["id"]] = row["t"]
    english = sentences.pop("eng_Latn", {})
    for language, texts in sorted(sentences.items()):
        shared = sorted(set(texts) & set(english))
        left, right = tuple(texts[i] for i in shared), tuple(english[i] for i in shared)
        yield BitextSet("sib200", language, left, right)


def _sts(folder: Path, sampling: Sampling) -> Iterator[SimilaritySet]:
    """STS benchmark in seven languages and the Japanese JSTS, whole: their rows are few."""
    files = sorted(folder.glob("sts_*.jsonl"))
    if not files:
        raise InputError(f"{folder} holds no sts_*.jsonl", "give the benchmark's folder")
    for path in files:
        rows = list(read_jsonl(path))
        sides = tuple(row["a"] for row in rows), tuple(row["b"] for row in rows)
        name, language = path.stem.split("_")[1], path.stem.split("_")[2]
        gold = tuple(float(row["s"]) for row in rows)
        yield SimilaritySet(name, "ja" if name == "jsts" else language, *sides, gold)


_READERS: dict[SetName, Callable[[Path, Sampling], Iterator[Suite]]] = {
    "xquad": _xquad,
    "cosqa": _cosqa,
    "tatoeba": _tatoeba,
    "sib200": _sib200,
    "sts": _sts,
}


def _sample(identities: Sequence[str], most: int, seed: int) -> list[str]:
    return sorted(random.Random(seed).sample(identities, min(most, len(identities))))


def _thinned(identities: Sequence[str], needed: set[str], sampling: Sampling) -> list[str]:
    others = [identity for identity in identities if identity not in needed]
    room = max(0, sampling.documents - len(needed))
    kept = needed.intersection(identities) | set(_sample(others, room, sampling.seed))
    return [identity for identity in identities if identity in kept]


def _wanted(present: Sequence[str], named: tuple[str, ...] | None) -> Sequence[str]:
    if named is None:
        return present
    if unknown := sorted(set(named) - set(present)):
        raise InputError(
            f"the set has no language {', '.join(unknown)}", f"name some of: {', '.join(present)}"
        )
    return named


def _by_language(path: Path) -> dict[str, dict[str, str]]:
    """Texts of ids such as `ro:5737` by language, then by the rest of the id."""
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for row in read_jsonl(path):
        language, _, identity = row["id"].partition(":")
        texts[language][identity] = row["text"]
    return texts


def _qrels(path: Path) -> Iterator[tuple[str, str, float]]:
    if not path.is_file():
        raise InputError(f"no file at {path}", "give the folder or archive of the benchmark")
    for line in path.read_text("utf-8").splitlines():
        query, document, grade = line.split("\t")
        yield query, document, float(grade)
