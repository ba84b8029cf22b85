"""An answer without a language model: the sentences of the passages that answer best, as they stand."""

from __future__ import annotations

from collections.abc import Sequence

from lingxi.apps.ask.evidence import Evidence
from lingxi.apps.ask.plain import visible
from lingxi.apps.ask.prompt import Guarded
from lingxi.apps.ask.records import Statement
from lingxi.apps.ask.verify import cited_at, unlinked

# A further sentence is worth reading if it scores nearly as well as the best.
_NEARLY = 0.8
# Among sentences that score alike, the passage found first is the better source.
_RANK = 0.05


def extracted(passages: Sequence[Guarded], found: Sequence[Evidence], most: int) -> list[Statement]:
    """Up to `most` sentences, best first: similarity and words, less a little by the passage's rank."""
    ranked = sorted(found, key=lambda item: -worth(item))
    out: list[Statement] = []
    said: set[str] = set()
    for item in ranked:
        text = unlinked(visible(item.text))
        if len(out) == most or (out and worth(item) < _NEARLY * worth(ranked[0])):
            break
        if text.casefold() in said:
            continue
        said.add(text.casefold())
        passage = passages[item.passage]
        out.append(Statement(text, (cited_at(item.passage + 1, passage, item, 1.0, True),)))
    return out


def worth(item: Evidence) -> float:
    """What orders the sentences of an extractive answer."""
    return item.score - _RANK * item.passage
