"""Our models as sentence-transformers 6 takes them: modules of a SentenceTransformer and of a CrossEncoder.

to_sentence_transformers(Embedder()).encode_query(["…"], instruction="…")
to_cross_encoder(Reranker()).predict([("query", "document")], instruction="…")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lingxi import prompts
from lingxi.errors import InputError, MissingExtraError

try:
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from sentence_transformers.base.modules.input_module import InputModule
except ImportError:
    raise MissingExtraError(
        "sentence-transformers>=6", "sentence-transformers", "the sentence-transformers bridge"
    ) from None


class _Ours(InputModule):
    """The one module of a model: texts go through as they are, for our engine to read."""

    forward_kwargs = {"instruction"}  # noqa: RUF012  (as the base has it)

    def __init__(self, model: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.max_seq_length = getattr(model, "max_seq_length", None) or getattr(model, "max_length", None)

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, instruction: str | None = None, **_: Any
    ) -> dict[str, Any]:
        """The inputs, and what is asked of them."""
        return {"inputs": list(inputs), "prompt": prompt, "instruction": instruction}

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Raises InputError: the model's own directory is what sentence-transformers loads."""
        raise InputError("this model computes elsewhere", "write its directory with `lingxi models export`")


class LingxiModule(_Ours):
    """Vectors of an embedder or client; `instruction` makes each text a query of that task."""

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """`sentence_embedding` [n, dim], of unit length."""
        task = features["instruction"]
        before = features["prompt"] if task is None else prompts.query_prefix(task)
        vectors = self.model.encode(features["inputs"], prompt=before or "", show_progress_bar=False)
        return {**features, "sentence_embedding": torch.from_numpy(np.array(vectors))}

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return int(self.model.dim)


class LingxiScores(_Ours):
    """Probabilities of a reranker or client; the instruction may be said as `prompt` too."""

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """`scores` [n], from 0 to 1."""
        said = features["instruction"] if features["instruction"] is not None else features["prompt"]
        pairs = [tuple(pair) for pair in features["inputs"]]
        return {**features, "scores": torch.from_numpy(self.model.predict(pairs, instruction=said or None))}


def to_sentence_transformers(embedder: Any, instruction: str | None = None) -> SentenceTransformer:
    """A SentenceTransformer that computes with an embedder; `instruction` stands before its queries."""
    own = dict(getattr(embedder, "prompts", {})) or {"query": prompts.query_prefix(), "document": ""}
    asked = {} if instruction is None else {"query": prompts.query_prefix(instruction)}
    modules: list[Any] = [LingxiModule(embedder)]
    return SentenceTransformer(
        modules=modules, device="cpu", prompts={**own, **asked}, similarity_fn_name="cosine"
    )


def to_cross_encoder(reranker: Any, instruction: str | None = None) -> CrossEncoder:
    """A CrossEncoder that computes with a reranker; `instruction` is its task where none is said."""
    said = {} if instruction is None else {"task": instruction}
    made: CrossEncoder = CrossEncoder(
        modules=[LingxiScores(reranker)], device="cpu", activation_fn=torch.nn.Identity(), prompts=said,
        default_prompt_name="task" if said else None,
    )  # fmt: skip
    return made
