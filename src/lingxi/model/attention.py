"""Attention over packed tokens: each sequence sees itself alone, one call for each run of equal lengths.

Queries, keys and values are [tokens, heads, head_dim]; nothing is padded. A window is computed
block by block, so that its cost grows with the length and not with its square.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from lingxi.model.packed import Run

KeysValues = tuple[torch.Tensor, torch.Tensor]

# Queries of a windowed layer that are asked together: their mask is this high and a window more wide.
_BLOCK = 512
# Queries that attend under a mask of their own (after a prefix) at a time.
_MASKED_QUERIES = 1024


@dataclass(frozen=True, slots=True)
class Sight:
    """What a query sees of its sequence: `causal`, no later token; with a `window`, none that far away.

    A key at distance d is seen where d < `window`. `scale` multiplies the scores; None is
    head_dim^-0.5.
    """

    causal: bool = True
    window: int | None = None
    scale: float | None = None


CAUSAL = Sight()


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    runs: tuple[Run, ...],
    seen: KeysValues | None = None,
    sight: Sight = CAUSAL,
) -> torch.Tensor:
    """Attention within each sequence, after `seen`; all [tokens, heads, head_dim]."""
    asked = torch.split(queries, [run.count * run.length for run in runs])
    return _by_run(asked, keys, values, runs, seen, sight)


def attend_one(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    runs: tuple[Run, ...],
    seen: KeysValues | None = None,
    sight: Sight = CAUSAL,
) -> torch.Tensor:
    """One token of each sequence attends to its sequence; queries [sequences, heads, head_dim].

    Where `sight` has a window or is causal, that token is the last one.
    """
    return _by_run(torch.split(queries, [run.count for run in runs]), keys, values, runs, seen, sight)


def _by_run(
    queries: tuple[torch.Tensor, ...],
    keys: torch.Tensor,
    values: torch.Tensor,
    runs: tuple[Run, ...],
    seen: KeysValues | None,
    sight: Sight,
) -> torch.Tensor:
    # Split, not sliced: the gradient of a slice is a matrix as large as the batch, one for each run.
    sizes = [run.count * run.length for run in runs]
    pieces = [
        _attend_run(
            asked, _with_seen(k, run, seen and seen[0]), _with_seen(v, run, seen and seen[1]), run, sight
        )
        for asked, k, v, run in zip(
            queries, torch.split(keys, sizes), torch.split(values, sizes), runs, strict=True
        )
    ]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _with_seen(own: torch.Tensor, run: Run, seen: torch.Tensor | None) -> torch.Tensor:
    """Keys or values of one run, after those seen before, as [count, kv_heads, seen + length, head_dim]."""
    own = own.reshape(run.count, run.length, *own.shape[1:]).transpose(1, 2)
    if seen is None:
        return own
    return torch.cat((seen.transpose(0, 1).expand(run.count, -1, -1, -1), own), dim=2)


def _attend_run(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, run: Run, sight: Sight
) -> torch.Tensor:
    asked = queries.reshape(run.count, -1, *queries.shape[1:]).transpose(1, 2)
    narrow = sight.window is not None and keys.shape[2] > sight.window
    out = (_windowed if narrow else _whole)(asked, keys, values, sight)
    return out.transpose(1, 2).flatten(0, 1)


def _whole(asked: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, sight: Sight) -> torch.Tensor:
    length, total = asked.shape[2], keys.shape[2]
    if sight.causal and 1 < length < total:
        return _after(asked, keys, values, sight)
    causal = sight.causal and 1 < length == total
    return F.scaled_dot_product_attention(
        asked, keys, values, is_causal=causal, scale=sight.scale, enable_gqa=True
    )


def _after(asked: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, sight: Sight) -> torch.Tensor:
    """Causal attention of the last tokens: SDPA's own mask is aligned to the first key, not to the last.

    In pieces, since a mask of its own is as large as queries × keys.
    """
    length, total = asked.shape[2], keys.shape[2]
    pieces = []
    for start in range(0, length, _MASKED_QUERIES):
        stop = min(start + _MASKED_QUERIES, length)
        seen = total - length + stop
        mask = torch.ones(stop - start, seen, dtype=torch.bool, device=asked.device).tril(seen - stop + start)
        pieces.append(
            F.scaled_dot_product_attention(
                asked[:, :, start:stop],
                keys[:, :, :seen],
                values[:, :, :seen],
                attn_mask=mask,
                scale=sight.scale,
                enable_gqa=True,
            )
        )
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)


def _windowed(asked: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, sight: Sight) -> torch.Tensor:
    assert sight.window is not None
    length, total = asked.shape[2], keys.shape[2]
    before = total - length
    pieces = []
    for start in range(0, length, _BLOCK):
        stop = min(start + _BLOCK, length)
        first = max(0, before + start - sight.window + 1)
        final = min(total, before + stop + (0 if sight.causal else sight.window - 1))
        places = torch.arange(before + start, before + stop, device=asked.device)
        distance = places[:, None] - torch.arange(first, final, device=asked.device)
        mask = (distance < sight.window) & (distance > (-1 if sight.causal else -sight.window))
        near = slice(first, final)
        pieces.append(
            F.scaled_dot_product_attention(
                asked[:, :, start:stop],
                keys[:, :, near],
                values[:, :, near],
                attn_mask=mask,
                scale=sight.scale,
                enable_gqa=True,
            )
        )
    return torch.cat(pieces, dim=2)
