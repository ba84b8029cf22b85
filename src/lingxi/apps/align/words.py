"""An entity in words: its name for the embedder, and what stands around it."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

from lingxi.apps.align.records import Entity, Graph

# Of the context: so many characters of a description, so many neighbours.
_MOST_TEXT, _MOST_NEIGHBOURS = 300, 8


def names_of(entity: Entity) -> tuple[str, ...]:
    """The names an entity goes by, its own first; empty ones are left out."""
    return tuple(dict.fromkeys(name for name in (entity.name, *entity.aliases) if name.strip()))


def contexts(graph: Graph) -> list[str]:
    """A text of every entity: name, description, attributes, and neighbours by name with their relation.

    The neighbours that few others have come first. An entity of which nothing is known but its name has an
    empty text.
    """
    around = _around(graph)
    return [_context(entity, around.get(entity.id, [])) for entity in graph.entities]


def plain(name: str) -> str:
    """A name without case, marks and punctuation, for comparing the spelling."""
    bare = unicodedata.normalize("NFKD", name).casefold()
    kept = ("" if unicodedata.combining(c) else c if c.isalnum() else " " for c in bare)
    return " ".join("".join(kept).split())


def _context(entity: Entity, neighbours: Sequence[str]) -> str:
    said = [entity.description[:_MOST_TEXT], *(f"{key}: {value}" for key, value in entity.attributes[:8])]
    parts = [part for part in (*said, *neighbours) if part]
    return ". ".join([entity.name, *parts]) if parts else ""


def _around(graph: Graph) -> Mapping[str, list[str]]:
    name = {entity.id: entity.name for entity in graph.entities}
    degree: dict[str, int] = defaultdict(int)
    for triple in graph.triples:
        degree[triple.head] += 1
        degree[triple.tail] += 1
    near: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for head, relation, tail in graph.triples:
        if head != tail:
            near[head].append((degree[tail], f"{_relation(relation)}: {name[tail]}"))
            near[tail].append((degree[head], f"{_relation(relation)}: {name[head]}"))
    return {key: [said for _, said in sorted(set(found))[:_MOST_NEIGHBOURS]] for key, found in near.items()}


def _relation(relation: str) -> str:
    """A relation in words: the last part of an IRI."""
    return relation.rstrip("/#").replace("#", "/").rpartition("/")[2].replace("_", " ")
