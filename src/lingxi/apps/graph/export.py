"""A graph of documents as files: JSON, GraphML, and the page."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from lingxi.apps.graph.page import page_html
from lingxi.apps.graph.records import EntityGraph
from lingxi.errors import InputError

_NODE_KEYS = {"label": "string", "names": "string", "kind": "string", "weight": "double", "count": "int"}
_LINK_KEYS = {"relation": "string", "strength": "double", "times": "int"}
# Characters that no XML file may hold.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def write(graph: EntityGraph, folder: str | Path) -> tuple[Path, Path, Path]:
    """Write graph.json, graph.graphml and graph.html into a folder, made where it is missing.

    Raises InputError where that cannot be.
    """
    place = Path(folder)
    written = {"graph.json": as_json(graph), "graph.graphml": graphml(graph), "graph.html": page_html(graph)}
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, text in written.items():
            (place / name).write_text(text, encoding="utf-8")
    except OSError as problem:
        raise InputError(f"{place} cannot be written ({problem.strerror})", "name another folder") from None
    first, second, third = (place / name for name in written)
    return first, second, third


def as_json(graph: EntityGraph) -> str:
    """The whole graph as one JSON object."""
    return json.dumps(asdict(graph), ensure_ascii=False, indent=1) + "\n"


def graphml(graph: EntityGraph) -> str:
    """The graph in GraphML, as Gephi, yEd and networkx read it."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">',
    ]
    for side, keys in (("node", _NODE_KEYS), ("edge", _LINK_KEYS)):
        lines += [
            f'<key id="{key}" for="{side}" attr.name="{key}" attr.type="{kind}"/>'
            for key, kind in keys.items()
        ]
    lines.append('<graph edgedefault="directed">')
    for node in graph.nodes:
        names = " | ".join(f"{language}: {name}" for language, name in node.names)
        values = (node.label, names, node.kind, node.weight, node.count)
        lines.append(f"<node id={_attribute(node.id)}>{_data(_NODE_KEYS, values)}</node>")
    for link in graph.links:
        ends = f"source={_attribute(link.source)} target={_attribute(link.target)}"
        lines.append(f"<edge {ends}>{_data(_LINK_KEYS, (link.kind, link.weight, link.count))}</edge>")
    return "\n".join([*lines, "</graph>", "</graphml>", ""])


def _data(keys: dict[str, str], values: tuple[object, ...]) -> str:
    return "".join(
        f'<data key="{key}">{escape(_legal(str(value)))}</data>'
        for key, value in zip(keys, values, strict=True)
    )


def _attribute(text: str) -> str:
    return quoteattr(_legal(text))


def _legal(text: str) -> str:
    return _ILLEGAL.sub("", text)
