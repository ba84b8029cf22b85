"""The only place where model text is built: queries, documents and rerank turns.

Training, serving and evaluation all render through here, so their bytes are equal by
construction. Templates are the Qwen3-Embedding and Qwen3-Reranker ones, byte for byte
(model cards, `examples/qwen3_reranker_transformers.py`), and those of their VL twins, whose turns are laid
out as pieces: control tokens, seats of pictures, and text between them that is tokenized in one go.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DEFAULT_TASK = "Given a web search query, retrieve relevant passages that answer the query"

RERANK_PREFIX = (
    "<|im_start|>system\n"
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
RERANK_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

END_OF_TEXT = "<|endoftext|>"
SPECIAL_TOKENS = (END_OF_TEXT, "<|im_start|>", "<|im_end|>", "<think>", "</think>")

FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX = "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"
# One of several holes; Qwen's tokenizer has the token and its models leave it unused.
FIM_HOLE = "<|fim_pad|>"
INFILL_TOKENS = (FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX, FIM_HOLE)
"""Marks of texts with holes, for training alone: no text that a model serves is built with them."""

RERANK_CHAT_TEMPLATE = (
    '{%- set instruction = messages | selectattr("role", "eq", "system") | map(attribute="content") | first '
    f'| default("{DEFAULT_TASK}") -%}}\n'
    '{%- set query_text = messages | selectattr("role", "eq", "query") | map(attribute="content") '
    "| first -%}\n"
    '{%- set document_text = messages | selectattr("role", "eq", "document") | map(attribute="content") '
    "| first -%}\n"
    + RERANK_PREFIX
    + "<Instruct>: {{ instruction }}\n<Query>: {{ query_text }}\n<Document>: {{ document_text }}"
    # jinja drops one trailing newline, so the template ends with one more than the rendered text
    + RERANK_SUFFIX
    + "\n"
)


def query_prefix(task: str = DEFAULT_TASK) -> str:
    """What stands before a query: no space after `Query:` (the trained form)."""
    return f"Instruct: {task}\nQuery:"


def query(text: str, task: str = DEFAULT_TASK) -> str:
    """Render one query for the embedder; documents are given raw."""
    return query_prefix(task) + text


def rerank_body(query_text: str, document: str, task: str = DEFAULT_TASK) -> str:
    """Render the user's turn of the reranker, tokenized in one piece between prefix and suffix."""
    return f"<Instruct>: {task}\n<Query>: {query_text}\n<Document>: {document}"


IM_START, IM_END = "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"

VL_TASK = "Represent the user's input."
"""What the VL embedder's system turn says of documents, and of queries without an instruction."""
VL_RERANK_TASK = "Given a search query, retrieve relevant candidates that answer the query."
VL_EMPTY = "NULL"
"""What stands for an input, or a side of a pair, that holds nothing."""


@dataclass(frozen=True, slots=True)
class Control:
    """A control token of a template, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one frame of a picture or video stands: `tokens` placeholders named `pad`."""

    pad: str
    tokens: int


Piece = Control | Seat | str


@dataclass(frozen=True, slots=True)
class Clip:
    """A video as a turn holds it: the `tokens` of each frame, and the second at which each stands."""

    tokens: int
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """What one side says, in the order in which it is said: videos, pictures (their tokens), texts."""

    clips: tuple[Clip, ...] = ()
    pictures: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()


def vl_instruction(task: str) -> str:
    """An instruction of the VL embedder: trimmed, and closed by a full stop where nothing closes it."""
    task = task.strip()
    if not task:
        return VL_TASK
    return task if unicodedata.category(task[-1]).startswith("P") else task + "."


def vl_head(instruction: str) -> tuple[Piece, ...]:
    """The system turn of the VL embedder, and the user's turn opened; `VL_LEAD` follows."""
    return Control(IM_START), f"system\n{instruction}", Control(IM_END), "\n", Control(IM_START)


VL_LEAD = "user\n"
"""The last of the head, tokenized in one go with a text that follows it."""
VL_TAIL: tuple[Piece, ...] = (Control(IM_END), "\n", Control(IM_START), "assistant\n")


def vl_embedding(content: Content, instruction: str = VL_TASK) -> tuple[Piece, ...]:
    """The VL embedder's turns; the end token, which the tokenizer appends, comes after them."""
    return (*vl_head(instruction), VL_LEAD, *_said(content), *VL_TAIL)


def vl_rerank(query: Content, document: Content, task: str = VL_RERANK_TASK) -> tuple[Piece, ...]:
    """The VL reranker's turns: no line before `<Query>:`, no space after the marks, nothing thought."""
    return (*vl_rerank_opening(), *_vl_asked(query, task), *_said(document), *VL_TAIL)


def vl_rerank_opening() -> tuple[Piece, ...]:
    """The system turn of the VL reranker, and the user's turn opened; `vl_rerank_body` follows."""
    system = RERANK_PREFIX.removeprefix(IM_START).partition(IM_END)[0]
    return Control(IM_START), system, Control(IM_END), "\n", Control(IM_START)


def vl_rerank_body(query_text: str, document: str, task: str = VL_RERANK_TASK) -> str:
    """The user's turn of a pair of texts, tokenized in one go before `VL_TAIL`."""
    pieces = (*_vl_asked(_of_text(query_text), task), *_said(_of_text(document)))
    return "".join(map(_text, pieces))


def _of_text(text: str) -> Content:
    return Content(texts=(text,)) if text else Content()


def _vl_asked(query: Content, task: str) -> tuple[Piece, ...]:
    return f"user\n<Instruct>: {task}<Query>:", *_said(query), "\n<Document>:"


def _said(content: Content) -> Iterator[Piece]:
    if content == Content():
        yield VL_EMPTY
    for clip in content.clips:
        for second in clip.seconds:
            yield f"<{second:.1f} seconds>"
            yield from _seated(VIDEO_PAD, clip.tokens)
    for tokens in content.pictures:
        yield from _seated(IMAGE_PAD, tokens)
    yield from content.texts


def _seated(pad: str, tokens: int) -> tuple[Piece, ...]:
    return Control(VISION_START), Seat(pad, tokens), Control(VISION_END)


def written(pieces: Sequence[Piece]) -> str:
    """The text that pieces amount to, as the reference renders it."""
    return "".join(_text(piece) for piece in pieces)


def _text(piece: Piece) -> str:
    if isinstance(piece, str):
        return piece
    return piece.name if isinstance(piece, Control) else piece.pad * piece.tokens
