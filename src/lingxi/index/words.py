"""The words full text search looks for: the text, and what a word boundary alone would hide in it.

The store cuts text into words by Unicode's rules and ICU's dictionaries (`base_tokenizer="icu"`), which
finds words of Chinese, Japanese and Thai. Two things stay hidden to it, and are written out behind the text:
parts of names (`parseHttpHeader`, `max_seq_length`, `lingxi.cli` are one word each), and two-character
Chinese words inside longer ones (its dictionary holds 南京市 whole, so 南京 alone would not be found).
Queries go through the same function, so both sides agree.
"""

from __future__ import annotations

import re
from functools import lru_cache

_COMPOUND = re.compile(r"[^\W\d]\w*(?:[.:'’_-]\w+)*")
_PIECE = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\x00-\x7f]+")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]{3,}")


def search_words(text: str) -> str:
    """`text`, then the parts of the compound names in it and the character pairs of its Han runs.

    What no full text query can mean (control characters) is left as it is: words end there anyway.
    """
    extra = [part for match in _COMPOUND.finditer(text) for part in name_parts(match.group())]
    extra += [run[i : i + 2] for run in _HAN.findall(text) for i in range(len(run) - 1)]
    return f"{text}\n{' '.join(extra)}" if extra else text


@lru_cache(maxsize=50_000)
def name_parts(name: str) -> tuple[str, ...]:
    """Parts of a compound name: `parseHTTPHeader_v2` → parse HTTP Header v 2; none for a simple word."""
    if name.isalpha() and (name.islower() or name[1:].islower()):
        return ()
    parts = tuple(part for piece in _PIECE.findall(name) for part in _CAMEL.findall(piece))
    return parts if len(parts) > 1 else ()
