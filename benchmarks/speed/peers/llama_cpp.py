"""llama.cpp by the prebuilt wheel `xllamacpp`; the GGUF is written from the directory's weights.

Its tokenizer is not used: the server takes ids, and puts those of a request into one batch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speed import padded
from speed.jobs import Inputs, Job, Opened, UnfitError

_BATCH_TOKENS = 2048
_SLOTS = 8
_ERRORS_ONLY = 1
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
    import xllamacpp  # noqa: F401

    if job.family != "qwen3":
        raise UnfitError("no GGUF of this network is written here")
    if job.task == "rerank":
        raise UnfitError(
            "its server gives vectors of unit length, and the scores need the states as they are"
        )
    if not _path(job).exists():
        part = _path(job).with_name(_path(job).name + ".part")
        _write(job, part)
        part.rename(_path(job))


def open_system(job: Job) -> Opened:
    """The library's own server inside the process: embedding mode, last-token pooling, several slots."""
    import xllamacpp

    server = xllamacpp.Server(_parameters(job, xllamacpp))
    tokenized = padded.tokenizer_of(job)

    def run(inputs: Inputs, batch: int) -> NDArray[np.float32]:
        asked = [list(sequence) for sequence in tokenized(inputs)]
        order = sorted(range(len(asked)), key=lambda i: -len(asked[i]))
        out: list[Any] = [None] * len(asked)
        for part in (order[i : i + batch] for i in range(0, len(order), batch)):
            answer = server.handle_embeddings({"input": [asked[i] for i in part]})
            for place, found in zip(part, _vectors(answer), strict=True):
                out[place] = found
        return np.asarray(out, np.float32)

    return Opened(run, note=_built_for(xllamacpp.get_system_info()))


def _parameters(job: Job, library: Any) -> Any:
    found = library.CommonParams()
    found.model.path = str(_path(job))
    found.embedding, found.pooling_type = True, library.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    lengths = [len(sequence) for sequence in job.read_inputs().ids]
    found.n_parallel = min(_SLOTS, len(lengths))
    # Keys and values are kept for the whole context: no more of it than the longest text asks for.
    found.n_ctx = found.n_parallel * (max(lengths) // 64 + 1) * 64
    found.verbosity = _ERRORS_ONLY
    found.n_batch = found.n_ubatch = _BATCH_TOKENS
    found.cpuparams.n_threads = found.cpuparams_batch.n_threads = job.threads
    found.n_gpu_layers, found.n_threads_http, found.warmup = 0, 1, False
    return found


def _vectors(answer: Any) -> list[list[float]]:
    found = json.loads(answer) if isinstance(answer, str) else answer
    if "data" not in found:
        raise RuntimeError(f"llama.cpp answered {str(found)[:200]}")
    return [one["embedding"] for one in sorted(found["data"], key=lambda one: one["index"])]


def _built_for(info: str) -> str:
    """The widest vectors the wheel was built for: it does not choose when it runs."""
    known = [name for name in ("AVX512", "AVX2", "NEON") if f"{name} = 1" in info]
    return f"wheel built for {known[0]}" if known else "wheel built for no vectors"


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
