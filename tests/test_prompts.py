"""Model text, byte for byte: the strings of the Qwen3-Embedding and Qwen3-Reranker cards."""

from __future__ import annotations

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lingxi import prompts

TASK = "Given a web search query, retrieve relevant passages that answer the query"
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
    'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def render(messages: list[dict[str, str]]) -> str:
    # The environment transformers renders chat templates in.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(prompts.RERANK_CHAT_TEMPLATE).render(messages=messages)


def test_query_has_a_space_after_instruct_and_none_after_query() -> None:
    assert prompts.DEFAULT_TASK == TASK
    assert prompts.query("What?") == f"Instruct: {TASK}\nQuery:What?"
    assert prompts.query("x", "Find a duplicate") == "Instruct: Find a duplicate\nQuery:x"


def test_rerank_strings() -> None:
    assert prompts.RERANK_PREFIX == PREFIX
    assert prompts.RERANK_SUFFIX == SUFFIX
    assert prompts.rerank_body("q", "d") == f"<Instruct>: {TASK}\n<Query>: q\n<Document>: d"
    assert prompts.rerank_body("q", "d", "t") == "<Instruct>: t\n<Query>: q\n<Document>: d"


def test_chat_template_is_the_published_one() -> None:
    template = prompts.RERANK_CHAT_TEMPLATE
    assert len(template) == 741
    assert template.startswith('{%- set instruction = messages | selectattr("role", "eq", "system")')
    assert template.endswith("</think>\n\n\n")


@pytest.mark.parametrize(
    "document", ["a document", " space", "\nline", "7", "中文", "", "{{ x }} {% y %} <b>&amp;"]
)
def test_chat_template_renders_the_three_parts(document: str) -> None:
    pair = [{"role": "query", "content": "a query?"}, {"role": "document", "content": document}]
    assert render(pair) == PREFIX + prompts.rerank_body("a query?", document) + SUFFIX
    instructed = [{"role": "system", "content": "a task"}, *pair]
    assert render(instructed) == PREFIX + prompts.rerank_body("a query?", document, "a task") + SUFFIX
