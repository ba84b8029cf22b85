"""Model directories: find one, read its weights, write one that loads everywhere.

Read: any Qwen3-Embedding or Qwen3-Reranker directory as published (single or sharded
safetensors, bf16/fp16/fp32, tied or untied head), its sequence-classification twin, and this
package's own int8 directories; `network.py` reads the other families with what is here. Write: the
layout that sentence-transformers 5 and 6, vLLM, TEI and infinity read the same way.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lingxi.errors import InputError, ModelError
from lingxi.model.decoder import Decoder
from lingxi.model.hub import fetched
from lingxi.model.int4 import Packed4
from lingxi.model.int8 import quantized
from lingxi.model.sizes import Size, size_from_config

SHIPPED = Path(__file__).parent.parent / "weights"
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHTS = "model.safetensors"
INT8 = ("int8", "int8-fine")
"""This package's own ways to store weights; `int8.quantized` says what they are."""
_TOKENIZERS = ("tokenizer.json", "vocab.txt")
_INDEX = "model.safetensors.index.json"

Built = TypeVar("Built", bound=torch.nn.Module)


def locate(name: str | Path, *, revision: str | None = None, local_files_only: bool = False) -> Path:
    """Find a model directory: a path, the name of a shipped model, or a hub id (fetched and cached).

    Raises ModelError for a name that is none of them, or a hub id that cannot be had.
    """
    path = Path(name).expanduser()
    if path.is_dir() and str(name):
        return path
    if (SHIPPED / str(name)).is_dir() and str(name):
        return SHIPPED / str(name)
    if path.is_file():
        raise ModelError(f"{name}: not a directory", "name the directory that holds config.json")
    if _HUB_ID.fullmatch(str(name)):
        return fetched(str(name), revision, local_files_only)
    shipped = ", ".join(sorted(p.name for p in SHIPPED.glob("*") if p.is_dir())) or "none"
    raise ModelError(
        f"unknown model {str(name)!r}",
        f"give a directory, a hub id like Qwen/Qwen3-Embedding-0.6B, or one of: {shipped}",
    )


def hash_weights(directory: Path) -> str:
    """16 hex digits that tell one model's weights and tokenizer from another's."""
    digest = hashlib.sha256()
    tokenizer = next((p for p in _TOKENIZERS if (directory / p).exists()), "tokenizer.json")
    heads = sorted(directory.glob("*_Dense/model.safetensors"))
    for path in [*sorted([*directory.glob("*.safetensors"), directory / tokenizer]), *heads]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def read_config(directory: Path) -> dict[str, Any]:
    """Read `config.json`; raises ModelError where it is missing or not JSON."""
    path = directory / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{directory}: no config.json", "name the directory that holds a model") from None
    except (ValueError, OSError) as error:
        raise ModelError(f"{path}: not JSON ({error})", "copy it again from the original model") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path}: not a JSON object", "copy it again from the original model")
    return config


def _without_model(key: str) -> str:
    return key.removeprefix("model.")


def read_decoder(directory: Path, dtype: torch.dtype, device: torch.device | str = "cpu") -> Decoder:
    """Build the Qwen3 decoder of a directory with its weights, in `dtype`, ready for inference.

    Raises ModelError for a directory without safetensors, a truncated or foreign file, or
    tensors that do not have the shapes `config.json` promises.
    """
    size = size_from_config(read_config(directory), str(directory))
    with torch.device("meta"):
        decoder = Decoder(size)
    return filled(decoder, directory, dtype, device)


def filled(
    network: Built,
    directory: Path,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    named: Callable[[str], str] = _without_model,
) -> Built:
    """Give a network its weights from a directory, in `dtype`, ready for inference.

    `named` turns a key of the files into the network's name for it. Raises ModelError as `read_decoder`.
    """
    wanted = shapes_of(network)
    state = {name: tensor.to(device) for name, tensor in _tensors(directory, wanted, dtype, named)}
    missing = sorted(set(wanted) - set(state))
    if missing:
        raise _lacking(directory, missing)
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


@dataclass(frozen=True, slots=True, eq=False)
class Computed(Mapping[str, torch.Tensor]):
    """Tensors by name, each made when it is asked for and not kept: a model need not be in memory whole."""

    names: tuple[str, ...]
    make: Callable[[str], torch.Tensor]

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self.names:
            raise KeyError(name)
        return self.make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@contextmanager
def open_weights(directory: Path) -> Iterator[Computed]:
    """The tensors of a Qwen3 directory in fp32 under the decoder's names, read one by one while it is open.

    An untied output head is there as `lm_head.weight` where the directory has one; int8 is dequantised.
    Raises ModelError as `read_decoder`.
    """
    size = size_from_config(read_config(directory), str(directory))
    with torch.device("meta"):
        shapes = shapes_of(Decoder(size))
    with _shards(directory) as shards:
        if not size.tied_head and "lm_head.weight" in shards:
            shapes["lm_head.weight"] = (size.vocab, size.hidden)
        yield _computed(directory, shapes, shards, _without_model)


@contextmanager
def open_tensors(
    directory: Path, shapes: Mapping[str, tuple[int, ...]], named: Callable[[str], str]
) -> Iterator[Computed]:
    """The tensors of these names and shapes in fp32, read one by one while the directory is open.

    `named` turns a key of the files into the network's name for it. Raises ModelError as `read_decoder`.
    """
    with _shards(directory) as shards:
        yield _computed(directory, shapes, shards, named)


@contextmanager
def open_codes(
    directory: Path,
    named: Callable[[str], str] = _without_model,
    shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
) -> Iterator[Callable[[str], Packed4 | None]]:
    """The int4 codes of a directory by the network's names, None for a tensor stored otherwise.

    `named` turns a key of the files into the network's name for it. Raises ModelError where what is asked for
    has another shape than `shapes` says.
    """
    with _shards(directory) as shards:
        keys = {named(key): key for key in shards}

        def codes(name: str) -> Packed4 | None:
            """One matrix as it is stored."""
            key = keys[name]
            if shards[key].get_slice(key).get_dtype() != "U8":
                return None
            tensor = shards[key].get_tensor(key)
            if name in shapes:
                _check_shape(directory, key, tensor, shapes[name])
            return _packed4(directory, tensor, key, shards)

        yield codes


@contextmanager
def open_published(directory: Path) -> Iterator[Computed]:
    """All tensors of a directory in fp32 under their published names, read one by one while it is open."""
    with _shards(directory) as shards:
        scales = {key.removesuffix(".weight") + ".scale" for key in shards if key.endswith(".weight")}

        def make(key: str) -> torch.Tensor:
            return _dequantized(directory, shards[key].get_tensor(key), key, shards, torch.float32)

        yield Computed(tuple(key for key in shards if key not in scales), make)


def shapes_of(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a network, by name."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _computed(
    directory: Path,
    shapes: Mapping[str, tuple[int, ...]],
    shards: Mapping[str, Any],
    named: Callable[[str], str],
) -> Computed:
    keys = {named(key): key for key in shards}
    missing = sorted(name for name in shapes if name not in keys)
    if missing:
        raise _lacking(directory, missing)

    def make(name: str) -> torch.Tensor:
        """One tensor, with the shape that `config.json` promises."""
        tensor = shards[keys[name]].get_tensor(keys[name])
        _check_shape(directory, keys[name], tensor, shapes[name])
        return _dequantized(directory, tensor, keys[name], shards, torch.float32)

    return Computed(tuple(shapes), make)


def _lacking(directory: Path, missing: list[str]) -> ModelError:
    return ModelError(
        f"{directory}: {len(missing)} tensors are missing, the first is {missing[0]!r}",
        "copy all *.safetensors of the model again",
    )


def _check_shape(directory: Path, key: str, tensor: torch.Tensor, wanted: tuple[int, ...]) -> None:
    found = tuple(tensor.shape)
    if tensor.dtype == torch.uint8 and found:  # int4, two columns a byte
        found = (*found[:-1], 2 * found[-1])
    if found != wanted:
        raise ModelError(
            f"{directory}: {key!r} has shape {list(found)}, config.json promises {list(wanted)}",
            "take config.json and *.safetensors from the same model",
        )


def read_answer_rows(directory: Path, size: Size, yes: int, no: int) -> torch.Tensor:
    """The output head's difference row w_yes − w_no, fp32 [hidden]: all a yes/no reranker needs.

    Read from `lm_head`, from the embedding where the head is tied, or from the one-row `score`
    head of a sequence-classification twin (FACTS: its row is already the difference).
    """
    with _shards(directory) as shards:
        if "score.weight" in shards:
            return _score_row(directory, shards)
        head = _key_of(shards, "embed_tokens.weight") if size.tied_head else "lm_head.weight"
        if head not in shards:
            raise ModelError(
                f"{directory}: no {head!r}, although config.json unties the head",
                "use a reranker: an embedder cannot answer yes or no",
            )
        rows = [_row(shards, head, index) for index in (yes, no)]
    return rows[0] - rows[1]


def read_output_head(directory: Path, size: Size) -> torch.Tensor | None:
    """The output head `lm_head.weight`, fp32 [vocab, hidden]; None where it is tied or not stored.

    Raises ModelError where it has another shape.
    """
    key = "lm_head.weight"
    with _shards(directory) as shards:
        if size.tied_head or key not in shards:
            return None
        tensor = shards[key].get_tensor(key)
        _check_shape(directory, key, tensor, (size.vocab, size.hidden))
        return _dequantized(directory, tensor, key, shards, torch.float32)


def _score_row(directory: Path, shards: Mapping[str, Any]) -> torch.Tensor:
    key = "score.weight"
    weight = _dequantized(directory, shards[key].get_tensor(key), key, shards, torch.float32)
    if len(weight) != 1:
        raise ModelError(
            f"{directory}: 'score.weight' has {len(weight)} rows",
            "use a reranker with one score, yes minus no",
        )
    return weight[0]


def _row(shards: Mapping[str, Any], key: str, index: int) -> torch.Tensor:
    part: torch.Tensor = shards[key].get_slice(key)[index : index + 1]
    scale = key.removesuffix(".weight") + ".scale"
    if part.dtype == torch.uint8:
        return Packed4(part, shards[scale].get_slice(scale)[index : index + 1]).values()[0]
    row = part.float()[0]
    if scale in shards:
        row = row * shards[scale].get_tensor(scale).float()[index]
    return row


def _key_of(shards: Mapping[str, Any], name: str) -> str:
    return next((key for key in shards if key == name or key.endswith(f".{name}")), name)


@contextmanager
def _shards(directory: Path) -> Iterator[dict[str, Any]]:
    """Every tensor's key with the open file that holds it."""
    shards: dict[str, Any] = {}
    with ExitStack() as stack:
        for path in _weight_files(directory):
            try:
                file = stack.enter_context(safe_open(path, framework="pt"))
            except (SafetensorError, OSError) as error:
                raise ModelError(
                    f"{path}: truncated or not safetensors ({error})", "copy the file again"
                ) from None
            shards |= dict.fromkeys(file.keys(), file)
        yield shards


def _weight_files(directory: Path) -> list[Path]:
    if (directory / _INDEX).exists():
        try:
            names = sorted(set(json.loads((directory / _INDEX).read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError):
            raise ModelError(f"{directory / _INDEX}: cannot be read", "copy the file again") from None
        absent = [n for n in names if not (directory / n).exists()]
        if absent:
            raise ModelError(f"{directory}: {absent[0]} is missing", "copy all shards of the model")
        return [directory / n for n in names]
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        pickled = (directory / "pytorch_model.bin").exists()
        raise ModelError(
            f"{directory}: no *.safetensors{', and pytorch_model.bin is not read' if pickled else ''}",
            "convert the weights to safetensors, or name the right directory",
        )
    return files


def _tensors(
    directory: Path, wanted: Mapping[str, tuple[int, ...]], dtype: torch.dtype, named: Callable[[str], str]
) -> Iterator[tuple[str, torch.Tensor]]:
    with _shards(directory) as shards:
        for key, file in shards.items():
            name = named(key)
            if name not in wanted:
                continue
            tensor = file.get_tensor(key)
            _check_shape(directory, key, tensor, wanted[name])
            yield name, _dequantized(directory, tensor, key, shards, dtype)


def _dequantized(
    directory: Path, tensor: torch.Tensor, key: str, shards: Mapping[str, Any], dtype: torch.dtype
) -> torch.Tensor:
    if tensor.dtype == torch.uint8:
        return _packed4(directory, tensor, key, shards).values().to(dtype)
    if tensor.dtype != torch.int8:
        return tensor.to(dtype)
    steps = _scale(directory, "int8", key, shards).float()
    return (tensor.float() * steps[:, None]).to(dtype)


def _packed4(directory: Path, tensor: torch.Tensor, key: str, shards: Mapping[str, Any]) -> Packed4:
    scales = _scale(directory, "int4", key, shards)
    if scales.dim() != 2 or len(scales) != len(tensor) or 2 * tensor.shape[1] % scales.shape[1]:
        raise ModelError(
            f"{directory}: {key!r} has codes of shape {list(tensor.shape)}, scales of {list(scales.shape)}",
            "write the directory again with lingxi",
        )
    return Packed4(tensor, scales)


def _scale(directory: Path, dtype: str, key: str, shards: Mapping[str, Any]) -> torch.Tensor:
    scale = key.removesuffix(".weight") + ".scale"
    if scale not in shards:
        raise ModelError(
            f"{directory}: {dtype} tensor {key!r} has no {scale!r}", "write the directory again with lingxi"
        )
    found: torch.Tensor = shards[scale].get_tensor(scale)
    return found


def check_dtype(dtype: str) -> None:
    """Raise InputError for a dtype that `write_weights` does not write."""
    if dtype not in (*_DTYPES, *INT8):
        raise InputError(f"unknown dtype {dtype!r}", f"choose one of: {', '.join((*_DTYPES, *INT8))}")


def write_weights(
    directory: Path,
    state: Mapping[str, torch.Tensor],
    dtype: str,
    *,
    max_shard_bytes: int | None = None,
    four: Container[str] = (),
) -> None:
    """Write the weights as `float32`, `float16`, `bfloat16`, `int8` or `int8-fine`, sharded where asked.

    Of int8 weights those named in `four` are int4. Tensors are asked for one by one, and a shard is written
    when it is full: a state that makes them when asked (`open_weights`) need not fit in memory. Raises
    InputError for another dtype.
    """
    check_dtype(dtype)
    if dtype in INT8:
        tensors = quantized(state, fine=dtype == "int8-fine", four=four)
    else:
        tensors = ((name, state[name].to(_DTYPES[dtype]).contiguous()) for name in state)
    write_tensors(directory, tensors, max_shard_bytes=max_shard_bytes)


def write_tensors(
    directory: Path, tensors: Iterable[tuple[str, torch.Tensor]], *, max_shard_bytes: int | None = None
) -> None:
    """Write tensors as they are, under their published names, one after the other."""
    weight_map: dict[str, int] = {}
    total = 0
    for number, shard in enumerate(_shards_of(tensors, max_shard_bytes)):
        save_tensors(shard, _shard(directory, number))
        weight_map |= dict.fromkeys(shard, number)
        total += sum(_bytes(tensor) for tensor in shard.values())
    _name_shards(directory, weight_map, total)


def _shards_of(
    tensors: Iterable[tuple[str, torch.Tensor]], limit: int | None
) -> Iterator[dict[str, torch.Tensor]]:
    shard: dict[str, torch.Tensor] = {}
    filled = 0
    for name, tensor in tensors:
        if limit is not None and shard and filled + _bytes(tensor) > limit:
            yield shard
            shard, filled = {}, 0
        shard[name] = tensor
        filled += _bytes(tensor)
    yield shard


def _shard(directory: Path, number: int) -> Path:
    return directory / f"shard-{number:05d}.draft"


def _name_shards(directory: Path, weight_map: Mapping[str, int], total: int) -> None:
    """Give the shards their published names, which say how many there are; more than one need an index."""
    count = max(weight_map.values(), default=0) + 1
    if count == 1:
        _shard(directory, 0).replace(directory / _WEIGHTS)
        return
    names = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    for number, name in enumerate(names):
        _shard(directory, number).replace(directory / name)
    placed = {key: names[number] for key, number in weight_map.items()}
    write_json(directory / _INDEX, {"metadata": {"total_size": total}, "weight_map": placed})


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Save for whoever may read the directory: safetensors makes files that only their owner can."""
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod((path.parent.stat().st_mode & 0o666) | 0o600)


def write_json(path: Path, value: Any) -> None:
    """Write JSON the way every file of a model directory is written: indented, UTF-8, ending in a newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
