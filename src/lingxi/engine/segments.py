"""Late chunking: the segments of a document in one sequence, so that each is embedded in its context.

In a causal network every segment is followed by the end token, whose state is the segment's vector: it has
seen all that stands before. Where tokens see both ways the mean of the segment's tokens is taken in the
whole pass (Günther et al. 2024, arXiv 2409.04701).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from lingxi.engine.batches import by_budget
from lingxi.engine.run import Network, default_budget, is_causal, pooled_states
from lingxi.model.packed import pack

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Laid:
    """Segments in one sequence of `ids`; `spans` are the tokens of those wanted, end token included."""

    ids: list[int]
    spans: list[Span]


def lay(segments: Sequence[Sequence[int]], limit: int, overlap: int) -> Iterator[Laid]:
    """One document's segments, each closed by its end token, in sequences of at most `limit` tokens.

    A sequence after the first begins with up to `overlap` of the segments before it, for context
    only, as many as leave room for its first own segment. No segment may be longer than `limit`.
    """
    first = 0
    while first < len(segments):
        begin = _context(segments, first, limit, overlap)
        ids = [i for segment in segments[begin:first] for i in segment]
        spans: list[Span] = []
        while first < len(segments) and len(ids) + len(segments[first]) <= limit:
            spans.append((len(ids), len(ids) + len(segments[first])))
            ids += segments[first]
            first += 1
        yield Laid(ids, spans)


def segment_states(
    network: Network,
    laid: Sequence[Laid],
    *,
    budget: int | None = None,
    done: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """The state of each segment, in order, fp32 [segments, hidden] on the CPU; `done` counts segments.

    A sequence of one segment is what `pooled_states` makes of it.
    """
    counts = [len(one.spans) for one in laid]
    out = torch.empty(sum(counts), network.hidden)
    starts = _starts(counts)
    alone = [i for i, one in enumerate(laid) if one.spans == [(0, len(one.ids))]]
    out[[starts[i] for i in alone]] = pooled_states(
        network, [laid[i].ids for i in alone], budget=budget, done=done
    )
    rest = sorted(set(range(len(laid))) - set(alone))
    room = budget or default_budget(network.device)
    for batch in by_budget([len(laid[i].ids) for i in rest], room):
        some = [rest[i] for i in batch]
        found = _batch(network, [laid[i] for i in some])
        rows = [row for i in some for row in range(starts[i], starts[i] + counts[i])]
        out[rows] = found
        if done:
            done(len(rows))
    return out


@torch.inference_mode()
def _batch(network: Network, laid: Sequence[Laid]) -> torch.Tensor:
    """States of the segments of one batch, in order."""
    states = network.states(pack([one.ids for one in laid], network.device))
    offsets = _starts([len(one.ids) for one in laid])
    spans = [(at + a, at + b) for at, one in zip(offsets, laid, strict=True) for a, b in one.spans]
    if is_causal(network):
        pooled = states[[stop - 1 for _, stop in spans]]
    else:
        means = [states[start:stop].mean(0, dtype=torch.float32) for start, stop in spans]
        pooled = torch.stack(means).to(states.dtype)
    headed = getattr(network, "headed", None)  # the dense heads of a model that has some
    return cast(torch.Tensor, headed(pooled) if headed else pooled).float().cpu()


def _context(segments: Sequence[Sequence[int]], first: int, limit: int, overlap: int) -> int:
    """The first of the segments that stand before number `first` in its sequence."""
    begin, held = first, len(segments[first])
    while begin > max(0, first - overlap) and held + len(segments[begin - 1]) <= limit:
        begin -= 1
        held += len(segments[begin])
    return begin


def _starts(counts: Sequence[int]) -> list[int]:
    starts = [0]
    for count in counts:
        starts.append(starts[-1] + count)
    return starts[:-1]
