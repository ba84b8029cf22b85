"""The graph as a page of its own: nothing is loaded, no string of a document becomes markup or code."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from pathlib import Path

from lingxi.apps.graph.records import EntityGraph

_TEMPLATE = Path(__file__).with_name("graph.html")
_BLOCK = r"<{0}>(.*?)</{0}>"


def page_html(graph: EntityGraph, title: str = "Knowledge graph") -> str:
    """A self-contained page: search, keyboard, details. Its policy allows its own script and style alone."""
    text = _TEMPLATE.read_text(encoding="utf-8")
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(text, 'style')}; script-src {_hash(text, 'script')}"
    )
    values = {"title": escape(title), "policy": policy, "data": _inert(_values(graph))}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], text)


def _values(graph: EntityGraph) -> dict[str, object]:
    row = {node.id: number for number, node in enumerate(graph.nodes)}
    paths = {path: number for number, path in enumerate(graph.documents)}
    return {
        "documents": [{"name": Path(p).name, "language": spoken} for p, spoken in graph.documents.items()],
        "nodes": [
            {
                "label": node.label,
                "names": node.names,
                "kind": node.kind,
                "weight": node.weight,
                "count": node.count,
                "documents": [paths[path] for path in node.documents if path in paths],
                "example": node.example,
                "sure": node.sure,
            }
            for node in graph.nodes
        ],
        "links": [[row[x.source], row[x.target], x.kind, x.weight, x.count, x.example] for x in graph.links],
    }


def _inert(value: object) -> str:
    """JSON in which nothing can end the element it stands in."""
    said = json.dumps(value, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        said = said.replace(character, f"\\u{ord(character):04x}")
    return said


def _hash(text: str, element: str) -> str:
    found = re.search(_BLOCK.format(element), text, re.S)
    if found is None:
        raise AssertionError(f"the template has no <{element}>")
    digest = hashlib.sha256(found[1].encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
