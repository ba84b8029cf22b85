"""A small BERT directory with random weights, a late interaction on it, and pairs it can learn from."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, processors

from lingxi.model.files import hash_weights, save_tensors, write_json
from lingxi.model.late import LateConfig, LateHead, write_late
from lingxi.records import Pair, passage, write_pairs
from toys import toy_encoder, toy_tokenizer

WORDS = (
    "capital",
    "China",
    "gravity",
    "force",
    "bodies",
    "text",
    "long",
    "told",
    "cat",
    "chair",
    "print",
    "double",
)


def write_bert(out: Path, seed: int = 0, query: str = "query: ") -> Path:
    """A mean-pooled BERT of three layers, whose queries have a prompt."""
    out.mkdir(parents=True)
    encoder = toy_encoder(seed)
    for name, tensor in encoder.named_parameters():
        # Biases of one sign would make all states alike.
        if name.endswith("bias"):
            tensor.sub_(1)
        if "word_embeddings" in name:
            tensor.mul_(8)
    size = encoder.size
    write_json(
        out / "config.json",
        {
            "model_type": "bert", "architectures": ["BertModel"], "hidden_size": size.hidden,
            "num_hidden_layers": size.layers, "num_attention_heads": size.heads,
            "intermediate_size": size.intermediate, "vocab_size": size.vocab,
            "max_position_embeddings": size.max_positions, "type_vocab_size": size.types,
            "layer_norm_eps": size.norm_eps, "hidden_act": "gelu", "pad_token_id": 0,
        },
    )  # fmt: skip
    save_tensors({k: v.contiguous() for k, v in encoder.state_dict().items()}, out / "model.safetensors")
    tokenizer = Tokenizer.from_str(toy_tokenizer())
    start, end = "<|im_start|>", "<|endoftext|>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(s, tokenizer.token_to_id(s)) for s in (start, end)]
    )
    tokenizer.save(str(out / "tokenizer.json"))
    pooling = {"word_embedding_dimension": size.hidden, "pooling_mode_mean_tokens": True}
    write_json(out / "1_Pooling" / "config.json", pooling)
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (out / "modules.json").write_text(json.dumps(modules), "utf-8")
    write_json(
        out / "config_sentence_transformers.json", {"prompts": {"query": query, "document": "passage: "}}
    )
    write_json(out / "sentence_bert_config.json", {"max_seq_length": size.max_positions})
    return out


def write_toy_late(out: Path, embedder: Path, name: str | None = None) -> Path:
    """A head of random weights on an embedder."""
    torch.manual_seed(3)
    head = LateHead(32)
    with torch.no_grad():
        head.mix.weight.copy_(torch.tensor([[3.0, 40.0]]))
        head.mix.bias.fill_(-42.5)
    write_late(out, LateConfig(name or str(embedder), hash_weights(embedder), 32), head)
    return out


def toy_pairs(out: Path, rows: int = 24) -> Path:
    """Queries of two words, each with the passage that has both."""
    pairs = []
    for i in range(rows):
        a, b = WORDS[i % len(WORDS)], WORDS[(i * 5 + 1) % len(WORDS)]
        text = f"It is said that {a} and {b} are number {i}."
        pairs.append(
            Pair(
                id=str(i), group=f"g{i}", query=f"{a} {b} {i}", positives=(passage(text),), negatives=(),
                instruction="Find it", task="retrieval", query_language="en", document_language="en",
                source="toy", licence="none",
            )
        )  # fmt: skip
    write_pairs(pairs, out)
    return out
