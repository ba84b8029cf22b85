"""Two knowledge graphs to pairs of entities that mean the same, across languages.

Comes in: two `Graph`s (`read` makes them of TSV, JSON Lines and RDF), an embedder, known pairs where there
are any. On the way: `naming` makes vectors and spellings of names, `nearest` finds candidates, `structure`
and `weigh` carry what is matched over the triples, `assign` makes it one to one, `judge` asks a reranker,
`confidence` says how sure, `explain` why. Goes out: an `Alignment`, which `export` writes as owl:sameAs, TSV
or JSON.
"""

from lingxi.apps.align.export import write
from lingxi.apps.align.read import read_graph, read_seeds
from lingxi.apps.align.records import Agreement, Alignment, Entity, Graph, Match, Triple, graph_of
from lingxi.apps.align.run import align
from lingxi.apps.align.settings import AlignSettings

__all__ = [
    "Agreement",
    "AlignSettings",
    "Alignment",
    "Entity",
    "Graph",
    "Match",
    "Triple",
    "align",
    "graph_of",
    "read_graph",
    "read_seeds",
    "write",
]
