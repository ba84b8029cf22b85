"""Documents of several languages to one graph of the things they name.

Comes in: files and folders, an embedder. On the way: `documents` reads and tells the language, `mentions` and
`phrases` find names (`asked` lets a language model find them), `together` counts what stands together, and
`build` aligns the names across languages by `apps.align`. Goes out: an `EntityGraph`, which `export` writes
as JSON, GraphML and a page to look at.
"""

from lingxi.apps.graph.build import build
from lingxi.apps.graph.export import write
from lingxi.apps.graph.page import page_html
from lingxi.apps.graph.records import EntityGraph, Link, Node
from lingxi.apps.graph.settings import GraphSettings

__all__ = ["EntityGraph", "GraphSettings", "Link", "Node", "build", "page_html", "write"]
