"""What is wrong with one row, if anything: functions from a pair to a reason or None.

A licence is denied unless it is on the allow-list, and a source can be denied by name until it is verified.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from pydantic import Field

from lingxi import languages
from lingxi.config import Settings
from lingxi.curate.noise import MARKS, noise
from lingxi.curate.speech import mismatch
from lingxi.records import Pair

Rule = Callable[[Pair], str | None]

_ALLOWED = re.compile(
    r"(CC[ -]?BY([ -]SA)?([ -][0-9.]+)?([ -]FR)?|CC[ -]?0|MIT|Apache([ -]2\.0)?|BSD([ -][0-9]-Clause)?"
    r"|C-UDA([ -][0-9.]+)?|Unicode([ -][0-9.]+|-DFS[-\w]*)?)( Licen[sc]e)?",
    re.I,
)
# What packages of a free-software distribution call their licences. DFSG-free: one that the distribution
# checked, where its file is not for machines.
_FREE_PACKAGE = re.compile(
    r"(A?L?GPL|MPL|Mozilla|GFDL|ISC|Zlib|PSF|Python|PostgreSQL|Artistic|EPL|Eclipse|BSL|Boost|CDDL|Ruby"
    r"|PHP|NTP|Expat|BSD|Apache|CC0|0BSD|Unlicense|WTFPL|ZPL|X11|HPND|public[- ]domain|DFSG-free)\b|WordNet"
    r"|GNU ",
    re.I,
)
_DENIED = re.compile(r"\b(NC|ND|MSR|research|non-?commercial|check|not stated)\b", re.I)
_BETWEEN_LICENCES = re.compile(r"/|(?:\b|_)(?:and|or|with)(?:\b|_)|\+(?=\s)", re.I)
_BRACKETS = re.compile(r"\([^()]*\)")
_PLACEHOLDER = re.compile(
    r"%(\d+\$)?[-+0#]*\d*\.?\d*(?:l{1,2}|z|h)?[sdifuxcg](?![a-z])|%L?\d{1,2}\b(?!\s*%)|%\(\w+\)|\{\w*\}"
    r"|\$\{?[A-Za-z_]\w*|(?<![A-Za-z])\$[1-9](?![\d.,])|\{\{|\}\}|@\w+@"
)
# Letters with the marks that stand on them: vowel signs are no borders of words.
_WORD = re.compile(rf"[\w{MARKS}]+")


class RuleSettings(Settings):
    """Bounds of the row rules; lengths in characters, ideographs counted 2.5 times in ratios."""

    free_packages: tuple[str, ...] = ("mediawiki",)
    """Names or shell patterns of sources that are free-software packages: GPL-like licences are allowed."""
    unverified_sources: tuple[str, ...] = ("zh_cmed",)
    """Parts of source names that are denied whatever licence they state."""
    min_words: int = Field(default=2, ge=1)
    """Fewest words of a side of parallel text in languages that put spaces between words."""
    min_chars: int = Field(default=10, ge=1)
    """Fewest characters of a side of parallel text in spaced languages."""
    min_chars_unspaced: int = Field(default=4, ge=1)
    """Fewest characters of a side of parallel text in languages without spaces."""
    max_query_chars: int = Field(default=4_000, ge=1)
    """Longest query."""
    max_ratio: float = Field(default=4.0, gt=1)
    """Largest ratio of the lengths of two parallel texts."""
    detect_languages: bool = False
    """Whether a detector checks the language of parallel text (needs the extra `curate`)."""
    min_script_share: float = Field(default=0.22, ge=0, le=1)
    """Least share of letters in the language's script, where it is known; names of programs are Latin."""


def rules(settings: RuleSettings) -> tuple[Rule, ...]:
    """The row rules in the order they are asked; each returns a short reason or None."""
    return (
        lambda row: licence_reason(
            row.source, row.licence, settings.free_packages, settings.unverified_sources
        ),
        missing_side,
        lambda row: too_short(row, settings),
        identical_sides,
        placeholder,
        lambda row: "query too long" if len(row.query) > settings.max_query_chars else None,
        lambda row: length_ratio(row, settings.max_ratio),
        lambda row: wrong_script(row, settings.min_script_share),
        noise,
        *((wrong_language,) if settings.detect_languages else ()),
    )


def first_reason(row: Pair, asked: Sequence[Rule]) -> str | None:
    """The reason of the first rule that has one, or None when the row may stay."""
    for rule in asked:
        if reason := rule(row):
            return reason
    return None


@lru_cache(maxsize=1024)
def licence_reason(
    source: str, licence: str, free_packages: tuple[str, ...], unverified_sources: tuple[str, ...]
) -> str | None:
    """Why rows of a source may not train weights that ship: every licence named (`A / B`) must be allowed."""
    if any(part in source for part in unverified_sources):
        return f"licence of the data not verified ({source})"
    if _DENIED.search(licence):
        return f"licence not allowed: {licence}"
    # What stands behind a semicolon or a comma is a remark; `A / B`, `A and B` ask for both.
    stated = re.split(r"[;,]", _BRACKETS.sub("", licence))[0]
    parts = [part.strip(" _") for part in _BETWEEN_LICENCES.split(stated)]
    if all(_ALLOWED.fullmatch(part) for part in parts):
        return None
    # The licences of a free package name single files of it too, under names of its own.
    if _is_free(source, free_packages) and any(map(_FREE_PACKAGE.match, parts)):
        return None
    return f"licence not allowed: {licence}"


def _is_free(source: str, free_packages: tuple[str, ...]) -> bool:
    """Whether a source, or both of a row that was made of two, is a free package."""
    return all(any(fnmatchcase(one, name) for name in free_packages) for one in source.split(" / "))


def missing_side(row: Pair) -> str | None:
    """A row without a query or without any positive cannot train a contrastive loss."""
    if not row.query.strip():
        return "empty query"
    if not any(item.text.strip() for item in row.positives):
        return "no positive"
    return None


def identical_sides(row: Pair) -> str | None:
    """A query equal to its positive, but for case and signs, teaches nothing."""
    query = folded(row.query)
    return "identical sides" if any(folded(item.text) == query for item in row.positives) else None


def placeholder(row: Pair) -> str | None:
    """Parallel text with a format placeholder (`%s`, `{0}`, `$1`) is program text, not a sentence."""
    if row.task == "bitext" and any(_PLACEHOLDER.search(text) for text, _ in _sides(row)):
        return "format placeholder"
    return None


def too_short(row: Pair, settings: RuleSettings) -> str | None:
    """Parallel text of a word or two is a glossary; other queries need two characters."""
    if row.task != "bitext":
        return "too short" if len(row.query.strip()) < 2 else None
    return "too short" if any(_is_short(text, code, settings) for text, code in _sides(row)) else None


def length_ratio(row: Pair, most: float) -> str | None:
    """Translations of very different length are seldom translations."""
    if row.task != "bitext":
        return None
    query = languages.weighted_length(row.query)
    lengths = [languages.weighted_length(item.text) for item in row.positives]
    return "length ratio" if any(max(query, one) > most * min(query, one) for one in lengths) else None


def wrong_script(row: Pair, least: float) -> str | None:
    """Text in another script than its language's is fallback text; only where the script is known."""
    if row.task != "bitext":
        return None
    return "wrong script" if any(_off_script(text, code, least) for text, code in _sides(row)) else None


def wrong_language(row: Pair) -> str | None:
    """A side of parallel text that speaks another language than claimed, or was left in English."""
    if row.task != "bitext":
        return None
    for text, code in _sides(row):
        if heard := _heard(text, code):
            return "untranslated" if heard == "en" else "wrong language"
    return None


# One English message stands beside its translation into a hundred languages.
_heard = lru_cache(maxsize=65_536)(mismatch)


@lru_cache(maxsize=65_536)
def folded(text: str) -> str:
    """A text as words in one case with single spaces: what counts as equal for duplicates and leaks.

    A text without any word stands for itself.
    """
    return " ".join(_WORD.findall(text.casefold())) or text.strip()


def _sides(row: Pair) -> Iterator[tuple[str, str]]:
    yield row.query, row.query_language
    for item in row.positives:
        yield item.text, row.document_language


def _is_short(text: str, code: str, settings: RuleSettings) -> bool:
    if not languages.is_spaced(code):
        return len(text) < settings.min_chars_unspaced
    return len(text) < settings.min_chars or len(text.split()) < settings.min_words


def _off_script(text: str, code: str, least: float) -> bool:
    name = languages.script(code)
    if name is None:
        return False
    share = languages.script_share(text, name)
    return share is not None and share < least
