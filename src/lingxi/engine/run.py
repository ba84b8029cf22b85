"""Run sequences of ids through a decoder: batches in, pooled states out, in the order given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lingxi.engine.batches import Ids, by_budget, common_prefix
from lingxi.model.decoder import Decoder, Prefix
from lingxi.model.packed import pack

# Tokens computed at a time. On a CPU the activations of one block should stay near the cache;
# a GPU wants enough work to be busy.
_CPU_BUDGET = 4096
_CUDA_BUDGET = 65536
# A shared prefix is worth its bookkeeping when it saves at least this many tokens.
_PREFIX_SAVING = 64


@torch.inference_mode()
def pooled_states(
    decoder: Decoder,
    sequences: Sequence[Ids],
    *,
    budget: int | None = None,
    share_prefix: bool = True,
    done: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Final normed state of each sequence's last token, fp32 [sequences, hidden] on the CPU.

    The run of ids that all sequences begin with is computed once. `done` is told the number of
    sequences finished after each batch.
    """
    out = torch.empty(len(sequences), decoder.size.hidden)
    if not sequences:
        return out
    device = decoder.embed_tokens.weight.device
    prefix = _shared(decoder, sequences) if share_prefix else None
    start = prefix.length if prefix else 0
    # A run copies the prefix's keys and values beside each sequence's own: a part of a token's cost.
    lengths = [len(s) - start + start // 4 for s in sequences]
    for batch in by_budget(lengths, budget or (_CPU_BUDGET if device.type == "cpu" else _CUDA_BUDGET)):
        packed = pack([sequences[i][start:] for i in batch], device)
        out[batch] = decoder(packed, prefix).float().cpu()
        if done:
            done(len(batch))
    return out


def _shared(decoder: Decoder, sequences: Sequence[Ids]) -> Prefix | None:
    if len(sequences) < 2:
        return None
    length = common_prefix(sequences)
    if length * (len(sequences) - 1) < _PREFIX_SAVING:
        return None
    return decoder.prefix(list(sequences[0][:length]))
