"""A small detector of lines that speak to the model rather than about the world: rules with names.

It is the first fence and not the last: what it does not know still has to pass the verification.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lingxi.apps.ask.order_rules import RULES
from lingxi.apps.ask.plain import folded, has_specials, has_unseen
from lingxi.parse import Span, lines, sentences

# Behind one of these the writer pretends that the passage is over: nothing of the rest is believed.
_OVER = ("plays a turn", "breaks the fence")
_LEET = str.maketrans("013457", "oieast")
_MIXED = re.compile(r"\b(?=\w*\d)(?=\w*[a-z])\w+\b")


def order(line: str) -> str | None:
    """The name of the first rule by which a line reads as an order to a model; None for plain prose."""
    if has_specials(line):
        return "plays a turn"
    if has_unseen(line):
        return "hides characters"
    plain = folded(line)
    spelt = _MIXED.sub(lambda match: match.group().translate(_LEET), plain)
    for said in dict.fromkeys((plain, spelt)):
        for name, pattern in RULES:
            if pattern.search(said):
                return name
    return None


def orders(text: str) -> Iterator[tuple[Span, str]]:
    """Spans of a text that read as orders, with their rules: at least sentences.

    What follows an order in its line goes with it, the next line too where the order ends with a colon, and
    the rest of the text behind a false turn or a false end of the passage.
    """
    follows = False
    for line in lines(text):
        parts = sentences(text, line.start, line.end)
        rules = [order(text[part.start : part.end]) for part in parts]
        whole = "follows an order" if follows else order(text[line.start : line.end])
        found = next((i for i, rule in enumerate(rules) if rule), 0 if whole else None)
        follows = False
        if found is None:
            continue
        rule = rules[found] or whole or ""
        start = parts[found].start if parts else line.start
        if rule in _OVER:
            yield Span(start, len(text)), rule
            return
        yield Span(start, line.end), rule
        follows = text[line.start : line.end].rstrip().endswith((":", "："))
