"""Rows at the limits: padded as others compute it, as long as the model allows, and cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from lingxi import prompts
from lingxi.check.padded import Forward, Side, padded_forward, pooled, sides
from lingxi.check.report import Row, Skipped, Tolerance, Values, row
from lingxi.check.subject import Ids, Subject, rendered
from lingxi.check.vl import picture_rows, turns_of
from lingxi.embedder import Embedder
from lingxi.model.golden import Golden, GoldenText

# A cut so short that golden texts are longer: what counts is that the end, or the question, is still there.
_CUT = 64
_FILLING = "Symptoms include thirst, tiredness and loss of weight. 北京是中国的首都。 x = f(y) + 1;\n"


def limit_rows(
    subject: Subject, golden: Golden, given: Tolerance | None, longest: int
) -> Iterator[Row | Skipped]:
    """Rows against a padded reference: both sides, the longest input, inputs cut by the model."""
    found = padded_forward(subject)
    if found is None:
        yield Skipped("padded, long, cut", f"a padded {subject.family} network needs transformers")
        return
    by, forward = found
    tolerance = given or subject.tolerance
    at = [i for i, text in enumerate(golden.texts) if text.image is None]
    texts, known = [golden.texts[i] for i in at], sides(subject.plain)
    for side in known:
        padded = _padded(subject, forward, subject.ids(texts), side)
        yield row(
            f"padded {side}",
            f"golden file, by {by}",
            padded,
            golden.values[at],
            given or subject.golden_tolerance,
        )
    if "left" not in known:
        yield Skipped("padded left", f"{subject.family} counts positions from the left: padding moves them")
    long = filled(subject, texts[-1], min(longest, subject.longest))
    ids = subject.ids([long])
    wanted = _padded(subject, forward, ids, "right")
    yield row(f"long, {len(ids[0])} tokens", by, subject.compute([long]), wanted, tolerance)
    mixed = subject.compute([texts[0], long, *texts[-3:]])[1:2]
    yield row("long in a batch", by, mixed, wanted, tolerance)
    yield _cut_row(subject, texts[-1], by, forward, tolerance)
    yield from picture_rows(subject, golden, tolerance)


def _cut_row(subject: Subject, like: GoldenText, by: str, forward: Forward, tolerance: Tolerance) -> Row:
    """Texts longer than the limit: the ids that must be left are laid out here, not asked of the model."""
    frame = 0 if subject.kind == "embedder" else len(_framed(subject, like, 0))
    limit = min(frame + _CUT, subject.longest)
    longer = [
        filled(subject, like, limit),
        filled(subject, like, 2 * limit),
        filled(subject, like, 8 * limit),
    ]
    wanted = _padded(subject, forward, [_framed(subject, text, limit) for text in longer], "right")
    return row(f"cut at {limit} tokens", by, subject.cutting_at(limit).compute(longer), wanted, tolerance)


def _framed(subject: Subject, text: GoldenText, limit: int) -> list[int]:
    """The ids of a text cut at `limit`, the tokens or the prompt around it kept (0: the prompt alone)."""
    tokens = subject.tokens
    if subject.model.vision is not None:
        tokens, said = turns_of(subject, text)
        return tokens.framed(tokens.texts([said])[0], limit)
    if isinstance(subject.model, Embedder):
        (ids,) = tokens.texts([rendered(text)])
        return tokens.framed(ids, limit)
    before, after = tokens.prompt(prompts.RERANK_PREFIX), tokens.prompt(prompts.RERANK_SUFFIX)
    (ids,) = tokens.texts(
        [prompts.rerank_body(text.query or "", text.text, text.task or prompts.DEFAULT_TASK)]
    )
    return [*before, *ids[: max(0, limit - len(before) - len(after))], *after]


def _padded(subject: Subject, forward: Forward, sequences: Sequence[Ids], side: Side) -> Values:
    """Values by the padded network, in batches of few: padding to the longest costs memory."""
    wanted = [
        subject.finished(pooled(subject, forward, sequences[i : i + 8], side))
        for i in range(0, len(sequences), 8)
    ]
    return np.concatenate(wanted)


def filled(subject: Subject, like: GoldenText, tokens: int) -> GoldenText:
    """A text, or a pair with the query of `like`, of nearly that many tokens and not more."""
    per_token = len(_FILLING) / len(subject.tokens.texts([_FILLING])[0])
    characters = max(1, int(tokens * per_token))
    unbound = subject.cutting_at(1 << 40)
    while True:
        text = replace(like, text=(_FILLING * (characters // len(_FILLING) + 1))[:characters])
        if characters == 1 or len(unbound.ids([text])[0]) <= tokens:
            return text
        characters = max(1, int(characters * 0.97) - 1)
