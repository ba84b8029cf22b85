"""Contrast rows of translations: one English sentence, and the language that the instruction asks for it in.

As `pivot`, from the X → English rows of one group, sorted on disk by a hash of the group that the seed draws:
in memory is one group at a time, and what is taken does not depend on the order of the file. `curate` does
not ask its rules for translations of these rows, since they are no bitext: what is no plain sentence, in
another script, or was left in English is left out here.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from lingxi import languages
from lingxi.collect.instructions import INTO
from lingxi.collect.origin import Origin, pair
from lingxi.generate.contrasts import Contrast, against_each_other
from lingxi.generate.ordered import ordered
from lingxi.generate.settings import ContrastSettings
from lingxi.generate.wording import named
from lingxi.records import Pair, digest, drawn, passage

_ENGLISH = "en"
# Placeholders, marks of menus, markup, addresses, names of files: text of programs and no sentence.
_PROGRAM = re.compile(r"[%{}$<>|\\@&=\[\]_#~^*`\x00-\x1f]|\w/\w|--\w|;\S")
_WORD = re.compile(r"[^\W\d_]{3,}")
_LONGEST = 400
# Least share of letters in the language's script, most of a length to the other, most English words left.
_SCRIPT, _RATIO, _LEFT = 0.7, 3.0, 0.4
# Texts of one language that say the same: all are right.
_TEXTS = 4


class Version(NamedTuple):
    """One text with its English as it is compared and as it stands: a row of a file, as it is sorted."""

    lot: int
    group: str
    folded: str
    english: str
    language: str
    text: str
    source: str
    licence: str


def translation_contrasts(rows: Iterable[Pair], settings: ContrastSettings, most: int) -> Iterator[Pair]:
    """Up to `most` rows English → X of sentences that have two languages and more; other rows do not count.

    A sentence is asked for in up to `answers` languages, those that have the fewest rows so far.
    """
    wanted = frozenset(settings.languages)
    found = (each for row in rows for each in _versions(row, settings, wanted))
    taken: Counter[str] = Counter()
    with closing(ordered(found)) as sorted_ones:
        versions = map(Version._make, sorted_ones)
        for _, same in groupby(versions, key=lambda each: (each.group, each.folded)):
            contrast = _contrast(_chosen(list(same), settings, taken))
            if taken.total() + len(contrast) > most:
                return
            taken.update(row.document_language for row in contrast)
            yield from contrast


def is_version(english: str, text: str, code: str) -> bool:
    """Whether a text can be a plain sentence in a language that says what the English does."""
    name = languages.script(code)
    lengths = languages.weighted_length(text), languages.weighted_length(english)
    if len(text) > _LONGEST or _PROGRAM.search(text) or max(lengths) > _RATIO * min(lengths):
        return False
    share = languages.script_share(text, name) if name else None
    left, words = set(_WORD.findall(english.casefold())), set(_WORD.findall(text.casefold()))
    return (share is None or share >= _SCRIPT) and len(left & words) <= _LEFT * len(left)


def _versions(row: Pair, settings: ContrastSettings, wanted: frozenset[str]) -> Iterator[Version]:
    """What a row gives, if it is a sentence with its English, in a language that is wanted."""
    if row.task != "bitext" or row.document_language != _ENGLISH or row.query_language not in wanted:
        return
    if row.dropped is not None:
        return
    lot, text = drawn(settings.seed, row.group) >> 1, " ".join(row.query.split())
    for item in row.positives:
        english = " ".join(item.text.split())
        if _is_sentence(english, settings) and is_version(english, text, row.query_language):
            yield Version(
                lot, row.group, english.casefold(), english, row.query_language, text, row.source, row.licence
            )


def _is_sentence(english: str, settings: ContrastSettings) -> bool:
    plain = len(english) <= _LONGEST and not _PROGRAM.search(english)
    return plain and len(_WORD.findall(english)) >= settings.least_words


def _chosen(
    same: Sequence[Version], settings: ContrastSettings, taken: Mapping[str, int]
) -> dict[str, list[Version]]:
    """The versions by language, of up to `answers` languages that have the fewest rows."""
    found: defaultdict[str, list[Version]] = defaultdict(list)
    for each in same:
        if each.text not in {known.text for known in found[each.language]}:
            found[each.language].append(each)
    lots = {code: drawn(settings.seed, digest(same[0].group, same[0].folded, code)) for code in found}
    chosen: dict[str, list[Version]] = {}
    # A text that two languages share is right under both instructions.
    texts: set[str] = set()
    for code in sorted(found, key=lambda code: (taken[code], lots[code])):
        own = {each.text.casefold() for each in found[code]}
        if len(chosen) < settings.answers and not own & texts:
            chosen[code] = found[code][:_TEXTS]
            texts |= own
    return chosen


def _contrast(chosen: Mapping[str, Sequence[Version]]) -> Contrast:
    """The rows of one sentence; none where there is but one language.

    All bear the sources and licences of all, since the texts of the others are their negatives.
    """
    every = [each for versions in chosen.values() for each in versions]
    if len(chosen) < 2:
        return ()
    origin = Origin(_all(each.source for each in every), _all(each.licence for each in every))
    # What differs in case alone is one sentence; all its rows ask it in the same way.
    english = min(each.english for each in every)
    return against_each_other([_row(english, versions, origin) for versions in chosen.values()])


def _row(english: str, versions: Sequence[Version], origin: Origin) -> Pair:
    first = versions[0]
    told = INTO.format(named(first.language))
    row = pair(
        origin, digest(first.group, told, first.folded), first.group, english, first.text,
        task="retrieval", instruction=told, languages=(_ENGLISH, first.language),
    )  # fmt: skip
    return replace(row, positives=tuple(passage(each.text) for each in versions))


def _all(names: Iterable[str]) -> str:
    return " / ".join(sorted(set(names)))
