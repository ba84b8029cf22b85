"""The generate stage: documents and translations in, one `pairs.parquet` and a count of what was made out."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lingxi.encoding import encoder
from lingxi.generate.contrasts import (
    Contrast,
    code_contrasts,
    draw_contrasts,
    heading_contrasts,
    section_contrasts,
)
from lingxi.generate.llm import Chat, Spent
from lingxi.generate.pivot import pivot
from lingxi.generate.settings import ContrastName, ContrastSettings, GenerateSettings, WrittenSettings
from lingxi.generate.structure import structured_pairs
from lingxi.generate.versions import translation_contrasts
from lingxi.generate.written import Personas, nearest_personas, write_queries
from lingxi.records import (
    Document,
    Pair,
    Task,
    batches,
    drawn,
    pair_schema,
    pairs_of,
    read_documents,
    read_pairs,
    write_pairs,
)

DOCUMENTS_FILE = "documents.parquet"
PAIRS_FILE = "pairs.parquet"


@dataclass(frozen=True, slots=True)
class GenerateReport:
    """What was made: rows in all, by kind and by language of the query; what the language model was asked.

    `calls` are requests that were sent, `cached` those that were not, since their answer was there; `tokens`
    are counted by the server's `usage` (`unmetered` answers came without), `cost` is in the currency of the
    prices and None where none were given. `refused` counts documents without a query by reason; `notes` says
    what there was nothing for.
    """

    rows: int
    by_kind: dict[str, int]
    by_language: dict[str, int]
    calls: int
    cached: int
    tokens: dict[str, int]
    unmetered: int
    cost: float | None
    refused: dict[str, int]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """The inputs of the stage and what is noted on the way."""

    settings: GenerateSettings
    documents: Path
    pairs: Path
    notes: list[str]
    refused: Counter[str]


def generate_pairs(settings: GenerateSettings, collected: Path, out: Path) -> GenerateReport:
    """Write `out/pairs.parquet` from the documents and the translations of `collected`.

    Either may be missing: the report then says so, and the file may be empty. Rows are streamed; raises
    InputError where a file is damaged, or the language model cannot be asked.
    """
    work = _Work(settings, collected / DOCUMENTS_FILE, collected / PAIRS_FILE, [], Counter())
    chat = Chat(settings.written.chat) if settings.written is not None else None
    kinds: Counter[str] = Counter()
    tongues: Counter[str] = Counter()
    rows = write_pairs(_counted(_rows(work, chat), kinds, tongues), out / PAIRS_FILE)
    spent = chat.spent() if chat is not None else Spent()
    return GenerateReport(
        rows=rows,
        by_kind=dict(kinds.most_common()),
        by_language=dict(tongues.most_common()),
        calls=spent.calls,
        cached=spent.cached,
        tokens={"prompt": spent.prompt_tokens, "answer": spent.answer_tokens},
        unmetered=spent.unmetered,
        cost=spent.cost,
        refused=dict(work.refused.most_common()),
        notes=tuple(work.notes),
    )


def draw_documents(read: Callable[[], Iterable[Document]], most: int, seed: int) -> Iterator[Document]:
    """Up to `most` documents by seed, in their order; `read` is called twice, and only numbers are held."""
    numbers = (drawn(seed, document.id) for document in read())
    taken = set(heapq.nsmallest(most, numbers))
    return (document for document in read() if drawn(seed, document.id) in taken)


def _rows(work: _Work, chat: Chat | None) -> Iterator[tuple[str, Pair]]:
    """Every row with the name of its kind."""
    settings = work.settings
    # The first of equal rows stays in curate: that of a contrast has negatives.
    if settings.contrasts is not None:
        yield from _contrasts(work, settings.contrasts)
    if settings.structure is not None or settings.written is not None:
        yield from _of_documents(work, chat)
    if settings.pivot is None:
        return
    if not work.pairs.is_file():
        work.notes.append(f"nothing to pivot: there is no {PAIRS_FILE}")
        return
    made = False
    for row in pivot(read_pairs(work.pairs), settings.pivot):
        made = True
        yield "pivot", row
    if not made:
        work.notes.append("nothing to pivot: no two translations share their English")


def _contrasts(work: _Work, settings: ContrastSettings) -> Iterator[tuple[str, Pair]]:
    """The rows of each kind of contrast; what there is none of is noted."""
    most = settings.cap // len(settings.kinds)
    for kind in settings.kinds:
        made = 0
        for row in _contrasts_of(kind, work, settings, most):
            made += 1
            yield f"contrast: {kind}", row
        if not made:
            work.notes.append(f"no contrasts of the kind {kind}: nothing collected has two answers")


def _contrasts_of(kind: ContrastName, work: _Work, settings: ContrastSettings, most: int) -> Iterator[Pair]:
    if kind == "translation":
        rows = rows_of_task(work.pairs, "bitext", settings.languages)
        return translation_contrasts(rows, settings, most)
    if kind == "code":
        return draw_contrasts(lambda: code_contrasts(rows_of_task(work.pairs, "code")), most, settings.seed)
    make = section_contrasts if kind == "section" else heading_contrasts

    def made() -> Iterator[Contrast]:
        documents = read_documents(work.documents) if work.documents.is_file() else ()
        return (contrast for document in documents for contrast in make(document, settings))

    return draw_contrasts(made, most, settings.seed)


def rows_of_task(path: Path, task: Task, languages: Sequence[str] = ()) -> Iterator[Pair]:
    """The rows of one task, and of these query languages where some are named; none without the file.

    Other rows are passed over before they are parsed. Raises InputError where the file is damaged.
    """
    if not path.is_file():
        return
    import pyarrow as pa
    import pyarrow.compute as pc

    for batch in batches(path, pair_schema()):
        wanted = pc.equal(batch.column("task"), task)
        if languages:
            spoken = pc.is_in(batch.column("query_language"), value_set=pa.array(languages, pa.string()))
            wanted = pc.and_(wanted, spoken)
        yield from pairs_of(batch.filter(wanted))


def _of_documents(work: _Work, chat: Chat | None) -> Iterator[tuple[str, Pair]]:
    settings = work.settings
    if not work.documents.is_file():
        work.notes.append(f"no documents: there is no {DOCUMENTS_FILE}")
        return
    found = False
    for document in read_documents(work.documents):
        found = True
        if settings.structure is not None:
            yield from structured_pairs(document, settings.structure)
    if not found:
        work.notes.append(f"no documents: {DOCUMENTS_FILE} is empty")
    if settings.written is not None and chat is not None:
        for row in _written(work, settings.written, chat):
            yield "written", row


def _written(work: _Work, settings: WrittenSettings, chat: Chat) -> Iterator[Pair]:
    def read() -> Iterable[Document]:
        return read_documents(work.documents)

    chosen = draw_documents(read, settings.documents, settings.seed)
    return write_queries(chosen, chat, settings, work.refused, _personas(settings))


def _personas(settings: WrittenSettings) -> Personas | None:
    if settings.persona_model is None:
        return None
    from lingxi.embedder import Embedder

    return nearest_personas(settings, encoder(Embedder(settings.persona_model)))


def _counted(rows: Iterable[tuple[str, Pair]], kinds: Counter[str], tongues: Counter[str]) -> Iterator[Pair]:
    for kind, row in rows:
        kinds[kind] += 1
        tongues[row.query_language] += 1
        yield row
