"""Learn: from a model, new pairs and kept ones to a tuned model directory; resumable by its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch

from lingxi.model.decoder import Decoder
from lingxi.model.files import read_decoder
from lingxi.model.layout import write_directory
from lingxi.model.sizes import matryoshka_dims
from lingxi.records import Pair
from lingxi.train.checkpoint_start import open_for_training
from lingxi.train.encoders import encoder_of
from lingxi.train.gradcache import Figures, cached_step
from lingxi.train.guards import weights_moved
from lingxi.train.loop import Listener, Schedule, train
from lingxi.train.lora import plain_copy
from lingxi.train.served import exported_equals
from lingxi.update.anchors import Held, anchors_of, joined, new_rows
from lingxi.update.objective import Objective
from lingxi.update.settings import UpdateSettings
from lingxi.update.tuned import finished, freed

# Kept with nothing rounded away: it is to be merged.
_KEPT_AS = "float32"
_CHUNK_TOKENS = 16_384


def learn(
    model: Path,
    new: Sequence[Pair],
    old: Sequence[Held],
    settings: UpdateSettings,
    folder: Path,
    card: str,
    listeners: Sequence[Listener] = (),
) -> Figures:
    """Tune `model` on new pairs while old pairs keep the vectors of their models; writes `folder/tuned`.

    Stopped, the same call goes on from its last checkpoint. Raises TrainingError where a figure is not finite
    and GuardError where nothing was learnt. Returns the last step's figures.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    start = open_for_training(model)
    state = {name: tensor.detach().clone() for name, tensor in start.decoder.state_dict().items()}
    before = plain_copy(start.decoder, state)
    rows = new_rows(new, before, start.tokens, settings.max_tokens)
    kept = joined([
        anchors_of(held.pairs, before if held.model == model else _read(held.model), start.tokens,
                   settings.max_tokens)
        for held in old if held.pairs
    ])  # fmt: skip
    seen = set(chain.from_iterable((*rows.queries, *rows.documents)))
    decoder = freed(start, settings, seen)
    dims = tuple(matryoshka_dims(decoder.size.hidden))
    step = cached_step(encoder_of(decoder), Objective(rows, kept, settings, dims), _CHUNK_TOKENS)
    told = {"rows": len(rows.queries), "kept": 0 if kept is None else len(kept.sequences)}
    recipe = {**told, **settings.model_dump(mode="json", include=_LEARNT)}
    schedule = _schedule(settings)
    figures = train(decoder, step, schedule, folder, settings.seed, listeners=listeners, recipe=recipe)
    tuned = replace(start, network=finished(start, settings))
    weights_moved(state, tuned.decoder.state_dict(), _changed(state, settings))
    write_directory(tuned.files("embedder", card), folder / "tuned", _KEPT_AS)
    exported_equals(tuned.decoder, folder / "tuned", "embedder")
    return figures


# What of the settings changes what is learnt, beside the schedule.
_LEARNT = {
    "batch_pairs", "kept_pairs", "temperature", "margin", "max_tokens", "stored", "anchor", "weights", "lora",
    "tokens",
}  # fmt: skip


def _read(model: Path) -> Decoder:
    return read_decoder(model, torch.float32)


def _schedule(settings: UpdateSettings) -> Schedule:
    return Schedule(
        settings.steps,
        settings.learning_rate,
        settings.token_learning_rate,
        min(settings.warmup_steps, settings.steps),
        settings.checkpoint_every,
    )


def _changed(state: dict[str, torch.Tensor], settings: UpdateSettings) -> list[str] | None:
    if settings.weights == "all":
        return [n for n, t in state.items() if t.dim() >= 2 and "embed_tokens" not in n]
    return None if settings.tokens == "seen" else []
