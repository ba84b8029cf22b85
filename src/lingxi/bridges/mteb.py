"""Our models as mteb 2.x takes them: `EncoderProtocol` and `CrossEncoderProtocol`, tasks' own instructions.

import mteb
from lingxi.bridges.mteb import MtebEncoder

mteb.evaluate(MtebEncoder("lingxi-nano"), mteb.get_tasks(["STSBenchmark"]))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi import __version__
from lingxi.bridges.instructions import BY_NAME, SYMMETRIC, instruction_of
from lingxi.embedder import Embedder
from lingxi.errors import MissingExtraError
from lingxi.model.network import read_size
from lingxi.reranker import Reranker
from lingxi.vectors import similarity


class MtebEncoder:
    """An embedder; queries and texts of equal standing carry the task's instruction, documents none."""

    def __init__(
        self, model_name: str, revision: str | None = None, *, device: str | None = None, **_: Any
    ) -> None:
        self._embedder = Embedder(model_name, revision=revision, device=device)
        self.mteb_model_meta = _meta(self._embedder, "dense", MtebEncoder)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **_: Any,
    ) -> NDArray[np.float32]:
        """Unit vectors [n, dim] of a loader's texts."""
        document = str(getattr(prompt_type, "value", prompt_type)) == "document"
        bare = document and task_metadata.name not in SYMMETRIC
        task = None if bare else _instruction(task_metadata)
        return np.asarray(self._embedder.encode(_texts(inputs), instruction=task), np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines [n, m]; a tensor, as mteb asks single ones for their number."""
        return torch.from_numpy(similarity(np.atleast_2d(embeddings1), np.atleast_2d(embeddings2)))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines [n] row by row."""
        return torch.from_numpy((np.asarray(embeddings1) * np.asarray(embeddings2)).sum(-1))


class MtebCrossEncoder:
    """A reranker; a query's own instruction, where the task gives one, else the task's."""

    def __init__(
        self, model_name: str, revision: str | None = None, *, device: str | None = None, **_: Any
    ) -> None:
        self._reranker = Reranker(model_name, revision=revision, device=device)
        self.mteb_model_meta = _meta(self._reranker, "cross-encoder", MtebCrossEncoder)

    def predict(
        self,
        inputs1: Any,
        inputs2: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **_: Any,
    ) -> NDArray[np.float32]:
        """Probabilities [n] of the pairs of two loaders."""
        general = _instruction(task_metadata)
        asked = [said or general for batch in inputs1 for said in _instructions(batch)]
        queries, documents = _texts(inputs1, "query"), _texts(inputs2)
        out = np.empty(len(queries), np.float32)
        for task in dict.fromkeys(asked):
            at = [i for i, said in enumerate(asked) if said == task]
            out[at] = self._reranker.predict([(queries[i], documents[i]) for i in at], instruction=task)
        return out


def _instruction(metadata: Any) -> str:
    """The authors' wording for a known task, else what the task itself says, else that of its type."""
    said = metadata.prompt.get("query") if isinstance(metadata.prompt, dict) else metadata.prompt
    return BY_NAME.get(metadata.name) or said or instruction_of(metadata.name, metadata.type)


def _texts(loader: Any, field: str = "text") -> list[str]:
    """All texts of a loader; a batch of queries may hold them without their instruction under `query`."""
    return [text for batch in loader for text in (batch.get(field) or batch["text"])]


def _instructions(batch: Any) -> list[str | None]:
    said = batch.get("instruction")
    return list(said) if said is not None else [None] * len(batch["text"])


def _meta(face: Any, kind: str, loader: Any) -> Any:
    try:
        from mteb.models.model_meta import ModelMeta
    except ImportError:
        raise MissingExtraError("mteb", "mteb", "the mteb bridge") from None
    size = read_size(face.directory)
    name = Path(face.name).name if Path(face.name).exists() else face.name
    return ModelMeta(
        loader=loader,
        name=name if "/" in name else f"lingxi/{name}",
        revision=face.fingerprint()["weights"],
        release_date=None,
        languages=None,
        n_parameters=size.parameters(),
        n_embedding_parameters=size.vocab * size.hidden,
        memory_usage_mb=round(size.parameters() * 4 / 2**20),
        max_tokens=getattr(face, "max_seq_length", None) or face.max_length,
        embed_dim=size.hidden if kind == "dense" else None,
        license="apache-2.0",
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name="cosine" if kind == "dense" else None,
        use_instructions=True,
        training_datasets=None,
        model_type=[kind],
        experiment_kwargs={"lingxi": __version__},
    )
