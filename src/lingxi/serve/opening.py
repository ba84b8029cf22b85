"""From names to a service: models opened, adapters merged into copies of their base, the index at hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lingxi.check import make_golden
from lingxi.embedder import DEFAULT_EMBEDDER, Embedder
from lingxi.errors import InputError
from lingxi.index import Index
from lingxi.index.generations import holds_media
from lingxi.index.media import MediaIndex
from lingxi.index.seeing import media_in, texts_of
from lingxi.media import MediaEmbedder
from lingxi.model.files import locate
from lingxi.model.late import network_of
from lingxi.model.layout import Kind
from lingxi.model.media_files import is_media_directory, text_model_of
from lingxi.reranker import DEFAULT_RERANKER, Reranker
from lingxi.serve.logged import LOG
from lingxi.serve.service import Service
from lingxi.serve.settings import Settings
from lingxi.serve.watch import Watch
from lingxi.train.adapt import apply_adapter


@dataclass(frozen=True, slots=True)
class Plan:
    """What is served: names to directories or hub ids; `adapters` name folders of adapters.

    `bases` says of an adapter that is merged already which base it belongs to. The other fields are
    those of `Embedder` and `Reranker`.
    """

    embedders: Mapping[str, str] = field(default_factory=lambda: {DEFAULT_EMBEDDER: DEFAULT_EMBEDDER})
    rerankers: Mapping[str, str] = field(default_factory=lambda: {DEFAULT_RERANKER: DEFAULT_RERANKER})
    adapters: Mapping[str, str] = field(default_factory=dict)
    bases: Mapping[str, str] = field(default_factory=dict)
    index: str | None = None
    device: str | None = None
    dtype: str | None = None
    engine: str | None = None
    weights: str | None = None


def named(given: Iterable[str]) -> dict[str, str]:
    """`NAME=MODEL` or `MODEL`, whose name is then the hub id, or the last folder of a path.

    Raises InputError for one name of two models.
    """
    found: dict[str, str] = {}
    for one in given:
        name, stated, model = one.partition("=")
        if not stated:
            name, model = _plain_name(one), one
        if not name or not model:
            raise InputError(f"{one!r} names no model", "write MODEL or NAME=MODEL")
        if name in found:
            raise InputError(f"two models are named {name!r}", "give them names: NAME=MODEL")
        found[name] = model
    return found


def _plain_name(model: str) -> str:
    """What clients call a model: no path of this machine is told to them."""
    path = Path(model).expanduser()
    return path.resolve().name if path.exists() else model


@contextmanager
def prepared(plan: Plan) -> Iterator[Plan]:
    """The plan with its adapters merged into models of their own, which are there as long as it lasts.

    Raises InputError for an adapter without a base among the models, ModelError where they do not fit.
    """
    if not plan.adapters:
        yield plan
        return
    with TemporaryDirectory(prefix="lingxi-adapters-") as folder:
        merged: dict[Kind, dict[str, str]] = {"embedder": {}, "reranker": {}}
        bases: dict[str, str] = {}
        for number, (name, adapter) in enumerate(plan.adapters.items()):
            kind, base = _base_of(plan, name, Path(adapter).expanduser())
            model = (plan.embedders if kind == "embedder" else plan.rerankers)[base]
            out = Path(folder) / str(number)
            apply_adapter(model, Path(adapter).expanduser(), out, "float32", make_golden, kind)
            merged[kind][name], bases[name] = str(out), base
        yield replace(
            plan,
            embedders={**plan.embedders, **merged["embedder"]},
            rerankers={**plan.rerankers, **merged["reranker"]},
            adapters={},
            bases=bases,
        )


def _base_of(plan: Plan, name: str, folder: Path) -> tuple[Kind, str]:
    """Which model an adapter is of: the one that its configuration names, else the first of its kind."""
    if name in plan.embedders or name in plan.rerankers:
        raise InputError(f"a model and an adapter are named {name!r}", "give the adapter another name")
    config = _config(folder)
    kind: Kind = "reranker" if config.get("task_type") == "CAUSAL_LM" else "embedder"
    models = plan.embedders if kind == "embedder" else plan.rerankers
    if not models:
        raise InputError(f"no {kind} is served, which the adapter {name!r} is of", f"add its base: --{kind}")
    said = Path(str(config.get("base_model_name_or_path") or "")).name
    stated = [base for base, model in models.items() if said and Path(model).name == said]
    return kind, [*stated, *models][0]


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{folder}: no adapter", "name a folder with adapter_config.json") from None
    return found if isinstance(found, dict) else {}


def open_service(plan: Plan, settings: Settings, watch: Watch | None = None) -> Service:
    """The service of a prepared plan; raises ModelError, InputError or StoreError in words."""
    how: dict[str, Any] = {name: getattr(plan, name) for name in ("device", "dtype", "engine", "weights")}
    opened: dict[str, Embedder] = {}
    embedders = {name: _embedder(model, how, opened) for name, model in plan.embedders.items()}
    rerankers = {name: _reranker(model, how, opened) for name, model in plan.rerankers.items()}
    index, media = _index(plan.index, embedders) if plan.index is not None else (None, None)
    return Service(
        embedders, rerankers, index=index, media=media, settings=settings, adapters=plan.bases, watch=watch
    )


def _reranker(model: str, how: Mapping[str, Any], opened: Mapping[str, Embedder]) -> Reranker:
    """A reranker of that name; a late interaction shares the embedder that is opened already."""
    reads = network_of(locate(model)).resolve()
    shared = next((each for each in opened.values() if each.directory.resolve() == reads), None)
    return Reranker(model, **how, embedder=shared)


def _embedder(model: str, how: Mapping[str, Any], opened: dict[str, Embedder]) -> Embedder | MediaEmbedder:
    """A model of that name; one of pictures and sound shares the text model that is opened already."""
    directory = locate(model)
    text = text_model_of(directory) if is_media_directory(directory) else model
    if text not in opened:
        opened[text] = Embedder(text, **how)
    if text is model:
        return opened[text]
    return MediaEmbedder(model, text=opened[text], weights="int8" if how["weights"] == "int8" else None)


def _index(path: str, embedders: Mapping[str, Embedder | MediaEmbedder]) -> tuple[Index, MediaIndex | None]:
    """The index, opened by the first embedder, with its pictures and sound; it is never made here."""

    if not embedders:
        raise InputError("an index is searched with an embedder, and none is served", "add --embedder")
    if not Path(path).expanduser().is_dir():
        raise InputError(f"{path}: no index", "make it first: lingxi index add PATH…")
    first = next(iter(embedders.values()))
    index, media = Index.open(path, embedder=texts_of(first)), media_in(path, first)
    if media is None and holds_media(path):
        LOG.warning("%s holds pictures and sound, which the first embedder does not read: not served", path)
    return index, media
