"""Other runtimes of a model: the libraries people compare with, and another directory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi import prompts
from lingxi.check.onnx import onnx_reference
from lingxi.check.padded import bars_off, pooled, sides
from lingxi.check.report import EXACT, LOSSY, Tolerance, Values
from lingxi.check.subject import Compute, Subject, open_subject, rendered
from lingxi.check.vl import vl_forward
from lingxi.errors import InputError, MissingExtraError
from lingxi.model.files import open_published, read_config, write_json, write_weights
from lingxi.model.golden import GoldenText
from lingxi.vectors import cut

_ONNX = {"onnx": "onnxruntime", "onnxruntime": "onnxruntime", "openvino": "openvino"}


@dataclass(frozen=True, slots=True)
class Reference:
    """Another runtime: golden texts to vectors or scores, and how near it should be.

    `specials`: whether it reads special tokens in user text as control tokens, as the reference
    implementation does. `narrow` asks for vectors of fewer dimensions, where that can be asked.
    `threads`: whether several may ask at once; `tasks`: whether another instruction can be asked for.
    """

    name: str
    compute: Compute
    tolerance: Tolerance
    specials: bool = False
    narrow: Callable[[Sequence[GoldenText], int], Values] | None = None
    threads: bool = False
    tasks: bool = True


@contextmanager
def local_reference(subject: Subject, against: str) -> Iterator[Reference]:
    """A library by name, `onnx:FILE`, `openvino:FILE`, or a model directory (or hub id, or shipped name).

    Raises InputError for a directory of the other kind or width, MissingExtraError without the library.
    """
    if subject.model.vision is not None and against.startswith(_PEERS):
        _require("transformers")
        yield vl_reference(subject, against)
    elif against in ("transformers", "sentence-transformers"):
        make = _transformers if against == "transformers" else _sentence_transformers
        _require(against)
        with _floats(subject) as directory, bars_off():
            yield make(subject, directory)
    elif (name := against.partition(":")[0]) in _ONNX:
        file = against.partition(":")[2]
        compute, tolerance = onnx_reference(subject, Path(file).expanduser() if file else None, _ONNX[name])
        yield Reference(name, compute, tolerance)
    else:
        yield _directory(subject, against)


_PEERS = ("transformers", "sentence-transformers", "onnxruntime", "onnx:")


def vl_reference(subject: Subject, against: str) -> Reference:
    """transformers' whole network, tower and all, over the same ids and pixels; no other library."""
    if against != "transformers":
        raise InputError(f"{against} is not compared with VL models", "choose transformers, or a directory")
    states = vl_forward(subject)

    def compute(texts: Sequence[GoldenText]) -> Values:
        """One by one."""
        return np.concatenate([subject.finished(states(ids)) for ids in subject.ids(texts)])

    return Reference("transformers", compute, EXACT)


def _directory(subject: Subject, against: str) -> Reference:
    other = open_subject(against)
    if other.kind != subject.kind:
        raise InputError(
            f"{against}: the model is of the kind {other.kind!r}", f"name another {subject.kind}"
        )
    lossy = any(_stored(s.directory) != "float32" for s in (subject, other)) or not other.exact
    return Reference(str(against), other.compute, LOSSY if lossy else EXACT, threads=True)


def _stored(directory: Path) -> str:
    config = read_config(directory)
    kept = config.get("lingxi_weights", {}).get("dtype")
    return str(kept or config.get("dtype") or config.get("torch_dtype") or "float32")


def _require(library: str) -> None:
    if find_spec(library.replace("-", "_")) is None:
        raise MissingExtraError(library, "peers", f"the comparison with {library}")


@contextmanager
def _floats(subject: Subject) -> Iterator[Path]:
    """The directory itself, or an fp32 copy of an int8 or int4 one, which no other library reads."""
    if not _stored(subject.directory).startswith("int"):
        yield subject.directory
        return
    with tempfile.TemporaryDirectory() as folder:
        yield _as_floats(subject.directory, Path(folder) / subject.directory.name)


def _as_floats(directory: Path, out: Path) -> Path:
    """The same files with fp32 weights; those of dense heads are fp32 already, in folders of their own."""

    def weights(folder: str, names: list[str]) -> list[str]:
        """What is not copied: at the root, the weights in whatever form."""
        root = Path(folder) == directory
        return [
            n for n in names if root and n.endswith((".safetensors", ".safetensors.index.json", ".lingxi"))
        ]

    shutil.copytree(directory, out, ignore=weights)
    config = {k: v for k, v in read_config(directory).items() if k != "lingxi_weights"}
    write_json(out / "config.json", config | {"dtype": "float32"})
    with open_published(directory) as tensors:
        write_weights(out, tensors, "float32")
    return out


def _transformers(subject: Subject, directory: Path) -> Reference:
    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(directory)
    network: Any = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    before, after = subject.tokens.prompt(prompts.RERANK_PREFIX), subject.tokens.prompt(prompts.RERANK_SUFFIX)
    side, decoder = sides(subject.plain)[0], "left" in sides(subject.plain)

    def ids(text: GoldenText) -> list[int]:
        """The published way: the tokenizer's own end token, or a body between prefix and suffix."""
        limit = subject.longest
        if subject.kind == "embedder":
            found: list[int] = tokenizer(rendered(text), truncation=True, max_length=limit)["input_ids"]
            return found
        body = prompts.rerank_body(text.query or "", text.text, text.task or prompts.DEFAULT_TASK)
        room = limit - len(before) - len(after)
        return [*before, *tokenizer(body, add_special_tokens=False)["input_ids"][:room], *after]

    def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """All final states."""
        more = {"use_cache": False} if decoder else {}
        states: torch.Tensor = network(input_ids=ids, attention_mask=mask, **more)[0]
        return states

    def compute(texts: Sequence[GoldenText]) -> Values:
        """Batches padded on the left (an encoder's: on the right), pooled as the directory says."""
        states = [
            pooled(subject, forward, [ids(t) for t in texts[i : i + 8]], side)
            for i in range(0, len(texts), 8)
        ]
        return subject.finished(torch.cat(states))

    return Reference("transformers", compute, EXACT, specials=True)


def _sentence_transformers(subject: Subject, directory: Path) -> Reference:
    from sentence_transformers import CrossEncoder, SentenceTransformer

    if subject.kind == "embedder":
        embedder: Any = SentenceTransformer(str(directory), device="cpu", local_files_only=True)
        embedder.float()

        def vectors(texts: Sequence[GoldenText]) -> Values:
            """What `encode` gives for rendered texts, of unit length where that is left to users."""
            asked = [rendered(t) for t in texts]
            found = embedder.encode(
                asked, normalize_embeddings=subject.family != "qwen3", show_progress_bar=False
            )
            return np.asarray(found, np.float32)

        def narrow(texts: Sequence[GoldenText], width: int) -> Values:
            """Cut, then brought to unit length, as its users are told to."""
            asked = [rendered(t) for t in texts]
            found = embedder.encode(
                asked, truncate_dim=width, normalize_embeddings=True, show_progress_bar=False
            )
            return cut(np.asarray(found, np.float32), width)

        return Reference("sentence-transformers", vectors, EXACT, specials=True, narrow=narrow)
    reranker: Any = CrossEncoder(str(directory), device="cpu", local_files_only=True)

    def scores(texts: Sequence[GoldenText]) -> Values:
        """Log-odds by the directory's own modules, as probabilities."""
        odds = np.empty(len(texts), np.float32)
        for task in dict.fromkeys(t.task for t in texts):
            at = [i for i, t in enumerate(texts) if t.task == task]
            pairs = [(texts[i].query or "", texts[i].text) for i in at]
            odds[at] = reranker.predict(pairs, prompt=task or prompts.DEFAULT_TASK, show_progress_bar=False)
        return np.asarray(torch.sigmoid(torch.from_numpy(odds)).numpy(), np.float32)

    return Reference("sentence-transformers", scores, EXACT, specials=True)
