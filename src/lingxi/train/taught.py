"""Which texts of a store a teacher reads: it has time for a part of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

import numpy as np

from lingxi.errors import InputError
from lingxi.parse.code import LANGUAGES
from lingxi.train.mixture import sampler_of
from lingxi.train.phases import ContrastiveSettings
from lingxi.train.settings import TeacherSettings
from lingxi.train.store import Row, Store

ENGLISH = "en"
_READ = frozenset((*LANGUAGES, ENGLISH))
# Translations of a text that count, and characters of it: neither "OK" nor one long licence is worth most.
_MANY, _LONG = 60, 80
# Rows drawn for each text that is read: enough to tell what is drawn often from what is not.
_DRAWN = 3


def key_of(text: str) -> bytes:
    """Key a text is cached under."""
    return hashlib.blake2b(text.encode(), digest_size=12).digest()


def to_read(store: Store, settings: TeacherSettings, phases: Sequence[ContrastiveSettings]) -> list[str]:
    """Up to `max_texts` texts, each once, by the settings' choice; raises InputError where there are none."""
    if settings.reads == "drawn":
        if not phases:
            raise InputError("no phase is taught", "leave out train.teacher, or set a teacher_weight above 0")
        return drawn_most(store, phases, settings.max_texts)
    if settings.reads == "all":
        return first_of(every(store), settings.max_texts)
    texts = teachable(store, settings.max_texts)
    if not texts:
        raise InputError(
            "the teacher reads English and code, of which the pairs have none",
            'train without train.teacher, or by one of many languages with train.teacher.reads = "drawn"',
        )
    return texts


def teachable(store: Store, most: int) -> list[str]:
    """Up to `most` texts, each once: English of search and similarity first, then in turn code with its
    comments and what is translated most (longer ones first).
    """
    first: dict[str, None] = {}
    code: dict[str, None] = {}
    translated: Counter[str] = Counter()
    for number in range(len(store)):
        row = store.row(number)
        sides = ((row.query_language, row.query), (row.document_language, row.positives[0].text))
        if row.task == "code":
            if len(code) < most:
                code.update((text, None) for language, text in sides if language in _READ)
        elif row.task != "bitext":
            first.update((text, None) for language, text in sides if language == ENGLISH)
        else:
            translated.update(text for language, text in sides if language == ENGLISH)
    ranked = sorted(translated, key=lambda text: -min(translated[text], _MANY) * min(len(text), _LONG))
    chosen = dict.fromkeys(first)
    for of_code, text in zip_longest(code, ranked):
        chosen.update((each, None) for each in (text, of_code) if each)
        if len(chosen) >= most:
            break
    return list(chosen)[:most]


def first_of(texts: Iterable[str], most: int) -> list[str]:
    """The first `most` different texts."""
    found: dict[str, None] = {}
    for text in texts:
        found[text] = None
        if len(found) == most:
            break
    return list(found)


def every(store: Store) -> Iterator[str]:
    """The texts of all rows but code; of a translation its English side, by which both are taught."""
    # Not row by row of the store, which would decode every negative too.
    for number, stratum in enumerate(map(store.strata.__getitem__, store.columns["strata"].tolist())):
        other = store.languages[store.columns["document_languages"][number]]
        query, document = _read_sides(stratum.task, stratum.language, other)
        if query:
            yield store.queries[number]
        if document:
            yield store.positives.texts[int(store.positives.first[number])]


def drawn_most(store: Store, phases: Sequence[ContrastiveSettings], most: int) -> list[str]:
    """Up to `most` texts in any language, those first that the phases' mixtures draw most often.

    Of a translation that is its English side, by which both are taught; of others both sides, without code.
    """
    rng = np.random.default_rng(store.seed)
    found: Counter[str] = Counter()
    for phase in phases:
        sampler = sampler_of(store, phase.mixture)
        batches = max(1, _DRAWN * most // (len(phases) * phase.batch_pairs))
        for _ in range(batches):
            for row in store.rows(sampler.draw(rng, phase.batch_pairs).numbers):
                found.update(_sides(row))
    return [text for text, _ in found.most_common(most)]


def _sides(row: Row) -> Iterator[str]:
    query, document = _read_sides(row.task, row.query_language, row.document_language)
    if query:
        yield row.query
    if document:
        yield row.positives[0].text


def _read_sides(task: str, query_language: str, document_language: str) -> tuple[bool, bool]:
    """Whether a row's query, and its document, is read: of a translation one, of others both but code."""
    if task != "bitext":
        return query_language not in LANGUAGES, document_language not in LANGUAGES
    document = document_language == ENGLISH != query_language
    return not document, document
