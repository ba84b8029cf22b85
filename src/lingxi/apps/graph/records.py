"""The words of a graph of documents: a thing with its names, and what stands together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """One thing, by its name in each language it is named in.

    `names` are (language, name), the commonest first; `weight` is how much the documents are about it
    (tf-idf, 1 for the most); `kind` says how it was found: title, heading, link, term, quoted, name, phrase
    or asked. `sure` is the lowest confidence of the alignments that joined its names, 1 where it has one.
    `example` is a sentence that names it.
    """

    id: str
    label: str
    names: tuple[tuple[str, str], ...]
    kind: str
    weight: float
    count: int
    documents: tuple[str, ...]
    example: str
    sure: float = 1.0


@dataclass(frozen=True, slots=True)
class Link:
    """Two things that stand in one sentence, or of which one's page links to the other.

    `kind` is together, link, or what a language model called it; `weight` is the normalised pointwise mutual
    information (0 to 1) of standing in one sentence; `example` is a sentence with both.
    """

    source: str
    target: str
    kind: str
    weight: float
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class EntityGraph:
    """Nodes by falling weight, links between them, the documents with their languages, what was left out."""

    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    documents: Mapping[str, str]
    notes: tuple[str, ...] = ()
