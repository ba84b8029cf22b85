"""Merge model directories into one: read lazily, search where asked, check, write with provenance.

The inputs stay on disk; the merged weights are in memory once, in the dtype they are written in (fp32 before
int8).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from lingxi.engine.devices import choose_device
from lingxi.errors import InputError, ModelError, require_new
from lingxi.merge.alike import Alike, check_alike, check_changed
from lingxi.merge.card import card_of, provenance
from lingxi.merge.descend import Loss, descend
from lingxi.merge.methods import Space, State, space
from lingxi.merge.probe import make_probe
from lingxi.merge.reading import Reading, read_dev
from lingxi.merge.search import Found, Score, search
from lingxi.merge.settings import MergeSettings, SearchSettings, weights_for
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.files import locate, open_weights, write_json
from lingxi.model.layout import ModelFiles, read_prompts, write_directory
from lingxi.model.network import empty_network, open_network_tensors, read_network_tokens, read_size
from lingxi.train.checkpoint_start import write_like

MakeGolden = Callable[[Path], None]
FILE = "merge.json"
_STORED = {"float16": torch.float16, "bfloat16": torch.bfloat16}
# Servers read shards; one of this size is what the large models are published in.
_SHARD_BYTES = 5 * 10**9


@dataclass(frozen=True, slots=True)
class Dev:
    """What weights are searched with: a score of merged weights, and for `descend` a loss of a decoder."""

    score: Score
    loss: Loss | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did; `search` where its weights were searched."""

    out: Path
    weights: tuple[float, ...]
    search: Found | None


def merge_models(
    settings: MergeSettings,
    models: Sequence[Path],
    out: Path,
    make_golden: MakeGolden,
    *,
    dev: Dev | Path | None = None,
    device: str | None = None,
    card: str | None = None,
) -> Merged:
    """Merge directories of one kind, shape and tokenizer into `out`, with golden file, card and `merge.json`.

    `make_golden` writes the golden file of a finished directory. `dev` is what `settings.search` needs: a
    file of pairs, or own callables. `card` is the text that the card begins with. An `out` that an earlier
    merge wrote is replaced once the new one is whole. Raises InputError for weights that do not fit, an `out`
    that is something else, a merge that equals an input whose weight is not 1; ModelError for models that are
    not alike.
    """
    even = weights_for(settings, len(models))
    base = locate(settings.base) if settings.base is not None else None
    alike = check_alike(models, base)
    _check_out(out, [*models, *([base] if base else [])])
    asked = _dev(dev, settings.search, alike, models[0], device)
    with _opened(models, base) as (states, start):
        reach = space(settings.method, states, start, settings.granularity, settings.trim, settings.elect)
        found = _searched(settings, reach, states, asked, models[0], device)
        weights = found.weights if found else even
        whole = states[found.kept] if found and found.kept is not None else reach.merged(weights)
        state = _computed(whole, settings.dtype)
        if found is None or found.kept is None:
            check_changed(state, states, start, weights, models)
    draft = out.with_name(out.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    said = provenance(settings, models, base, weights, found, asked.rows if asked else 0)
    _write(alike, state, models[0], draft, settings.dtype, card_of(alike.kind, models, said, card))
    _keep_prompts(models[0], draft)
    make_golden(draft)
    write_json(draft / FILE, said)
    shutil.rmtree(out, ignore_errors=True)
    draft.replace(out)
    return Merged(out, weights, found)


def _write(alike: Alike, state: State, first: Path, out: Path, dtype: str, card: str) -> None:
    if isinstance(alike.size, EncoderSize):
        write_like(first, state, out, dtype, card)
        return
    tokenizer = (first / "tokenizer.json").read_text(encoding="utf-8")
    files = ModelFiles(alike.kind, alike.size, state, tokenizer, card, alike.max_seq_length)
    write_directory(files, out, dtype, max_shard_bytes=_SHARD_BYTES)


def _check_out(out: Path, models: Sequence[Path]) -> None:
    for place in (model.resolve() for model in models):
        # What is there would be replaced.
        if out.resolve() in (place, *place.parents):
            raise InputError(f"{out} is, or holds, a model that is merged", "write to another folder")
    if not (out / FILE).exists():
        require_new(out)


@contextmanager
def _opened(models: Sequence[Path], base: Path | None) -> Iterator[tuple[tuple[State, ...], State | None]]:
    with ExitStack() as stack:
        states = tuple(stack.enter_context(_tensors(model)) for model in models)
        start = stack.enter_context(_tensors(base)) if base else None
        others = ((*models[1:], base), (*states[1:], start))
        for model, state in zip(*others, strict=True):
            if state is not None and (lacking := sorted(set(states[0]) ^ set(state))):
                raise ModelError(
                    f"{models[0]} and {model} differ in {lacking[0]!r}, which one of them lacks",
                    "merge checkpoints of one kind",
                )
        yield states, start


def _tensors(model: Path) -> AbstractContextManager[State]:
    """A model's tensors by the network's names; a Qwen3 one may have an output head beside them."""
    return open_network_tensors(model) if isinstance(read_size(model), EncoderSize) else open_weights(model)


def _dev(
    dev: Dev | Path | None, settings: SearchSettings | None, alike: Alike, model: Path, device: str | None
) -> Dev | None:
    """What a search needs, read where it is a file; raises InputError for one without the other."""
    if settings is None:
        if dev is not None:
            raise InputError("a dev set is given and no search", "add the table [merge.search]")
        return None
    if dev is None:
        raise InputError("weights cannot be searched without a dev set", "give a file of pairs")
    if not isinstance(dev, Path):
        return dev
    tokens = read_network_tokens(model, alike.size.vocab)
    most = min(settings.max_tokens, alike.max_seq_length)
    reading = Reading(alike.kind, partial(empty_network, model), tokens, most, choose_device(device))
    probe = make_probe(read_dev(dev, settings), reading, settings)
    return Dev(probe.score, probe.loss, probe.rows)


def _searched(
    settings: MergeSettings,
    reach: Space,
    states: Sequence[State],
    dev: Dev | None,
    model: Path,
    device: str | None,
) -> Found | None:
    if settings.search is None or dev is None:
        return None
    if settings.search.method != "descend":
        return search(reach, states, dev.score, settings.search)
    if dev.loss is None:
        raise InputError("descend needs a loss of the dev set", "search by grid or coordinate")
    where = choose_device(device)
    return descend(reach, states, dev.score, dev.loss, empty_network(model), settings.search, where)


def _computed(whole: State, dtype: str) -> dict[str, torch.Tensor]:
    stored = _STORED.get(dtype, torch.float32)
    return {name: whole[name].to(stored) for name in whole}


def _keep_prompts(model: Path, out: Path) -> None:
    """Write the inputs' prompts where they are not the default ones."""
    wanted = read_prompts(model)
    if wanted != read_prompts(out):
        path = out / "config_sentence_transformers.json"
        write_json(path, {**json.loads(path.read_text(encoding="utf-8")), "prompts": wanted})
