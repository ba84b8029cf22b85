"""The files around the weights: what other servers and libraries look for in a model directory.

Embedder: legacy `modules.json` type names, both pooling key styles and `is_matryoshka`, so that
sentence-transformers 5 and 6, TEI, vLLM and infinity pool the same token. Reranker: the causal
original with sentence-transformers' LogitScore module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lingxi import prompts
from lingxi.errors import InputError, ModelError
from lingxi.model.files import (
    INT8,
    read_config,
    read_decoder,
    read_output_head,
    write_json,
    write_weights,
)
from lingxi.model.sizes import Size, config_from_size, size_from_config
from lingxi.model.tokens import read_tokens

Kind = Literal["embedder", "reranker"]
LATE = "lingxi-late"
"""The `model_type` of a reranker that is a head on an embedder (`late`)."""
# The second is what one published VL reranker calls it.
_SCORE_FOLDERS = ("1_LogitScore", "1_CausalScoreHead")
_POOLING_MODES = (
    "cls_token",
    "mean_tokens",
    "max_tokens",
    "mean_sqrt_len_tokens",
    "weightedmean_tokens",
    "lasttoken",
)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """All that a model directory is written from.

    `state` holds the decoder's tensors under their published names, and `lm_head.weight` for an
    untied reranker. `tokenizer` is the text of `tokenizer.json`; `card` the text of README.md.
    """

    kind: Kind
    size: Size
    state: Mapping[str, torch.Tensor]
    tokenizer: str
    card: str
    max_seq_length: int


def read_directory(source: Path) -> ModelFiles:
    """Everything a directory is written from, with its weights in fp32.

    Raises InputError for a reranker of an untied head without `lm_head.weight`, ModelError as `read_decoder`.
    """
    size = size_from_config(read_config(source), str(source))
    kind = read_kind(source) or "embedder"
    state = dict(read_decoder(source, torch.float32).state_dict())
    if kind == "reranker" and not size.tied_head:
        head = read_output_head(source, size)
        if head is None:
            raise InputError(
                f"{source}: holds no lm_head.weight",
                "export the causal original, not its classification twin",
            )
        state["lm_head.weight"] = head
    card = source / "README.md"
    return ModelFiles(
        kind=kind,
        size=size,
        state=state,
        tokenizer=(source / "tokenizer.json").read_text(encoding="utf-8"),
        card=card.read_text(encoding="utf-8") if card.exists() else f"# {source.name}\n",
        max_seq_length=read_max_length(source) or size.max_positions,
    )


def card_head(kind: Kind, first: str, tags: Sequence[str]) -> str:
    """The front matter of a README.md; `first` is a line of its own (licence or base), or nothing."""
    listed = "".join(f"- {tag}\n" for tag in tags)
    task = "feature-extraction" if kind == "embedder" else "text-ranking"
    return f"---\n{first}library_name: sentence-transformers\npipeline_tag: {task}\ntags:\n{listed}---\n"


def write_directory(
    files: ModelFiles, out: Path, dtype: str = "float32", *, max_shard_bytes: int | None = None
) -> Path:
    """Write a model directory (all but the golden file, which needs a running model) and return it."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokenizer.json").write_text(_with_end_token(files), encoding="utf-8")
    tokens = read_tokens(out / "tokenizer.json", files.size.vocab)
    config = config_from_size(files.size, end_id=tokens.end, dtype="float32" if dtype in INT8 else dtype)
    if dtype in INT8:
        config["lingxi_weights"] = {"dtype": dtype, "scale": "row"}
    write_json(out / "config.json", config)
    write_weights(out, _published_names(files), dtype, max_shard_bytes=max_shard_bytes)
    write_json(out / "tokenizer_config.json", tokenizer_config(files))
    (out / "README.md").write_text(files.card, encoding="utf-8")
    if files.kind == "embedder":
        _write_embedder_modules(out, files)
    else:
        _write_reranker_modules(out, files, tokens.answer("yes"), tokens.answer("no"))
    return out


def _published_names(files: ModelFiles) -> Mapping[str, torch.Tensor]:
    """Embedders are published without, rerankers with the `model.` prefix of the causal LM."""
    if files.kind == "embedder":
        return files.state
    return {k if k.startswith("lm_head") else f"model.{k}": v for k, v in files.state.items()}


def _with_end_token(files: ModelFiles) -> str:
    """`tokenizer.json` whose post-processor appends the end token (embedders), or nothing (rerankers)."""
    from tokenizers import Tokenizer, processors

    tokenizer = Tokenizer.from_str(files.tokenizer)
    end = prompts.END_OF_TEXT
    if files.kind == "embedder":
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {end}",
            pair=f"$A {end} $B:1 {end}:1",
            special_tokens=[(end, tokenizer.token_to_id(end))],
        )
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    text: str = tokenizer.to_str()
    return text


def tokenizer_config(files: ModelFiles) -> dict[str, Any]:
    """What `tokenizer_config.json` says: the side of padding, the special tokens, a reranker's template."""
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "padding_side": "left",
        "eos_token": "<|im_end|>",
        "pad_token": prompts.END_OF_TEXT,
        "bos_token": None,
        "unk_token": None,
        "errors": "replace",
        "clean_up_tokenization_spaces": False,
        "model_max_length": files.max_seq_length,
    }
    if files.kind == "reranker":
        config["chat_template"] = prompts.RERANK_CHAT_TEMPLATE
    return config


def _write_embedder_modules(out: Path, files: ModelFiles) -> None:
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    write_json(
        out / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(kinds)
        ],
    )
    pooling: dict[str, Any] = {"word_embedding_dimension": files.size.hidden}
    pooling |= {f"pooling_mode_{mode}": mode == "lasttoken" for mode in _POOLING_MODES}
    write_json(
        out / "1_Pooling" / "config.json", {**pooling, "pooling_mode": "lasttoken", "include_prompt": True}
    )
    (out / "2_Normalize").mkdir(exist_ok=True)
    write_json(out / "2_Normalize" / "config.json", {})
    write_json(
        out / "sentence_bert_config.json", {"max_seq_length": files.max_seq_length, "do_lower_case": False}
    )
    write_json(
        out / "config_sentence_transformers.json",
        {
            "model_type": "SentenceTransformer",
            "prompts": {"query": prompts.query_prefix(), "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )


def _write_reranker_modules(out: Path, files: ModelFiles, yes: int, no: int) -> None:
    base = "sentence_transformers"
    write_json(
        out / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": f"{base}.base.modules.transformer.Transformer"},
            {
                "idx": 1,
                "name": "1",
                "path": "1_LogitScore",
                "type": f"{base}.cross_encoder.modules.logit_score.LogitScore",
            },
        ],
    )
    write_json(
        out / "1_LogitScore" / "config.json",
        {"true_token_id": yes, "false_token_id": no, "module_input_name": "causal_logits"},
    )
    write_json(
        out / "sentence_bert_config.json",
        {
            "transformer_task": "text-generation",
            "modality_config": {
                "text": {"method": "forward", "method_output_name": "logits"},
                "message": {"method": "forward", "method_output_name": "logits", "format": "flat"},
            },
            "module_output_name": "causal_logits",
            "max_seq_length": files.max_seq_length,
        },
    )
    write_json(
        out / "config_sentence_transformers.json",
        {
            "model_type": "CrossEncoder",
            "activation_fn": "torch.nn.modules.linear.Identity",
            "prompts": {"query": prompts.DEFAULT_TASK},
            "default_prompt_name": "query",
        },
    )


def read_kind(directory: Path) -> Kind | None:
    """What the files around the weights say a model is; None for a bare causal model, which may be either."""
    if (directory / "1_Pooling").exists():
        return "embedder"
    config = read_config(directory)
    if config.get("model_type") == LATE:
        return "reranker"
    names = config.get("architectures") or []
    twin = any(str(name).endswith("ForSequenceClassification") for name in names)
    return "reranker" if twin or any((directory / name).exists() for name in _SCORE_FOLDERS) else None


def require_kind(directory: Path, wanted: Kind) -> None:
    """Raise ModelError where a directory says it is the other kind: its numbers would have no meaning."""
    found = read_kind(directory)
    if found not in (None, wanted):
        raise ModelError(
            f"{directory}: the model is of the kind {found!r}", f"name one of the kind {wanted!r}"
        )


def read_prompts(directory: Path) -> dict[str, str]:
    """The embedder's named prompts: the directory's own, over the family's defaults for query and document.

    Qwen3's query has its default task, another family's nothing; a prompt named passage or corpus is
    the document's where no other is.
    """
    stated = _json(directory / "config_sentence_transformers.json").get("prompts") or {}
    found = {name: text for name, text in stated.items() if text is not None}
    kind = read_config(directory).get("model_type")
    if kind == "qwen3_vl":  # whose prompts are instructions, in the system turn
        said = {name: text for name, text in found.items() if text.strip()}
        return {"query": prompts.VL_TASK, "document": prompts.VL_TASK, **said}
    query = prompts.query_prefix() if kind == "qwen3" else ""
    document = found.get("passage", found.get("corpus", ""))
    return {"query": query, "document": document, **found}


def read_max_length(directory: Path) -> int | None:
    """`max_seq_length` of `sentence_bert_config.json`, or None where it says nothing."""
    found = _json(directory / "sentence_bert_config.json").get("max_seq_length")
    return int(found) if found else None


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error})", "copy it again from the original model") from None
    return value if isinstance(value, dict) else {}
