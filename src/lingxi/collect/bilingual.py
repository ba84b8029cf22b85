"""Entries of dictionaries between two languages, as FreeDict's stylesheets write them.

`headword /IPA/ <part of speech>`, then numbered meanings, or one without a number: a line of translations,
notes, examples with their translations, and what else to see. WikDict's dictionaries (of Wiktionary) give
each meaning a definition in the headword's language.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lingxi.collect.definitions import Found, bare, is_defining, without_brackets
from lingxi.languages import weighted_length

_HEAD_ENDS = re.compile(r"\s+(?=[/<(\[{])|,\s")
_TAGS = re.compile(r"\A(?:\s*\[\w+\]|\s*\(\s*\))+\s*")
_SENSE = re.compile(r"(\d{1,3})\.(?:\s+|\Z)")
# WikDict numbers what it took together inside of a meaning too.
_INNER = re.compile(r"\A\s+\d{1,3}\.\s*\Z")
_INNER_BEGINS = re.compile(r"\s\d{1,3}\.\s*\Z")
_EXAMPLE = re.compile(r'\A\s{4,}"(.+)"\s+-\s+(\S.*)\Z')
_QUOTED = re.compile(r'\A\s{4,}"')
_POINTS = re.compile(
    r"\A\s*(?:see|see also|synonyms?|antonyms?|[A-Z][\w ]{2,40}):?\s*\{|\A\s+[A-Z]\w+ of \{", re.I
)
_NOTE = re.compile(r"\A\s*Note: ?")
# JMdict's notes have nothing between them and the translation.
_GLUED = re.compile(
    r"\A\s*Note: (?:word usually written using kana alone|onomatopoeic or mimetic word|abbreviation|archaism"
    r"|honorific or respectful \(sonkeigo\) language|humble \(kenjougo\) language"
    r"|polite \(teineigo\) language|colloquialism|slang|idiomatic expression"
    r"|yojijukugo|obscure term|obsolete term)"
)
_IPA = re.compile(r"(?<!\S)/{1,2}[^/]+/{1,2}(?!\S)")
_KIND = re.compile(r"<[^<>]*>")
_BETWEEN = re.compile(r"[,;、；،]|\s/\s")
# Where a translation ends and a sentence of explanation begins.
_EXPLAINS = re.compile(r"(?<=\w{4})\.\s+.*\Z")
# Gender and number behind a word, as the Breton dictionaries write them.
_GRAMMAR = re.compile(r"(?: (?:n|m|f|plur|lies|str))*(?: (?:n|plur|lies|str)| n [mf])\Z")
_STRESS = re.compile("(?<=[Ѐ-ӿ])\u0301")
# An affix is no word.
_REFUSED = re.compile(r"\A-|-\Z|[~{}<>\[\]()\\|=_^\"]|\.\.|…|\?\w|[a-zà-ÿ][A-Z][a-zà-ÿ]")
_ENDS = re.compile(r"\s\S+[.!?]\Z")
_LETTER = re.compile(r"[^\W\d_]")
_MOST_WORD, _LEAST_SENTENCE = 80, 12


@dataclass(slots=True)
class Meaning:
    """One meaning of a word: its translations, and what the dictionary says it is."""

    translations: list[str] = field(default_factory=list)
    definitions: list[str] = field(default_factory=list)
    closed: bool = False


def layout(about: str) -> Callable[[str], Iterator[Found]]:
    """How to read the entries of a dictionary that says this of itself."""
    return lambda text: found(text, "wikdict" in about.lower())


def found(text: str, defined: bool) -> Iterator[Found]:
    """What an entry says: translations of each meaning, sentences, and definitions where it gives them."""
    head, *lines = text.splitlines() or [""]
    word = headword(head)
    if word is None:
        return
    for meaning in meanings(lines, word):
        if meaning.translations:
            yield Found(word, "translation", word, tuple(meaning.translations))
        for said in meaning.definitions if defined else ():
            if is_defining(said, word):
                yield Found(word, "definition", word, (said,))
    for line in lines:
        if (said_twice := _EXAMPLE.match(line)) and all(map(_is_sentence, sentence := said_twice.groups())):
            yield Found(word, "sentence", _spelled(sentence[0]), (_spelled(sentence[1]),))


def headword(line: str) -> str | None:
    """The word of an entry's first line, without pronunciation and part of speech; None where it is none."""
    word = _spelled(_HEAD_ENDS.split(_TAGS.sub("", line).strip(), maxsplit=1)[0])
    return word if _is_word(word) and "/" not in word else None


def meanings(lines: Sequence[str], word: str) -> list[Meaning]:
    """The meanings of an entry's lines.

    Numbers that do not go on from the meaning before belong to definitions.
    """
    read: list[Meaning] = []
    numbered: bool | None = None
    for line in lines:
        if not line.strip() or _INNER.match(line) or _QUOTED.match(line):
            continue
        counted = _SENSE.match(line)
        numbered = counted is not None if numbered is None else numbered
        if not read or (numbered and counted and int(counted[1]) == len(read) + 1):
            read.append(Meaning())
        _add(read[-1], line[counted.end() :] if counted else line, word)
    return read


def _add(meaning: Meaning, line: str, word: str) -> None:
    """One more line of a meaning: translations first, what stands below them is its definition."""
    line = _GLUED.sub("", line)
    if _POINTS.match(line) or _NOTE.match(line):
        meaning.closed = True
    elif meaning.translations or meaning.closed:
        if not meaning.closed:
            meaning.definitions.append(bare(line).strip(" ;"))
    else:
        meaning.translations = translations(line, word)
        # A line of grammar alone leaves nothing, and the translations follow it.
        meaning.closed = not meaning.translations and bool(_cleaned(line))


def translations(line: str, word: str) -> list[str]:
    """The translations in a line, each once, without those that are the word itself or no words."""
    whole = _cleaned(line)
    # Commas of a sentence are its own; three dots stand for another word.
    listed = [whole] if _ENDS.search(word) else _BETWEEN.split(whole)
    parts = (part for part in listed if ".." not in part)
    wanted = (_GRAMMAR.sub("", _EXPLAINS.sub("", part.strip()).strip(" .:")) for part in parts)
    return [*dict.fromkeys(part for part in wanted if _is_word(part) and part.casefold() != word.casefold())]


def _cleaned(line: str) -> str:
    line = _INNER_BEGINS.sub("", line.replace("[[", "").replace("]]", ""))
    line = _IPA.sub(" ", without_brackets(_KIND.sub(";", line)))
    # Of a wiki's link to a section, and Hindi's way to join words.
    line = re.sub(r"(?<=\w)#\w+", "", line)
    line = re.sub(r"(?<=[^\W_])~(?=[^\W_])", " ", line)
    return _spelled(line).strip(" ;,")


def _spelled(text: str) -> str:
    text = text.replace("`", "'").replace("ĳ", "ij").replace("Ĳ", "IJ").replace("‐", "-")
    return " ".join(_STRESS.sub("", text).split())


def _is_word(text: str) -> bool:
    usual = weighted_length(text) >= 2 and len(text) <= _MOST_WORD and not _REFUSED.search(text)
    return usual and _LETTER.search(text) is not None


def _is_sentence(text: str) -> bool:
    return weighted_length(text) >= _LEAST_SENTENCE and not re.search(r"[{}<>\[\]|~]", text)


def sides(entries: Sequence[str]) -> tuple[str, str]:
    """The headwords of some entries in one text, and their translations in another."""
    items = [item for text in entries for item in found(text, False) if item.kind == "translation"]
    return " ".join(item.query for item in items), " ".join(
        answer for item in items for answer in item.answers
    )
