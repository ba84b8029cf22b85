"""From texts to the ids that training feeds: rendered and tokenized as the faces do when they serve."""

from __future__ import annotations

from collections.abc import Sequence

from lingxi import prompts
from lingxi.model.golden import GoldenText
from lingxi.model.tokens import Tokens

# No language writes a token in more characters than this on average: longer texts need not be read.
CHARACTERS_A_TOKEN = 8


def text_ids(tokens: Tokens, texts: Sequence[str], before: Sequence[str], most: int) -> list[list[int]]:
    """Ids of texts, each after what stands `before` it, cut to `most` tokens, in the tokenizer's frame."""
    beside = {prefix: len(tokens.prompt(prefix)) if prefix else 0 for prefix in dict.fromkeys(before)}
    room = {prefix: most + tokens.frame + count for prefix, count in beside.items()}
    whole = [prefix + text[: most * CHARACTERS_A_TOKEN] for text, prefix in zip(texts, before, strict=True)]
    return [tokens.framed(ids, room[prefix]) for ids, prefix in zip(tokens.texts(whole), before, strict=True)]


def pair_ids(tokens: Tokens, pairs: Sequence[tuple[str, str, str]], most: int) -> list[list[int]]:
    """Ids of reranker turns of (query, document, instruction), the body cut to `most` tokens."""
    limit = most * CHARACTERS_A_TOKEN
    bodies = [prompts.rerank_body(query[:limit], document[:limit], task) for query, document, task in pairs]
    return framed(tokens, bodies, most)


def framed(tokens: Tokens, bodies: Sequence[str], most: int) -> list[list[int]]:
    """Ids of rendered rerank bodies, cut to `most` tokens, in the turn that the reranker reads them in."""
    before, after = tokens.prompt(prompts.RERANK_PREFIX), tokens.prompt(prompts.RERANK_SUFFIX)
    return [[*before, *ids[:most], *after] for ids in tokens.texts(bodies)]


def fed(tokens: Tokens, text: GoldenText, most: int) -> list[int]:
    """What training feeds of one golden text: a document, a query under its task, or a pair."""
    if text.query is not None:
        return pair_ids(tokens, [(text.query, text.text, text.task or prompts.DEFAULT_TASK)], most)[0]
    before = "" if text.task is None else prompts.query_prefix(text.task)
    return text_ids(tokens, [text.text], [before], most)[0]
