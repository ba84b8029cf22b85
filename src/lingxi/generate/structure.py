"""Pairs that the structure of one document holds: whoever wrote it put a title, a heading, an abstract above
what it speaks of. Every kind is a function from a document (Markdown text) to pairs, named in `KINDS`.

All pairs of a document are one group, so no split cuts a page and no passage of it is its own negative.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, pairwise

from lingxi import languages
from lingxi.collect.instructions import ABSTRACT, ANSWER, CLOZE, NEXT, SECTION, TITLE
from lingxi.collect.origin import Origin, pair
from lingxi.generate.passages import clipped, fits, language_of, paragraphs, parts, title_of, within
from lingxi.generate.settings import StructureSettings
from lingxi.parse.sentences import sentences
from lingxi.records import Document, Pair, digest, drawn

Kind = Callable[[Document, StructureSettings], Iterator[Pair]]

NOT_STATED = "not stated"
# Marks that end a question: Latin and wide, Arabic, Greek, Ethiopic, Vai, and their compatibility forms.
_QUESTION = re.compile("[?？؟\u037e፧꘏⸮︖﹖⁇⁈⁉‽]$")
# Armenian puts its mark behind the stressed vowel, Greek writes a semicolon.
_QUESTION_OF = {"hy": re.compile("՞"), "hyw": re.compile("՞"), "el": re.compile(";$")}
_ABSTRACTS = """
abstract, summary, executive summary, tl;dr, tldr, résumé, zusammenfassung, kurzfassung, resumen,
resumo, resum, riassunto, sommario, samenvatting, sammanfattning, sammendrag, resumé, tiivistelmä, kokkuvõte,
kopsavilkums, santrauka, streszczenie, abstrakt, shrnutí, souhrn, súhrn, összefoglalás, absztrakt, rezumat,
sažetak, povzetek, përmbledhje, tóm tắt, аннотация, резюме, реферат, анотація, анатацыя, сажетак, апстракт,
περίληψη, özet, xülasə, ملخص, الملخص, چکیده, خلاصه, خلاصہ, תקציר, सारांश, সারাংশ, சுருக்கம், సారాంశం, ಸಾರಾಂಶ,
സംഗ്രഹം, บทคัดย่อ, ringkasan, abstrak, muhtasari, ikisiri, 摘要, 概要, 要旨, 要約, 概述, 초록, 요약, 개요
"""
ABSTRACTS = frozenset(name.strip() for name in _ABSTRACTS.split(","))
"""Headings, in one case, of sections that sum up their page."""


def structured_pairs(document: Document, settings: StructureSettings) -> Iterator[tuple[str, Pair]]:
    """The pairs of a document with the name of their kind, up to `most_rows` of each kind, drawn by seed."""
    for name in settings.kinds:
        rows = list(KINDS[name](document, settings))
        lots = sorted(drawn(settings.seed, row.id) for row in rows)[: settings.most_rows]
        yield from ((name, row) for row in rows if lots and drawn(settings.seed, row.id) <= lots[-1])


def title_to_lead(document: Document, settings: StructureSettings) -> Iterator[Pair]:
    """The title asks for the text before the first heading below it."""
    code = language_of(document)
    leads = (p.body for p in parts(document) if not p.path and fits(p.body, settings.least_text, code))
    for lead in islice(leads, 1):
        yield from _pair(document, settings, title_of(document), lead, TITLE)


def heading_to_section(document: Document, settings: StructureSettings) -> Iterator[Pair]:
    """A heading, with the title before it, asks for its section; questions are the next kind."""
    for part in parts(document):
        if part.path and not is_question(part.heading, language_of(document)):
            # As who looks for a part of a page would say it.
            query = ": ".join(filter(None, (title_of(document), ", ".join(part.path))))
            yield from _pair(document, settings, query, part.body, SECTION)


def question_to_answer(document: Document, settings: StructureSettings) -> Iterator[Pair]:
    """A heading that is a question asks for its section."""
    for part in parts(document):
        if is_question(part.heading, language_of(document)):
            yield from _pair(document, settings, part.heading, part.body, ANSWER)


def abstract_to_article(document: Document, settings: StructureSettings) -> Iterator[Pair]:
    """A section named as an abstract asks for what follows it, where the text has one."""
    found = parts(document)
    for place, part in enumerate(found):
        if part.heading.casefold().strip(" :：.") in ABSTRACTS:
            article = "\n\n".join(following.body for following in found[place + 1 :])
            query = clipped(part.body, settings.most_query, language_of(document))
            yield from _pair(document, settings, query, article, ABSTRACT)
            return


def section_to_next(document: Document, settings: StructureSettings) -> Iterator[Pair]:
    """The prose of a section asks for the section that follows it on its page."""
    code = language_of(document)
    found = [part.body for part in parts(document) if fits(part.body, settings.least_text, code)]
    for body, following in pairwise(found):
        prose = "\n\n".join(paragraphs(body))
        if fits(prose, settings.least_text, code):
            yield from _pair(document, settings, clipped(prose, settings.most_query, code), following, NEXT)


def sentence_to_rest(document: Document, settings: StructureSettings) -> Iterator[Pair]:
    """A sentence drawn by seed and taken out of its paragraph asks for the rest of it.

    The inverse cloze task (Lee et al. 2019, arXiv 1906.00300); of paragraphs with three sentences and more.
    """
    code = language_of(document)
    for paragraph in paragraphs(document.text):
        spans = sentences(paragraph)
        if len(spans) < 3:
            continue
        span = spans[drawn(settings.seed, f"{document.id}\x1f{paragraph}") % len(spans)]
        sentence = paragraph[span.start : span.end]
        gap = " " if languages.is_spaced(code) else ""
        rest = f"{paragraph[: span.start].rstrip()}{gap}{paragraph[span.end :].lstrip()}"
        # What is said twice would still stand there.
        if fits(sentence, settings.least_query, code) and sentence not in rest:
            yield from _pair(document, settings, sentence, rest, CLOZE)


KINDS: Mapping[str, Kind] = {
    "title": title_to_lead,
    "heading": heading_to_section,
    "question": question_to_answer,
    "abstract": abstract_to_article,
    "adjacent": section_to_next,
    "cloze": sentence_to_rest,
}


def is_question(heading: str, code: str) -> bool:
    """Whether a heading ends in the mark by which its script ends a question."""
    bare = heading.rstrip(" \"'”’»」』)）*_")
    own = _QUESTION_OF.get(code)
    return bool(_QUESTION.search(bare) or (own and own.search(bare)))


def origin_of(document: Document) -> Origin:
    """Source and licence of a document; what it does not state is said so, and denied by `curate`."""
    return Origin(document.source or NOT_STATED, document.licence or NOT_STATED)


def _pair(
    document: Document, settings: StructureSettings, query: str, answer: str, instruction: str
) -> Iterator[Pair]:
    """One pair, where query and answer have the lengths that are asked for; long answers are cut."""
    code, query, answer = language_of(document), " ".join(query.split()), answer.strip()
    if (
        not query
        or not fits(answer, settings.least_text, code)
        or not within(query, settings.most_query, code)
    ):
        return
    key, shown = digest(document.id, instruction, query, answer), clipped(answer, settings.most_text, code)
    yield pair(
        origin_of(document), key, document.id, query, shown,
        task="retrieval", instruction=instruction, languages=(code, code),
    )  # fmt: skip
