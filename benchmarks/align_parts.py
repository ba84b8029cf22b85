"""Align small parts of DBP15K that overlap in part: precision, recall, and whether confidences hold.

    python benchmarks/align_parts.py FOLDER [--model NAME] [--draws 30] [--names] [--whole] [--out FILE]

FOLDER as in `align.py`. A draw is a neighbourhood of 300 entities of one graph; a quarter, a half or three
quarters of them have their partner among the 300 of the other, which are neighbours too; the rest have none.
Whoever aligns does not know which. `--names` leaves the triples out. Printed are the figures of all draws
together, by overlap, and the weights that would suit them; with `--whole` those of both graphs whole go in.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from align import Kept, Links, only, read_dbp15k, reliability
from lingxi import Embedder
from lingxi.apps.align import Alignment, AlignSettings, Graph, Match, align
from lingxi.apps.align.confidence import fitted
from lingxi.apps.align.features import same

SIZE, OVERLAPS = 300, (0.25, 0.5, 0.75)
Judged = list[tuple[Match, bool]]


def main() -> None:
    options = read_options()
    graphs, links = read_dbp15k(options.folder)
    closed = only(graphs[0], {a for a, _ in links}), only(graphs[1], {b for _, b in links})
    embedder = Kept(Embedder(options.model, cache=options.cache))
    settings = AlignSettings(structure=0) if options.names else AlignSettings()
    found: dict[float, Judged] = defaultdict(list)
    shared = 0
    for draw in range(options.draws):
        overlap = OVERLAPS[draw % len(OVERLAPS)]
        parts, true = part(closed, links, overlap, draw)
        said = align(*parts, embedder, settings=settings)
        found[overlap] += judged(said, dict(true))
        shared += len(true)
    together = [pair for each in found.values() for pair in each]
    report = {"all": figures(together), "recall": round(sum(r for _, r in together) / shared, 4)}
    report |= {str(overlap): figures(each) for overlap, each in found.items()}
    if options.whole:
        said, true = align(*graphs, embedder, settings=settings), dict(links)
        together += [(m, true[m.left] == m.right) for m in said.matches if m.left in true]
    report["weights"] = weights(together)
    print(json.dumps(report), flush=True)
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--names", action="store_true")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--cache", type=Path, help="file that keeps vectors from one run to the next")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def part(
    graphs: tuple[Graph, Graph], links: Links, overlap: float, seed: int
) -> tuple[tuple[Graph, Graph], Links]:
    """Neighbourhoods of both graphs, and the links between them."""
    rng = np.random.default_rng(seed)
    partner = dict(links)
    left = around(graphs[0], [links[int(rng.integers(len(links)))][0]], set(), rng)
    shared = left[: round(overlap * SIZE)]
    start = [partner[key] for key in shared]
    right = around(graphs[1], start, {partner[key] for key in left} - set(start), rng)
    return (only(graphs[0], set(left)), only(graphs[1], set(right))), [(key, partner[key]) for key in shared]


def around(graph: Graph, start: list[str], without: set[str], rng: np.random.Generator) -> list[str]:
    """Entities reached from some, those first, until there are `SIZE`."""
    near: dict[str, list[str]] = defaultdict(list)
    for head, _, tail in graph.triples:
        near[head].append(tail)
        near[tail].append(head)
    found = dict.fromkeys(start)
    queue = list(start)
    while len(found) < SIZE:
        if not queue:
            queue = [graph.entities[int(rng.integers(len(graph.entities)))].id]
        here = queue.pop(int(rng.integers(len(queue))))
        fresh = [key for key in dict.fromkeys((here, *near[here])) if key not in found and key not in without]
        taken = fresh[: SIZE - len(found)]
        found.update(dict.fromkeys(taken))
        queue += taken
    return list(found)


def judged(said: Alignment, true: dict[str, str]) -> Judged:
    return [(match, true.get(match.left) == match.right) for match in said.matches]


def figures(pairs: Judged) -> dict[str, Any]:
    right = np.array([r for _, r in pairs])
    return {"precision": round(float(right.mean()), 4), **reliability([m for m, _ in pairs], right)}


def weights(pairs: Judged) -> list[float]:
    rows = [(m.share, m.text, same(*m.names), m.structure, m.mutual) for m, _ in pairs]
    return list(fitted(np.array(rows, np.float32), np.array([r for _, r in pairs]), "").weights)


if __name__ == "__main__":
    main()
