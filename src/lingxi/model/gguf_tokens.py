"""The tokenizer that a GGUF file describes, as the content of a `tokenizer.json`.

Byte-level BPE (`gpt2` in GGUF's words) with the pre-tokenizers of GPT-2, SmolLM, Qwen2 and Llama 3;
what llama.cpp keeps in its code, the regex of each name, is written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lingxi.errors import ModelError

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
_GPT2 = {**_BYTES, "use_regex": True}
_REST = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPLITS = {"qwen2": _WORDS + r"\p{N}" + _SIGNS + _REST, "llama-bpe": _WORDS + r"\p{N}{1,3}" + _SIGNS + _REST}
# Kinds of tokens: llama.cpp's LLAMA_TOKEN_TYPE_CONTROL and _USER_DEFINED.
_CONTROL, _USER_DEFINED = 3, 4


def describe_tokenizer(metadata: Mapping[str, Any], where: str) -> tuple[dict[str, Any], str | None]:
    """The content of a `tokenizer.json`, and the name of the end token.

    Raises ModelError for a tokenizer that is no byte-level BPE, or has an unknown pre-tokenizer.
    """
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise ModelError(
            f"{where}: the tokenizer is of the kind {kind!r}", "lingxi reads byte-level BPE ('gpt2')"
        )
    tokens, merges = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"]
    kinds = metadata.get("tokenizer.ggml.token_type", [1] * len(tokens))
    vocab = {token: index for index, token in enumerate(tokens)}
    name = metadata.get("tokenizer.ggml.pre", "gpt-2")
    end = metadata.get("tokenizer.ggml.eos_token_id")
    return {
        "version": "1.0",
        "added_tokens": [
            _added(index, token, kind)
            for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind in (_CONTROL, _USER_DEFINED)
        ],
        "normalizer": {"type": "NFC"} if name == "qwen2" else None,
        "pre_tokenizer": _pre_tokenizer(name, where),
        "post_processor": _frame(metadata, tokens),
        "decoder": _BYTES,
        "model": _model(vocab, merges, ignore_merges=name == "llama-bpe"),
    }, (tokens[end] if end is not None else None)


def _model(vocab: dict[str, int], merges: list[str], *, ignore_merges: bool) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": ignore_merges,
        "vocab": vocab,
        "merges": [merge.split(" ", 1) for merge in merges],
    }


def _added(index: int, token: str, kind: int) -> dict[str, Any]:
    sides = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": token, **sides, "special": kind == _CONTROL}


def _pre_tokenizer(name: str, where: str) -> dict[str, Any]:
    if name in ("gpt-2", "default"):
        return _GPT2
    if name == "smollm":
        return {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _GPT2]}
    if name not in _SPLITS:
        known = ", ".join(("gpt-2", "smollm", *_SPLITS))
        raise ModelError(f"{where}: the pre-tokenizer is {name!r}", f"lingxi reads one of: {known}")
    split = {"type": "Split", "pattern": {"Regex": _SPLITS[name]}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _BYTES]}


def _frame(metadata: Mapping[str, Any], tokens: list[str]) -> dict[str, Any] | None:
    """The post-processor of the flags add_bos_token and add_eos_token."""
    used = {
        side: metadata.get(f"tokenizer.ggml.{side}_token_id")
        for side in ("bos", "eos")
        if metadata.get(f"tokenizer.ggml.add_{side}_token")
    }
    named = {side: tokens[index] for side, index in used.items() if index is not None}
    if not named:
        return None
    piece = {side: [{"SpecialToken": {"id": token, "type_id": 0}}] for side, token in named.items()}
    text = [{"Sequence": {"id": "A", "type_id": 0}}]
    single = [*piece.get("bos", []), *text, *piece.get("eos", [])]
    known = {
        token: {"id": token, "ids": [tokens.index(token)], "tokens": [token]} for token in named.values()
    }
    return {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": known}
