"""The code-search set (`evaluate.codesearch`): 1 of 1,000 functions, by its summary or in Chinese."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from lingxi.errors import InputError
from lingxi.evaluate.readers.asked import Asked, draw, wanted
from lingxi.evaluate.tasks import Ranking, Task
from lingxi.tables import field

_DIRECTIONS = ("en>code", "zh>code", "code>en")


def code(asked: Asked) -> Iterator[Task]:
    """Rows of a language `l`, a summary `q`, its Chinese form `zh` (some), and a function `p`.

    The set's `language` says what asks for what: `en>code`, `zh>code` or `code>en`.
    """
    if asked.settings.language not in _DIRECTIONS:
        raise InputError(
            f"the set {asked.settings.name!r} has the language {asked.settings.language!r}",
            f"choose one of: {', '.join(_DIRECTIONS)}",
        )
    asks, _, answers = asked.settings.language.partition(">")
    rows: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for number, row in asked.rows():
        texts = {"en": field(row, "q", asked.path, number), "code": field(row, "p", asked.path, number)}
        pair = (str(row.get("zh") or "") if asks == "zh" else texts[asks], texts[answers])
        rows[field(row, "l", asked.path, number)].append(pair)
    for language in wanted(asked, list(rows)):
        name = asked.settings.language.replace("code", language)
        yield _one_of_all(asked, name, rows[language])


def _one_of_all(asked: Asked, name: str, pairs: list[tuple[str, str]]) -> Ranking:
    """Each query asks for its own document among those of all rows, whether they ask or not."""
    chosen = draw([i for i, (query, _) in enumerate(pairs) if query], asked.queries, asked.seed)
    return Ranking(
        asked.head(name),
        asked.settings.metrics,
        asked.settings.instruction,
        tuple(f"{name}-{i}" for i in chosen),
        tuple(pairs[i][0] for i in chosen),
        tuple(f"{name}-d{i}" for i in range(len(pairs))),
        tuple(document for _, document in pairs),
        tuple({i: 1.0} for i in chosen),
    )
