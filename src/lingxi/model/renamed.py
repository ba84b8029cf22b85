"""Models that ship under another name than they once had: what was made with them still finds them."""

from __future__ import annotations

# By the hash of their weights (`files.hash_weights`). Version 0 of lingxi-nano is lingxi-pico since another
# model has its name; of rerankers nothing is stored.
_NAMES = {"00f5e70d3b2a34f6": "lingxi-pico"}


def name_now(name: str, weights: object) -> str:
    """The name of the shipped model with these weights, or `name` where none of another name has them."""
    return _NAMES.get(str(weights), name) if name == "lingxi-nano" else name
