"""Two small tables that a request holds, aligned; what is wrong with them is said by table and line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lingxi.apps.align import Alignment, Entity, Graph, align, graph_of, read_graph, read_seeds
from lingxi.apps.align.judge import Judge
from lingxi.apps.served.settings import AlignApp
from lingxi.encoding import Encoder
from lingxi.errors import InputError


@dataclass(frozen=True, slots=True)
class Tables:
    """Two graphs as TSV or JSON Lines (which one, the first character tells), and known pairs."""

    left: str
    right: str
    seeds: str = ""


def aligned(app: AlignApp, tables: Tables, embedder: Encoder, reranker: Judge | None) -> Alignment:
    """Align two tables; raises InputError for one that is too large or cannot be read."""
    for side in ("left", "right", "seeds"):
        size = len(getattr(tables, side).encode("utf-8", "replace"))
        if size > app.most_bytes:
            raise InputError(
                f"{side} has {size:,} bytes", f"give at most {app.most_bytes:,}, or use `lingxi align`"
            )
    with TemporaryDirectory(prefix="lingxi-align-") as folder, _without(folder):
        left, right = (_graph(app, Path(folder), side, getattr(tables, side)) for side in ("left", "right"))
        seeds = _seeds(Path(folder), tables.seeds, left, right)
    return align(left, right, embedder, seeds=seeds, reranker=reranker, settings=app.alignment)


def proved(embedder: Encoder) -> None:
    """Align two names, so that a library that is missing is missed at the start; raises MissingExtraError."""
    one = graph_of("left", [Entity("a", "one")])
    align(one, one, embedder)


def _graph(app: AlignApp, folder: Path, side: str, text: str) -> Graph:
    if not text.strip():
        raise InputError(f"{side} is empty", "give a table: TSV with a header, or an object of JSON a line")
    is_json = text.lstrip("\ufeff \t\r\n").startswith("{")
    file = folder / f"{side}.{'jsonl' if is_json else 'tsv'}"
    file.write_text(text, encoding="utf-8", errors="replace", newline="")
    graph = read_graph(file)
    for name, most in (("entities", app.most_entities), ("triples", app.most_triples)):
        count = len(getattr(graph, name))
        if count > most:
            raise InputError(f"{side} has {count:,} {name}", f"give at most {most:,}, or use `lingxi align`")
    notes = tuple(note.replace(f"{folder}/", "") for note in graph.notes)
    return replace(graph, name=side, notes=notes)


def _seeds(folder: Path, text: str, left: Graph, right: Graph) -> tuple[tuple[str, str], ...]:
    if not text.strip():
        return ()
    file = folder / "seeds"
    file.write_text(text, encoding="utf-8", errors="replace", newline="")
    return read_seeds(file, left, right)


@contextmanager
def _without(folder: str) -> Iterator[None]:
    """Errors name the table, not the folder it was put into."""
    try:
        yield
    except InputError as error:
        raise InputError(error.reason.replace(f"{folder}/", ""), error.remedy) from None


def told(found: Alignment, least: float) -> list[dict[str, Any]]:
    """Matches of at least a confidence as plain values, neighbours by their names."""
    names = [{one.id: one.name or one.id for one in graph.entities} for graph in (found.left, found.right)]
    return [
        {
            "left": match.left,
            "right": match.right,
            "left_name": names[0][match.left],
            "right_name": names[1][match.right],
            "confidence": match.confidence,
            "compared": list(match.names),
            "text": match.text,
            "structure": match.structure,
            "mutual": match.mutual,
            "reranked": match.reranked,
            "given": match.given,
            "neighbours": [
                {
                    "left_relation": one.left_relation,
                    "left": names[0][one.left_neighbour],
                    "right_relation": one.right_relation,
                    "right": names[1][one.right_neighbour],
                    "weight": one.weight,
                }
                for one in match.neighbours
            ],
        }
        for match in found.matches
        if match.confidence >= least
    ]
