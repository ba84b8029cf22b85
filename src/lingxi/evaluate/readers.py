"""From files to tasks: one reader a shape of file, each naming the file and the line that is wrong.

A set is sampled by seed: up to `queries` queries, and a corpus thinned to `documents`, but never of a
document that is relevant to a query that was drawn.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from lingxi.errors import InputError
from lingxi.evaluate.suite import SetSettings, SuiteSettings
from lingxi.evaluate.tasks import Bitext, Head, Labelled, Pairs, Ranking, Task
from lingxi.records import numbered_jsonl

Row = dict[str, Any]
Judged = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A set with the sampling that holds for it."""

    settings: SetSettings
    path: Path
    queries: int
    documents: int
    seed: int

    def head(self, language: str | None = None) -> Head:
        """The head of the set's task in a language."""
        return Head(self.settings.name, self.settings.task, language or self.settings.language)


def read_set(settings: SetSettings, suite: SuiteSettings, root: Path) -> Iterator[Task]:
    """Stream the tasks of a set, one a language.

    Raises InputError where a file is missing, a row is broken, an id is there twice, a judgement names an
    unknown id, a query has nothing relevant, or the corpus is empty.
    """
    asked = Asked(
        settings,
        root / settings.path,
        settings.queries or suite.queries,
        settings.documents or suite.documents,
        suite.seed,
    )
    found = 0
    for task in READERS[settings.reader](asked):
        found += 1
        yield task
    if not found:
        raise InputError(
            f"the set {settings.name!r} at {asked.path} has no rows to measure",
            "check the path, and `languages` where it is given",
        )


# --- retrieval -----------------------------------------------------------------------------------


def _beir(asked: Asked) -> Iterator[Task]:
    """A folder with corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv), `_id` or `id`."""
    judged = read_qrels(asked.path, asked.settings.binary)
    queries = keyed_texts(asked.path / "queries.jsonl")
    corpus = keyed_texts(asked.path / "corpus.jsonl")
    check_judged(judged, queries, corpus, asked.path)
    answers = _answers(asked.path / "answers.jsonl")
    yield sampled(asked, asked.head(), queries, corpus, judged, answers)


def _parallel(asked: Asked) -> Iterator[Task]:
    """As `_beir`, with ids `language:key` of parallel texts: queries of every language against English."""
    judged = read_qrels(asked.path, asked.settings.binary)
    queries = _by_language(keyed_texts(asked.path / "queries.jsonl"))
    corpus = _by_language(keyed_texts(asked.path / "corpus.jsonl"))
    english = corpus.get("en", {})
    keys = draw(sorted(queries.get("en", {})), asked.queries, asked.seed)
    for language in _wanted(asked, sorted(queries)):
        texts = {key: queries[language][key] for key in keys if key in queries[language]}
        grades = {
            key: {doc.partition(":")[2]: grade for doc, grade in judged[f"{language}:{key}"].items()}
            for key in texts
        }
        check_judged(grades, texts, english, asked.path)
        yield sampled(asked, asked.head(f"{language}>en"), texts, english, grades)


def _questions(asked: Asked) -> Iterator[Task]:
    """Rows of a question and its passage (`q`, `p`, or two sides `a`, `b`): each asks for its own."""
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    judged: Judged = defaultdict(dict)
    place: dict[str, str] = {}
    for number, row in numbered_jsonl(asked.path):
        query = field(row, "q" if "q" in row else "a", asked.path, number)
        passage = field(row, "p" if "p" in row else "b", asked.path, number)
        document = place.setdefault(passage, f"d{number}")
        queries[f"q{number}"] = query
        corpus[document] = passage
        judged[f"q{number}"][document] = 1.0
    yield sampled(asked, asked.head(), queries, corpus, judged, alike=asked.settings.alike)


def _meetings(asked: Asked) -> Iterator[Task]:
    """Turns of meetings, ids `m<meeting>t<turn>`: those of the query's own meeting, or (`whole`) meetings by
    their best turn.
    """
    judged = read_qrels(asked.path, asked.settings.binary)
    queries = keyed_texts(asked.path / "queries.jsonl")
    turns = keyed_texts(asked.path / "corpus.jsonl")
    check_judged(judged, queries, turns, asked.path)
    chosen = draw(sorted(q for q in queries if q in judged), asked.queries, asked.seed)
    place = {key: number for number, key in enumerate(turns)}
    meetings = {key: key.partition("t")[0] for key in turns}
    names = list(dict.fromkeys(meetings.values()))
    own = [next(iter(judged[q])).partition("t")[0] for q in chosen]
    common = (
        asked.settings.metrics,
        asked.settings.instruction,
        tuple(chosen),
        tuple(queries[q] for q in chosen),
    )
    if not asked.settings.whole:
        inside = {name: tuple(place[key] for key in turns if meetings[key] == name) for name in set(own)}
        grades = tuple({place[key]: grade for key, grade in judged[q].items()} for q in chosen)
        yield Ranking(
            asked.head(), *common, tuple(turns), tuple(turns.values()), grades, tuple(inside[m] for m in own)
        )
        return
    parents = tuple(names.index(meetings[key]) for key in turns)
    whole = tuple({names.index(name): 1.0} for name in own)
    yield Ranking(asked.head(), *common, tuple(names), tuple(turns.values()), whole, parents=parents)


def _candidates(asked: Asked) -> Iterator[Task]:
    """Rows of a query with graded candidates `c` = [[text, grade], …]: only these are ranked."""
    listed = []
    for number, row in numbered_jsonl(asked.path):
        graded = [(str(item[0]), float(item[1])) for item in field(row, "c", asked.path, number, list)]
        listed.append(_Listed(number, field(row, "q", asked.path, number), graded))
    yield _of_listed(asked, listed)


def _passages(asked: Asked) -> Iterator[Task]:
    """Rows of a question, its answers, passages that hold one (`pos`) and passages that do not (`neg`)."""
    listed = []
    for number, row in numbered_jsonl(asked.path):
        right, wrong, said = (field(row, key, asked.path, number, list) for key in ("pos", "neg", "answer"))
        graded = [*((str(text), 1.0) for text in right), *((str(text), 0.0) for text in wrong)]
        answers = tuple(str(text) for text in said)
        listed.append(_Listed(number, field(row, "q", asked.path, number), graded, answers))
    yield _of_listed(asked, listed)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A query with its own list of graded documents; `line` is where it stands."""

    line: int
    query: str
    graded: list[tuple[str, float]]
    answers: tuple[str, ...] | None = None


def _of_listed(asked: Asked, listed: Sequence[_Listed]) -> Ranking:
    for row in listed:
        if not any(grade > 0 for _, grade in row.graded):
            raise InputError(f"{asked.path}:{row.line}: no candidate is relevant", "mend or remove the row")
    drawn = draw(listed, asked.queries, asked.seed)
    ends = list(accumulate((len(row.graded) for row in drawn), initial=0))
    places = [tuple(range(start, end)) for start, end in pairwise(ends)]
    documents = tuple(text for row in drawn for text, _ in row.graded)
    grades = [[grade for _, grade in row.graded] for row in drawn]
    answers = tuple(row.answers for row in drawn if row.answers is not None)
    return Ranking(
        asked.head(),
        asked.settings.metrics,
        asked.settings.instruction,
        tuple(f"q{row.line}" for row in drawn),
        tuple(row.query for row in drawn),
        tuple(f"d{number}" for number in range(len(documents))),
        documents,
        tuple(dict(zip(at, own, strict=True)) for at, own in zip(places, grades, strict=True)),
        tuple(places),
        answers=answers or None,
    )


def _graph(asked: Asked) -> Iterator[Task]:
    """Entities of two knowledge graphs with their names, and the reference links between them."""
    left, right = (_names(asked.path / f"ent_ids_{side}.tsv") for side in (1, 2))
    links = [tuple(line.split("\t")) for line in _lines(asked.path / "ref_ent_ids.tsv")]
    targets = sorted({b for _, b in links})
    kept = draw(targets, asked.documents, asked.seed)
    inside = set(kept)
    pairs = draw(sorted(pair for pair in links if pair[1] in inside), asked.queries, asked.seed)
    place = {key: number for number, key in enumerate(kept)}
    yield Ranking(
        asked.head(),
        asked.settings.metrics,
        asked.settings.instruction,
        tuple(a for a, _ in pairs),
        tuple(left[a] for a, _ in pairs),
        tuple(kept),
        tuple(right[b] for b in kept),
        tuple({place[b]: 1.0} for _, b in pairs),
        alike=True,
    )


# --- translations, pairs, labels -----------------------------------------------------------------


def _bitext(asked: Asked) -> Iterator[Task]:
    """Rows of a language `l`, a sentence `a` and its English translation `b`."""
    pairs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for number, row in numbered_jsonl(asked.path):
        sides = (field(row, "a", asked.path, number), field(row, "b", asked.path, number))
        pairs[field(row, "l", asked.path, number)].append(sides)
    for language in _wanted(asked, sorted(pairs)):
        left, right = zip(*pairs[language], strict=True)
        ids = tuple(f"{language}-{i}" for i in range(len(left)))
        yield Bitext(
            asked.head(language), asked.settings.metrics, asked.settings.instruction, ids, left, right
        )


def _sentences(asked: Asked) -> Iterator[Task]:
    """Sentences `t` of many languages that share an `id`: each language against English."""
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for number, row in numbered_jsonl(asked.path):
        texts[row["l"]][field(row, "id", asked.path, number)] = field(row, "t", asked.path, number)
    english = texts.pop("eng_Latn", {})
    for language in _wanted(asked, sorted(texts)):
        shared = sorted(set(texts[language]) & set(english))
        left = tuple(texts[language][key] for key in shared)
        right = tuple(english[key] for key in shared)
        ids = tuple(f"{language}-{key}" for key in shared)
        yield Bitext(
            asked.head(language), asked.settings.metrics, asked.settings.instruction, ids, left, right
        )


def _pairs(asked: Asked) -> Iterator[Task]:
    """Rows of two texts `a`, `b` with a similarity `s` or a label `y`; a `*` in the path is the language."""
    files = sorted(asked.path.parent.glob(asked.path.name))
    if not files:
        raise InputError(f"no file matches {asked.path}", "check the suite's root and the set's path")
    before, star, after = asked.path.name.partition("*")
    for path in files:
        language = path.name.removeprefix(before).removesuffix(after) if star else asked.settings.language
        if asked.settings.languages is not None and language not in asked.settings.languages:
            continue
        rows = list(numbered_jsonl(path))
        left, right = (tuple(field(row, side, path, n) for n, row in rows) for side in ("a", "b"))
        gold = tuple(_gold(asked, row, path, n) for n, row in rows)
        ids = tuple(f"{language}-{n}" for n, _ in rows)
        yield Pairs(
            asked.head(language), asked.settings.metrics, asked.settings.instruction, ids, left, right, gold
        )


def _gold(asked: Asked, row: Row, path: Path, number: int) -> float:
    if "s" in row:
        return float(row["s"])
    label = field(row, "y", path, number, object)
    return float(label == asked.settings.positive if asked.settings.positive is not None else label)


def _labels(asked: Asked) -> Iterator[Task]:
    """Rows of a text `t` with a label `y`, by language `l` where the rows name one."""
    rows: dict[str, list[tuple[int, Row]]] = defaultdict(list)
    for number, row in numbered_jsonl(asked.path):
        rows[str(row.get("l", asked.settings.language))].append((number, row))
    for language in _wanted(asked, sorted(rows)):
        numbered = rows[language]
        yield Labelled(
            asked.head(language),
            asked.settings.metrics,
            asked.settings.instruction,
            tuple(f"{language}-{n}" for n, _ in numbered),
            tuple(field(row, "t", asked.path, n) for n, row in numbered),
            tuple(str(field(row, "y", asked.path, n, object)) for n, row in numbered),
        )


READERS: Mapping[str, Callable[[Asked], Iterator[Task]]] = {
    "beir": _beir,
    "parallel": _parallel,
    "questions": _questions,
    "bitext": _bitext,
    "sentences": _sentences,
    "pairs": _pairs,
    "labels": _labels,
    "candidates": _candidates,
    "meetings": _meetings,
    "graph": _graph,
    "passages": _passages,
}


# --- pieces --------------------------------------------------------------------------------------


def sampled(
    asked: Asked,
    head: Head,
    queries: Mapping[str, str],
    corpus: Mapping[str, str],
    judged: Mapping[str, Mapping[str, float]],
    answers: Mapping[str, tuple[str, ...]] | None = None,
    alike: bool = False,
) -> Ranking:
    """Queries drawn by seed and the corpus thinned around them, as a task."""
    drawn = draw(sorted(key for key in queries if key in judged), asked.queries, asked.seed)
    needed = {doc for key in drawn for doc, grade in judged[key].items() if grade > 0}
    others = [key for key in sorted(corpus) if key not in needed]
    room = max(0, asked.documents - len(needed))
    kept = sorted(needed | set(draw(others, room, asked.seed)))
    place = {key: number for number, key in enumerate(kept)}
    return Ranking(
        head,
        asked.settings.metrics,
        asked.settings.instruction,
        tuple(drawn),
        tuple(queries[key] for key in drawn),
        tuple(kept),
        tuple(corpus[key] for key in kept),
        tuple({place[doc]: grade for doc, grade in judged[key].items() if doc in place} for key in drawn),
        answers=tuple(answers[key] for key in drawn) if answers else None,
        alike=alike,
    )


def draw(keys: Sequence[Any], most: int, seed: int) -> list[Any]:
    """Up to `most` of the keys by seed, in their order."""
    places = random.Random(seed).sample(range(len(keys)), min(most, len(keys)))
    return [keys[place] for place in sorted(places)]


def read_qrels(folder: Path, binary: bool = False) -> Judged:
    """Grades by query and document, from qrels.tsv or qrels/test.tsv; raises InputError for a broken line."""
    path = next((p for p in (folder / "qrels.tsv", folder / "qrels" / "test.tsv") if p.is_file()), None)
    if path is None:
        raise InputError(f"no qrels.tsv (or qrels/test.tsv) in {folder}", "add the judgements of the queries")
    judged: Judged = defaultdict(dict)
    for number, line in enumerate(_lines(path), 1):
        parts = line.split("\t")
        if number == 1 and parts[-1] in ("score", "grade"):
            continue
        try:
            query, document, grade = parts if len(parts) == 3 else (parts[0], *parts[2:])
            value = float(grade)
        except ValueError:
            raise InputError(
                f"{path}:{number} is not query, document and grade, tab by tab", "mend or remove the line"
            ) from None
        judged[query][document] = float(value > 0) if binary else value
    return judged


def keyed_texts(path: Path) -> dict[str, str]:
    """Texts (with their titles) by id; raises InputError for a row without, or an id that is there twice."""
    texts: dict[str, str] = {}
    for number, row in numbered_jsonl(path):
        key = str(field(row, "_id" if "_id" in row else "id", path, number, object))
        if key in texts:
            raise InputError(
                f"{path}:{number}: the id {key!r} is there twice", "give every row an id of its own"
            )
        title, text = str(row.get("title") or ""), field(row, "text", path, number)
        texts[key] = f"{title}\n{text}" if title else text
    if not texts:
        raise InputError(
            f"{path} has no rows", "an empty corpus or an empty list of queries measures nothing"
        )
    return texts


def check_judged(
    judged: Mapping[str, Mapping[str, float]],
    queries: Mapping[str, str],
    corpus: Mapping[str, str],
    where: Path,
) -> None:
    """Raise InputError for a judgement of an unknown id, or a query to which nothing is relevant."""
    for query, grades in judged.items():
        if query not in queries:
            raise InputError(f"{where}: the judgements name the query {query!r}, which is not there", _MEND)
        if missing := [doc for doc in grades if doc not in corpus]:
            raise InputError(
                f"{where}: the judgements of query {query!r} name {missing[0]!r}, which is not in the corpus",
                _MEND,
            )
        if not any(grade > 0 for grade in grades.values()):
            raise InputError(f"{where}: nothing is relevant to query {query!r}", "remove its judgements")


_MEND = "take queries, corpus and judgements from the same set"


def field(row: Row, key: str, path: Path, number: int, kind: type = str) -> Any:
    """A field of a row; raises InputError naming file and line where it is missing or of another type."""
    value = row.get(key)
    if value is None or not isinstance(value, kind):
        said = "is missing" if value is None else f"is {type(value).__name__}"
        raise InputError(f"{path}:{number}: the field {key!r} {said}", "mend or remove the line")
    return value


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"no file at {path}", "check the suite's root and the set's path")
    return [line for line in path.read_text("utf-8").splitlines() if line]


def _names(path: Path) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in _lines(path))


def _answers(path: Path) -> dict[str, tuple[str, ...]] | None:
    if not path.is_file():
        return None
    return {str(row["id"]): tuple(row["answers"]) for _, row in numbered_jsonl(path)}


def _by_language(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Texts of ids such as `ro:5737` by language, then by the rest of the id."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for key, text in texts.items():
        language, _, rest = key.partition(":")
        found[language][rest] = text
    return found


def _wanted(asked: Asked, present: Iterable[str]) -> list[str]:
    """The languages to measure; raises InputError for one that the set does not have."""
    present = list(present)
    named = asked.settings.languages
    if named is None:
        return present
    if unknown := sorted(set(named) - set(present)):
        raise InputError(
            f"the set {asked.settings.name!r} has no language {', '.join(unknown)}",
            f"name some of: {', '.join(present)}",
        )
    return list(named)
