"""The only place where model text is built: queries, documents and rerank turns.

Training, serving and evaluation all render through here, so their bytes are equal by
construction. Templates are the Qwen3-Embedding and Qwen3-Reranker ones, byte for byte
(model cards, `examples/qwen3_reranker_transformers.py`).
"""

from __future__ import annotations

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
