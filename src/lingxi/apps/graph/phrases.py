"""Words of Chinese and Japanese that hold together: found by counting, without a dictionary.

A run of 2 to 6 ideographs is a word where it stands often, wherever it is cut its halves meet far more often
than chance would have it, and different characters stand on both sides of it.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff々]+")
_LONGEST = 6
# Mutual information of the halves, in bits, and different neighbours on each side.
_LEAST_BITS, _LEAST_NEIGHBOURS = 5.0, 2
# Characters that begin or end no name.
_FUNCTION = frozenset(
    "的了是在和与與及或也都不就这這那其之为為以于於对對中上下个個一有被把从從到而但并並很更最会會可能要这些们們"
)


def phrases(sentences: Iterable[str], least: int) -> dict[str, int]:
    """Phrases that stand at least `least` times, with how often."""
    counts, before, after = _counted(sentences)
    total = sum(count for run, count in counts.items() if len(run) == 1) or 1
    kept = {
        run: count
        for run, count in counts.items()
        if len(run) > 1
        and count >= least
        and not {run[0], run[-1]} & _FUNCTION
        and min(len(before[run]), len(after[run])) >= _LEAST_NEIGHBOURS
        and _bits(run, counts, total) >= _LEAST_BITS
    }
    return _longest(kept)


def _counted(
    sentences: Iterable[str],
) -> tuple[Counter[str], dict[str, set[str]], dict[str, set[str]]]:
    counts: Counter[str] = Counter()
    before: dict[str, set[str]] = defaultdict(set)
    after: dict[str, set[str]] = defaultdict(set)
    edge = 0
    for sentence in sentences:
        for run in _HAN.findall(sentence):
            for start in range(len(run)):
                for end in range(start + 1, min(start + _LONGEST, len(run)) + 1):
                    part = run[start:end]
                    counts[part] += 1
                    # Each edge of a run is another neighbour.
                    edge += 1
                    before[part].add(run[start - 1] if start else f"{edge}")
                    after[part].add(run[end] if end < len(run) else f"{edge}")
    return counts, before, after


def _bits(run: str, counts: Counter[str], total: int) -> float:
    """The least mutual information of a phrase over the places it can be cut."""
    return min(
        math.log2(counts[run] * total / (counts[run[:at]] * counts[run[at:]])) for at in range(1, len(run))
    )


def _longest(kept: dict[str, int]) -> dict[str, int]:
    """Without phrases that stand only inside longer ones."""
    inside: dict[str, int] = {}
    for run, count in kept.items():
        for start in range(len(run)):
            for end in range(start + 2, len(run) + 1):
                part = run[start:end]
                if part != run:
                    inside[part] = max(inside.get(part, 0), count)
    return {run: count for run, count in kept.items() if count > inside.get(run, 0)}
