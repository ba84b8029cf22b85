"""Functions whose own name is hidden: the body, and what else the code says, must tell it.

The other places of the name read `function_name`, as in the pairs and the benchmark of code search.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lingxi.model.tokens import Tokens
from lingxi.parse.code import Definition, definitions
from lingxi.parse.documented import MASK
from lingxi.train.infill import Marks, Sample, around

# The last part of a name such as `Stack::push`; Ruby's may end in a mark.
_OWN_NAME = re.compile(r"[^\W\d][\w$]*[?!]?\Z")


@dataclass(frozen=True, slots=True)
class Hidden:
    """A function's code around one place of its own name; at the other places stands `MASK`."""

    before: str
    name: str
    after: str


def hidden_name(rng: np.random.Generator, language: str, text: str) -> Hidden | None:
    """A function of a source text, drawn at random, whose name stands nowhere in what is left of it.

    None where there is no function that says its own name. Raises MissingExtraError without the grammar.
    """
    functions = [f for f in _innermost(definitions(text, language)) if _OWN_NAME.search(f.name)]
    for index in rng.permutation(len(functions)):
        code, found = text[functions[index].start : functions[index].end], functions[index].name
        name = _OWN_NAME.search(found)
        assert name is not None
        word = re.compile(rf"(?<![\w$]){re.escape(name[0])}(?![\w$])")
        places = [match.span() for match in word.finditer(code)]
        if places and name[0] != MASK:
            start, end = places[int(rng.integers(len(places)))]
            # The space before a word belongs to its first token.
            left = len(code[:start].rstrip(" "))
            return Hidden(word.sub(MASK, code[:left]), code[left:end], word.sub(MASK, code[end:]))
    return None


def _innermost(found: Sequence[Definition]) -> Iterator[Definition]:
    for definition in found:
        yield from _innermost(definition.members) if definition.members else (definition,)


def name_infill(
    hidden: Hidden, tokens: Tokens, marks: Marks, most: int, *, suffix_first: bool, context: bool
) -> Sample | None:
    """The function around its name, then the name; at most `most` ids, what is far from the name cut off.

    None where a long name leaves no room for the function.
    """
    before, after = (_unmasked(tokens, side, context) for side in (hidden.before, hidden.after))
    middle = tokens.texts([hidden.name])[0]
    room = most - marks.room - len(middle)
    if room <= len(middle):
        return None
    left = min(len(before.ids), max(room // 2, room - len(after.ids)))
    skipped, kept = len(before.ids) - left, room - left
    before = Sample(before.ids[skipped:], before.counted[skipped:])
    after = Sample(after.ids[:kept], after.counted[:kept])
    return around(before, middle, after, marks, suffix_first=suffix_first)


def _unmasked(tokens: Tokens, text: str, context: bool) -> Sample:
    """The ids of a text, those of `MASK` never counted: nobody wrote them."""
    encoding = tokens.user.encode(text, add_special_tokens=False)
    masks = [match.span() for match in re.finditer(MASK, text)]
    counted = [
        context and not any(start < last and first < end for first, last in masks)
        for start, end in encoding.offsets
    ]
    return Sample(encoding.ids, counted)
