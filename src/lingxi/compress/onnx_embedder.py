"""An exported embedder at work: texts to vectors by ONNX Runtime or OpenVINO, ids as `Embedder`'s."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.check.onnx import open_runtime
from lingxi.compress.onnx_export import MODEL, read_about
from lingxi.compress.onnx_network import IDS, MASK
from lingxi.errors import ModelError
from lingxi.manifest import hash_file
from lingxi.model.tokens import read_tokens

_BATCH = 8


class OnnxEmbedder:
    """A folder of `export_onnx`, with the face of an evaluation's encoder.

    Texts are sorted by length and computed in padded batches of eight. Raises InputError for a folder that is
    none, ModelError for a reranker, MissingExtraError without the library.
    """

    def __init__(
        self, folder: Path, library: str = "onnxruntime", *, name: str = "", threads: int = 1
    ) -> None:
        self.about = read_about(folder)
        if self.about.kind != "embedder":
            raise ModelError(f"{folder}: holds a reranker", "name an exported embedder")
        self.name = name or f"{self.about.name} {self.about.precision} ({library})"
        self.fingerprint = f"{library} {hash_file(folder / MODEL)}"
        self._runtime = open_runtime(folder / MODEL, library, threads)
        self._tokens = read_tokens(folder / "tokenizer.json", self.about.vocab)

    def encode(self, texts: Sequence[str], instruction: str | None) -> NDArray[np.float32]:
        """Unit vectors [n, hidden] of queries of a task, or of documents where `instruction` is None."""
        before = self.about.prompts["document"] if instruction is None else prompts.query_prefix(instruction)
        ids = self._tokens.texts([before + text for text in texts])
        sequences = [self._tokens.framed(each, self.about.max_length) for each in ids]
        found = np.empty((len(sequences), self.about.hidden), np.float32)
        order = np.argsort([len(s) for s in sequences], kind="stable")
        for start in range(0, len(order), _BATCH):
            at = order[start : start + _BATCH]
            found[at] = self._runtime.run(padded([sequences[i] for i in at]))
        return found


def padded(sequences: Sequence[Sequence[int]]) -> dict[str, NDArray[np.int64]]:
    """Ids and mask [sequences, longest], padded on the right."""
    ids = np.zeros((len(sequences), max(map(len, sequences))), np.int64)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return {IDS: ids, MASK: mask}
