"""Conditions as SQL with parameters, for PostgreSQL and SQLite; strings compare by their bytes in both."""

from __future__ import annotations

from collections.abc import Sequence

from lingxi.index.stores.filters import All, Any, Compare, Not, OneOf, Where
from lingxi.index.stores.layout import Kind, Value

Parameters = list[Value]
TYPES = {
    "postgres": {
        "text": 'text COLLATE "C"', "path": 'text COLLATE "C"', "whole": "bigint",
        "number": "double precision", "flag": "boolean",
    },
    "sqlite": {
        "text": "TEXT", "path": "TEXT", "whole": "INTEGER", "number": "REAL", "flag": "INTEGER",
    },
}  # fmt: skip


def column(field: str) -> str:
    """The column of a field: names were checked, and the prefix keeps them from words of SQL."""
    return f"m_{field}"


def columns(fields: dict[str, Kind], dialect: str) -> list[str]:
    """Columns of a table's definition."""
    return [f"{column(name)} {TYPES[dialect][kind]} NOT NULL" for name, kind in fields.items()]


def clause(where: Where | None, mark: str) -> tuple[str, Parameters]:
    """A condition and its parameters; `mark` stands where each goes (`?` or `%s`)."""
    if where is None:
        return "1 = 1", []
    match where:
        case Compare(field, "below", value):
            inside = f"{value}/"
            name = column(field)
            # From `folder/` up to what follows it: `0` is the character after `/`.
            return f"({name} = {mark} OR ({name} >= {mark} AND {name} < {mark}))", [
                value, inside, inside[:-1] + "0",
            ]  # fmt: skip
        case Compare(field, op, value):
            return f"{column(field)} {'<>' if op == '!=' else op} {mark}", [value]
        case OneOf(field, wanted):
            listed = ", ".join([mark] * len(wanted))
            return (f"{column(field)} IN ({listed})", list(wanted)) if wanted else ("1 = 0", [])
        case All(parts):
            return _joined(parts, " AND ", "1 = 1", mark)
        case Any(parts):
            return _joined(parts, " OR ", "1 = 0", mark)
        case Not(part):
            text, values = clause(part, mark)
            return f"NOT ({text})", values


def _joined(parts: Sequence[Where], word: str, empty: str, mark: str) -> tuple[str, Parameters]:
    told = [clause(part, mark) for part in parts]
    if not told:
        return empty, []
    return f"({word.join(text for text, _ in told)})", [value for _, values in told for value in values]
