"""A sentence-transformers model where an `Embedder` would stand: in an index, or behind any other bridge.

`Embedder` reads most directories of sentence-transformers itself, and faster; this is for the rest.

index = Index.open("notes.index", FromSentenceTransformers(SentenceTransformer("…")))
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi import prompts, vectors
from lingxi.errors import InputError
from lingxi.texts import checked


class FromSentenceTransformers:
    """A SentenceTransformer with the face of an embedder; vectors are cut, normalised and coded as ours."""

    def __init__(self, model: Any, name: str | None = None) -> None:
        self.model = model
        self.name = name or str(model.model_card_data.base_model or "sentence-transformers")
        self.prompts = dict(model.prompts)
        self.dim = int(model.get_embedding_dimension())

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
    ) -> NDArray[Any]:
        """Unit vectors [n, dim] of texts, or [dim] of one string.

        `instruction` is put before each text as Qwen3 models are trained to read it. Raises InputError for
        two prompts at once, a non-string, and a precision that needs a scale the model does not have (int8).
        """
        if sum(given is not None for given in (instruction, prompt_name, prompt)) > 1:
            raise InputError("instruction, prompt_name and prompt exclude each other", "give one of them")
        before = prompt if instruction is None else prompts.query_prefix(instruction)
        texts = [inputs] if isinstance(inputs, str) else list(checked(inputs))
        dim = self.dim if truncate_dim is None else vectors.check_dim(truncate_dim, self.dim)
        found = self.model.encode(
            texts, prompt=before, prompt_name=prompt_name, show_progress_bar=bool(show_progress_bar)
        )
        states = np.asarray(found, np.float32).reshape(len(texts), -1 if texts else self.dim)
        out = vectors.quantize(vectors.cut(states, dim), vectors.check_precision(precision))
        return np.asarray(out[0]) if isinstance(inputs, str) else out

    def encode_query(
        self, inputs: str | Iterable[str], *, instruction: str | None = None, **options: Any
    ) -> NDArray[Any]:
        """`encode` with the model's query prompt where it has one, or with `instruction` as the task."""
        name = "query" if instruction is None and "query" in self.prompts else None
        return self.encode(inputs, instruction=instruction, prompt_name=name, **options)

    def encode_document(self, inputs: str | Iterable[str], **options: Any) -> NDArray[Any]:
        """`encode` with the first of the model's prompts for documents, or none."""
        name = next((n for n in ("document", "passage", "corpus") if n in self.prompts), None)
        return self.encode(inputs, prompt_name=name, **options)

    def similarity(self, a: vectors.Floats, b: vectors.Floats) -> vectors.Floats:
        """Cosine of every row of `a` with every row of `b`: [n, m]."""
        return vectors.similarity(a, b)

    def fingerprint(self) -> dict[str, str | int]:
        """What a stored vector depends on: the weights, read once, the prompts and the width."""
        said = hashlib.sha256(json.dumps(self.prompts, sort_keys=True).encode()).hexdigest()[:16]
        return {
            "name": self.name, "weights": self._weights, "prompt": said, "dim": self.dim,
            "precision": "float32",
        }  # fmt: skip

    @cached_property
    def _weights(self) -> str:
        found = hashlib.sha256(str(self.model.max_seq_length).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().cpu().float().numpy().tobytes())
        return found.hexdigest()[:16]
