"""A model for servers of the older layout: a reranker as its sequence-classification twin.

Such servers (infinity-emb, TEI) give a classifier the two texts of a pair and take its one number for the
score. The twin's one row is w_yes − w_no, and its tokenizer puts the whole prompt around a pair: nothing else
need be set. Its tokens are the published prompt's, but where a query ends in punctuation: there the line
break after it is a token of its own. An embedder is written as always: that layout is the older one too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lingxi import prompts
from lingxi.errors import InputError
from lingxi.model.files import INT8, write_json, write_weights
from lingxi.model.layout import ModelFiles, tokenizer_config, write_directory
from lingxi.model.sizes import config_from_size
from lingxi.model.tokens import PAIR_SPACE, Tokens, read_tokens


def write_compat(files: ModelFiles, out: Path, dtype: str = "float32") -> Path:
    """Write a directory for servers of the older layout and return it; raises InputError for int8."""
    if dtype in INT8:
        raise InputError(f"other servers do not read {dtype}", "choose float32, float16 or bfloat16")
    return write_directory(files, out, dtype) if files.kind == "embedder" else write_twin(files, out, dtype)


def write_twin(files: ModelFiles, out: Path, dtype: str = "float32") -> Path:
    """Write a reranker as a classifier with one label, all but its golden file, and return the directory."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokenizer.json").write_text(files.tokenizer, encoding="utf-8")
    tokens = read_tokens(out / "tokenizer.json", files.size.vocab)
    (out / "tokenizer.json").write_text(_with_prompt(files.tokenizer, tokens), encoding="utf-8")
    config = config_from_size(files.size, end_id=tokens.end, dtype=dtype)
    labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    write_json(out / "config.json", {**config, **labels, "architectures": ["Qwen3ForSequenceClassification"]})
    write_weights(out, _classifying(files, tokens), dtype)
    write_json(out / "tokenizer_config.json", tokenizer_config(files))
    write_json(out / "sentence_bert_config.json", {"max_seq_length": files.max_seq_length})
    (out / "README.md").write_text(files.card, encoding="utf-8")
    return out


def _classifying(files: ModelFiles, tokens: Tokens) -> dict[str, torch.Tensor]:
    head = files.state["embed_tokens.weight" if files.size.tied_head else "lm_head.weight"]
    yes, no = tokens.answer("yes"), tokens.answer("no")
    state = {f"model.{name}": tensor for name, tensor in files.state.items() if name != "lm_head.weight"}
    return {**state, "score.weight": (head[yes] - head[no])[None]}


def _with_prompt(tokenizer: str, tokens: Tokens) -> str:
    """`tokenizer.json` that reads a pair as the prompt; its normalizer puts the space before each text."""
    description = json.loads(tokenizer)
    normalizer = description.get("normalizer")
    known = [] if normalizer is None else [normalizer]
    if normalizer is not None and normalizer["type"] == "Sequence":
        known = normalizer["normalizers"]
    description["normalizer"] = {"type": "Sequence", "normalizers": [*known, PAIR_SPACE]}
    description["post_processor"] = _template(tokens)
    description["truncation"] = description["padding"] = None
    return json.dumps(description, ensure_ascii=False, indent=2)


def _template(tokens: Tokens) -> dict[str, Any]:
    """The prompt of the default task around `$A` and `$B`, as ids."""
    before, after = prompts.rerank_body("\0", "\1").split("\0")
    between = after.removesuffix(" \1")
    parts = {
        "before": [*tokens.prompt(prompts.RERANK_PREFIX), *_ids(tokens, before.removesuffix(" "))],
        "between": _ids(tokens, between),
        "after": tokens.prompt(prompts.RERANK_SUFFIX),
    }

    def text(name: str, of: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": of}}

    def fixed(name: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": 0}}

    return {
        "type": "TemplateProcessing",
        "single": [text("A", 0)],
        "pair": [fixed("before"), text("A", 0), fixed("between"), text("B", 0), fixed("after")],
        "special_tokens": {name: _special(name, ids) for name, ids in parts.items()},
    }


def _ids(tokens: Tokens, text: str) -> list[int]:
    return tokens.texts([text])[0]


def _special(name: str, ids: Sequence[int]) -> dict[str, Any]:
    return {"id": name, "ids": list(ids), "tokens": [f"{name}-{i}" for i in range(len(ids))]}
