"""A model directory with its weights in another form: the same files; as int8, codes with one scale a row.

An int8 copy may hold its token vectors, the largest matrix of a small model, in four bits a number: rows are
read from that table, and never multiplied.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from lingxi.engine.native.packing import Fresh
from lingxi.engine.native.stored import write_packed
from lingxi.engine.opening import built
from lingxi.errors import InputError, require_new
from lingxi.model.files import (
    INT8,
    check_dtype,
    open_codes,
    open_published,
    open_tensors,
    read_config,
    shapes_of,
    write_json,
    write_weights,
)
from lingxi.model.int4 import GROUP, check_group
from lingxi.model.network import TABLES, empty_network, network_name, read_size, read_stated_modules

# A shard is held in memory until it is full.
_SHARD = 2_000_000_000
_WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".lingxi", ".onnx", ".gguf", ".h5", ".msgpack")


def quantize_directory(source: Path, out: Path, *, packed: bool, table: str = "int8") -> Path:
    """Write the int8 copy of a directory of any family that is computed; returns `out`.

    `table` 'int4' packs the token vectors with an fp16 scale for 32 columns; those that lie on the steps of
    such scales already stay as they are. Tensors are read one by one: a model need not fit in memory. With
    `packed`, what the kernels read is written beside it (as large again), so that the copy opens at once. The
    golden file is left out: it is another model's. Raises InputError where `out` exists, for another `table`,
    and for rows that are not whole groups, ModelError as `read_network`.
    """
    require_new(out)
    size, pooling = read_size(source), read_stated_modules(source).pooling
    _check(table, size.hidden)
    said: dict[str, str | int] = {"dtype": "int8", "scale": "row", "compute": "int8"}
    said |= {"table": "int4", "group": GROUP} if table == "int4" else {}
    with open_published(source) as tensors:  # a damaged source is found out before anything is written
        copy_rest(source, out)
        write_json(out / "config.json", {**read_config(source), "lingxi_weights": said})
        four = {key for key in tensors if table == "int4" and network_name(key) in TABLES}
        write_weights(out, tensors, "int8", max_shard_bytes=_SHARD, four=four)
    if packed:
        shapes = shapes_of(empty_network(source))
        with (
            open_tensors(source, shapes, network_name) as tensors,
            open_codes(out, network_name, shapes) as codes,
        ):
            fresh = Fresh(tensors, "int8", codes)
            built(size, pooling, fresh, "int8")
        write_packed(fresh, out)
    return out


def _check(table: str, width: int) -> None:
    if table not in ("int8", "int4"):
        raise InputError(f"unknown table {table!r}", "choose int8 or int4")
    if table == "int4":
        check_group(width, GROUP)


def rewrite_directory(source: Path, out: Path, dtype: str) -> Path:
    """Write the copy of a directory of any family with its weights in a dtype of `write_weights`.

    What was stored in codes is widened first; tensors are read one by one, and the golden file is left out.
    Raises InputError where `out` exists or for another dtype, ModelError as `read_network`.
    """
    require_new(out)
    check_dtype(dtype)
    read_size(source)
    with open_published(source) as tensors:
        write_copy(source, tensors, out, dtype)
    return out


def write_copy(source: Path, tensors: Mapping[str, torch.Tensor], out: Path, dtype: str) -> None:
    """Write weights under their published names with the other files of `source`, all but the golden file."""
    config = {key: value for key, value in read_config(source).items() if key != "lingxi_weights"}
    config["dtype" if "dtype" in config else "torch_dtype"] = "float32" if dtype in INT8 else dtype
    if dtype in INT8:
        config["lingxi_weights"] = {"dtype": dtype, "scale": "row"}
    copy_rest(source, out)
    write_json(out / "config.json", config)
    write_weights(out, tensors, dtype, max_shard_bytes=_SHARD)


def copy_rest(source: Path, out: Path) -> None:
    """Tokenizer, modules, heads and card; not weights, not what other libraries made of them."""
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        head = len(inside.parts) > 1 and inside.parts[0].endswith("_Dense")
        if path.is_dir() or inside.parts[0] in ("golden", ".git", ".cache", "onnx", "openvino"):
            continue
        if path.name.endswith(_WEIGHTS) and not head:
            continue
        (out / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / inside)
