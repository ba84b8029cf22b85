"""llama.cpp by the prebuilt wheel `llama-cpp-py-sync`; the GGUF is written from the directory's weights.

Its tokenizer is not used: the ids are given, several sequences to one batch of tokens, each with
its own sequence id, as its embedding example does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speed import padded
from speed.jobs import Inputs, Job, Opened, UnfitError

_BATCH_TOKENS = 2048
_SEQUENCES = 64
_POOL_LAST = 3
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def prepare(job: Job) -> None:
    """Write the GGUF once, F32 or Q8_0."""
    import gguf  # noqa: F401
    import llama_cpp_py_sync  # noqa: F401

    if job.family != "qwen3":
        raise UnfitError("no GGUF of this network is written here")
    if not _path(job).exists():
        part = _path(job).with_name(_path(job).name + ".part")
        _write(job, part)
        part.rename(_path(job))


def open_system(job: Job) -> Opened:
    """A context in embedding mode with last-token pooling."""
    from llama_cpp_py_sync import Llama

    llama = Llama(
        str(_path(job)),
        n_ctx=_BATCH_TOKENS,
        n_batch=_BATCH_TOKENS,
        n_ubatch=_BATCH_TOKENS,
        n_threads=job.threads,
        n_threads_batch=job.threads,
        embedding=True,
        pooling_type=_POOL_LAST,
        n_seq_max=_SEQUENCES,
    )
    tokenized, finish = padded.tokenizer_of(job), padded.finisher(job)

    def run(inputs: Inputs, batch: int) -> NDArray[np.float32]:
        sequences = tokenized(inputs)
        states = np.empty((len(sequences), llama.n_embd), np.float32)
        for part in _batches(sequences, min(batch, _SEQUENCES)):
            states[part] = _decode(llama, [sequences[i] for i in part])
        return finish(states, inputs)

    return Opened(run)


def _batches(sequences: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Neighbours in length, at most so many sequences and tokens together."""
    part: list[int] = []
    for i in sorted(range(len(sequences)), key=lambda i: -len(sequences[i])):
        tokens = sum(len(sequences[j]) for j in part) + len(sequences[i])
        if part and (len(part) == most or tokens > _BATCH_TOKENS):
            yield part
            part = []
        part.append(i)
    yield part


def _decode(llama: Any, sequences: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Pooled states of one batch."""
    lib, ffi, context = llama._lib, llama._ffi, llama._ctx
    llama._clear_context_state()
    batch = lib.llama_batch_init(sum(map(len, sequences)), 0, 1)
    try:
        _fill(batch, sequences)
        if code := lib.llama_decode(context, batch):
            raise RuntimeError(f"llama_decode returned {code}")
        found = [lib.llama_get_embeddings_seq(context, i) for i in range(len(sequences))]
        width = 4 * llama.n_embd
        return np.stack([np.frombuffer(ffi.buffer(p, width), np.float32).copy() for p in found])
    finally:
        lib.llama_batch_free(batch)


def _fill(batch: Any, sequences: Sequence[Sequence[int]]) -> None:
    place = 0
    for number, sequence in enumerate(sequences):
        for position, token in enumerate(sequence):
            batch.token[place], batch.pos[place] = token, position
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, number
            batch.logits[place] = position + 1 == len(sequence)
            place += 1
    batch.n_tokens = place


def _path(job: Job) -> Path:
    return Path(job.folder) / f"{Path(job.directory).name}.{job.weights}.gguf"


def _write(job: Job, out: Path) -> None:
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize
    from safetensors import safe_open

    from lingxi.model.files import read_config

    writer = GGUFWriter(out, "qwen3")
    _describe(writer, read_config(Path(job.directory)))
    with safe_open(Path(job.directory) / "model.safetensors", framework="pt") as weights:
        for name in sorted(weights.keys()):
            matrix = weights.get_tensor(name).float().numpy()
            if job.weights == "int8" and matrix.ndim == 2:
                kind = GGMLQuantizationType.Q8_0
                writer.add_tensor(_gguf_name(name), quantize(matrix, kind), raw_dtype=kind)
            else:
                writer.add_tensor(_gguf_name(name), matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any, config: dict[str, Any]) -> None:
    """The network's shape, and a vocabulary without words: the ids are given."""
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")


def _gguf_name(name: str) -> str:
    """`layers.3.mlp.up_proj.weight` is `blk.3.ffn_up.weight`."""
    name = name.removeprefix("model.").removesuffix(".weight")
    if name == "embed_tokens":
        return "token_embd.weight"
    if name == "norm":
        return "output_norm.weight"
    _, layer, part = name.split(".", 2)
    return f"blk.{layer}.{_NAMES[part]}.weight"
