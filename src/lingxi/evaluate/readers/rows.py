"""Sets of rows: sentences and their translations, pairs with a gold value, texts with a label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from lingxi.errors import InputError
from lingxi.evaluate.readers.asked import Asked, wanted
from lingxi.evaluate.tasks import Bitext, Labelled, Pairs, Task
from lingxi.tables import Row, field, number_of


def bitext(asked: Asked) -> Iterator[Task]:
    """Rows of a language `l`, a sentence `a` and its English translation `b`."""
    pairs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for number, row in asked.rows():
        sides = (field(row, "a", asked.path, number), field(row, "b", asked.path, number))
        pairs[field(row, "l", asked.path, number)].append(sides)
    for language in wanted(asked, sorted(pairs)):
        left, right = zip(*pairs[language], strict=True)
        ids = tuple(f"{language}-{i}" for i in range(len(left)))
        yield Bitext(
            asked.head(language), asked.settings.metrics, asked.settings.instruction, ids, left, right
        )


def sentences(asked: Asked) -> Iterator[Task]:
    """Sentences `t` of many languages that share an `id`: each language against English."""
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for number, row in asked.rows():
        language = field(row, "l", asked.path, number)
        texts[language][field(row, "id", asked.path, number)] = field(row, "t", asked.path, number)
    english = texts.pop("eng_Latn", {})
    for language in wanted(asked, sorted(texts)):
        shared = sorted(set(texts[language]) & set(english))
        left = tuple(texts[language][key] for key in shared)
        right = tuple(english[key] for key in shared)
        ids = tuple(f"{language}-{key}" for key in shared)
        yield Bitext(
            asked.head(language), asked.settings.metrics, asked.settings.instruction, ids, left, right
        )


def pairs(asked: Asked) -> Iterator[Task]:
    """Rows of two texts `a`, `b` with a similarity `s` or a label `y`; a `*` in the path is the language."""
    files = sorted(asked.path.parent.glob(asked.path.name))
    if not files:
        raise InputError(f"no file matches {asked.path}", "check the suite's root and the set's path")
    before, star, after = asked.path.name.partition("*")
    for path in files:
        language = path.name.removeprefix(before).removesuffix(after) if star else asked.settings.language
        if asked.settings.languages is not None and language not in asked.settings.languages:
            continue
        rows = list(asked.rows(path))
        left, right = (tuple(field(row, side, path, n) for n, row in rows) for side in ("a", "b"))
        gold = tuple(_gold(asked, row, path, n) for n, row in rows)
        ids = tuple(f"{language}-{n}" for n, _ in rows)
        yield Pairs(
            asked.head(language), asked.settings.metrics, asked.settings.instruction, ids, left, right, gold
        )


def _gold(asked: Asked, row: Row, path: Path, number: int) -> float:
    if "s" in row:
        return number_of(row["s"], "the similarity", path, number)
    label = field(row, "y", path, number, object)
    if asked.settings.positive is not None:
        return float(label == asked.settings.positive)
    return number_of(label, "the label", path, number)


def labels(asked: Asked) -> Iterator[Task]:
    """Rows of a text `t` with a label `y`, by language `l` where the rows name one."""
    rows: dict[str, list[tuple[int, Row]]] = defaultdict(list)
    for number, row in asked.rows():
        rows[str(row.get("l", asked.settings.language))].append((number, row))
    for language in wanted(asked, sorted(rows)):
        numbered = rows[language]
        yield Labelled(
            asked.head(language),
            asked.settings.metrics,
            asked.settings.instruction,
            tuple(f"{language}-{n}" for n, _ in numbered),
            tuple(field(row, "t", asked.path, n) for n, row in numbered),
            tuple(str(field(row, "y", asked.path, n, object)) for n, row in numbered),
        )
