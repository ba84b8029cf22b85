"""Texts that teach nothing or must not be taught: repetition, signs without words, credits, personal data."""

from __future__ import annotations

import re
from collections import Counter

from lingxi.records import Pair

# Combining marks, which `re` counts neither as letters nor as parts of words: vowel signs of many scripts.
MARKS = "".join(
    rf"{chr(first)}-{chr(last)}" if last > first else chr(first)
    for first, last in (
        (0x300, 0x36F), (0x483, 0x487), (0x591, 0x5BD), (0x610, 0x61A), (0x64B, 0x65F), (0x6D6, 0x6DC),
        (0x711, 0x711), (0x730, 0x74A), (0x7A6, 0x7B0), (0x816, 0x82D), (0x8D3, 0x903), (0x93A, 0x94F),
        (0x951, 0x957), (0x962, 0x963), (0x981, 0x983), (0x9BC, 0x9D7), (0xA01, 0xA03), (0xA3C, 0xA51),
        (0xA70, 0xA71), (0xA81, 0xA83), (0xABC, 0xACD), (0xB01, 0xB03), (0xB3C, 0xB57), (0xBBE, 0xBD7),
        (0xC00, 0xC04), (0xC3E, 0xC56), (0xC81, 0xC83), (0xCBC, 0xCD6), (0xD00, 0xD03), (0xD3B, 0xD57),
        (0xD81, 0xD83), (0xDCA, 0xDDF), (0xE31, 0xE31), (0xE34, 0xE3A), (0xE47, 0xE4E), (0xEB1, 0xEB1),
        (0xEB4, 0xEBC), (0xEC8, 0xECD), (0xF71, 0xF84), (0xF8D, 0xFBC), (0x102B, 0x103E), (0x1056, 0x1059),
        (0x105E, 0x1064), (0x1067, 0x106D), (0x1082, 0x108D), (0x135D, 0x135F), (0x17B4, 0x17D3),
        (0x18A9, 0x18A9), (0x1A17, 0x1A1B), (0x1AB0, 0x1AFF), (0x1B00, 0x1B04), (0x1B34, 0x1B44),
        (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0x302A, 0x302F), (0x3099, 0x309A), (0xA802, 0xA802),
        (0xA823, 0xA827), (0xA880, 0xA881), (0xA8B4, 0xA8C5), (0xA947, 0xA953), (0xABE3, 0xABED),
    )
)  # fmt: skip
_LETTER = re.compile(rf"[^\W\d_]|[{MARKS}]")
_RUN = re.compile(r"([^\s\d])\1{7,}")
_FORMULA = re.compile(
    r"translator[- ]credits|all rights reserved|\bcopyright\b.{0,40}\d{4}|launchpad contributions"
    r"|click here to (buy|order)|buy now|limited[- ]time offer|lorem ipsum|点击购买|立即抢购|版权所有",
    re.I,
)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)*\.[A-Za-z]{2,6}\b(?![.(\w])")
_CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?!\d|\.\d)")
# Grouped as people write it: `+86400` in code is a number.
_PHONE = re.compile(r"(?<![\w.])\+\d{1,3}[ .-]\(?\d{1,4}\)?(?:[ .-]?\d{2,5}){2,4}(?!\w)")
# Addresses that stand for any address.
_EXAMPLE = re.compile(r"@(?:[\w-]+\.)*(example|localhost|domain|yourdomain|self)\b", re.I)
_LEAST_LETTERS = 0.5
_LEAST_WORDS = 8


def noise(row: Pair) -> str | None:
    """What is wrong with one of a row's texts, or None; code may be signs and repeat itself."""
    for text in (row.query, *(item.text for item in (*row.positives, *row.negatives))):
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
    if "@" in text and any(not _EXAMPLE.search(found[0]) for found in _EMAIL.finditer(text)):
        return "personal data"
    if "+" in text and _PHONE.search(text):
        return "personal data"
    return "personal data" if any(_holds_card(found[0]) for found in _CARD.finditer(text)) else None


def _holds_card(text: str) -> bool:
    """Whether the beginning of a row of digits, up to one of its gaps, is the number of a card."""
    ends = [found.start() for found in re.finditer(r"[ -]", text)]
    return any(_is_card(text[:end]) for end in (*ends, len(text)))


def _is_card(text: str) -> bool:
    """Luhn's check, on numbers that begin as cards do."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    if not 13 <= len(digits) <= 19 or digits[0] not in (3, 4, 5, 6):
        return False
    doubled = [d if i % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0
