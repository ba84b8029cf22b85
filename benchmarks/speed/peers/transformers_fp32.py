"""transformers with its own kernels (SDPA), in sorted padded batches."""

from __future__ import annotations

import torch

from speed import padded
from speed.jobs import Job, Opened


def open_system(job: Job) -> Opened:
    """The network without a head, from the directory."""
    from transformers import AutoModel

    torch.set_num_threads(job.threads)
    model = AutoModel.from_pretrained(job.directory, dtype=torch.float32).eval()
    options = {"use_cache": False} if job.family == "qwen3" else {}

    @torch.inference_mode()
    def hidden(ids: padded.Matrix, mask: padded.Matrix) -> padded.Matrix:
        out = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), **options)
        return out.last_hidden_state.numpy()

    return padded.opened(job, hidden)
