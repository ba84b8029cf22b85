"""sentence-transformers at its defaults, in fp32: it sorts by length and pads."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from speed.jobs import Inputs, Job, Opened


def open_system(job: Job) -> Opened:
    """A SentenceTransformer or a CrossEncoder of the directory."""
    import sentence_transformers

    torch.set_num_threads(job.threads)
    options = {"device": "cpu", "model_kwargs": {"dtype": torch.float32}}
    if job.task == "rerank":
        model = sentence_transformers.CrossEncoder(job.directory, **options)
        return Opened(lambda inputs, batch: _scores(model, inputs, batch))
    model = sentence_transformers.SentenceTransformer(job.directory, **options)

    def run(inputs: Inputs, batch: int) -> NDArray[np.float32]:
        texts = list(inputs.texts)
        found = model.encode(texts, batch_size=batch, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(found, np.float32)

    return Opened(run)


def _scores(model: object, inputs: Inputs, batch: int) -> NDArray[np.float32]:
    pairs = [(inputs.query, document) for document in inputs.texts]
    log_odds = np.asarray(model.predict(pairs, batch_size=batch, show_progress_bar=False))  # type: ignore[attr-defined]
    return np.asarray(1 / (1 + np.exp(-log_odds)), np.float32)
