"""A model directory as a folder for ONNX Runtime, OpenVINO and browsers: graph, tokenizer, how to ask.

`model.onnx` takes `input_ids` and `attention_mask` (int64 [batch, sequence], padded on either side with any
id) and gives finished vectors or scores; `lingxi.json` says what goes before a query, how long a text may
be and which widths there are. `lingxi check MODEL --against onnx:OUT/model.onnx` proves the file.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from lingxi import prompts
from lingxi.compress.onnx_graph import Precision, library
from lingxi.compress.onnx_matrices import Weights
from lingxi.compress.onnx_network import IDS, MASK, check_style, embedder_graph, reranker_graph
from lingxi.errors import InputError, require_new
from lingxi.model.files import open_codes, open_weights, read_answer_rows, read_config, write_json
from lingxi.model.layout import Kind, read_kind, read_max_length, read_prompts
from lingxi.model.sizes import Size, matryoshka_dims, size_from_config
from lingxi.model.tokens import read_tokens

PRECISIONS: tuple[str, ...] = get_args(Precision)
ABOUT = "lingxi.json"
MODEL = "model.onnx"
# Protobuf ends at 2 GB: above this the tensors go to a file beside the graph.
_INSIDE = 1_500_000_000


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the graph's file, its bytes (weights beside it included), kind and precision."""

    path: Path
    bytes: int
    kind: Kind
    precision: str


@dataclass(frozen=True, slots=True)
class About:
    """What a runtime must know beside the graph; `frame` is how many tokens stand around a text."""

    kind: Kind
    name: str
    precision: str
    hidden: int
    vocab: int
    widths: tuple[int, ...]
    max_length: int
    end: int
    prompts: dict[str, str]
    inputs: tuple[str, ...] = (IDS, MASK)


def export_onnx(source: Path, out: Path, precision: str = "float32") -> Exported:
    """Write a Qwen3 embedder or reranker as ONNX, its matrices in `precision`, to the new folder `out`.

    `int4` wants a directory that `lingxi compress int4` wrote, and keeps its codes. Raises InputError where
    `out` exists or the precision is none, ModelError for another family, MissingExtraError without the
    package onnx.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}", f"choose one of: {', '.join(PRECISIONS)}")
    require_new(out)
    if precision == "int4":
        require_int4(source)
    library()
    size = size_from_config(read_config(source), str(source))
    check_style(size, str(source))
    about = _about(source, size, precision)
    with open_weights(source) as tensors, open_codes(source) as codes:
        model = _graph(source, size, Weights(tensors, codes), about)
    out.mkdir(parents=True)
    _save(model, out / MODEL)
    write_json(out / ABOUT, asdict(about))
    shutil.copyfile(source / "tokenizer.json", out / "tokenizer.json")
    size_written = sum(path.stat().st_size for path in out.glob(f"{MODEL}*"))
    return Exported(out / MODEL, size_written, about.kind, precision)


def require_int4(directory: Path) -> None:
    """Raise InputError for a model directory whose matrices are not stored as int4."""
    if read_config(directory).get("lingxi_weights", {}).get("dtype") != "int4":
        raise InputError(
            f"{directory}: not stored as int4", f"write one first: lingxi compress int4 {directory} OUT"
        )


def read_about(folder: Path) -> About:
    """What `export_onnx` wrote beside a graph; raises InputError where it is missing or not ours."""
    path = folder / ABOUT
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return About(**found | {key: tuple(found[key]) for key in ("widths", "inputs")})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: cannot be read ({error})", "write it with `lingxi compress onnx`"
        ) from None


def _about(source: Path, size: Size, precision: str) -> About:
    kind = read_kind(source) or "embedder"
    tokens = read_tokens(source / "tokenizer.json", size.vocab)
    embeds = kind == "embedder"
    return About(
        kind=kind,
        name=source.resolve().name,
        precision=precision,
        hidden=size.hidden,
        vocab=size.vocab,
        widths=tuple(matryoshka_dims(size.hidden)) if embeds else (),
        max_length=min(read_max_length(source) or size.max_positions, size.max_positions),
        end=tokens.end,
        prompts=read_prompts(source) if embeds else _rerank_prompts(),
    )


def _rerank_prompts() -> dict[str, str]:
    """The parts of a pair's prompt; between prefix and suffix stands the body, `prompts.rerank_body`."""
    return {"prefix": prompts.RERANK_PREFIX, "suffix": prompts.RERANK_SUFFIX, "task": prompts.DEFAULT_TASK}


def _graph(source: Path, size: Size, weights: Weights, about: About) -> Any:
    said = {"lingxi_kind": about.kind, "lingxi_precision": about.precision, "lingxi_model": about.name}
    precision: Precision = about.precision  # type: ignore[assignment]
    if about.kind == "embedder":
        return embedder_graph(size, weights, precision, about.widths[:-1], said)
    tokens = read_tokens(source / "tokenizer.json", size.vocab)
    row = read_answer_rows(source, size, tokens.answer("yes"), tokens.answer("no"))
    return reranker_graph(size, weights, precision, row.numpy(), said)


def _save(model: Any, path: Path) -> None:
    """Write through a draft, so that a file that is there is whole."""
    onnx = library()
    onnx.checker.check_model(model) if model.ByteSize() < _INSIDE else None
    if model.ByteSize() < _INSIDE:
        draft = path.with_suffix(".draft")
        draft.write_bytes(model.SerializeToString())
        draft.replace(path)
        return
    onnx.save_model(
        model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=f"{path.name}.data"
    )
