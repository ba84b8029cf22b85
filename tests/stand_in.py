"""Models without weights: vectors of hashed words; and the command line with them (`python stand_in.py …`).

With STAND_IN_SECONDS a text takes that long, so that a test can stop the command while it works.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

DIM = 64


class WordEmbedder:
    """The sum of one random direction a word, brought to unit length; counts the texts it was given."""

    dim = DIM

    def __init__(self, name: str = "stand-in", seconds: float = 0.0) -> None:
        self.name = name
        self.seconds = seconds
        self.embedded = 0

    def encode_document(self, inputs: Sequence[str], **_: Any) -> np.ndarray:
        self.embedded += len(inputs)
        time.sleep(self.seconds * len(inputs))
        return np.stack([_vector(text) for text in inputs])

    def encode_query(self, inputs: Sequence[str], **_: Any) -> np.ndarray:
        return np.stack([_vector(text) for text in inputs])

    def fingerprint(self) -> dict[str, str | int]:
        return {"name": self.name, "weights": self.name, "prompt": "", "dim": DIM, "precision": "float32"}


class WordReranker:
    """The share of the query's words that a document has."""

    def predict(self, pairs: Iterable[tuple[str, str]], **_: Any) -> np.ndarray:
        return np.array([_share(query, document) for query, document in pairs], np.float32)

    def rank(self, query: str, documents: Sequence[str], *, top_k: int | None = None, **_: Any) -> list[dict]:
        scores = self.predict((query, d) for d in documents)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [{"corpus_id": int(i), "score": float(scores[i]), "text": documents[i]} for i in order]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _vector(text: str) -> np.ndarray:
    vector = np.full(DIM, 1e-3, np.float32)
    for word in _words(text):
        vector += _direction(word)
    return vector / np.linalg.norm(vector)


@lru_cache(maxsize=100_000)
def _direction(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.md5(word.encode()).digest()[:4], "little")
    return np.random.default_rng(seed).normal(size=DIM).astype(np.float32)


def _share(query: str, document: str) -> float:
    wanted = set(_words(query))
    return len(wanted & set(_words(document))) / max(1, len(wanted))


def main() -> None:
    from lingxi.cli import run
    from lingxi.cli.faces import Faces

    seconds = float(os.environ.get("STAND_IN_SECONDS", "0"))
    faces = Faces(lambda name: WordEmbedder(name or "stand-in", seconds), lambda name: WordReranker())
    sys.exit(run(sys.argv[1:], faces))


if __name__ == "__main__":
    main()
