"""Toy VL models: random weights by transformers, a toy tokenizer with the control tokens of vision."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi import prompts
from lingxi.model.sizes import Size
from lingxi.model.vision_size import VisionSize
from toys import toy_tokenizer

VISION = (prompts.VISION_START, prompts.VISION_END, prompts.IMAGE_PAD, prompts.VIDEO_PAD)
TEXT = Size(64, 3, 4, 2, 32, 96, vocab=520, max_positions=4096, rope_theta=5e6, sections=(6, 5, 5))
TOWER = VisionSize(4, 32, 2, 48, 64, (0, 1, 2), side=8)


@cache
def vl_tokenizer(base: str | None = None) -> str:
    """The text of a `tokenizer.json`: another one with the placeholders and marks of pictures added."""
    description = json.loads(base or toy_tokenizer())
    top = max([*description["model"]["vocab"].values(), *(t["id"] for t in description["added_tokens"])])
    shape = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    description["added_tokens"] += [
        {"id": top + 1 + i, "content": name, **shape} for i, name in enumerate(VISION)
    ]
    description["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": prompts.END_OF_TEXT, "type_id": 0}},
        ],
        "pair": [],
        "special_tokens": {
            prompts.END_OF_TEXT: {
                "id": prompts.END_OF_TEXT,
                "ids": [_id(description, prompts.END_OF_TEXT)],
                "tokens": [prompts.END_OF_TEXT],
            }
        },
    }
    return json.dumps(description, ensure_ascii=False)


def _id(description: dict[str, Any], name: str) -> int:
    return next(int(t["id"]) for t in description["added_tokens"] if t["content"] == name)


def config_of(text: Size, tower: VisionSize, tokenizer: str) -> Any:
    """transformers' configuration of these shapes."""
    from transformers import Qwen3VLConfig

    description = json.loads(tokenizer)
    ids = {name: _id(description, name) for name in VISION}
    return Qwen3VLConfig(
        text_config={
            "vocab_size": text.vocab,
            "hidden_size": text.hidden,
            "intermediate_size": text.intermediate,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "num_key_value_heads": text.kv_heads,
            "head_dim": text.head_dim,
            "max_position_embeddings": text.max_positions,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": text.rope_theta,
                "mrope_section": list(text.sections or ()),
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": tower.depth,
            "hidden_size": tower.hidden,
            "intermediate_size": tower.intermediate,
            "num_heads": tower.heads,
            "out_hidden_size": tower.out,
            "num_position_embeddings": tower.side**2,
            "deepstack_visual_indexes": list(tower.deep),
        },
        image_token_id=ids[prompts.IMAGE_PAD],
        video_token_id=ids[prompts.VIDEO_PAD],
        vision_start_token_id=ids[prompts.VISION_START],
        vision_end_token_id=ids[prompts.VISION_END],
        tie_word_embeddings=text.tied_head,
    )


def random_model(text: Size = TEXT, tower: VisionSize = TOWER, seed: int = 0, tokenizer: str = "") -> Any:
    """transformers' own model with random weights; no norm weight is 1, so that none can be forgotten."""
    from transformers import Qwen3VLForConditionalGeneration

    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config_of(text, tower, tokenizer or vl_tokenizer())).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        if parameter.dim() == 1:
            parameter.uniform_(0.5, 1.5, generator=generator)
        else:
            parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
    return model


def write_vl(out: Path, kind: str = "embedder", *, model: Any = None, tokenizer: str = "") -> Path:
    """Write a model directory as transformers saves it, with what says its kind."""
    model = model or random_model()
    model.save_pretrained(out)
    (out / "tokenizer.json").write_text(tokenizer or vl_tokenizer(), encoding="utf-8")
    if kind == "embedder":
        modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
        listed = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
            for i, (path, name) in enumerate(modules)
        ]
        (out / "modules.json").write_text(json.dumps(listed))
        (out / "1_Pooling").mkdir(exist_ok=True)
        pooling = {"embedding_dimension": 64, "pooling_mode": "lasttoken", "include_prompt": True}
        (out / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    else:
        (out / "1_LogitScore").mkdir(exist_ok=True)
        (out / "1_LogitScore" / "config.json").write_text("{}")
    return out


def noise(width: int, height: int, seed: int = 0) -> Any:
    """A picture of random colours, smooth enough that filters matter."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (max(height // 8, 1), max(width // 8, 1), 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)
