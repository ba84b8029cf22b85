"""A student in memory, and as a directory: the teacher's own files with what has changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lingxi.compress.cut import AnySize, Plan, new_name
from lingxi.compress.narrow import Basis
from lingxi.compress.vocabulary import Pruned
from lingxi.errors import require_new
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.files import INT8, open_published, read_config, write_json, write_weights
from lingxi.model.network import network_name
from lingxi.model.pooling import Pooling
from lingxi.model.sizes import matryoshka_dims

_HEAD = "lm_head.weight"
_WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".lingxi", ".onnx", ".gguf", ".h5", ".msgpack")
# Files that say the same of a vocabulary as tokenizer.json, and would be another one's.
_OTHER_VOCABULARIES = (
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)
_ENDS = ("bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id", "mask_token_id")


@dataclass(frozen=True, slots=True)
class Student:
    """A smaller network and the teacher's directory that it came from.

    `head` [vocab, hidden] is the output head of a reranker that does not tie it.
    """

    source: Path
    size: AnySize
    pooling: Pooling
    plan: Plan
    state: Mapping[str, torch.Tensor]
    head: torch.Tensor | None
    vocabulary: Pruned | None
    basis: Basis | None

    def network(self) -> Decoder | Encoder:
        """The network with tensors of its own, all with gradients."""
        with torch.device("meta"):
            made = _empty(self.size, self.pooling)
        own = {name: tensor.clone().contiguous() for name, tensor in self.state.items()}
        made.load_state_dict(own, assign=True)
        return made.requires_grad_(True)


def _empty(size: AnySize, pooling: Pooling) -> Decoder | Encoder:
    return Encoder(size, pooling) if isinstance(size, EncoderSize) else Decoder(size, pooling)


def write_student(
    student: Student,
    state: Mapping[str, torch.Tensor],
    out: Path,
    dtype: str,
    card: str,
    asked: Mapping[str, str] | None = None,
) -> None:
    """Write the directory, all but its golden file; raises InputError where `out` exists.

    `asked` is what stands before its texts, by name; None leaves what the teacher's directory says.
    """
    require_new(out)
    _copy_rest(student, out)
    write_json(out / "config.json", _config(student, dtype))
    _write_pooling(student, out)
    if student.vocabulary is not None:
        _write_vocabulary(student.vocabulary, out)
    if asked is not None:
        _write_prompts(asked, out)
    write_weights(out, _published(student, state), dtype)
    (out / "README.md").write_text(card, encoding="utf-8")


def _copy_rest(student: Student, out: Path) -> None:
    for path in sorted(student.source.rglob("*")):
        inside = path.relative_to(student.source)
        if path.is_dir() or inside.parts[0] in ("golden", ".git", ".cache", "onnx", "openvino"):
            continue
        stale = student.vocabulary is not None and path.name in _OTHER_VOCABULARIES
        if not stale and not path.name.endswith(_WEIGHTS):
            (out / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / inside)


def _config(student: Student, dtype: str) -> dict[str, Any]:
    config, size = dict(read_config(student.source)), student.size
    config.pop("lingxi_weights", None)
    config |= {
        "num_hidden_layers": size.layers,
        "intermediate_size": size.intermediate,
        "num_attention_heads": size.heads,
        "hidden_size": size.hidden,
        "vocab_size": size.vocab,
        "dtype" if "dtype" in config else "torch_dtype": "float32" if dtype in INT8 else dtype,
    }
    if not isinstance(size, EncoderSize):
        config |= {"num_key_value_heads": size.kv_heads, "head_dim": size.head_dim}
    if "max_window_layers" in config:
        config["max_window_layers"] = min(config["max_window_layers"], size.layers)
    if config.get("layer_types"):
        config["layer_types"] = [config["layer_types"][i] for i in student.plan.layers]
    if "matryoshka_dimensions" in config:
        config["matryoshka_dimensions"] = matryoshka_dims(size.hidden)
    if dtype in INT8:
        config["lingxi_weights"] = {"dtype": dtype, "scale": "row"}
    if student.vocabulary is not None:
        new = student.vocabulary.new_ids()
        # An id that no text can have is no token of the student.
        config |= {key: new.get(config[key]) for key in _ENDS if isinstance(config.get(key), int)}
    return config


def _write_pooling(student: Student, out: Path) -> None:
    path = out / "1_Pooling" / "config.json"
    if not path.exists():
        return
    stated = json.loads(path.read_text(encoding="utf-8"))
    names = ("word_embedding_dimension", "embedding_dimension")
    write_json(path, {**stated, **{name: student.size.hidden for name in names if name in stated}})


def _write_prompts(asked: Mapping[str, str], out: Path) -> None:
    path = out / "config_sentence_transformers.json"
    stated = (
        json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"similarity_fn_name": "cosine"}
    )
    write_json(path, {**stated, "prompts": dict(asked), "default_prompt_name": None})


def _write_vocabulary(pruned: Pruned, out: Path) -> None:
    text = json.dumps(pruned.description, ensure_ascii=False, indent=None, separators=(",", ":"))
    (out / "tokenizer.json").write_text(text, encoding="utf-8")
    if (out / "vocab.txt").exists():
        words = sorted(pruned.description["model"]["vocab"].items(), key=lambda pair: pair[1])
        (out / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in words), encoding="utf-8")
    for name in ("tokenizer_config.json", "1_LogitScore/config.json"):
        if (out / name).exists():
            write_json(out / name, _renumbered(json.loads((out / name).read_text(encoding="utf-8")), pruned))


def _renumbered(stated: dict[str, Any], pruned: Pruned) -> dict[str, Any]:
    new = pruned.new_ids()
    if "added_tokens_decoder" in stated:
        decoder = stated["added_tokens_decoder"].items()
        stated["added_tokens_decoder"] = {str(new[int(i)]): token for i, token in decoder if int(i) in new}
    for key in ("true_token_id", "false_token_id"):
        if key in stated:
            stated[key] = new[stated[key]]
    return stated


def _published(student: Student, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The student's tensors under the names that the teacher's files have for them."""
    with open_published(student.source) as tensors:
        keys = tuple(tensors)
        out = {key: tensors[key] for key in keys if _unused(student, key)}
    for key in keys:
        named = new_name(key, student.plan)
        if named is None:
            continue
        if key.endswith(_HEAD) and student.head is not None:
            out[named] = student.head.contiguous()
        elif network_name(named) in state:
            out[named] = state[network_name(named)].detach().contiguous()
    return out


def _unused(student: Student, key: str) -> bool:
    """Whether a tensor is BERT's pooler: no vector uses it, but transformers complains without it."""
    return "pooler." in key and isinstance(student.size, EncoderSize)
