"""Align DBP15K: Hits@1, Hits@10 and MRR with bootstrap intervals, seconds and peak memory.

    python benchmarks/align.py FOLDER [--model NAME]... [--ways string,names,…]
                               [--near NAME=NAME]... [--list FILE]... [--cache FILE] [--out FILE]

FOLDER holds ent_ids_1.tsv, ent_ids_2.tsv, triples_1.tsv, triples_2.tsv and ref_ent_ids.tsv. The ways:

  string     TF-IDF of runs of 2 to 4 characters of the names as they are written: the floor
  embedder   names only, the embedder alone
  names      names only, embedder and spelling
  structure  names and triples, unsupervised
  seeds      names, triples and 30 % of the links; measured on the other 70 %, against their 10,500 targets.
             The split is drawn as RDGCN's code draws it (numpy's generator, seed 12306, shuffles the links)
  whole      as `structure`, but nobody says which entities have a partner: all of both graphs are matched
  whole-names  names only, all of both graphs

All but these two are given the 15,000 entities a side that have a partner, as published figures are. A target
beyond the 50 candidates kept counts as not found. `--near 人工智能='Artificial Intelligence'` says where the
second name stands among all names of the right graph, and of every `--list FILE` (a name a line), by the
embedder alone. Seconds are of the processor (and of the clock),
without the embedder's, which are named apart.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from lingxi.apps.align import Alignment, AlignSettings, Entity, Graph, Match, Triple, align, graph_of
from lingxi.encoding import Encoder
from lingxi.metrics import bootstrap_interval

WAYS = ("string", "embedder", "names", "structure", "seeds", "whole", "whole-names")
SETTINGS = {
    "embedder": AlignSettings(spelling=0, structure=0),
    "names": AlignSettings(structure=0),
    "whole-names": AlignSettings(structure=0),
}
Links = list[tuple[str, str]]


def main() -> None:
    options = read_options()
    graphs, links = read_dbp15k(options.folder)
    found = []
    for model in options.model:
        from lingxi import Embedder

        embedder = Kept(Embedder(model, cache=options.cache))
        for pair, (place, names) in product(options.near, lists(graphs[1], options.list).items()):
            said = near(names, *pair.split("=", 1), embedder)
            print(json.dumps({"model": model, "among": place, **said}, ensure_ascii=False), flush=True)
        for way in filter(None, options.ways.split(",")):
            found.append({"model": model, **measure(graphs, links, embedder, way)})
            print(json.dumps(found[-1], ensure_ascii=False), flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", action="append", help="may be given several times")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--near", action="append", default=[], help="may be given several times")
    parser.add_argument("--list", action="append", type=Path, default=[], help="may be given several times")
    parser.add_argument("--cache", type=Path, help="file that keeps vectors from one run to the next")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.model = options.model or ["lingxi-pico"]
    unknown = set(filter(None, options.ways.split(","))) - set(WAYS)
    if unknown:
        parser.error(f"no way named {', '.join(sorted(unknown))}")
    return options


def read_dbp15k(folder: Path) -> tuple[tuple[Graph, Graph], Links]:
    """Both graphs, with relations by number as the data set has them, and the links."""
    links = [(a, b) for a, b in rows(folder / "ref_ent_ids.tsv")]
    return (read_side(folder, 1), read_side(folder, 2)), links


def read_side(folder: Path, side: int) -> Graph:
    entities = [Entity(key, name) for key, name in rows(folder / f"ent_ids_{side}.tsv")]
    triples = [Triple(*row) for row in rows(folder / f"triples_{side}.tsv")]
    return graph_of(f"{folder.name} {side}", entities, triples)


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


class Kept:
    """An embedder whose vectors are kept between ways; `seconds` is the processor's time it took."""

    def __init__(self, embedder: Any) -> None:
        self._embedder, self._kept = embedder, {}
        self.seconds = 0.0

    def encode_query(self, inputs: list[str], **options: Any) -> Any:
        return self._embedder.encode_query(inputs, **options)

    def encode_document(self, inputs: list[str], **options: Any) -> Any:
        begun = time.process_time()
        fresh = [text for text in dict.fromkeys(inputs) if text not in self._kept]
        if fresh:
            vectors = self._embedder.encode_document(fresh, **options)
            self._kept.update(zip(fresh, vectors, strict=True))
        self.seconds += time.process_time() - begun
        return np.stack([self._kept[text] for text in inputs])


def lists(graph: Graph, files: list[Path]) -> dict[str, list[str]]:
    """Names to look among: those of a graph, and those of each file."""
    read = {file.name: file.read_text(encoding="utf-8").splitlines() for file in files}
    return {graph.name: [entity.name for entity in graph.entities], **read}


def near(names: list[str], name: str, wanted: str, embedder: Encoder) -> dict[str, Any]:
    """Where a name stands among others, however those write it."""
    others = (other for other in names if other.casefold() != wanted.casefold())
    among = list(dict.fromkeys([wanted, *others]))
    scores = embedder.encode_document(among) @ embedder.encode_document([name])[0]
    best = [among[at] for at in np.argsort(-scores)[:5]]
    rank = 1 + int((scores > scores[0]).sum())
    return {"names": len(among), "name": name, "wanted": wanted, "rank": rank, "nearest": best}


def measure(graphs: tuple[Graph, Graph], links: Links, embedder: Encoder, way: str) -> dict[str, Any]:
    """One way on one data set."""
    linked = (
        graphs
        if way.startswith("whole")
        else tuple(only(g, {x[i] for x in links}) for i, g in enumerate(graphs))
    )
    seeds, test = rdgcn_split(links) if way == "seeds" else ([], links)
    if way == "string":
        return {"way": way, **figures(string_ranks(graphs, test))}
    embedded = getattr(embedder, "seconds", 0.0)
    clock, processor = time.perf_counter(), time.process_time()
    found = align(*linked, embedder, seeds=seeds, settings=SETTINGS.get(way))
    spent = time.process_time() - processor
    own = getattr(embedder, "seconds", 0.0) - embedded
    return {
        "way": way,
        **figures(ranks(found, test)),
        **one_to_one(found, test),
        "calibration": found.calibration,
        "seconds": {name: round(value, 1) for name, value in found.seconds.items()},
        "clock": round(time.perf_counter() - clock, 1),
        "processor": round(spent - own, 1),
        "embedder": round(own, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def only(graph: Graph, kept: set[str]) -> Graph:
    """A graph of some of the entities, and the triples among them."""
    triples = [t for t in graph.triples if t.head in kept and t.tail in kept]
    return graph_of(graph.name, [e for e in graph.entities if e.id in kept], triples)


def rdgcn_split(links: Links) -> tuple[Links, Links]:
    order = list(links)
    np.random.RandomState(12306).shuffle(order)
    cut = len(order) // 10 * 3
    pairs = [(str(a), str(b)) for a, b in order]
    return pairs[:cut], pairs[cut:]


def string_ranks(graphs: tuple[Graph, Graph], links: Links) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer

    name = [{e.id: e.name for e in graph.entities} for graph in graphs]
    texts = [[name[side][pair[side]] for pair in links] for side in (0, 1)]
    counted = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), dtype=np.float32)
    rows = counted.fit_transform([*texts[0], *texts[1]])
    left, right = rows[: len(links)], rows[len(links) :]
    out = []
    for start in range(0, len(links), 500):
        scores = (left[start : start + 500] @ right.T).toarray()
        own = scores[np.arange(len(scores)), np.arange(start, start + len(scores))][:, None]
        # Equals share their places: half of them come before.
        out.append(1 + (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2)
    return np.concatenate(out)


def ranks(found: Alignment, links: Links) -> np.ndarray:
    """The rank of every link's target among the targets of the links, inf beyond the candidates."""
    row = {entity.id: number for number, entity in enumerate(found.left.entities)}
    column = {entity.id: number for number, entity in enumerate(found.right.entities)}
    asked = np.zeros(len(column), bool)
    asked[[column[b] for _, b in links]] = True
    out = np.full(len(links), np.inf)
    for number, (a, b) in enumerate(links):
        listed = found.candidates[row[a]]
        listed = listed[listed >= 0]
        place = np.flatnonzero(listed[asked[listed]] == column[b])
        out[number] = place[0] + 1 if len(place) else np.inf
    return out


def figures(place: np.ndarray) -> dict[str, Any]:
    values = {"hits@1": place < 1.5, "hits@10": place <= 10, "mrr": 1 / place}
    return {"links": len(place)} | {
        name: [round(100 * float(v.mean()), 2), *(round(100 * x, 2) for x in bootstrap_interval(v))]
        for name, v in values.items()
    }


def one_to_one(found: Alignment, links: Links) -> dict[str, Any]:
    """Precision and recall of the matches, all and the sure ones, and how well their confidence holds.

    Judged are the matches that are not given, of entities whose partner is known; of the others many are
    right that the links do not name.
    """
    true = dict(links)
    known = [m for m in found.matches if m.left in true and not m.given]
    right = np.array([true[m.left] == m.right for m in known])
    return {
        "precision": round(float(right.mean()), 4),
        "recall": round(float(right.sum() / len(links)), 4),
        **reliability(known, right),
    }


def reliability(matches: Sequence[Match], right: np.ndarray) -> dict[str, Any]:
    """Expected calibration error over ten bins with its interval, and what is held to be sure.

    `bins` are rows of: confidence from, matches, mean confidence, share that is right.
    """
    said = np.array([m.confidence for m in matches])
    at = np.minimum((said * 10).astype(int), 9)
    bins = [(b, said[at == b], right[at == b]) for b in sorted(set(at.tolist()))]
    draws = [np.random.default_rng(n).integers(0, len(said), len(said)) for n in range(200)]
    errors = [binned(said[draw], right[draw], at[draw]) for draw in draws]
    high = said >= 0.8
    return {
        "calibration_error": [
            round(x, 4) for x in (binned(said, right, at), *np.quantile(errors, (0.025, 0.975)))
        ],
        "sure": int(high.sum()),
        "sure_precision": round(float(right[high].mean()), 4) if high.any() else None,
        "bins": [[b / 10, len(s), round(float(s.mean()), 3), round(float(r.mean()), 3)] for b, s, r in bins],
    }


def binned(said: np.ndarray, right: np.ndarray, at: np.ndarray) -> float:
    """The gap between confidence and share right, mean over bins by size (arXiv 1706.04599, equation 3)."""
    gaps = np.bincount(at, said - right, minlength=10)
    return float(np.abs(gaps).sum() / len(said))


if __name__ == "__main__":
    main()
