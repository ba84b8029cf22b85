"""What the tower says of pictures, in their seats: whole sequences laid side by side, or parts of them.

A part begins after what all of its batch's sequences share and has been computed; where its tokens stand is
told from the whole sequence, as the text behind a picture counts on from the picture's longer side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from lingxi.engine.batches import by_budget
from lingxi.model.packed import Packed, Visual, pack
from lingxi.model.seen import Seen, View, axes_of, patches_of
from lingxi.model.vision import Tower

# Patches that the tower reads at a time: as many tokens as four times fewer of the text network.
_CPU_PATCHES = 8192
_CUDA_PATCHES = 65536

Tokened = tuple[torch.Tensor, tuple[torch.Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Part:
    """The tokens `start` to `stop` of a sequence with pictures."""

    of: Seen
    start: int
    stop: int

    @property
    def ids(self) -> list[int]:
        """Their ids."""
        return self.of.ids[self.start : self.stop]


def visible(
    parts: Sequence[Part], tower: Tower, pads: frozenset[int], device: torch.device | str = "cpu"
) -> Packed:
    """A packed batch of parts with what the tower sees in the seats of their pictures."""
    packed = pack([part.ids for part in parts], device)
    seats = torch.isin(packed.ids, torch.tensor(sorted(pads), device=device))
    axes = torch.cat([axes_of(p.of, pads, tower.size)[:, p.start : p.stop] for p in parts], dim=1)
    vectors, deep = _seated(parts, tower, pads)
    visual = Visual(seats.nonzero()[:, 0], vectors.to(device), deep, axes.to(device))
    return replace(packed, visual=visual)


def told_apart(sequence: Seen, pads: frozenset[int], numbers: dict[bytes, int]) -> list[int]:
    """A sequence's ids, those of seats replaced by numbers of their pictures: equal where all is equal.

    `numbers` gives each picture one, and is filled in.
    """
    seats = (
        -1 - numbers.setdefault(view.key, len(numbers))
        for view in sequence.views
        for _ in range(view.grid[0] * view.seats)
    )
    return [next(seats) if i in pads else i for i in sequence.ids]


def _seated(parts: Sequence[Part], tower: Tower, pads: frozenset[int]) -> Tokened:
    """Tokens of pictures for the seats of parts, in order."""
    spans = [span for part in parts for span in _spans(part, pads)]
    found = _looked([view for view, _, _ in spans], tower)
    cut = [(found[view.key], slice(a, b)) for view, a, b in spans]
    if not cut:
        return torch.empty(0, tower.size.out), ()
    deep = zip(*([one[where] for one in tokens[1]] for tokens, where in cut), strict=True)
    return torch.cat([tokens[0][where] for tokens, where in cut]), tuple(map(torch.cat, deep))


def _spans(part: Part, pads: frozenset[int]) -> Iterator[tuple[View, int, int]]:
    """The pictures that have seats in a part, and which of their tokens sit there."""
    first = sum(i in pads for i in part.of.ids[: part.start])
    last = first + sum(i in pads for i in part.ids)
    begin = 0
    for view in part.of.views:
        end = begin + view.grid[0] * view.seats
        if begin < last and end > first:
            yield view, max(first, begin) - begin, min(last, end) - begin
        begin = end


def _looked(views: Sequence[View], tower: Tower) -> dict[bytes, Tokened]:
    """Tokens of views by key; equal ones are looked at once."""
    distinct = {view.key: view for view in views}
    found: dict[bytes, Tokened] = {}
    for some in _few(list(distinct.values()), tower):
        found |= _tokens(some, tower)
    return found


def _few(views: Sequence[View], tower: Tower) -> Iterator[list[View]]:
    """Views of one size side by side, in parts that the tower reads at a time."""
    most = _CPU_PATCHES if tower.device.type == "cpu" else _CUDA_PATCHES
    sizes = [view.grid[0] * view.grid[1] * view.grid[2] for view in views]
    for batch in by_budget(sizes, most):
        yield [views[i] for i in batch]


def _tokens(views: Sequence[View], tower: Tower) -> dict[bytes, Tokened]:
    vectors, deep = tower(patches_of(views, tower.size).to(tower.device), [view.grid for view in views])
    counts = [view.grid[0] * view.seats for view in views]
    parts = zip(torch.split(vectors, counts), *(torch.split(d, counts) for d in deep), strict=True)
    return {view.key: (own, tuple(more)) for view, (own, *more) in zip(views, parts, strict=True)}
