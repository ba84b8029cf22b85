"""States of inputs that hold pictures: the tower once for each picture, then the network over what it saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import cast

import torch

from lingxi import prompts
from lingxi.engine.batches import Ids
from lingxi.engine.looking import Part, told_apart, visible
from lingxi.engine.run import CausalNetwork, Network, Prefixes, default_budget, is_causal, pooled_states
from lingxi.engine.tree import Node, plan
from lingxi.errors import InputError
from lingxi.model.decoder import Prefix
from lingxi.model.files import filled, read_config
from lingxi.model.packed import Packed
from lingxi.model.seen import Seen
from lingxi.model.tokens import Tokens
from lingxi.model.vision import Tower
from lingxi.model.vision_size import VisionSize, vision_size


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
    share: bool = False,
    done: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Pooled states, fp32 [n, hidden], of ids and of inputs with pictures, in the order given.

    Inputs with pictures are computed on one device, number `lane` (None: the first). With `share` what they
    begin with alike, pictures too, is computed once, as of texts.
    """
    plain = [i for i, s in enumerate(sequences) if not isinstance(s, Seen)]
    seen = [(i, s) for i, s in enumerate(sequences) if isinstance(s, Seen)]
    networks = seeing.networks if lane is None else seeing.networks[lane : lane + 1]
    if not seen:
        return pooled_states(networks, cast(Sequence[Ids], sequences), budget=budget, done=done)
    out = torch.empty(len(sequences), seeing.networks[0].hidden)
    out[plain] = pooled_states(networks, [list(sequences[i]) for i in plain], budget=budget, done=done)
    room = budget or default_budget(seeing.networks[0].device)
    out[[i for i, _ in seen]] = _look(seeing, [s for _, s in seen], lane or 0, room, share, done)
    return out


@torch.inference_mode()
def _look(
    seeing: Seeing,
    sequences: Sequence[Seen],
    lane: int,
    room: int,
    share: bool,
    done: Callable[[int], None] | None,
) -> torch.Tensor:
    """Pooled states [n, hidden] of inputs with pictures, in the order given."""
    if seeing.eyes is None:
        raise InputError("the model reads text alone", "name a VL model for pictures")
    network, tower = seeing.networks[lane], seeing.eyes.tower(lane)
    numbers: dict[bytes, int] = {}
    known = [told_apart(s, seeing.pads, numbers) for s in sequences]
    out = torch.empty(len(sequences), network.hidden)

    def packed(members: Sequence[int], start: int, stop: int | None = None) -> Packed:
        parts = [Part(sequences[i], start, stop or len(sequences[i])) for i in members]
        return visible(parts, tower, seeing.pads, network.device)

    def begun(node: Node, before: Prefix | None) -> Prefix:
        start = before.length if before else 0
        visual = packed([node.of], start, node.length).visual
        ids = sequences[node.of].ids[start : node.length]
        return cast(CausalNetwork, network).prefix(ids, before, visual)

    prefixes = Prefixes(begun)
    for batch in plan(known, room, share=share and is_causal(network)):
        prefix = prefixes.of(batch.node)
        laid = packed(batch.members, prefix.length if prefix else 0)
        out[batch.members] = network(laid, prefix).float().cpu()
        if done:
            done(len(batch.members))
    return out
