"""Which language a text speaks by its character n-grams: a judge for languages that fastText never saw.

Naive Bayes over hashed n-grams of 1 to 4 characters, one table for each script that several languages share:

    share(l | text) = softmax over l of a · n^b · Σ log p(n-gram | l)

with n the number of n-grams, since they overlap and are not independent; a and b are fitted to held-out
texts. The tables (`ngrams.npz`) were learned by `benchmarks/language_ngrams.py` from training sentences of
SIB-200 (Adelani et al. 2024, arXiv 2309.07445), of FLORES-200, under CC BY-SA 4.0; so are the tables.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lingxi import languages

TABLES = Path(__file__).parent / "ngrams.npz"
# More of a text says nothing new, and the sums of a longer one would not fit 16 bits.
LONGEST, LEVELS, ORDER = 250, 63, 4
_MIX = np.array([0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F], np.uint32)
_SPREAD = np.uint32(0x2C1B3C6D)
_SPACE = 32
# Grave, acute, circumflex, macron and caron.
_TONES = "\u0300\u0301\u0302\u0304\u030c"


@dataclass(frozen=True, slots=True)
class Table:
    """The languages of one script: `rows` [2^bits, languages] holds log-probabilities in steps, 0 to 63."""

    codes: tuple[str, ...]
    rows: NDArray[np.uint16]
    bits: int
    slope: float
    power: float

    def shares(self, text: str) -> NDArray[np.float64]:
        """How likely a text speaks each language of the table; they sum to 1."""
        found = grams(text, self.bits)
        sums = np.add.reduce(self.rows.take(found, 0), 0, dtype=np.uint16).astype(np.float64)
        odds = np.exp((sums - sums.max()) * (self.slope * len(found) ** self.power))
        return np.asarray(odds / odds.sum())


def grams(text: str, bits: int) -> NDArray[np.intp]:
    """The numbers, below 2^bits, of a text's n-grams; case, digits and punctuation count for nothing."""
    raw = f" {text[:LONGEST].lower()[:LONGEST]} ".encode("utf-32-le", "replace")
    signs = _plain()[np.frombuffer(raw, np.uint32)]
    blank = signs == _SPACE
    # Of several spaces in a row the last stays.
    signs = signs[np.append(~(blank[1:] & blank[:-1]), True) & (signs != 0)]
    hashes = signs * _MIX[0]
    found = [hashes]
    for order in range(1, min(ORDER, len(signs))):
        hashes = hashes[:-1] + signs[order:] * _MIX[order]
        hashes ^= hashes >> np.uint32(15)
        found.append(hashes)
    return (np.concatenate(found) * _SPREAD >> np.uint32(32 - bits)).astype(np.intp)


def table_of(text: str) -> Table | None:
    """The table of the script that most letters of a text belong to; None where no table has it."""
    name = languages.main_script(text)
    return None if name is None else tables().get(name)


def heard(text: str) -> tuple[str, float] | None:
    """The likeliest language of a text, by our code, and its share, 0 to 1.

    None where the text has no letters, or its script is written by one language alone.
    """
    table = table_of(text)
    if table is None:
        return None
    shares = table.shares(text)
    best = int(shares.argmax())
    return table.codes[best], float(shares[best])


@lru_cache(maxsize=1)
def tables() -> Mapping[str, Table]:
    """The tables that ship, by script."""
    with np.load(TABLES) as file:
        return {
            name: Table(
                tuple(str(file[f"{name}.codes"]).split()),
                file[f"{name}.rows"].astype(np.uint16),
                int(file[f"{name}.rows"].shape[0]).bit_length() - 1,
                *(float(value) for value in file[f"{name}.fit"]),
            )
            for name in str(file["scripts"]).split()
        }


@lru_cache(maxsize=1)
def taught() -> frozenset[str]:
    """The languages that the tables know, by our codes, with and without the script they are written in."""
    codes = {code for table in tables().values() for code in table.codes}
    return frozenset(codes | {code.split("-")[0] for code in codes})


@lru_cache(maxsize=1)
def _plain() -> NDArray[np.uint32]:
    """Every code point as the sign that it counts for.

    What is no letter is a space, but for the apostrophe. Latin letters lose the marks of tone and stress,
    which some write and others leave out, and marks that stand alone are left out (0).
    """
    plain = np.arange(0x110000, dtype=np.uint32)
    signs = (*range(0xC0), *range(0x2000, 0x2070))
    plain[[code for code in signs if not chr(code).isalpha()]] = _SPACE
    plain[[0x27, 0x2019]] = 0x27
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
        parts = unicodedata.normalize("NFD", chr(code))
        rest = unicodedata.normalize("NFC", "".join(part for part in parts if part not in _TONES))
        plain[code] = ord(rest[0])
    plain[[ord(tone) for tone in _TONES]] = 0
    return plain
