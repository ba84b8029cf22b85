"""A model of pictures and sound under its name: its text model as ever, which here also looks and listens."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lingxi import vectors
from lingxi.errors import InputError, LingxiWarning, MissingExtraError
from lingxi.inputs import Mixed, opened, sent
from lingxi.media import MediaEmbedder
from lingxi.media.embedder import pixels_of
from lingxi.media.sounds import MOST_SECONDS, Sound, open_sound
from lingxi.serve.contract import Wanted
from lingxi.serve.refusal import invalid, refused
from lingxi.serve.served import Ids, Served, access_of
from lingxi.serve.settings import Settings
from lingxi.serve.watch import Watch

# What a picture and a second of sound count beside tokens of text: the places that their trunks make of them.
_PICTURE, _SECOND = 25, 50


@dataclass(frozen=True, slots=True, eq=False)
class Perceived:
    """An input as the networks take it: ids of its text, pixels [3, side, side] and sounds.

    Its length is in tokens.
    """

    ids: list[int] | None
    pictures: tuple[torch.Tensor, ...]
    sounds: tuple[Sound, ...]

    def __len__(self) -> int:
        heard = sum(len(sound.samples) for sound in self.sounds) / 16_000
        return len(self.ids or ()) + _PICTURE * len(self.pictures) + round(_SECOND * heard)


class ServedMedia(Served):
    """A `MediaEmbedder` that is served: texts go the way of its text model, with that model's vectors.

    An input of several parts is the normalised mean of their vectors, as in the process.
    """

    def __init__(
        self,
        name: str,
        media: MediaEmbedder,
        settings: Settings,
        base: str | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._media, self._access = media, access_of(settings)
        super().__init__(name, media.text, settings, base, watch)
        own = {**self.card.fingerprint, "pictures": str(media.fingerprint()["weights"])}
        self.card = replace(self.card, modalities=media.modalities, fingerprint=own)

    def ids(self, inputs: Sequence[str | Mixed | Ids], wanted: Wanted) -> list[Any]:
        """Ids of texts, and what there is to look at and listen to; raises Refusal 400."""
        if not any(isinstance(item, Mixed) for item in inputs):
            return super().ids(inputs, wanted)
        with self._opening:
            return [
                self._perceived(item, wanted)
                if isinstance(item, Mixed)
                else super(ServedMedia, self).ids([item], wanted)[0]
                for item in inputs
            ]

    def _perceived(self, item: Mixed, wanted: Wanted) -> Perceived:
        if item.videos:
            raise invalid("the model sees no videos", "send their frames as pictures", "input")
        ids = self._texts([item.text], wanted)[0] if item.texts else None
        try:
            pictures = tuple(pixels_of(opened(source, self._access)) for source in item.images)
            sounds = tuple(self._heard(source, wanted) for source in item.audios)
        except (InputError, MissingExtraError) as error:
            raise refused(error, "input") from None
        return Perceived(ids, pictures, sounds)

    def _heard(self, source: str | bytes, wanted: Wanted) -> Sound:
        data = source if isinstance(source, bytes) else sent(source, self._access)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LingxiWarning)
            sound = open_sound(data)
        if sound.seconds > MOST_SECONDS and wanted.truncate == "none":
            raise InputError(
                f"a sound of {sound.seconds:,.0f} seconds, more than {MOST_SECONDS:.0f}",
                "shorten it, or let it be cut",
            )
        return sound

    def states(self, kind: str, items: Sequence[Any], lane: int) -> Sequence[Any]:
        """A row for each item: a text's pooled state, or the mean of the unit vectors of an input's parts."""
        if kind != "pooled":
            return super().states(kind, items, lane)
        texts = [item.ids if isinstance(item, Perceived) else item for item in items]
        rows = iter(self.model.states([ids for ids in texts if ids is not None], lane=lane))
        states = [None if ids is None else next(rows) for ids in texts]
        seen = iter(self._media.encode_pixels([p for i in _perceived(items) for p in i.pictures]))
        heard = iter(self._media.encode_sounds([s for i in _perceived(items) for s in i.sounds]))
        return [
            self._mean(item, state, seen, heard) if isinstance(item, Perceived) else state
            for item, state in zip(items, states, strict=True)
        ]

    def _mean(self, item: Perceived, state: Any, seen: Any, heard: Any) -> vectors.Floats:
        parts = [] if state is None else [vectors.cut(state[None], self.card.dim)[0]]
        parts += [next(seen) for _ in item.pictures]
        parts += [next(heard) for _ in item.sounds]
        mean: vectors.Floats = np.mean(parts, axis=0, dtype=np.float32)
        return mean

    def check_sees(self, param: str, *, hears: bool = False) -> None:
        """Nothing to refuse: it sees and hears, as far as the directory holds both."""


def _perceived(items: Sequence[Any]) -> list[Perceived]:
    return [item for item in items if isinstance(item, Perceived)]
