"""Where names stand, and which stand together: counts over the sentences of one language."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from lingxi import languages
from lingxi.apps.graph.documents import Document
from lingxi.apps.graph.mentions import WORD, WORTH, Mention, common_nouns, key_of, mentions, small_words
from lingxi.apps.graph.phrases import phrases
from lingxi.apps.graph.settings import GraphSettings

_MOST_WORDS, _MOST_CHARACTERS = 6, 60


@dataclass(slots=True)
class Named:
    """A name of one language: how it is written, how it was found, where it stands."""

    name: str
    kind: str
    count: int = 0
    documents: set[str] = field(default_factory=set)
    example: str = ""
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Names of one language by their keys, and what stands together: (key, key) → count, bits, example."""

    language: str
    names: Mapping[str, Named]
    pairs: Mapping[tuple[str, str], tuple[int, float, str]]
    linked: Mapping[tuple[str, str], int]


def lexicon(
    language: str,
    documents: Sequence[Document],
    settings: GraphSettings,
    told: Mapping[str, Sequence[Mention]] | None = None,
) -> Lexicon:
    """The names of the documents of one language; `told`: those that a language model found, by document."""
    found = dict(zip((d.path for d in documents), _said(documents, told), strict=True))
    names = _collected(found)
    if told is None and not languages.is_spaced(language):
        sentences = (s for document in documents for s in document.sentences)
        for run in phrases(sentences, max(2, settings.least)):
            names.setdefault(key_of(run), Named(run, "phrase"))
    _count(documents, names)
    kept = _kept(names, len(documents), settings)
    return Lexicon(language, kept, _together(documents, kept), _linked(documents, found, kept))


def _said(
    documents: Sequence[Document], told: Mapping[str, Sequence[Mention]] | None
) -> Iterator[Sequence[Mention]]:
    """The names in each document, found here or told."""
    if told is not None:
        yield from ([Mention(d.title, "title"), *told.get(d.path, ())] for d in documents)
        return
    small, nouns = small_words(documents), common_nouns(documents)
    yield from (list(mentions(document, small, nouns)) for document in documents)


def standing(sentence: str, names: Mapping[str, object], dense: bool) -> list[str]:
    """Keys of the names that stand in a sentence, from left to right, the longest at each place."""
    text = key_of(sentence)
    if dense:
        return _standing_dense(text, names)
    found, at = [], 0
    words = list(WORD.finditer(text))
    while at < len(words):
        for end in range(min(at + _MOST_WORDS, len(words)), at, -1):
            key = text[words[at].start() : words[end - 1].end()]
            if key in names:
                found.append(key)
                at = end - 1
                break
        at += 1
    return found


def _standing_dense(text: str, names: Mapping[str, object]) -> list[str]:
    lengths = sorted({len(key) for key in names}, reverse=True)
    starts = {key[0] for key in names}
    found, at = [], 0
    while at < len(text):
        step = 1
        for length in lengths if text[at] in starts else ():
            if text[at : at + length] in names:
                found.append(text[at : at + length])
                step = length
                break
        at += step
    return found


def _collected(found: Mapping[str, Sequence[Mention]]) -> dict[str, Named]:
    """Names by key, each as it is written most often, with the best way it was found."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    kinds: dict[str, str] = {}
    for each in found.values():
        for name, kind in each:
            key = key_of(name)
            spellings[key][name] += 1
            if key not in kinds or WORTH[kind] > WORTH[kinds[key]]:
                kinds[key] = kind
    return {key: Named(counts.most_common(1)[0][0], kinds[key]) for key, counts in spellings.items()}


def _count(documents: Sequence[Document], names: dict[str, Named]) -> None:
    for document in documents:
        dense = not languages.is_spaced(document.language)
        for sentence in document.sentences:
            for key in standing(sentence, names, dense):
                named = names[key]
                named.count += 1
                named.documents.add(document.path)
                named.example = named.example or sentence[:300]


def _kept(names: dict[str, Named], documents: int, settings: GraphSettings) -> dict[str, Named]:
    """The names with the most tf-idf: worth · (1 + ln count) · ln(1 + documents / documents with it)."""
    for named in names.values():
        rare = math.log(1 + documents / max(len(named.documents), 1))
        named.weight = WORTH[named.kind] * (1 + math.log(max(named.count, 1))) * rare
    enough = {
        key: named
        for key, named in names.items()
        if named.count >= (settings.least if named.kind in ("name", "quoted", "phrase") else 1)
    }
    ordered = sorted(enough.items(), key=lambda pair: (-pair[1].weight, pair[0]))
    return dict(ordered[: settings.names])


def _together(
    documents: Sequence[Document], names: Mapping[str, Named]
) -> dict[tuple[str, str], tuple[int, float, str]]:
    alone: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = {}
    total = 0
    for document in documents:
        dense = not languages.is_spaced(document.language)
        for sentence in document.sentences:
            keys = sorted(set(standing(sentence, names, dense)))
            total += 1
            alone.update(keys)
            for pair in combinations(keys, 2):
                pairs[pair] += 1
                example.setdefault(pair, sentence[:300])
    return {
        pair: (count, _normalised(count, alone[pair[0]], alone[pair[1]], total), example[pair])
        for pair, count in pairs.items()
    }


def _normalised(both: int, one: int, other: int, total: int) -> float:
    """Normalised pointwise mutual information, 0 (as by chance, or less) to 1 (never apart)."""
    if both == total:
        return 1.0
    return max(0.0, math.log(both * total / (one * other)) / -math.log(both / total))


def _linked(
    documents: Sequence[Document], found: Mapping[str, Sequence[Mention]], names: Mapping[str, Named]
) -> Counter[tuple[str, str]]:
    """How often the page of one name links to another."""
    counts: Counter[tuple[str, str]] = Counter()
    for document in documents:
        page = key_of(document.title)
        for name, kind in found[document.path]:
            if kind == "link" and page in names and key_of(name) in names and key_of(name) != page:
                counts[page, key_of(name)] += 1
    return counts
