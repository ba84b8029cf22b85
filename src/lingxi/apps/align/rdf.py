"""RDF to entities and triples, by rdflib: Turtle, N-Triples, RDF/XML. Nothing is ever fetched."""

from __future__ import annotations

import re
import xml.parsers.expat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from lingxi.apps.align.records import Entity, Triple
from lingxi.errors import InputError, MissingExtraError
from lingxi.lines import numbered_lines

if TYPE_CHECKING:
    from lingxi.apps.align.read import Found

_FORMATS = {".ttl": "turtle", ".nt": "nt"}
_CORE = "http://www.w3.org/2004/02/skos/core#"
_RDFS = "http://www.w3.org/2000/01/rdf-schema#"
_SCHEMA = ("http://schema.org/", "https://schema.org/")
_TERMS = ("http://purl.org/dc/terms/", "http://purl.org/dc/elements/1.1/")
# By falling worth: the first that an entity has names it.
_NAMES = (
    f"{_CORE}prefLabel",
    f"{_RDFS}label",
    *(f"{s}name" for s in _SCHEMA),
    "http://xmlns.com/foaf/0.1/name",
    *(f"{t}title" for t in _TERMS),
)
_ALIASES = (f"{_CORE}altLabel", *(f"{s}alternateName" for s in _SCHEMA))
_DESCRIPTIONS = (
    f"{_CORE}definition",
    f"{_RDFS}comment",
    *(f"{s}description" for s in _SCHEMA),
    *(f"{t}description" for t in _TERMS),
)
# A name of a vocabulary is shorter; what is longer, or names others, is made to fill a machine.
_MOST_ENTITY = 300


def read_rdf(path: Path, found: Found, language: str | None) -> None:
    """Take what an RDF file says of things with an IRI: labels, texts, literals, relations among them.

    An IRI is an entity where something is said of it. Raises InputError with file and line.
    """
    graph = _parsed(path)
    literals: dict[str, list[tuple[str, str, str | None]]] = defaultdict(list)
    pairs, blank = [], 0
    for subject, predicate, value in sorted(graph, key=_order):
        if _is_blank(subject) or _is_blank(value):
            blank += 1
        elif hasattr(value, "language"):
            literals[str(subject)].append((str(predicate), str(value), value.language))
        else:
            literals.setdefault(str(subject), [])
            pairs.append(Triple(str(subject), str(predicate), str(value)))
    for key, said in literals.items():
        found.add(_entity(key, said, language), f"{path}: <{key}>")
    outside = sum(pair.tail not in literals for pair in pairs)
    found.triples += [(pair, str(path)) for pair in pairs if pair.tail in literals]
    found.notes += [f"{path}: {blank} statements about nameless nodes are left out"] * (blank > 0)
    found.notes += [f"{path}: {outside} statements name things it says nothing of"] * (outside > 0)


def _order(statement: tuple[Any, Any, Any]) -> tuple[str, ...]:
    """The same file gives the same graph, whatever rdflib's sets make of it."""
    return (*map(str, statement), str(getattr(statement[2], "language", None)))


def _entity(key: str, said: list[tuple[str, str, str | None]], language: str | None) -> Entity:
    names = list(_texts(said, _NAMES, language)) or [_local(key)]
    others = [*names[1:], *_texts(said, _ALIASES, language)]
    described = next(_texts(said, _DESCRIPTIONS, language), "")
    own = {*_NAMES, *_ALIASES, *_DESCRIPTIONS}
    attributes = tuple((_local(predicate), text) for predicate, text, _ in said if predicate not in own)
    aliases = tuple(dict.fromkeys(x for x in others if x and x != names[0]))
    return Entity(key, names[0], described, aliases, attributes)


def _texts(
    said: list[tuple[str, str, str | None]], predicates: tuple[str, ...], language: str | None
) -> Iterator[str]:
    """Texts under some predicates: those of the language first, then by the order of the predicates."""
    ranked = [
        (not _speaks(tag, language), predicates.index(predicate), text)
        for predicate, text, tag in said
        if predicate in predicates
    ]
    return (text for _, _, text in sorted(ranked))


def _speaks(tag: str | None, language: str | None) -> bool:
    return language is None or (tag or "").lower().partition("-")[0] == language.lower().partition("-")[0]


def _local(iri: str) -> str:
    """The last part of an IRI, in words."""
    return unquote(re.split(r"[/#]", iri.rstrip("/#"))[-1]).replace("_", " ").strip()


def _is_blank(node: Any) -> bool:
    return type(node).__name__ == "BNode"


def _parsed(path: Path) -> Any:
    try:
        import rdflib
    except ImportError:
        raise MissingExtraError("rdflib", "graphs", "reading RDF") from None
    kind = _FORMATS.get(path.suffix, "xml")
    data = _checked_xml(path) if kind == "xml" else _decoded(path)
    graph = rdflib.Graph(bind_namespaces="none")
    try:
        graph.parse(data=data, format=kind, publicID="urn:base:")
    except Exception as problem:  # each format fails in its own way, with the line inside the words
        raise InputError(f"{path}{_line(problem)}: no {kind} ({_words(problem)})", "mend the file") from None
    return graph


def _decoded(path: Path) -> str:
    return "\n".join(line for _, line in numbered_lines(path))


def _line(problem: Exception) -> str:
    """`:line` where a parser says one."""
    said = getattr(problem, "lines", None)
    if isinstance(said, int):
        return f":{said + 1}"
    numbered = getattr(problem, "getLineNumber", None)
    found = re.search(r"\bline (\d+)", str(problem))
    number = numbered() if numbered else found and found[1]
    return f":{number}" if number else ""


def _words(problem: Exception) -> str:
    return " ".join(str(problem).split())[:200]


def _checked_xml(path: Path) -> bytes:
    """The bytes of an XML file, once its declarations are known to be harmless; raises InputError."""
    data = path.read_bytes()
    parser = xml.parsers.expat.ParserCreate()

    def refuse(what: str) -> None:
        place = f"{path}:{parser.CurrentLineNumber}"
        raise InputError(f"{place}: {what}", "write the file without such declarations")

    def declared(name: str, _parameter: int, value: str | None, *_: Any) -> None:
        if value is None:
            refuse(f"the entity {name!r} lies outside the file, and nothing is fetched")
        elif "&" in value or "%" in value or len(value) > _MOST_ENTITY:
            refuse(f"the entity {name!r} is made of others, or long")

    parser.EntityDeclHandler = declared
    try:
        parser.Parse(data, True)
    except xml.parsers.expat.ExpatError as problem:
        raise InputError(f"{path}:{problem.lineno}: no XML ({problem})", "mend the file") from None
    return data
