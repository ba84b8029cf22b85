"""The embedder users hold: prompts + tokens + network, one unit vector a text."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from lingxi import prompts, vectors
from lingxi.engine.devices import choose_device, choose_dtype
from lingxi.engine.run import pooled_states
from lingxi.errors import InputError, LingxiWarning
from lingxi.model.decoder import Decoder
from lingxi.model.files import hash_weights, locate
from lingxi.model.golden import calibration_texts, read_golden_vectors
from lingxi.model.layout import read_prompts, require_kind
from lingxi.model.network import read_limit, read_network, read_network_tokens
from lingxi.texts import checked, progress, windows

DEFAULT_EMBEDDER = "lingxi-nano"


class Embedder:
    """Texts to unit vectors, with a model directory, a hub id, or the shipped model.

    Read are Qwen3-Embedding, BERT, RoBERTa, XLM-R and MPNet encoders, and Qwen2, Llama and Gemma3
    decoders, with the pooling, dense heads and prompts of their sentence-transformers directory;
    vectors are of unit length whether or not a directory has a Normalize module.

    `truncate_dim` cuts every vector to that width before normalising; `dtype` is fp32 on a CPU and
    bf16 on CUDA unless named; `reference_specials` reads special tokens inside user text as control
    tokens, as the reference implementation does. Raises ModelError where the model cannot be
    loaded, InputError where an argument is out of range.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        device: str | None = None,
        dtype: str | None = None,
        truncate_dim: int | None = None,
        max_seq_length: int | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        reference_specials: bool = False,
    ) -> None:
        self.name = str(path or DEFAULT_EMBEDDER)
        self.directory = locate(self.name, revision=revision, local_files_only=local_files_only)
        require_kind(self.directory, "embedder")
        self.device = choose_device(device)
        self._decoder = read_network(self.directory, choose_dtype(dtype, self.device), self.device)
        size = self._decoder.size
        self.hidden = size.hidden
        self.dim = vectors.check_dim(truncate_dim, size.hidden) if truncate_dim is not None else size.hidden
        self.max_seq_length = _length(max_seq_length, read_limit(self.directory), size.max_positions)
        self.tokenizer = read_network_tokens(
            self.directory, size.vocab, reference_specials=reference_specials
        )
        self.prompts = read_prompts(self.directory)

    def encode(
        self,
        inputs: str | Iterable[str],
        *,
        instruction: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        truncate_dim: int | None = None,
        precision: str = "float32",
        show_progress_bar: bool | None = None,
    ) -> np.ndarray[Any, Any]:
        """Unit vectors [n, dim] of texts, or [dim] of one string; raw text unless a prompt is given.

        `instruction` makes each text a query of that task; `prompt_name` picks one of the model's
        prompts; `prompt` is put before each text as it is. An empty text gets the vector of the end
        token. A text longer than `max_seq_length` tokens is cut, and said once as a warning.
        Integer precisions are described at `vectors.quantize`. Lists and generators of any length
        are read in windows. Raises InputError for a non-string, width or precision.
        """
        before = self._before(instruction, prompt_name, prompt)
        dim = self.dim if truncate_dim is None else vectors.check_dim(truncate_dim, self.hidden)
        vectors.check_precision(precision)
        single = isinstance(inputs, str)
        texts: Iterable[str] = [inputs] if isinstance(inputs, str) else inputs
        total = len(texts) if isinstance(texts, Sequence) else None
        parts: list[np.ndarray[Any, Any]] = []
        cut = 0
        with progress(total, show_progress_bar, "embedding") as done:
            for window in windows((before + text for text in checked(texts)), len):
                sequences, long = self._sequences(window)
                states = self._states(sequences, done).numpy()
                parts.append(self._finished(states, dim, precision))
                cut += long
        if cut:
            self._say_cut(cut, sum(map(len, parts)))
        empty = np.empty((0, self.hidden), np.float32)
        out = np.concatenate(parts) if parts else self._finished(empty, dim, precision)
        return np.asarray(out[0]) if single else out

    def encode_query(
        self, inputs: str | Iterable[str], *, instruction: str | None = None, **options: Any
    ) -> np.ndarray[Any, Any]:
        """`encode` with the model's query prompt, or with `instruction` as the task."""
        name = "query" if instruction is None else None
        return self.encode(inputs, instruction=instruction, prompt_name=name, **options)

    def encode_document(self, inputs: str | Iterable[str], **options: Any) -> np.ndarray[Any, Any]:
        """`encode` with the model's document prompt (none, in Qwen3 models)."""
        return self.encode(inputs, prompt_name="document", **options)

    def similarity(self, a: vectors.Floats, b: vectors.Floats) -> vectors.Floats:
        """Cosine of every row of `a` with every row of `b`: [n, m]."""
        return vectors.similarity(a, b)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text, the tokens around it included, before any cut."""
        frame = self.tokenizer.frame
        return [max(len(ids) + frame, 1) for ids in self.tokenizer.texts(list(checked(texts)))]

    def token_ids(
        self,
        inputs: Iterable[str],
        *,
        instruction: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> list[list[int]]:
        """The ids that `encode` gives the network for each text: prompt, text cut to fit, end token."""
        before = self._before(instruction, prompt_name, prompt)
        return self._sequences([before + text for text in checked(inputs)])[0]

    def get_embedding_dimension(self) -> int:
        """Width of the vectors `encode` returns."""
        return self.dim

    @property
    def token_vectors(self) -> np.ndarray[Any, Any]:
        """The vectors of the vocabulary's tokens [vocab, hidden], as the network reads them."""
        return np.asarray(self._decoder.embed_tokens.weight.detach().float().cpu().numpy())

    def fingerprint(self) -> dict[str, str | int]:
        """What a stored vector depends on: weights and tokenizer, query prompt, width, precision."""
        prompt = hashlib.sha256(self.prompts["query"].encode()).hexdigest()[:16]
        return {
            "name": Path(self.name).name,
            "weights": self._weights_hash,
            "prompt": prompt,
            "dim": self.dim,
            "precision": "float32",
        }

    @cached_property
    def _weights_hash(self) -> str:
        found = hash_weights(self.directory)
        # The same weights pooled otherwise give other vectors; old fingerprints mean the last token.
        how = self._decoder.pooling
        return found if how == "lasttoken" else hashlib.sha256(f"{found} {how}".encode()).hexdigest()[:16]

    @cached_property
    def _calibration(self) -> vectors.Floats:
        """Full-width vectors that int8 scales are read off: the model's golden ones, or made once."""
        stored = read_golden_vectors(self.directory)
        if stored is not None:
            return stored
        sequences, _ = self._sequences(calibration_texts())
        return np.asarray(self._states(sequences).numpy(), dtype=np.float32)

    def _before(self, instruction: str | None, prompt_name: str | None, prompt: str | None) -> str:
        given = [x for x in (instruction, prompt_name, prompt) if x is not None]
        if len(given) > 1:
            raise InputError("instruction, prompt_name and prompt exclude each other", "give one of them")
        if instruction is not None:
            return prompts.query_prefix(instruction)
        if prompt is not None:
            return prompt
        if prompt_name is None:
            return ""
        if prompt_name not in self.prompts:
            known = ", ".join(self.prompts)
            raise InputError(f"the model has no prompt named {prompt_name!r}", f"choose one of: {known}")
        return self.prompts[prompt_name]

    def _sequences(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        """Ids of each text between the tokens around it, and how many texts were cut to fit."""
        most, frame = self.max_seq_length, self.tokenizer.frame
        ids = self.tokenizer.texts(texts)
        return [self.tokenizer.framed(i, most) for i in ids], sum(len(i) + frame > most for i in ids)

    def _states(self, sequences: list[list[int]], done: Callable[[int], None] | None = None) -> torch.Tensor:
        # The engine asks a network for no more than every one of them has.
        network = cast(Decoder, self._decoder)
        return pooled_states(network, sequences, share_prefix=self._decoder.continues, done=done)

    def _say_cut(self, cut: int, total: int) -> None:
        warnings.warn(
            f"{cut} of {total} texts are longer than {self.max_seq_length} tokens and were cut; "
            "split them into segments to keep all of their meaning",
            LingxiWarning,
            stacklevel=3,
        )

    def _finished(self, states: vectors.Floats, dim: int, precision: str) -> np.ndarray[Any, Any]:
        scale = vectors.int8_scale(self._calibration, dim) if precision in ("int8", "uint8") else None
        return vectors.quantize(vectors.cut(states, dim), precision, scale)


def _length(asked: int | None, stated: int | None, positions: int) -> int:
    if asked is None:
        return min(stated or positions, positions)
    if isinstance(asked, bool) or not isinstance(asked, int) or not 2 <= asked <= positions:
        raise InputError(f"max_seq_length is {asked!r}", f"choose a whole number from 2 to {positions}")
    return asked
