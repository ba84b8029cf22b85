"""The language-model step, for networks from scratch: before a text is compared, it is learnt to be read.

Draw texts, give them plain, with a hole or masked (`infill.py`, `names.py`), pack them without padding, and
predict every counted token from those before it, by the token vectors themselves as the output head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from lingxi.engine.batches import by_budget
from lingxi.errors import InputError
from lingxi.model.decoder import Decoder
from lingxi.model.packed import pack
from lingxi.model.tokens import Tokens
from lingxi.parse.code import LANGUAGES
from lingxi.train.feeding import CHARACTERS_A_TOKEN
from lingxi.train.gradcache import Figures, Step
from lingxi.train.head import summed_cross_entropy
from lingxi.train.infill import (
    Marks,
    Sample,
    infill,
    masked,
    masked_room,
    plain,
    read_infill_marks,
    read_words,
    stretch,
)
from lingxi.train.names import hidden_name, name_infill
from lingxi.train.phases import LanguageSettings

Texts = Callable[[np.random.Generator, int], list[tuple[str, str]]]
"""So many (language, text) rows, drawn by random numbers; code has a language of `parse.code.LANGUAGES`."""

FORMS = ("plain", "infill", "masked")
_DRAWN = 16
_LEAST_ROOM = 8
# Draws without a single text that can be read, after which the source is taken for empty.
_PATIENCE = 20


def language_step(decoder: Decoder, texts: Texts, tokens: Tokens, settings: LanguageSettings) -> Step:
    """A step that adds the gradients of the mean loss of all counted tokens to the decoder's parameters.

    Figures: `loss` (nats a token), `perplexity` and `accuracy` of the counted tokens, `counted` of them, and
    `tokens` read. Raises InputError for a decoder whose output head is not its token vectors, for
    `max_tokens` too few to hold the marks, and where `texts` gives nothing that can be read.
    """
    if not decoder.size.tied_head:
        raise InputError(
            "the network has an output head of its own, which a decoder does not hold",
            "train a size with a tied head",
        )
    marks = read_infill_marks(tokens)
    if min(_room(form, marks, settings) for form in FORMS) < _LEAST_ROOM:
        raise InputError(
            f"sequences of {settings.max_tokens} tokens have no room for a text beside the marks of holes",
            "raise max_tokens, lower mask_rate, or train a tokenizer that has the marks",
        )
    return lambda rng: backward(decoder, draw_samples(rng, texts, tokens, marks, settings), settings)


def backward(decoder: Decoder, samples: Sequence[Sample], settings: LanguageSettings) -> Figures:
    """Add the gradients of the samples' mean loss to the parameters; figures as of `language_step`.

    Every sample must have a token that counts.
    """
    counted = sum(sum(sample.counted) for sample in samples)
    loss, right = 0.0, 0
    for batch in by_budget([len(sample.ids) for sample in samples], settings.forward_tokens):
        summed, hits = _summed(decoder, [samples[i] for i in batch], settings.head_tokens)
        (summed / counted).backward()  # type: ignore[no-untyped-call]
        loss, right = loss + float(summed.detach()) / counted, right + int(hits)
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "accuracy": right / counted,
        "counted": counted,
        "tokens": sum(len(sample.ids) for sample in samples),
    }


def _summed(
    decoder: Decoder, samples: Sequence[Sample], head_tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed loss and hits of one pass; the head is computed for the tokens before counted ones alone."""
    device = decoder.embed_tokens.weight.device
    packed = pack([sample.ids for sample in samples], device)
    counted = torch.tensor([c for sample in samples for c in sample.counted])
    places = counted.nonzero()[:, 0].to(device)
    states = decoder.states(packed).index_select(0, places - 1)
    return summed_cross_entropy(states, decoder.embed_tokens.weight, packed.ids[places], head_tokens)


def draw_samples(
    rng: np.random.Generator, texts: Texts, tokens: Tokens, marks: Marks, settings: LanguageSettings
) -> list[Sample]:
    """Training sequences of `batch_tokens` tokens or a little more; raises InputError as `language_step`."""
    samples: list[Sample] = []
    room, patience = settings.batch_tokens, _PATIENCE
    while patience:
        patience -= not samples
        for language, text in texts(rng, _DRAWN):
            sample = rendered(rng, language, text, tokens, marks, settings)
            if not any(sample.counted):
                continue
            samples.append(sample)
            room -= len(sample.ids)
            if room <= 0:
                return samples
    raise InputError("the texts of the language-model phase are empty", "look at the stage before it")


def rendered(
    rng: np.random.Generator,
    language: str,
    text: str,
    tokens: Tokens,
    marks: Marks,
    settings: LanguageSettings,
) -> Sample:
    """One text in a form drawn by the settings' shares, at most `max_tokens` ids.

    A text of one word is given plain, whatever was drawn. An empty one gives nothing that counts.
    """
    shares = np.array([settings.plain, settings.infill, settings.masked])
    form = FORMS[rng.choice(3, p=shares / shares.sum())]
    text = stretch(rng, text, settings.max_tokens * CHARACTERS_A_TOKEN)
    context, most = settings.count_context, settings.max_tokens
    suffix_first = bool(rng.random() < settings.suffix_first_rate)
    if form == "infill" and language in LANGUAGES and rng.random() < settings.identifier_rate:
        hidden = hidden_name(rng, language, text)
        named = hidden and name_infill(
            hidden, tokens, marks, most, suffix_first=suffix_first, context=context
        )
        if named:
            return named
    room = _room(form, marks, settings)
    words = read_words(rng, tokens, language, text, room)
    if form == "plain" or words.count < 2:
        return plain(words, marks)
    if form == "infill":
        return infill(rng, words, marks, suffix_first=suffix_first, context=context)
    return masked(rng, words, marks, rate=settings.mask_rate, span=settings.mask_span, context=context)


def _room(form: str, marks: Marks, settings: LanguageSettings) -> int:
    """Ids of text that a sequence of a form has room for."""
    most = settings.max_tokens
    if form == "masked":
        return masked_room(marks, most, settings.mask_rate, settings.mask_span)
    return most - (marks.room if form == "infill" else 1)
