"""Files of a knowledge graph to a `Graph`: TSV, JSON Lines or RDF by their names; a folder holds several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lingxi.apps.align.records import Entity, Graph, Triple, graph_of
from lingxi.errors import InputError
from lingxi.lines import numbered_lines

RDF = (".ttl", ".nt", ".rdf", ".owl", ".xml")
_ROWS = (".tsv", ".jsonl", ".ndjson", ".tsv.gz", ".jsonl.gz")
KNOWN = (*_ROWS, *RDF)


@dataclass(slots=True)
class Found:
    """What was read so far: entities with the place of each, triples, words about what was left out."""

    entities: dict[str, Entity] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    triples: list[tuple[Triple, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)

    def add(self, entity: Entity, place: str) -> None:
        """Take an entity read at `place` (file:line); raises InputError where its id is another's."""
        before = self.entities.setdefault(entity.id, entity)
        if before is entity:
            self.places[entity.id] = place
            if not entity.name:
                self.unnamed.append(place)
        elif before == entity:
            self.twice.append(place)
        else:
            reason = f"{place}: the id {entity.id!r} was given to {before.name!r} at {self.places[entity.id]}"
            raise InputError(reason, "give each entity an id of its own, with other names among its aliases")


def read_graph(path: str | Path, language: str | None = None) -> Graph:
    """The graph in a file, or in the files of a folder, which then belong together.

    `language` is the one whose labels name the entities of an RDF file that has several; others become
    aliases. Nothing is ever fetched. Raises InputError with file and line for what cannot be read, and
    MissingExtraError where RDF is read without rdflib.
    """
    place = Path(path)
    found = Found()
    for file in _files(place):
        _reader(file, language)(file, found)
    notes = [*found.notes, *_said(found)]
    return graph_of(str(place), found.entities.values(), _whole(found, notes), notes)


def read_seeds(path: str | Path, left: Graph, right: Graph) -> tuple[tuple[str, str], ...]:
    """Known pairs, a line each: the id of a left entity, a tab, the id of a right one.

    Raises InputError with file and line for another shape, an unknown id, an entity named twice.
    """
    sides = tuple({entity.id for entity in graph.entities} for graph in (left, right))
    used: tuple[set[str], set[str]] = (set(), set())
    pairs = []
    for number, line in numbered_lines(Path(path)):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 2:
            raise InputError(f"{path}:{number} has {len(cells)} cells", "write two ids with a tab between")
        for cell, graph, known, before in zip(cells, (left, right), sides, used, strict=True):
            if cell not in known:
                raise InputError(f"{path}:{number}: {graph.name} has no entity {cell!r}", "mend the line")
            if cell in before:
                raise InputError(f"{path}:{number}: {cell!r} has a pair already", "keep one of the two")
            before.add(cell)
        pairs.append((cells[0], cells[1]))
    if not pairs:
        raise InputError(f"{path}: no pairs", "write two ids a line, or leave the seeds out")
    return tuple(pairs)


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        found = sorted(file for file in place.iterdir() if file.is_file() and file.name.endswith(KNOWN))
        if not found:
            raise InputError(f"{place}: no file of a graph", f"put in files named {', '.join(KNOWN)}")
        return found
    if not place.is_file():
        raise InputError(f"no file at {place}", "correct the path")
    if not place.name.endswith(KNOWN):
        raise InputError(f"{place}: not known to hold a graph", f"name it by what it is: {', '.join(KNOWN)}")
    return [place]


def _reader(file: Path, language: str | None) -> Callable[[Path, Found], None]:
    from lingxi.apps.align.rdf import read_rdf
    from lingxi.apps.align.rows import read_jsonl, read_tsv

    if file.name.endswith(RDF):
        return lambda path, found: read_rdf(path, found, language)
    return read_tsv if ".tsv" in file.suffixes else read_jsonl


def _whole(found: Found, notes: list[str]) -> Sequence[Triple]:
    """The triples whose ends are known; the first of the others is said with its place."""
    lost = [(t, place) for t, place in found.triples if not {t.head, t.tail} <= found.entities.keys()]
    if lost:
        triple, place = lost[0]
        absent = triple.tail if triple.head in found.entities else triple.head
        notes.append(
            f"{place}: no entity {absent!r}; {len(lost)} triples that name unknown ones are left out"
        )
    return [t for t, _ in found.triples if t.head in found.entities and t.tail in found.entities]


def _said(found: Found) -> list[str]:
    kinds = (
        (found.twice, "entities stand there twice, word for word, and count once"),
        (found.unnamed, "entities have no name, and are matched by their neighbours alone"),
    )
    return [f"{places[0]} and others: {len(places)} {what}" for places, what in kinds if places]
