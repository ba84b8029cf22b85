"""Deliberately wrong encodings: what a runtime gives that makes one of the usual mistakes.

Each is computed by the plain network, to be compared with what another runtime gave. They are what happens in
practice: the end token dropped or another, other pooling, the instruction left out or doubled, no template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lingxi import prompts
from lingxi.check.report import Values
from lingxi.check.subject import Compute, Ids, Subject, rendered
from lingxi.engine.run import pooled_states
from lingxi.model.golden import GoldenText
from lingxi.model.pooling import Pooling

_POOLED: Mapping[Pooling, str] = {
    "mean": "the mean of all tokens",
    "cls": "the first token",
    "lasttoken": "the last token",
}
_CUTS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
# The instruction of the authors' example code, which differs from their model card.
_EXAMPLE_TASK = "Given the user query, retrieval the relevant passages"


@dataclass(frozen=True, slots=True)
class Variant:
    """A mistake in words, and what it gives for golden texts."""

    cause: str
    compute: Compute


def variants(subject: Subject) -> Iterator[Variant]:
    """The mistakes that are looked for, the commoner first."""
    if subject.model.vision is not None or subject.late:
        yield Variant(
            "instruction not applied by the server",
            lambda texts: subject.compute([replace(t, task=None) for t in texts]),
        )
        return
    yield from _embedder(subject) if subject.kind == "embedder" else _reranker(subject)


def _by_ids(subject: Subject, change: Callable[[list[int]], list[int]]) -> Compute:
    return lambda texts: _pooled(subject, [change(ids) for ids in subject.ids(texts)])


def _embedder(subject: Subject) -> Iterator[Variant]:
    yield from _prompted(subject)
    yield from _ended(subject) if subject.family == "qwen3" else _framed(subject)
    yield from _cut(subject)


def _prompted(subject: Subject) -> Iterator[Variant]:
    """Another text is read than the one asked about."""

    def by_text(change: Callable[[GoldenText], str]) -> Compute:
        return lambda texts: _pooled(subject, [_read(subject, change(t)) for t in texts])

    yield Variant(
        "instruction not applied by the server: queries get the vectors of plain text",
        by_text(lambda t: t.text),
    )
    yield Variant(
        "special tokens in user text are read as control tokens", subject.reading_specials().compute
    )
    yield Variant(
        "instruction applied twice",
        by_text(lambda t: prompts.query(rendered(t), t.task or prompts.DEFAULT_TASK)),
    )
    yield Variant(
        "the query's instruction is put before documents too",
        by_text(lambda t: prompts.query(t.text, t.task or prompts.DEFAULT_TASK)),
    )
    yield Variant(
        "a space after 'Query:', which the trained form has not",
        by_text(lambda t: t.text if t.task is None else prompts.query(" " + t.text, t.task)),
    )


def _ended(subject: Subject) -> Iterator[Variant]:
    """Qwen3's end token, which makes the vector: missing, doubled, another, or not pooled."""
    end = subject.tokens.end

    def by_ids(change: Callable[[list[int]], list[int]]) -> Compute:
        return _by_ids(subject, change)

    yield Variant("end token missing: another token is pooled", by_ids(lambda ids: ids[:-1] or ids))
    yield Variant(
        "mean pooling: the average of all tokens and not the end token",
        lambda texts: subject.by_plain(subject.ids(texts), "mean"),
    )
    yield Variant(
        "mean pooling without the end token",
        lambda texts: subject.by_plain([ids[:-1] or ids for ids in subject.ids(texts)], "mean"),
    )
    yield Variant("end token added twice", by_ids(lambda ids: [*ids, end]))
    yield Variant("first token pooled", by_ids(lambda ids: ids[:1]))
    stop = subject.tokens.specials.get("<|im_end|>")
    if stop is not None:
        yield Variant("another end token: <|im_end|> is pooled", by_ids(lambda ids: [*ids[:-1], stop]))


def _framed(subject: Subject) -> Iterator[Variant]:
    """Another family: pooled otherwise, or without the tokens its tokenizer puts around a text."""
    before, after = len(subject.tokens.before), len(subject.tokens.after)
    for how, words in _POOLED.items():
        if how != subject.plain.pooling:
            yield Variant(
                f"other pooling: {words} and not {_POOLED[subject.plain.pooling]}",
                lambda texts, how=how: subject.by_plain(subject.ids(texts), how),  # type: ignore[misc]
            )
    if before + after:
        yield Variant(
            "the tokens around a text are missing (the tokenizer's special tokens)",
            _by_ids(subject, lambda ids: ids[before : len(ids) - after] or ids),
        )


def _cut(subject: Subject) -> Iterator[Variant]:
    before, after = len(subject.tokens.before), len(subject.tokens.after)

    def framed(ids: list[int], limit: int) -> list[int]:
        return subject.tokens.framed(ids[before : len(ids) - after], limit)

    for limit in _CUTS:
        yield Variant(
            f"other truncation: texts are cut at {limit} tokens",
            _by_ids(subject, lambda ids, n=limit: framed(ids, n)),  # type: ignore[misc]
        )
        if after:
            yield Variant(
                f"other truncation: texts are cut at {limit} tokens and lose their end token",
                _by_ids(subject, lambda ids, n=limit: ids[:n]),  # type: ignore[misc]
            )


def _reranker(subject: Subject) -> Iterator[Variant]:
    before, after = (subject.tokens.prompt(p) for p in (prompts.RERANK_PREFIX, prompts.RERANK_SUFFIX))
    frame = len(before) + len(after)
    no_thought = subject.tokens.prompt(prompts.RERANK_SUFFIX.partition("<think>")[0])

    def by_text(change: Callable[[GoldenText], GoldenText]) -> Compute:
        return lambda texts: subject.compute([change(t) for t in texts])

    def by_ids(change: Callable[[list[int]], list[int]]) -> Compute:
        return _by_ids(subject, change)

    yield Variant("instruction not applied by the server", by_text(lambda t: replace(t, task="")))
    yield Variant(
        "the server puts its default instruction in the place of the one asked for",
        by_text(lambda t: replace(t, task=prompts.DEFAULT_TASK)),
    )
    yield Variant(
        "another default instruction: that of the authors' example code",
        by_text(lambda t: replace(t, task=_EXAMPLE_TASK)),
    )
    for cause, joined in (("", "{query}{text}"), (" (joined by a newline)", "{query}\n{text}")):
        yield Variant(
            f"template not applied: query and document alone are read{cause}",
            lambda texts, form=joined: _pooled(  # type: ignore[misc]
                subject, [_ids(subject, form.format(query=t.query or "", text=t.text)) for t in texts]
            ),
        )
    yield Variant(
        "template not closed: the turn of the assistant is missing", by_ids(lambda ids: ids[: -len(after)])
    )
    yield Variant(
        "template without the empty <think> block", by_ids(lambda ids: [*ids[: -len(after)], *no_thought])
    )
    yield Variant("an end token after the template", by_ids(lambda ids: [*ids, subject.tokens.end]))
    yield Variant(
        "special tokens in user text are read as control tokens", subject.reading_specials().compute
    )
    for limit in _CUTS:
        yield Variant(
            f"other truncation: query and document are cut at {limit} tokens",
            lambda texts, n=limit: subject.cutting_at(frame + n).compute(texts),  # type: ignore[misc]
        )
        yield Variant(
            f"other truncation: the prompt is cut at {limit} tokens and loses its end",
            by_ids(lambda ids, n=limit: ids[:n]),  # type: ignore[misc]
        )


def _ids(subject: Subject, text: str) -> list[int]:
    (ids,) = subject.tokens.texts([text])
    return ids[: subject.longest - 1]


def _read(subject: Subject, text: str) -> list[int]:
    """A text as the model's tokenizer frames and cuts it."""
    (ids,) = subject.tokens.texts([text])
    return subject.tokens.framed(ids, subject.longest)


def _pooled(subject: Subject, sequences: Sequence[Ids]) -> Values:
    """Values at the last id; a sequence of none has the end token."""
    full = [ids or [subject.tokens.end] for ids in sequences]
    return subject.finished(pooled_states(subject.plain, full))
