"""What a store of vectors is made for, and the rows that go in and come out of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError, StoreError

FORMAT = 1

Floats = NDArray[np.float32]
Value = str | int | float | bool
Metadata = Mapping[str, Value]
Kind = Literal["text", "path", "whole", "number", "flag"]
Precision = Literal["float32", "int8", "binary"]
Look = Literal["exact", "ann"]

KINDS: tuple[str, ...] = get_args(Kind)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows are kept: stated when a store is made, kept in it, and the same for all of its rows.

    `dim` is the width vectors are cut to (and brought to unit length). `fields` are the metadata every row
    has: `text`, `path` (a `/`-separated place that can be asked for by folder), `whole` (to ±2^53),
    `number`, `flag`. `precision` is what the first look reads: float32, int8 or binary codes; the full
    vector is kept beside codes, and `rescore` times k candidates are ordered by it (0: codes alone order).
    `look` is exact (every row) or ann (an approximate index). `model` is the fingerprint of who made the
    vectors. Raises InputError for a width, name or kind that is none.
    """

    dim: int
    fields: Mapping[str, Kind] = field(default_factory=dict)
    precision: Precision = "float32"
    look: Look = "exact"
    rescore: int = 10
    model: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or not 1 <= self.dim <= 16_000:
            raise InputError(f"dim is {self.dim!r}", "choose a whole number from 1 to 16000")
        _one_of("precision", self.precision, get_args(Precision))
        _one_of("look", self.look, get_args(Look))
        if self.precision == "binary" and self.dim % 8:
            raise InputError(f"dim is {self.dim}", "binary codes need a multiple of 8")
        if not 0 <= self.rescore <= 1000:
            raise InputError(f"rescore is {self.rescore}", "choose from 0 (none) to 1000 candidates a result")
        for name, kind in self.fields.items():
            if not _NAME.fullmatch(name):
                raise InputError(
                    f"field {name!r}: not a name", "use small letters, digits and _, a letter first"
                )
            _one_of(f"field {name!r}", kind, KINDS)

    @property
    def rescores(self) -> bool:
        """Whether results of codes are ordered by the full vector."""
        return self.precision != "float32" and self.rescore > 0

    def candidates(self, k: int) -> int:
        """How many rows the first look is to find for k results."""
        return k * self.rescore if self.rescores else k

    def bytes(self) -> tuple[float, int]:
        """Bytes of a vector: of what the first look reads, and of what is kept in all."""
        read = self.dim * {"float32": 4.0, "int8": 1.0, "binary": 1 / 8}[self.precision]
        return read, int(self.dim * 4 + (read if self.precision != "float32" else 0))


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one namespace: ids [n], vectors [n, dim] and the metadata of each."""

    ids: Sequence[str]
    vectors: Floats
    metadata: Sequence[Metadata]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Found:
    """A row found: `score` is its cosine with the query (of the codes where nothing is rescored)."""

    id: str
    score: float
    metadata: Metadata


def written(layout: Layout) -> str:
    """A layout as the JSON that stores keep."""
    return json.dumps({"lingxi": FORMAT, **asdict(layout)}, sort_keys=True)


def read(place: str, said: str | bytes | None) -> Layout:
    """The layout a store keeps; raises StoreError for one of a newer version, or none of ours."""
    try:
        values: dict[str, Any] = json.loads(said or b"{}")
        made = values.pop("lingxi")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise StoreError(f"{place}: not a store of lingxi", "name one, or a place that is empty") from None
    if made != FORMAT:
        raise StoreError(
            f"{place}: made by another version of lingxi (format {made}, this one reads {FORMAT})",
            "update lingxi, or make the store anew",
        )
    try:
        return Layout(**values)
    except (TypeError, InputError) as error:
        raise StoreError(f"{place}: its layout is damaged ({error})", "make the store anew") from None


def agreed(place: str, there: Layout, asked: Layout | None) -> Layout:
    """The layout of a store that is there; raises StoreError where another one is asked for."""
    if asked is None:
        return there
    if there.model and asked.model and _weighty(there.model) != _weighty(asked.model):
        raise StoreError(
            f"{place}: made by the model {there.model.get('name')!r}, "
            f"but opened with {asked.model.get('name')!r}",
            "open it with the model that made it, or make another store",
        )
    names = ("dim", "fields", "precision", "look", "rescore")
    differing = [name for name in names if getattr(there, name) != getattr(asked, name)]
    if differing:
        told = ", ".join(f"{n} {getattr(there, n)} / {getattr(asked, n)}" for n in differing)
        raise StoreError(
            f"{place}: made another way ({told})", "open it as it was made, or make another store"
        )
    return there


def _weighty(model: Mapping[str, str | int]) -> dict[str, str | int]:
    return {key: value for key, value in model.items() if key != "name"}


def _one_of(what: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"{what} is {value!r}", f"choose one of: {', '.join(known)}")
