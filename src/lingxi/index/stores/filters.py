"""Conditions on metadata: a small typed expression, the same on every store.

    where = All(Is("language", "python"), Not(Below("path", "tests")), AtLeast("lines", 3))

Every row has every field, so a condition is true or false. `check` holds an expression against a layout's
fields before any store sees it, and `holds` is what it means, in plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from lingxi.errors import InputError
from lingxi.index.stores.layout import Kind, Metadata, Value

Op = Literal["=", "!=", "<", "<=", ">", ">=", "below"]
OPS: tuple[str, ...] = get_args(Op)
_ORDERED = ("<", "<=", ">", ">=")
LARGEST_WHOLE = 2**53
LONGEST_TEXT = 30_000
MOST_VALUES = 5_000


@dataclass(frozen=True, slots=True)
class Compare:
    """A field against a value. Order is for numbers; `below` is for paths: the place or what lies in it."""

    field: str
    op: Op
    value: Value


@dataclass(frozen=True, slots=True)
class OneOf:
    """A field that has one of the values."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class All:
    """All of the parts hold; true without parts."""

    parts: tuple[Where, ...]

    def __init__(self, *parts: Where) -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True, slots=True)
class Any:
    """One of the parts holds; false without parts."""

    parts: tuple[Where, ...]

    def __init__(self, *parts: Where) -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Where


Where = Compare | OneOf | All | Any | Not


def checked(where: Where, fields: Mapping[str, Kind]) -> Where:
    """The expression with its values as their fields keep them.

    Raises InputError for a field there is not, a value of another kind, or an order of what has none.
    """
    match where:
        case Compare(field, op, value):
            return Compare(field, op, _comparable(field, op, value, fields))
        case OneOf(field, values):
            if len(values) > MOST_VALUES:
                raise InputError(f"{len(values)} values of {field}", f"ask for {MOST_VALUES} at a time")
            return OneOf(field, tuple(_comparable(field, "=", value, fields) for value in values))
        case All(parts):
            return All(*(checked(part, fields) for part in parts))
        case Any(parts):
            return Any(*(checked(part, fields) for part in parts))
        case Not(part):
            return Not(checked(part, fields))
    raise InputError(f"{where!r} is no condition", "build it of Compare, OneOf, All, Any and Not")


def checked_value(field: str, kind: Kind, value: object) -> Value:
    """A field's value as it is kept; raises InputError for another kind, or what not every store can hold."""
    if kind == "flag" and isinstance(value, bool):
        return value
    if kind == "whole" and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) <= LARGEST_WHOLE:
            return value
        raise InputError(f"{field} is {value}", "whole numbers go to 2^53; keep larger ones as text")
    if kind == "number" and isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value) + 0.0  # minus zero becomes zero: stores differ on whether they are equal
        raise InputError(f"{field} is {value}", "give a finite number")
    if kind in ("text", "path") and isinstance(value, str):
        return checked_text(field, value)
    raise InputError(f"{field} is {value!r}, not {_KIND_NAMES[kind]}", "give every field in its kind")


def checked_text(what: str, text: str) -> str:
    """A text that every store can hold; raises InputError for another."""
    if "\0" in text or (not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)):
        raise InputError(f"{what} holds a zero byte or half a character", "clean the text first")
    if len(text.encode()) > LONGEST_TEXT:
        raise InputError(
            f"{what} is longer than {LONGEST_TEXT} bytes", "keep long texts elsewhere, and their id here"
        )
    return text


def holds(where: Where, row: Metadata) -> bool:
    """Whether a row meets a checked condition."""
    match where:
        case Compare(field, op, value):
            return _compares(row[field], op, value)
        case OneOf(field, values):
            return row[field] in values
        case All(parts):
            return all(holds(part, row) for part in parts)
        case Any(parts):
            return any(holds(part, row) for part in parts)
        case Not(part):
            return not holds(part, row)


def ancestors(path: str) -> list[str]:
    """The places a path is below: itself and its folders."""
    cuts = [at for at, sign in enumerate(path) if sign == "/"]
    return list(dict.fromkeys([path[:at] for at in cuts] + [path]))


_KIND_NAMES = {
    "text": "a text",
    "path": "a path",
    "whole": "a whole number",
    "number": "a number",
    "flag": "true or false",
}


def _comparable(field: str, op: str, value: object, fields: Mapping[str, Kind]) -> Value:
    kind = fields.get(field)
    if kind is None:
        raise InputError(f"there is no field {field!r}", f"there are: {', '.join(fields) or 'none'}")
    if op not in OPS:
        raise InputError(f"there is no comparison {op!r}", f"choose one of: {' '.join(OPS)}")
    if op == "below" and kind != "path":
        raise InputError(f"{field} is {_KIND_NAMES[kind]}, not a path", "ask for folders of a path")
    if op in _ORDERED and kind not in ("whole", "number"):
        raise InputError(f"{field} is {_KIND_NAMES[kind]}, which has no order", "compare numbers with it")
    if op == "below" and isinstance(value, str):
        value = value.rstrip("/")
    return checked_value(field, kind, value)


def _compares(own: Value, op: Op, value: Value) -> bool:
    if op == "=":
        return own == value
    if op == "!=":
        return own != value
    if op == "below":
        return str(own) == value or str(own).startswith(f"{value}/")
    assert not isinstance(own, str) and not isinstance(value, str)
    return {"<": own < value, "<=": own <= value, ">": own > value, ">=": own >= value}[op]
