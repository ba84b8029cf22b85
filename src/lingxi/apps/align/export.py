"""An alignment as a file: owl:sameAs statements, TSV, or JSON with every reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lingxi.apps.align.records import Alignment, Graph, Match
from lingxi.errors import InputError

_SAME = "<http://www.w3.org/2002/07/owl#sameAs>"
_COLUMNS = ("left", "right", "confidence", "left_name", "right_name", "text", "structure", "neighbours")
# What an IRI may not hold (RFC 3987 by way of N-Triples); an id without a scheme is no IRI.
_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>\"{}|^`\\]*")


def write(alignment: Alignment, path: str | Path, least: float = 0.0) -> int:
    """Write the matches of at least a confidence by the end of the name: `.nt`, `.tsv` or `.json`; how many.

    In N-Triples an id that is no IRI becomes `urn:lingxi:` with side and id. Raises InputError for another
    ending, and where the file cannot be written.
    """
    place = Path(path)
    writers = {".nt": same_as, ".tsv": tsv, ".json": as_json}
    if place.suffix not in writers:
        raise InputError(f"{place}: no format by that name", f"end it in {', '.join(writers)}")
    kept = [match for match in alignment.matches if match.confidence >= least]
    try:
        with place.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in writers[place.suffix](alignment, kept))
    except OSError as problem:
        raise InputError(f"{place} cannot be written ({problem.strerror})", "name another place") from None
    return len(kept)


def same_as(alignment: Alignment, matches: list[Match]) -> Iterator[str]:
    """Lines of N-Triples, an owl:sameAs a match."""
    for match in matches:
        yield f"{_iri(match.left, 'left')} {_SAME} {_iri(match.right, 'right')} ."


def tsv(alignment: Alignment, matches: list[Match]) -> Iterator[str]:
    """Lines of a table with a header; names of agreeing neighbours between ` | `."""
    names = _names(alignment.left), _names(alignment.right)
    yield "\t".join(_COLUMNS)
    for match in matches:
        agreeing = " | ".join(
            f"{names[0][a.left_neighbour]} = {names[1][a.right_neighbour]}" for a in match.neighbours
        )
        figures = (f"{match.confidence:.4f}", *match.names, f"{match.text:.4f}", f"{match.structure:.4f}")
        yield "\t".join(_cell(cell) for cell in (match.left, match.right, *figures, agreeing))


def as_json(alignment: Alignment, matches: list[Match]) -> Iterator[str]:
    """One JSON object in lines: what was compared, where confidences come from, and every match."""
    said = {
        "left": _counts(alignment.left),
        "right": _counts(alignment.right),
        "calibration": alignment.calibration,
        "seconds": dict(alignment.seconds),
    }
    yield json.dumps(said, ensure_ascii=False)[:-1] + ', "matches": ['
    for number, match in enumerate(matches, 1):
        yield json.dumps(values(match), ensure_ascii=False) + ("," if number < len(matches) else "")
    yield "]}"


def values(match: Match) -> dict[str, Any]:
    """A match as JSON values."""
    return asdict(match)


def _counts(graph: Graph) -> dict[str, Any]:
    return {
        "name": graph.name,
        "entities": len(graph.entities),
        "triples": len(graph.triples),
        "notes": list(graph.notes),
    }


def _names(graph: Graph) -> dict[str, str]:
    return {entity.id: entity.name or entity.id for entity in graph.entities}


def _iri(key: str, side: str) -> str:
    if _IRI.fullmatch(key):
        return f"<{key}>"
    return f"<urn:lingxi:{side}:{quote(key, safe='')}>"


def _cell(text: str) -> str:
    return " ".join(text.split())
