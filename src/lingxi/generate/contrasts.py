"""Contrast rows: one query under several instructions, each with an answer that is wrong under the others.

They teach that an instruction decides what is right (after FollowIR, arXiv 2403.15246). Rows of a contrast
share query, task and group, and each has the answers of the others as its negatives. They are made of what is
there: the sections of a document, and code beside its comment; those of translations are in `versions`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from lingxi.collect.code import HOLE
from lingxi.collect.instructions import COMMENT, DESCRIBED, FILL, FOLLOWING, HEADED, NEXT, SECTION, UNMASK
from lingxi.collect.origin import Origin, pair
from lingxi.generate.passages import Part, clipped, fits, language_of, paragraphs, parts, title_of, within
from lingxi.generate.settings import ContrastSettings
from lingxi.generate.structure import origin_of
from lingxi.parse.sentences import sentences
from lingxi.records import Document, Pair, digest, drawn

Contrast = Sequence[Pair]
"""The rows of one query; their number is the same throughout a kind."""


def draw_contrasts(made: Callable[[], Iterable[Contrast]], most: int, seed: int) -> Iterator[Pair]:
    """The rows of the contrasts with the smallest draws, up to `most` rows, in their order.

    `made` is called three times, and in memory are numbers, not rows.
    """
    size = next((len(rows) for rows in made()), 1)
    lots = (drawn(seed, rows[0].id) for rows in made())
    taken = set(heapq.nsmallest(most // size, lots))
    return (row for rows in made() if drawn(seed, rows[0].id) in taken for row in rows)


def section_contrasts(document: Document, settings: ContrastSettings) -> Iterator[Contrast]:
    """A heading, with the title before it, asks for its section, or for the one that comes after."""
    for part, following in _neighbours(document, settings):
        own, after = (_shown(document, each, settings) for each in (part, following))
        yield from _contrast(document, _named(document, part), {SECTION: own, FOLLOWING: after}, settings)


def heading_contrasts(document: Document, settings: ContrastSettings) -> Iterator[Contrast]:
    """The prose of a section asks for the section that follows, or for its own title and heading."""
    code = language_of(document)
    for part, following in _neighbours(document, settings):
        prose = "\n\n".join(paragraphs(part.body))
        if fits(prose, settings.least_text, code):
            answers = {NEXT: _shown(document, following, settings), HEADED: _named(document, part)}
            yield from _contrast(document, clipped(prose, settings.most_query, code), answers, settings)


def code_contrasts(rows: Iterable[Pair]) -> Iterator[Contrast]:
    """Code with a masked name or a hole, that asks for the code itself in a row that was collected, asks for
    the comment on it.

    One row a contrast: the other is among `rows`, where a comment's row stands before those of its code.
    """
    described: Pair | None = None
    for row in rows:
        if row.dropped is not None or row.task != "code":
            continue
        if row.instruction == COMMENT:
            described = row
        elif described is not None and _of_one(described, row):
            yield (_described(described, row),)


def _neighbours(document: Document, settings: ContrastSettings) -> Iterator[tuple[Part, Part]]:
    """Parts under a heading with the ones that follow them, where both are long enough and differ."""
    code = language_of(document)
    # A heading without a title may be a whole subject ("Asthma"), and what follows it anything.
    for part, following in pairwise(parts(document)) if title_of(document) else ():
        both = (part.body, following.body)
        long = all(fits(body, settings.least_text, code) and _says(body) for body in both)
        if part.path and long and part.body != following.body:
            yield part, following


def _says(body: str) -> bool:
    """Whether a section has a paragraph of two sentences: a listing tells nothing of what comes after it."""
    return any(len(sentences(paragraph)) > 1 for paragraph in paragraphs(body))


def _named(document: Document, part: Part) -> str:
    """As `structure` asks for a part of a page."""
    return " ".join(f"{title_of(document)}: {', '.join(part.path)}".split())


def _shown(document: Document, part: Part, settings: ContrastSettings) -> str:
    return clipped(part.body.strip(), settings.most_text, language_of(document))


def _contrast(
    document: Document, query: str, answers: dict[str, str], settings: ContrastSettings
) -> Iterator[Contrast]:
    """The rows of one query: an answer an instruction, the others' as its negatives."""
    code, query = language_of(document), " ".join(query.split())
    if query and within(query, settings.most_query, code):
        rows = [
            pair(
                origin_of(document), digest(document.id, told, query, answer), document.id, query, answer,
                task="retrieval", instruction=told, languages=(code, code),
            )
            for told, answer in answers.items()
        ]  # fmt: skip
        yield against_each_other(rows)


def against_each_other(rows: Sequence[Pair]) -> Contrast:
    """Rows of one query, each with the positives of the others as its negatives."""
    return [
        replace(row, negatives=tuple(item for other in rows if other is not row for item in other.positives))
        for row in rows
    ]


def _of_one(described: Pair, row: Pair) -> bool:
    """Whether a comment and a row of code with a gap speak of the same code: groups may hold several."""
    if described.group != row.group or len(described.positives) != 1 or len(row.positives) != 1:
        return False
    whole, answer = described.positives[0].text, row.positives[0].text
    if row.instruction == UNMASK:
        return answer == whole
    return row.instruction == FILL and row.query.replace(f"{HOLE}\n", answer, 1) == whole


def _described(described: Pair, row: Pair) -> Pair:
    key, both = digest(row.group, DESCRIBED, row.query), (row.query_language, described.query_language)
    made = pair(
        Origin(row.source, row.licence), key, row.group, row.query, described.query,
        task=row.task, instruction=DESCRIBED, languages=both,
    )  # fmt: skip
    return replace(made, negatives=row.positives)
