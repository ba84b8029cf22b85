"""Texts that teach nothing or must not be taught: repetition, signs without words, credits, personal data."""

from __future__ import annotations

import re
from collections import Counter

from lingxi.records import Pair

_LETTER = re.compile(r"[^\W\d_]")
_RUN = re.compile(r"([^\s\d])\1{7,}")
_FORMULA = re.compile(
    r"translator[- ]credits|all rights reserved|\bcopyright\b.{0,40}\d{4}|launchpad contributions"
    r"|click here to (buy|order)|buy now|limited[- ]time offer|lorem ipsum|点击购买|立即抢购|版权所有",
    re.I,
)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)*\.[A-Za-z]{2,}\b")
_CARD = re.compile(r"(?<![\d.])(?:\d[ -]?){13,19}(?![\d.])")
_PHONE = re.compile(r"(?<![\w.])\+\d{1,3}[ .-]?(?:\(?\d{1,4}\)?[ .-]?){2,5}\d{2,4}(?!\w)")
# Addresses that stand for any address.
_EXAMPLE = re.compile(r"@(example|localhost|domain|host|server|mail|email|company|site)\b", re.I)
_LEAST_LETTERS = 0.5
_LEAST_WORDS = 8


def noise(row: Pair) -> str | None:
    """What is wrong with one of a row's texts, or None; code may be signs and repeat itself."""
    for text in (row.query, *(item.text for item in row.positives)):
        if reason := personal(text) or formula(text):
            return reason
        if row.task == "bitext" and (reason := wordless(text) or repeated(text)):
            return reason
    return None


def wordless(text: str) -> str | None:
    """Fewer than half of the signs are letters."""
    signs = len(text) - text.count(" ")
    return "few letters" if signs and len(_LETTER.findall(text)) < _LEAST_LETTERS * signs else None


def repeated(text: str) -> str | None:
    """One sign eight times on end, or one word that is more than half of all."""
    if _RUN.search(text):
        return "repetition"
    words = text.lower().split()
    if len(words) < _LEAST_WORDS:
        return None
    return "repetition" if Counter(words).most_common(1)[0][1] > len(words) / 2 else None


def formula(text: str) -> str | None:
    """Credits, copyright lines, filler and advertising."""
    return "boilerplate" if _FORMULA.search(text) else None


def personal(text: str) -> str | None:
    """An e-mail address, a telephone number, or the number of a payment card that passes its check."""
    if "@" in text and (found := _EMAIL.search(text)) and not _EXAMPLE.search(found[0]):
        return "personal data"
    if "+" in text and _PHONE.search(text):
        return "personal data"
    return "personal data" if any(_is_card(found[0]) for found in _CARD.finditer(text)) else None


def _is_card(text: str) -> bool:
    """Luhn's check, on numbers that begin as cards do."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    if not 13 <= len(digits) <= 19 or digits[0] not in (3, 4, 5, 6):
        return False
    doubled = [d if i % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0
