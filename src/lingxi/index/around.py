"""Passages in the light of those beside them: in a conversation an answer stands near the words asked for."""

from __future__ import annotations

from collections.abc import Mapping

# What a neighbour counts for, a place away; two places count for its square, and so on.
DECAY = 0.7
Place = tuple[str, int]


def raised(scores: Mapping[Place, float], reach: int) -> dict[Place, float]:
    """Each passage's score and DECAY^d times those of passages `d` places away, `d` up to `reach`.

    `scores` are of (file, number of the passage in it); a passage without a score counts nothing.
    """
    steps = [step for step in range(-reach, reach + 1) if step]
    return {
        (file, number): own + sum(DECAY ** abs(d) * scores.get((file, number + d), 0.0) for d in steps)
        for (file, number), own in scores.items()
    }
