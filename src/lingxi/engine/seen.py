"""States of inputs that hold pictures: the tower once for each picture, then the network over what it saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import cast

import torch

from lingxi import prompts
from lingxi.engine.batches import Ids, by_budget
from lingxi.engine.run import Network, default_budget, pooled_states
from lingxi.errors import InputError
from lingxi.model.files import filled, read_config
from lingxi.model.packed import Packed, Visual, pack
from lingxi.model.seen import Seen, View, axes_of, patches_of
from lingxi.model.tokens import Tokens
from lingxi.model.vision import Tower
from lingxi.model.vision_size import VisionSize, vision_size

# Patches that the tower reads at a time: as many tokens as four times fewer of the text network.
_CPU_PATCHES = 8192
_CUDA_PATCHES = 65536

Tokened = tuple[torch.Tensor, tuple[torch.Tensor, ...]]


class Eyes:
    """The tower of a directory, opened when the first picture comes, one for each device."""

    def __init__(
        self, directory: Path, size: VisionSize, devices: Sequence[torch.device], dtype: torch.dtype
    ) -> None:
        self.size = size
        self._directory, self._devices, self._dtype = directory, list(devices), dtype
        self._towers: dict[int, Tower] = {}
        self._lock = Lock()

    def tower(self, lane: int) -> Tower:
        """The tower on a device; raises ModelError where the directory lacks some of it."""
        with self._lock:
            if lane not in self._towers:
                self._towers[lane] = read_tower(self._directory, self.size, self._dtype, self._devices[lane])
            return self._towers[lane]


def read_tower(
    directory: Path, size: VisionSize, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Tower:
    """The tower of a directory with its weights, ready for inference; raises ModelError as `read_decoder`."""
    with torch.device("meta"):
        tower = Tower(size)
    return filled(tower, directory, dtype, device, _tower_name)


def _tower_name(key: str) -> str:
    name = key.removeprefix("model.")
    return name.removeprefix("visual.") if name.startswith("visual.") else ""


@dataclass(frozen=True, slots=True)
class Seeing:
    """Networks of a model, by lane, its eyes (of a VL model), and the ids that are seats of pictures."""

    networks: Sequence[Network]
    eyes: Eyes | None = None
    pads: frozenset[int] = frozenset()


def open_seeing(
    directory: Path,
    networks: Sequence[Network],
    devices: Sequence[torch.device],
    dtype: torch.dtype,
    tokens: Tokens,
) -> Seeing:
    """The networks of a directory with its eyes, where it has a tower; raises ModelError."""
    size = vision_size(read_config(directory), str(directory))
    if size is None:
        return Seeing(networks)
    return Seeing(networks, Eyes(directory, size, devices, dtype), pads_of(tokens))


def pads_of(tokens: Tokens) -> frozenset[int]:
    """The ids that stand for what a picture or a video shows."""
    names = (prompts.IMAGE_PAD, prompts.VIDEO_PAD)
    return frozenset(tokens.specials[name] for name in names if name in tokens.specials)


def states_of(
    seeing: Seeing,
    sequences: Sequence[Ids | Seen],
    *,
    lane: int | None = None,
    budget: int | None = None,
    done: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Pooled states, fp32 [n, hidden], of ids and of inputs with pictures, in the order given.

    Inputs with pictures are computed on one device, number `lane` (None: the first).
    """
    plain = [i for i, s in enumerate(sequences) if not isinstance(s, Seen)]
    seen = [(i, s) for i, s in enumerate(sequences) if isinstance(s, Seen)]
    networks = seeing.networks if lane is None else seeing.networks[lane : lane + 1]
    if not seen:
        return pooled_states(networks, cast(Sequence[Ids], sequences), budget=budget, done=done)
    out = torch.empty(len(sequences), seeing.networks[0].hidden)
    out[plain] = pooled_states(networks, [list(sequences[i]) for i in plain], budget=budget, done=done)
    room = budget or default_budget(seeing.networks[0].device)
    for batch in by_budget([len(s) for _, s in seen], room):
        out[[seen[i][0] for i in batch]] = _batch(seeing, [seen[i][1] for i in batch], lane or 0)
        if done:
            done(len(batch))
    return out


@torch.inference_mode()
def _batch(seeing: Seeing, sequences: Sequence[Seen], lane: int) -> torch.Tensor:
    if seeing.eyes is None:
        raise InputError("the model reads text alone", "name a VL model for pictures")
    network, tower = seeing.networks[lane], seeing.eyes.tower(lane)
    packed = visible(sequences, tower, seeing.pads, network.device)
    return network(packed).float().cpu()


def visible(
    sequences: Sequence[Seen], tower: Tower, pads: frozenset[int], device: torch.device | str = "cpu"
) -> Packed:
    """A packed batch with what the tower sees in the seats of its pictures."""
    packed = pack([s.ids for s in sequences], device)
    seats = torch.isin(packed.ids, torch.tensor(sorted(pads), device=device))
    vectors, deep = _looked([view for s in sequences for view in s.views], tower)
    axes = torch.cat([axes_of(s, pads, tower.size) for s in sequences], dim=1)
    visual = Visual(seats.nonzero()[:, 0], vectors.to(device), deep, axes.to(device))
    return replace(packed, visual=visual)


def _looked(views: Sequence[View], tower: Tower) -> Tokened:
    """Tokens of views in order; equal ones are looked at once."""
    distinct = {view.key: view for view in views}
    found: dict[bytes, Tokened] = {}
    for some in _few(list(distinct.values()), tower):
        found |= _tokens(some, tower)
    tokens = [found[view.key] for view in views]
    deep = tuple(torch.cat(parts) for parts in zip(*(t[1] for t in tokens), strict=True))
    return torch.cat([t[0] for t in tokens]), deep


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
