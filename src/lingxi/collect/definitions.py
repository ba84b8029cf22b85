"""Entries of English dictionaries: WordNet, GCIDE, FOLDOC, the Jargon File, the Elements, the Devil's.

Each is written in a way of its own. Etymologies, pronunciations, quotations, dates and references to other
entries are left out; what a definition says is kept in its words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lingxi.languages import weighted_length

_SPACE = re.compile(r"\s+")
_ROUND, _SQUARE = re.compile(r"\([^()]*\)"), re.compile(r"\[[^\[\]]*\]")
_CURLY = re.compile(r"\{([^{}]*)\}")
_POINTER = re.compile(
    r"(?:\A|(?<=[.;,)”!?]))\s*\(?(?:See(?: also)?|Compare|Cf\.?|Also called|Opposed to|Contrast"
    r"|Synonym|Syn\.)\s(?:[^.{}]|\{[^{}]*\}){0,200}\{[^{}]*\}(?:[^.{}]|\{[^{}]*\}){0,120}(?:\.\)?|\Z)"
)
_NO_DEFINITION = re.compile(
    r"\A(?:see|syn|same as|compare|cf|imp\b|pl\b|p\. p|of \w+\.?\Z|spelling of)", re.I
)
_LEAST, _LEAST_WORDS, _MOST = 16, 3, 1_200


@dataclass(frozen=True, slots=True)
class Found:
    """What an entry gives: its word, the kind of pair, the query and its answers."""

    word: str
    kind: str
    query: str
    answers: tuple[str, ...]


def bare(text: str) -> str:
    """A text in one line, without references' braces and remarks in square brackets."""
    return (
        _SPACE.sub(" ", _CURLY.sub(r"\1", _SQUARE.sub(" ", text)))
        .replace(" ,", ",")
        .replace(" .", ".")
        .strip()
    )


def without_brackets(text: str) -> str:
    """A text without what stands in brackets of any kind, nested too."""
    for pattern in (_CURLY, _SQUARE, _ROUND):
        before = ""
        while before != text:
            before, text = text, pattern.sub("", text)
    return text


def is_defining(text: str, word: str) -> bool:
    """Whether a text says more than where to look, or the word itself."""
    short = weighted_length(text) < _LEAST or (text.isascii() and len(text.split()) < _LEAST_WORDS)
    # Empty brackets are what a wiki's template left.
    marked = re.search(r"[{}<>\[\]|\\~]|\(\s*\)|\A-", text) is not None
    return not (short or marked or _NO_DEFINITION.match(text) or text.casefold() == word.casefold())


def _defined(word: str, texts: Iterator[str] | list[str], kind: str = "definition") -> Iterator[Found]:
    kept = tuple(dict.fromkeys(text for text in texts if is_defining(text, word)))
    if kept and re.search(r"\w", word):
        yield Found(word, kind, word, kept)


# --- WordNet -------------------------------------------------------------------------------------

_KINDS = {"n": "noun", "v": "verb", "adj": "adjective", "adv": "adverb"}
_WN_SENSE = re.compile(r"(?:\A|\n)\s+(?:(n|v|adj|adv)\s+)?\d+:\s")
_WN_NOTE = re.compile(r"\[(\w+):((?:[^\[\]])*)\]")
_WN_PLACE = re.compile(r"\((?:a|p|ip)\)")


def wordnet(text: str) -> Iterator[Found]:
    """The meanings of a word by part of speech, and the words (of the first of them) by meaning."""
    word, _, body = text.partition("\n")
    pieces = _WN_SENSE.split("\n" + body)
    senses: dict[str, list[str]] = {}
    kind = ""
    for stated, said in zip(pieces[1::2], pieces[2::2], strict=True):
        kind = _KINDS.get(stated or "", kind)
        gloss = bare(_WN_NOTE.sub(" ", said))
        senses.setdefault(kind, []).append(gloss)
        yield from _named(word, said, gloss)
    for kind, glosses in senses.items():
        for item in _defined(word, glosses):
            yield Found(word, item.kind, f"{word} ({kind})", item.answers)


def _named(word: str, said: str, gloss: str) -> Iterator[Found]:
    """The words that mean the same by what they mean, under the first of them alone."""
    notes = {name: _CURLY.findall(" ".join(words.split())) for name, words in _WN_NOTE.findall(said)}
    words = [_WN_PLACE.sub("", one) for one in notes.get("syn", [word])]
    meaning = re.split(r';\s+"', gloss)[0]
    if words[0] == word and is_defining(meaning, word):
        yield Found(word, "name", meaning, tuple(words))


# --- GCIDE ---------------------------------------------------------------------------------------

_GCIDE_HEAD = re.compile(r"\A([^\\\n]+?)\s*\\[^\\]*\\")
_GCIDE_GRAMMAR = re.compile(
    r"\A(?:[\s,;&/.:]+|(?:n|a|v|t|i|adv|adj|p|pr|pl|prep|conj|interj|imp|pron|sing|obs|vb|prop|fem|masc|pos"
    r"|compar|superl|pres|pers|poss|or)\.(?!\w)|(?:and|or|pl|sing|used)\b)"
)
_GCIDE_NUMBER = re.compile(r"\A\s*\d+\.\s+|\A\s*\([a-z]\)\s+")
_GCIDE_ASIDE = re.compile(r"\A\s*(?:\{|Syn:|Usage:|Note:|--|\()")
# Words made of this one, as they are pronounced.
_GCIDE_MADE = re.compile(r"\s*--\s*\S*[\"`*]\S*,.*\Z", re.S)
_GCIDE_ESCAPE = re.compile(r"\[['`^\"~.=,a-z]{1,3}[a-z]?\]|\*")


def gcide(text: str) -> Iterator[Found]:
    """The meanings of a word, without quotations (set in deeper), phrases, synonyms and usage."""
    head = _GCIDE_HEAD.match(text)
    if head is None or not re.fullmatch(r"[\w' .-]+", head[1]):
        return
    paragraphs = re.split(r"\n\s*\n", _after_grammar(text[head.end() :]))
    yield from _defined(head[1], _gcide_senses(paragraphs))


def _gcide_senses(paragraphs: list[str]) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs):
        depth = len(paragraph.removeprefix("\n")) - len(paragraph.removeprefix("\n").lstrip(" "))
        plain = _GCIDE_NUMBER.sub("", re.sub(r"\A\s*(\([^()]*\)\s*)+", "", _GCIDE_NUMBER.sub("", paragraph)))
        if (
            (number and depth > 7)
            or _GCIDE_ASIDE.match(plain)
            or re.search(r"^\s{9,}|--[A-Z]", paragraph, re.M)
        ):
            continue
        said = bare(_GCIDE_MADE.sub("", _pointless(plain)))
        if not _GCIDE_ESCAPE.search(said):
            yield said


def _after_grammar(text: str) -> str:
    """What follows the part of speech, its forms and where they come from."""
    before = ""
    while before != text:
        before = text
        text = _GCIDE_GRAMMAR.sub("", text)
        if text[:1] in ("[", "("):
            text = _after_bracket(text)
    return text


def _after_bracket(text: str) -> str:
    """What follows the bracket that a text begins with; nothing where it does not end."""
    opening, closing, depth = text[0], {"[": "]", "(": ")"}[text[0]], 0
    for place, sign in enumerate(text):
        depth += (sign == opening) - (sign == closing)
        if depth == 0:
            return text[place + 1 :]
    return ""


# --- FOLDOC and the Jargon File --------------------------------------------------------------------

_DATE = re.compile(r"\A\(\d{4}(-\d\d){0,2}\)\Z")
_LABELS = re.compile(
    r"\A(\d+\.\s+)?(?:<[^<>]*>|\[[^\[\]]*\]|/[^/]*/,?|\([^()]{0,40}\)|\s|,"
    r"|(?:n|v|vt|vi|adj|adv|excl|interj|prov|quant|pl|suff|pref|abbrev)(?:\.(?=[\s,]|\Z)|(?=,|\Z)))*"
)
_LINK = re.compile(
    r"\{?\(?(?:https?|ftp)://[^\s{})]*\)?\}?\.?|<[^<>\s]+@[^<>\s]+>|\b(?:E-?mail|Home):?\s*(?=\Z)"
)
_DRAWN = re.compile(r"[│─┌┐└┘├┤]|\s{4,}\S")


def prose(text: str) -> Iterator[Found]:
    """The first meaning of a term, its paragraphs up to a page; numbered meanings stand alone."""
    head, _, body = text.partition("\n")
    senses: list[str] = []
    for paragraph in re.split(r"\n\s*\n", body):
        # What is not set in is another name of the term.
        lines = [line for line in paragraph.splitlines() if line.strip() and line[0] == " "]
        said = bare(_LINK.sub("", _pointless(_LABELS.sub("", " ".join(map(str.strip, lines))))))
        if len(said) < 3 or _DATE.match(said) or any(map(_DRAWN.search, map(str.strip, lines))):
            continue
        if not senses or re.match(r"\s*\d+\.\s", lines[0]):
            senses.append(said)
        elif len(senses[-1]) + len(said) < _MOST:
            senses[-1] += "\n\n" + said
    yield from _defined(head.strip(), senses)


def _pointless(text: str) -> str:
    """A text without its references to other entries."""
    return _POINTER.sub("", text)


# --- the small ones --------------------------------------------------------------------------------

_DEVIL = re.compile(r"\A([A-Z][A-Z' -]+), (?:n|v|adj|adv|p|pp|x|v\.t|v\.i|n\.pl)\.(?:[a-z]+\.)?\s+")


def devils(text: str) -> Iterator[Found]:
    """Bierce's definition without the verses below it."""
    if head := _DEVIL.match(text):
        paragraph = re.split(r"\n\s*\n|\n {4,}", text[head.end() :])[0]
        yield from _defined(head[1].lower(), [bare(paragraph.replace("_", ""))], "satire")


def elements(text: str) -> Iterator[Found]:
    """An element's symbol, number and weight, a line each, then what it is."""
    word, *lines = text.splitlines()
    facts = [bare(line) for line in lines if re.match(r"[A-Z][a-z]+( [a-z]+)?: ", line)]
    said = bare(" ".join(line for line in lines if not re.match(r"[A-Z][a-z]+( [a-z]+)?: ", line)))
    if is_defining(said, word):
        yield from _defined(word.strip(), ["\n".join([*facts, said])])


LAYOUTS: Mapping[str, Callable[[str], Iterator[Found]]] = {
    "wn": wordnet,
    "gcide": gcide,
    "foldoc": prose,
    "jargon": prose,
    "devil": devils,
    "elements": elements,
}
