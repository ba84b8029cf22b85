"""What a set is asked for, and the pieces that readers share: sampling, judgements, fields.

A set is sampled by seed: up to `queries` queries, and a corpus thinned to `documents`, but never of a
document that is relevant to a query that was drawn.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingxi.errors import InputError
from lingxi.evaluate.suite import SetSettings
from lingxi.evaluate.tasks import Head, Ranking
from lingxi.tables import Judged, Row, numbered, read_judgements


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

    def rows(self, path: Path | None = None) -> Iterator[tuple[int, Row]]:
        """The rows of the set's file with their numbers, fields renamed as its settings say."""
        for number, row in numbered(path or self.path):
            renamed = {ours: row[theirs] for ours, theirs in self.settings.fields.items() if theirs in row}
            yield number, row | renamed


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
        answers=tuple(answers.get(key, ()) for key in drawn) if answers else None,
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
    return read_judgements(path, binary)


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


def lines(path: Path) -> list[str]:
    """The lines of a text file that hold something; raises InputError where it is missing."""
    if not path.is_file():
        raise InputError(f"no file at {path}", "check the suite's root and the set's path")
    return [line for line in path.read_text("utf-8").splitlines() if line]


def wanted(asked: Asked, present: Iterable[str]) -> list[str]:
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
