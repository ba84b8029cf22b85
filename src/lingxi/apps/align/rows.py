"""Entities and triples in rows: TSV with a header, and JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingxi.apps.align.records import Entity, Triple
from lingxi.errors import InputError
from lingxi.lines import numbered_lines

if TYPE_CHECKING:
    from lingxi.apps.align.read import Found

_TRIPLE = ("head", "relation", "tail")
_OWN = ("id", "name", "description", "aliases", "relations", "attributes")
_SHAPES = "`id` and `name` (and `description`, `aliases`), or `head`, `relation` and `tail`"


def read_tsv(path: Path, found: Found) -> None:
    """Take the rows of a TSV file, whose first line names its columns.

    With `head`, `relation`, `tail` they are triples; otherwise entities, by `id` and `name` (one of them is
    enough), `description`, and `aliases` between `|`; every other column is an attribute. Raises InputError.
    """
    rows = numbered_lines(path)
    header = next(rows, (1, ""))[1].split("\t")
    _check_header(path, header)
    for number, line in rows:
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != len(header):
            reason = f"{path}:{number} has {len(cells)} cells, the header {len(header)}"
            raise InputError(reason, "mend the line; a tab inside a cell must go")
        row: dict[str, Any] = dict(zip(header, map(str.strip, cells), strict=True))
        row["aliases"] = [alias for alias in row.get("aliases", "").split("|") if alias]
        _take(row, f"{path}:{number}", found)


def read_jsonl(path: Path, found: Found) -> None:
    """Take the objects of a JSON Lines file: triples and entities as in TSV, which may stand side by side.

    An entity may carry `aliases` (a list), `attributes` (an object) and `relations` (a list of
    [relation, id]); every other key with a plain value is an attribute. Raises InputError.
    """
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise InputError(f"{place} is not JSON ({problem})", "write one object a line") from None
        if not isinstance(row, dict):
            raise InputError(f"{place} is {type(row).__name__}, not an object", "write one object a line")
        _take(row, place, found)


def _check_header(path: Path, header: list[str]) -> None:
    if len(set(header)) != len(header):
        raise InputError(f"{path}:1 names a column twice", "give each column a name of its own")
    if not {"id", "name"} & set(header) and not set(_TRIPLE) <= set(header):
        raise InputError(
            f"{path}:1 names no columns that are known", f"begin with a line that says {_SHAPES}"
        )


def _take(row: Mapping[str, Any], place: str, found: Found) -> None:
    if set(_TRIPLE) <= row.keys():
        found.triples.append((Triple(*(_text(row, key, place, True) for key in _TRIPLE)), place))
        return
    if not {"id", "name"} & row.keys():
        raise InputError(f"{place} is no entity and no triple", f"give {_SHAPES}")
    name = _text(row, "name", place)
    key = _text(row, "id", place) or name
    if not key:
        raise InputError(f"{place}: an entity with neither id nor name", "give it one of them")
    aliases = tuple(str(alias) for alias in _listed(row, "aliases", place) if alias)
    entity = Entity(key, name, _text(row, "description", place), aliases, tuple(_attributes(row, place)))
    found.add(entity, place)
    found.triples += [(Triple(key, *pair), place) for pair in _relations(row, place)]


def _text(row: Mapping[str, Any], key: str, place: str, needed: bool = False) -> str:
    value = row.get(key)
    if value is None or value == "":
        if needed:
            raise InputError(f"{place}: {key!r} is empty", "fill it, or remove the row")
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{place}: {key!r} is {type(value).__name__}, not text", "write it as a string")
    return str(value).strip()


def _listed(row: Mapping[str, Any], key: str, place: str) -> list[Any]:
    value = row.get(key) or []
    if not isinstance(value, list):
        raise InputError(f"{place}: {key!r} is {type(value).__name__}, not a list", "write it as a list")
    return value


def _relations(row: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    for pair in _listed(row, "relations", place):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, str | int) for x in pair)):
            raise InputError(f"{place}: {pair!r} is no relation", 'write `["relation", "id of the other"]`')
        yield str(pair[0]), str(pair[1])


def _attributes(row: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    inner = row.get("attributes") or {}
    if not isinstance(inner, dict):
        raise InputError(f"{place}: 'attributes' is {type(inner).__name__}", "write it as an object")
    for key, value in [*inner.items(), *((k, v) for k, v in row.items() if k not in _OWN)]:
        if isinstance(value, str | int | float) and value != "":
            yield key, str(value)
