"""Sets of queries and documents: the BEIR shape, rows of questions, candidates, meetings, graphs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from lingxi.errors import InputError
from lingxi.evaluate.readers.asked import Asked, check_judged, draw, lines, read_qrels, sampled, wanted
from lingxi.evaluate.tasks import Ranking, Task
from lingxi.tables import Judged, field, keyed_texts, number_of, numbered, table


def beir(asked: Asked) -> Iterator[Task]:
    """A folder with corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv), `_id` or `id`."""
    judged = read_qrels(asked.path, asked.settings.binary)
    queries = keyed_texts(table(asked.path, "queries"))
    corpus = keyed_texts(table(asked.path, "corpus"))
    check_judged(judged, queries, corpus, asked.path)
    answers = _answers(asked.path / "answers.jsonl")
    yield sampled(asked, asked.head(), queries, corpus, judged, answers)


def parallel(asked: Asked) -> Iterator[Task]:
    """As `_beir`, with ids `language:key` of parallel texts: queries of every language against English."""
    judged = read_qrels(asked.path, asked.settings.binary)
    queries = _by_language(keyed_texts(table(asked.path, "queries")))
    corpus = _by_language(keyed_texts(table(asked.path, "corpus")))
    english = corpus.get("en", {})
    keys = draw(sorted(queries.get("en", {})), asked.queries, asked.seed)
    for language in wanted(asked, sorted(queries)):
        texts = {key: queries[language][key] for key in keys if key in queries[language]}
        grades = {
            key: {doc.partition(":")[2]: grade for doc, grade in judged[f"{language}:{key}"].items()}
            for key in texts
        }
        check_judged(grades, texts, english, asked.path)
        yield sampled(asked, asked.head(f"{language}>en"), texts, english, grades)


def questions(asked: Asked) -> Iterator[Task]:
    """Rows of a question and its passage (`q`, `p`, or two sides `a`, `b`): each asks for its own."""
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    judged: Judged = defaultdict(dict)
    place: dict[str, str] = {}
    for number, row in asked.rows():
        query = field(row, "q" if "q" in row else "a", asked.path, number)
        passage = field(row, "p" if "p" in row else "b", asked.path, number)
        document = place.setdefault(passage, f"d{number}")
        queries[f"q{number}"] = query
        corpus[document] = passage
        judged[f"q{number}"][document] = 1.0
    yield sampled(asked, asked.head(), queries, corpus, judged, alike=asked.settings.alike)


def meetings(asked: Asked) -> Iterator[Task]:
    """Turns of meetings, ids `m<meeting>t<turn>`: those of the query's own meeting, or (`whole`) meetings by
    their best turn.
    """
    judged = read_qrels(asked.path, asked.settings.binary)
    queries = keyed_texts(table(asked.path, "queries"))
    turns = keyed_texts(table(asked.path, "corpus"))
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


def candidates(asked: Asked) -> Iterator[Task]:
    """Rows of a query with graded candidates `c` = [[text, grade], …]: only these are ranked."""
    listed = []
    for number, row in asked.rows():
        graded = [_candidate(item, asked.path, number) for item in field(row, "c", asked.path, number, list)]
        listed.append(_Listed(number, field(row, "q", asked.path, number), graded))
    yield _of_listed(asked, listed)


def passages(asked: Asked) -> Iterator[Task]:
    """Rows of a question, its answers, passages that hold one (`pos`) and passages that do not (`neg`)."""
    listed = []
    for number, row in asked.rows():
        right, wrong, said = (field(row, key, asked.path, number, list) for key in ("pos", "neg", "answer"))
        graded = [*((str(text), 1.0) for text in right), *((str(text), 0.0) for text in wrong)]
        answers = tuple(str(text) for text in said)
        listed.append(_Listed(number, field(row, "q", asked.path, number), graded, answers))
    yield _of_listed(asked, listed)


def _candidate(item: object, path: Path, number: int) -> tuple[str, float]:
    if not isinstance(item, list) or len(item) != 2:
        raise InputError(f"{path}:{number}: a candidate is no [text, grade]", "mend or remove the line")
    return str(item[0]), number_of(item[1], "the grade of a candidate", path, number)


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


def graph(asked: Asked) -> Iterator[Task]:
    """Entities of two knowledge graphs with their names, and the reference links between them."""
    left, right = (_names(asked.path / f"ent_ids_{side}.tsv") for side in (1, 2))
    place_of = asked.path / "ref_ent_ids.tsv"
    links = [tuple(line.split("\t")) for line in lines(place_of)]
    for number, link in enumerate(links, 1):
        if len(link) != 2 or link[0] not in left or link[1] not in right:
            raise InputError(f"{place_of}:{number} links no two known entities", "mend or remove the line")
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


def _names(path: Path) -> dict[str, str]:
    pairs = [line.partition("\t") for line in lines(path)]
    return {key: name for key, _, name in pairs}


def _answers(path: Path) -> dict[str, tuple[str, ...]] | None:
    if not path.is_file():
        return None
    return {str(row["id"]): tuple(row["answers"]) for _, row in numbered(path)}


def _by_language(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Texts of ids such as `ro:5737` by language, then by the rest of the id."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for key, text in texts.items():
        language, _, rest = key.partition(":")
        found[language][rest] = text
    return found
