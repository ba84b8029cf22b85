"""The flow of a graph of documents: read, name, count, align the languages, join."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from lingxi.apps.align import AlignSettings, Entity, Graph, Triple, align, graph_of
from lingxi.apps.graph.asked import Chats, asked_of
from lingxi.apps.graph.documents import by_language, read_documents
from lingxi.apps.graph.mentions import WORTH
from lingxi.apps.graph.records import EntityGraph, Link, Node
from lingxi.apps.graph.settings import GraphSettings
from lingxi.apps.graph.together import Lexicon, Named, lexicon
from lingxi.encoding import Encoder
from lingxi.inputs import texts_alone

# A name of one language: (language, key).
Key = tuple[str, str]


def build(
    paths: Sequence[str | Path],
    embedder: Encoder,
    *,
    settings: GraphSettings | None = None,
    chat: Chats | None = None,
) -> EntityGraph:
    """One graph of the things that documents name, those of several languages joined.

    Names are found by what texts mark (`mentions`), or by a language model where `chat` is given; links by
    what stands together. Names of two languages are aligned by meaning, sound and company. Raises InputError
    for paths that cannot be read or hold no document.
    """
    wanted = settings or GraphSettings()
    documents, notes = read_documents(paths)
    groups = by_language(documents)
    told, relations, said = asked_of(documents, chat) if chat else (None, {}, [])
    found = [lexicon(language, each, wanted, told) for language, each in groups.items()]
    joined, sure = _joined(found, _Remembered(embedder), wanted)
    nodes = _nodes(found, joined, sure)
    links = _links(found, joined, relations, {node.id for node in nodes}, wanted)
    return EntityGraph(nodes, links, {d.path: d.language for d in documents}, (*notes, *said))


def _joined(
    found: Sequence[Lexicon], embedder: Encoder, settings: GraphSettings
) -> tuple[dict[Key, Key], dict[Key, float]]:
    """For every name the first of those it is one with, and how sure that is; one name a language."""
    graphs = {lexicon.language: _graph(lexicon) for lexicon in found if lexicon.names}
    matches = [
        (match.confidence, (one, match.left), (other, match.right))
        for one, other in combinations(graphs, 2)
        for match in align(graphs[one], graphs[other], embedder, settings=AlignSettings()).matches
        if match.confidence >= settings.sure
    ]
    group: dict[Key, list[Key]] = {
        (language, entity.id): [(language, entity.id)]
        for language, graph in graphs.items()
        for entity in graph.entities
    }
    sure: dict[Key, float] = {}
    for confidence, one, other in sorted(matches, key=lambda match: (-match[0], match[1:])):
        first, second = group[one], group[other]
        if {key[0] for key in first} & {key[0] for key in second}:
            continue
        least = min(confidence, sure.get(first[0], 1.0), sure.get(second[0], 1.0))
        merged = [*first, *second]
        group.update(dict.fromkeys(merged, merged))
        sure[merged[0]] = least
    return {key: members[0] for key, members in group.items()}, sure


def _graph(found: Lexicon) -> Graph:
    entities = [Entity(key, named.name, named.example) for key, named in found.names.items()]
    triples = [Triple(a, "together", b) for (a, b), (_, weight, _) in found.pairs.items() if weight > 0.1]
    return graph_of(found.language, entities, triples)


def _nodes(
    found: Sequence[Lexicon], joined: Mapping[Key, Key], sure: Mapping[Key, float]
) -> tuple[Node, ...]:
    members: dict[Key, list[tuple[str, Named]]] = defaultdict(list)
    for each in found:
        for key, named in each.names.items():
            members[joined[each.language, key]].append((each.language, named))
    most = max((sum(n.weight for _, n in group) for group in members.values()), default=1.0)
    nodes = [_node(key, group, most, sure.get(key, 1.0)) for key, group in members.items()]
    return tuple(sorted(nodes, key=lambda node: (-node.weight, node.id)))


def _node(key: Key, group: list[tuple[str, Named]], most: float, sure: float) -> Node:
    ordered = sorted(group, key=lambda pair: -pair[1].count)
    best = max((named for _, named in group), key=lambda named: WORTH[named.kind])
    return Node(
        id=f"{key[0]}:{key[1]}",
        label=" · ".join(dict.fromkeys(named.name for _, named in ordered[:2])),
        names=tuple((language, named.name) for language, named in ordered),
        kind=best.kind,
        weight=round(sum(named.weight for _, named in group) / most, 4),
        count=sum(named.count for _, named in group),
        documents=tuple(sorted({path for _, named in group for path in named.documents})),
        example=ordered[0][1].example,
        sure=round(sure, 4),
    )


def _links(
    found: Sequence[Lexicon],
    joined: Mapping[Key, Key],
    relations: Mapping[tuple[str, str, str], tuple[str, str]],
    known: set[str],
    settings: GraphSettings,
) -> tuple[Link, ...]:
    """Links of joined names: counts add up, of weights the highest stays; the strongest of each thing."""
    best: dict[tuple[str, str, str], Link] = {}
    for source, target, kind, weight, count, example in _told(found, joined, relations):
        if source == target or source not in known or target not in known:
            continue
        ends = (source, target) if kind != "together" or source < target else (target, source)
        before = best.get((*ends, kind))
        total = count + (before.count if before else 0)
        strongest = max(weight, before.weight if before else 0.0)
        text = before.example if before else example
        best[*ends, kind] = Link(*ends, kind, round(strongest, 4), total, text)
    return _strongest(list(best.values()), settings.links)


def _told(
    found: Sequence[Lexicon],
    joined: Mapping[Key, Key],
    relations: Mapping[tuple[str, str, str], tuple[str, str]],
) -> Iterator[tuple[str, str, str, float, int, str]]:
    for each in found:
        name = {key: ":".join(joined[each.language, key]) for key in each.names}
        for (a, b), (count, weight, example) in each.pairs.items():
            yield name[a], name[b], "together", weight, count, example
        for (a, b), count in each.linked.items():
            yield name[a], name[b], "link", 1.0, count, each.names[a].example
        for (a, kind, b), (language, example) in relations.items():
            if language == each.language and a in name and b in name:
                yield name[a], name[b], kind, 1.0, 1, example


def _strongest(links: list[Link], most: int) -> tuple[Link, ...]:
    """The links that are among the `most` strongest of one of their ends, strongest first."""
    ordered = sorted(links, key=lambda x: (-x.weight * np.log1p(x.count), x.source, x.target, x.kind))
    degree: Counter[str] = Counter()
    kept = []
    for link in ordered:
        if link.weight > 0 and min(degree[link.source], degree[link.target]) < most:
            kept.append(link)
            degree.update((link.source, link.target))
    return tuple(kept)


class _Remembered:
    """An embedder asked once for each text: every language is aligned with every other."""

    def __init__(self, embedder: Encoder) -> None:
        self._embedder = texts_alone(embedder)
        self._known: dict[str, Any] = {}

    def encode_query(self, inputs: list[str], **options: Any) -> Any:
        """As the embedder does."""
        return self._embedder.encode_query(inputs, **options)

    def encode_document(self, inputs: list[str], **options: Any) -> Any:
        """As the embedder does, but what was asked before."""
        fresh = [text for text in dict.fromkeys(inputs) if text not in self._known]
        if fresh:
            found = self._embedder.encode_document(fresh, **options)
            self._known.update(zip(fresh, found, strict=True))
        return np.stack([self._known[text] for text in inputs])
