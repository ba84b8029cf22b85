"""A served model proves itself before anyone asks it: its golden texts, by the way requests take."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from lingxi.check.report import Values, row
from lingxi.check.subject import Subject, item_of, rendered
from lingxi.embedder import Embedder
from lingxi.errors import ModelError
from lingxi.model.golden import Golden, GoldenText, calibration_texts, read_golden
from lingxi.serve.contract import Caller, Wanted
from lingxi.serve.logged import LOG
from lingxi.serve.served import Served

if TYPE_CHECKING:
    from lingxi.serve.service import Service

_CALLER = Caller("lingxi itself", "start")


async def prove(service: Service, one: Served, check: bool) -> None:
    """Compute a model's golden texts as requests do, which warms it up; raises ModelError where they differ.

    A model without a golden file is warmed up alone, which is said in the log.
    """
    golden = read_golden(one.model.directory)
    if golden is None:
        LOG.warning("%s has no golden file: served unchecked (lingxi check MODEL --write)", one.card.name)
        await _warm(service, one)
        return
    found = await _computed(service, one, golden.texts)
    if check:
        _compare(one, golden, found)
    if isinstance(one.model, Embedder):
        one.model.finish(found[:1], precision="int8")


async def _warm(service: Service, one: Served) -> None:
    texts = calibration_texts()
    if isinstance(one.model, Embedder):
        await service.embed(texts, Wanted(precision="int8"), _CALLER, model=one.card.name)
    else:
        await service.score([(t, t) for t in texts], _CALLER, model=one.card.name)


async def _computed(service: Service, one: Served, texts: Sequence[GoldenText]) -> Values:
    name = one.card.name
    if isinstance(one.model, Embedder):
        if one.model.vision is None:
            found = await service.embed(list(map(rendered, texts)), Wanted(), _CALLER, model=name)
            return np.asarray(found.vectors, np.float32)
        each = [
            await service.embed([item_of(t)], Wanted(instruction=t.task), _CALLER, model=name) for t in texts
        ]
        return np.concatenate([np.asarray(found.vectors, np.float32) for found in each])
    parts = []
    for task, those in groupby(texts, key=lambda t: t.task):
        pairs = [(t.query or "", item_of(t)) for t in those]
        parts.append((await service.score(pairs, _CALLER, model=name, instruction=task)).scores)
    return np.concatenate(parts)


def _compare(one: Served, golden: Golden, found: Values) -> None:
    model = one.model
    exact = model.device.type == "cpu" and model.weights == "float32" and model.computes_float32
    tolerance = Subject(one.card.name, model.directory, model, exact).golden_tolerance
    wanted = golden.values if golden.values.ndim == 1 else golden.values[:, : found.shape[1]]
    if golden.values.ndim == 2 and found.shape[1] < golden.values.shape[1]:
        wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    compared = row("served", "golden file", found, np.asarray(wanted, np.float32), tolerance)
    if not compared.ok:
        raise ModelError(
            f"{one.card.name}: what is served differs from the golden file by {compared.difference:.1e} "
            f"(at most {tolerance.score:.0e})",
            "find the cause with `lingxi check MODEL`; if the model was changed, write its golden file anew",
        )
