"""Names in documents without a language model: what a text itself marks, and how its script marks names.

Marked are titles, headings, links, what is set in bold or between quotes. Scripts with capitals mark names by
them; at the start of a sentence one says nothing of a lone word, and in German nothing of a noun behind an
article or an adjective. Katakana and Latin runs are names in Japanese and Chinese, whose other words
`phrases` finds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from lingxi import languages
from lingxi.apps.graph.documents import Document
from lingxi.parse import sections
from lingxi.parse.headings import HOLLOW

# By falling worth.
WORTH = {
    "asked": 3.0,
    "title": 3.0,
    "link": 2.0,
    "heading": 2.0,
    "term": 2.0,
    "quoted": 1.5,
    "name": 1.0,
    "phrase": 0.6,
}
_MOST_WORDS, _MOST_CHARACTERS, _MOST_DENSE = 6, 60, 16
_MARKED = (
    ("link", re.compile(r"(?<!!)\[([^\]\[\n]{2,60})\]\([^)\s]*\)|\[\[([^\]\[|\n]{2,60})(?:\|[^\]\n]*)?\]\]")),
    ("term", re.compile(r"\*\*([^*\n]{2,60})\*\*|__([^_\n]{2,60})__")),
    ("quoted", re.compile(r"[《「『“«„]([^《》「」『』“”«»„\n]{2,40})[》」』”»“]")),
)
WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_JOINED = re.compile(r"of|the|de|la|le|les|du|des|del|di|da|do|dos|von|van|der|den|zu|для")
_RUNS = re.compile("[ァ-ヺー]{2,}(?:[・＝][ァ-ヺー]{2,})*")
_LATIN = re.compile(r"[A-Za-z][A-Za-z0-9.+-]*(?: [A-Z][A-Za-z0-9.+-]*)*")
# Languages that write every noun with a capital, and what stands before a noun that is no name.
_NOUNS = frozenset(("de", "lb", "gsw", "bar", "nds"))
_BEFORE_NOUN = re.compile(
    r"\w*(?:e|er|en|em|es)|das|ein|kein|mein|sein|ihr|im|am|vom|zum|zur|beim|ins|ans|mehr|\d+"
)
_OWNER = re.compile(r"['’]s?$")
_EDGE = " \t*_`#\"'“”«»„()[]{}<>:;,.。，、！？!?·-–—"


class Mention(NamedTuple):
    """A name as it stands in a document, and how it was found (`WORTH`)."""

    name: str
    kind: str


def key_of(name: str) -> str:
    """What makes two spellings one name: case and spaces do not count."""
    return " ".join(name.casefold().split())


def mentions(
    document: Document, small: Counter[str], nouns: frozenset[str] = frozenset()
) -> Iterator[Mention]:
    """The names in a document; `small` counts words of its language that are written without a capital.

    What has only its capital to be a name by, and is one of `nouns`, is a mere phrase.
    """
    for name, kind in _found(document, small):
        kind = "phrase" if kind == "name" and name in nouns else kind
        clean = _OWNER.sub("", " ".join(name.strip(_EDGE).split()))
        if is_name(clean, document.language):
            yield Mention(clean, kind)


def is_name(text: str, language: str) -> bool:
    """Whether a text can be the name of a thing: neither a sentence nor a number nor a common heading."""
    if len(text) < 2 or len(text) > _MOST_CHARACTERS or not any(c.isalpha() for c in text):
        return False
    if text.casefold() in HOLLOW or "://" in text:
        return False
    if not languages.is_spaced(language):
        return len(text) <= _MOST_DENSE or text.isascii()
    return len(text.split()) <= _MOST_WORDS


def small_words(documents: Iterable[Document]) -> Counter[str]:
    """How often each word is written without a capital."""
    return Counter(
        word
        for document in documents
        for sentence in document.sentences
        for word in WORD.findall(sentence)
        if word.islower()
    )


def common_nouns(documents: Iterable[Document]) -> frozenset[str]:
    """Of a language that writes every noun with a capital, words that mostly stand behind an article."""
    behind: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for document in documents:
        if document.language.partition("-")[0] in _NOUNS:
            for sentence in document.sentences:
                words = WORD.findall(sentence)
                told.update(words[1:])
                behind.update(b for a, b in pairwise(words) if _BEFORE_NOUN.fullmatch(a.lower()))
    return frozenset(word for word, count in behind.items() if word[0].isupper() and 2 * count > told[word])


def _found(document: Document, small: Counter[str]) -> Iterator[Mention]:
    yield Mention(document.title, "title")
    if document.kind in ("markdown", "html", "rst"):
        for section in sections(document.text):
            yield Mention(re.sub(r"^[\d.]+\s+", "", section.title.rpartition(" > ")[2]), "heading")
    for kind, pattern in _MARKED:
        for match in pattern.finditer(document.text):
            yield Mention(next(group for group in match.groups() if group), kind)
    dense = not languages.is_spaced(document.language)
    for sentence in document.sentences:
        nouns = document.language.partition("-")[0] in _NOUNS
        runs = _dense(sentence) if dense else _capitals(sentence, small, nouns)
        yield from (Mention(name, "name") for name in runs)


def _dense(sentence: str) -> Iterator[str]:
    for pattern in (_RUNS, _LATIN):
        yield from (match.group() for match in pattern.finditer(sentence))


def _capitals(sentence: str, small: Counter[str], nouns: bool) -> Iterator[str]:
    """Runs of words with capitals, small joining words inside; numbers may follow a word with a capital."""
    run: list[re.Match[str]] = []
    last = before = ""
    for word in WORD.finditer(sentence):
        near = not run or sentence[run[-1].end() : word.start()] in (" ", "\u00a0")
        if not near or not _goes_on(word.group(), run):
            yield from _name(sentence, run, small, nouns and _BEFORE_NOUN.fullmatch(before) is not None)
            run = []
        if run or word.group()[:1].isupper():
            before = before if run else last
            run.append(word)
        last = word.group()
    yield from _name(sentence, run, small, nouns and _BEFORE_NOUN.fullmatch(before) is not None)


def _goes_on(word: str, run: list[re.Match[str]]) -> bool:
    return word[:1].isupper() or (bool(run) and (word.isdigit() or _JOINED.fullmatch(word) is not None))


def _name(sentence: str, run: list[re.Match[str]], small: Counter[str], noun: bool) -> Iterator[str]:
    """The name in a run, if any: small words off its end, off its start a sentence's first that is one.

    A lone word is no name where its capital is that of a sentence or a `noun`, or it is often written small.
    """
    while run and _JOINED.fullmatch(run[-1].group()):
        run = run[:-1]
    first = bool(run) and not sentence[: run[0].start()].strip(_EDGE)
    if len(run) == 1 and (first or noun or small[run[0].group().lower()] > 1):
        return
    if first and small[run[0].group().lower()]:
        run = run[1:]
        while run and not run[0].group()[:1].isupper():
            run = run[1:]
    if run:
        yield sentence[run[0].start() : run[-1].end()]
