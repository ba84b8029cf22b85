"""How a name is spelled and sounds, whatever its script: 阿卜杜拉 and Abdullah share most of it.

Names are written in Latin letters (anyascii), then taken apart into runs of 2 to 4 characters, once as they
are and once as consonants in classes that scripts confuse (b p v, d t, k g, l r, m n). Both are weighed by
TF-IDF over the names of both graphs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lingxi.errors import MissingExtraError
from lingxi.vectors import Floats

# Share of the letters in the whole, beside that of the consonants; chosen on DBP15K ja-en.
_LETTERS = 0.7
_WORD = re.compile(r"[a-z0-9]+")
_CLASSES = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"tsu", "t"),
        (r"ch|zh|sh|[jqxz]|c(?=[eiy])", "s"),
        (r"ph", "f"),
        (r"th", "t"),
        (r"ck|kh|gh|[cgq]", "k"),
        (r"[pv]", "b"),
        (r"d", "t"),
        (r"r", "l"),
        (r"f", "h"),
        (r"m", "n"),
    )
)


def latin(name: str) -> str:
    """A name in lower-case Latin letters and digits, words apart by a space."""
    try:
        from anyascii import anyascii
    except ImportError:
        raise MissingExtraError("anyascii", "graphs", "comparing names across scripts") from None
    return " ".join(_WORD.findall(anyascii(name).lower()))


def consonants(name: str) -> str:
    """The consonants of a name in classes, an `a` for a vowel that begins a word: `alnt lbl`."""
    return " ".join(filter(None, map(_skeleton, latin(name).split())))


def _skeleton(word: str) -> str:
    if word.isdigit():
        return word
    for pattern, by in _CLASSES:
        word = pattern.sub(by, word)
    first = "a" if word[:1] in "aeiouy" else ""
    return first + re.sub(r"(.)\1+", r"\1", re.sub(r"[aeiouyh]", "", word))


def spelled(left: Sequence[str], right: Sequence[str]) -> tuple[Any, Any]:
    """Sparse unit rows [names, n-grams] of the names of both sides; the product of two is their likeness."""
    sparse, text = _libraries()
    both = [*left, *right]
    parts = []
    for share, written in ((_LETTERS, latin), (1 - _LETTERS, consonants)):
        counted = text.TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, preprocessor=written, dtype=np.float32
        )
        try:
            parts.append(counted.fit_transform(both) * np.float32(share**0.5))
        except ValueError:  # no name has a letter
            parts.append(sparse.csr_matrix((len(both), 1), dtype=np.float32))
    rows = sparse.hstack(parts).tocsr()
    return rows[: len(left)], rows[len(left) :]


def sketched(rows: Any, width: int, seed: int) -> Floats:
    """Dense rows [names, width] whose products are nearly those of sparse ones (random projection)."""
    directions = np.random.default_rng(seed).standard_normal((rows.shape[1], width)).astype(np.float32)
    return np.asarray(rows @ directions, np.float32) / np.float32(width**0.5)


def _libraries() -> tuple[Any, Any]:
    try:
        import scipy.sparse
        import sklearn.feature_extraction.text
    except ImportError as absent:
        raise MissingExtraError(absent.name or "scikit-learn", "graphs", "aligning graphs") from None
    return scipy.sparse, sklearn.feature_extraction.text
