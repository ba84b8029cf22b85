"""Old vectors under new queries, as a system that the suites of `evaluate` can measure.

Documents are as the old model stored them, queries as the new one asks. Where both sides are of equal
standing (translations, similarity) nothing is stored, and both are the new model's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lingxi.evaluate.dense import Dense
from lingxi.evaluate.systems import Candidates, Matrix, Texts
from lingxi.update.bridge import Bridge


@dataclass(frozen=True, slots=True)
class Crossed:
    """New queries, over a map where one is given, against old documents."""

    name: str
    new: Dense
    old: Dense
    bridge: Bridge | None = None

    @property
    def fingerprint(self) -> str:
        """Of both models and the map."""
        mapped = b"" if self.bridge is None else self.bridge.matrix.tobytes()
        both = f"{self.new.fingerprint} {self.old.fingerprint} "
        return hashlib.sha256(both.encode() + mapped).hexdigest()[:32]

    def blocks(
        self, queries: Texts, documents: Texts, candidates: Candidates | None = None
    ) -> Iterator[Matrix]:
        """Scores of all documents, in one block."""
        if documents.instruction is not None:
            yield from self.new.blocks(queries, documents, candidates)
            return
        asked = self.new.vectors(queries)
        if self.bridge is not None:
            asked = self.bridge.queries(asked)
        yield asked @ self.old.vectors(documents).T

    def compare(self, left: Texts, right: Texts) -> Matrix:
        """Cosines row by row, by the new model."""
        return self.new.compare(left, right)

    def vectors(self, texts: Texts) -> Any:
        """Vectors of the new model."""
        return self.new.vectors(texts)
