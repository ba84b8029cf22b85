"""Segments against words on long meetings (QMSum): turns inside one meeting, and whole meetings.

    python benchmarks/long_documents.py ROOT [--model NAME …] [--out FILE.json]

ROOT is the folder or tar archive of the suite `benchmark`, whose set `qmsum_long` holds 35 meetings. Each
model embeds turns one by one, in the context of their meeting (late chunking), and with the two turns before
them; each is measured alone and fused with BM25 by reciprocal rank, as the index does. Meetings are ranked by
their best turn, the mean of their three best, and by a logistic regression over such figures (trained on the
other four fifths of the queries). Intervals are bootstraps over queries, differences paired.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lingxi import Embedder, metrics
from lingxi.collect.archives import opened_tar
from lingxi.evaluate.lexical import Bm25, TfIdf
from lingxi.evaluate.readers import read_set
from lingxi.evaluate.settings import EvaluateSettings
from lingxi.evaluate.suite import read_suite
from lingxi.evaluate.systems import Texts
from lingxi.evaluate.tasks import Ranking
from lingxi.index.around import raised
from lingxi.index.documents import document_score

K, FUSION = 10, 60
POOL, REACH = 300, 2
Scores = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--model", nargs="+", default=["lingxi-pico"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cache", type=Path, default=EvaluateSettings().cache, help="where ROOT is unpacked")
    options = parser.parse_args()
    suite = read_suite("benchmark")
    sets = {item.name: item for item in suite.sets}
    root = opened_tar(options.root, options.cache.expanduser())
    (turns,) = read_set(sets["qmsum-turns"], suite, root)
    (meetings,) = read_set(sets["qmsum-meetings"], suite, root)
    assert turns.queries == meetings.queries and tuple(turns.documents) == tuple(meetings.documents)
    systems = words(turns)
    systems["BM25, in context"] = beside(systems["BM25"], turns)
    for name in options.model:
        systems |= of_model(Embedder(name), turns, systems["BM25"])
    rows = [
        row
        for name, scores in systems.items()
        for row in measured(name, scores, systems["BM25"], turns, meetings)
    ]
    head = "| system | turns: nDCG@10 | recall@10 | against BM25 | meetings: hits@1 max | mean3 | learned |"
    print(head)
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row.values())} |")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


def words(task: Ranking) -> dict[str, Scores]:
    """Word-level methods, statistics taken over the turns of all meetings."""
    asked, documents = Texts(task.queries), Texts(list(task.documents))
    return {one.name: np.concatenate(list(one.blocks(asked, documents)), axis=1) for one in (TfIdf(), Bm25())}


def of_model(embedder: Embedder, task: Ranking, bm25: Scores) -> dict[str, Scores]:
    """Cosines of the queries with all turns, embedded three ways, alone and fused with BM25."""
    name = Path(embedder.name).name
    queries = embedder.encode_query(list(task.queries), instruction=task.instruction)
    inside = by_meeting(task)
    texts = list(task.documents)
    lengths = embedder.count_tokens([" ".join(texts[n] for n in own) for own in inside])
    said = f"{name}: {len(inside)} meetings of {min(lengths):,} to {max(lengths):,} tokens"
    print(f"{said}, read {embedder.max_seq_length:,} at a time")
    before = [
        "\n".join(texts[m] for m in own[max(0, at - 2) : at + 1])
        for own in inside
        for at, n in enumerate(own)
    ]
    order = [n for own in inside for n in own]
    late = embedder.encode_segments([[texts[n] for n in own] for own in inside], show_progress_bar=False)
    ways = {
        "one by one": embedder.encode_document(texts, show_progress_bar=False),
        "with two turns before": placed(embedder.encode_document(before, show_progress_bar=False), order),
        "late chunking": placed(np.concatenate(late), order),
    }
    found = {}
    for way, vectors in ways.items():
        found[f"{name}, {way}"] = queries @ vectors.T
        found[f"{name}, {way} + BM25"] = fused(queries @ vectors.T, bm25, task)
    found[f"{name}, one by one + BM25, in context"] = in_context(queries @ ways["one by one"].T, bm25, task)
    return found


def by_meeting(task: Ranking) -> list[list[int]]:
    found: dict[str, list[int]] = {}
    for number, key in enumerate(task.document_ids):
        found.setdefault(key.partition("t")[0], []).append(number)
    return list(found.values())


def placed(rows: np.ndarray, order: Sequence[int]) -> np.ndarray:
    out = np.empty_like(rows)
    out[list(order)] = rows
    return out


def fused(one: Scores, other: Scores, task: Ranking) -> Scores:
    """1 / (60 + rank), summed over both; ranks are taken inside the query's meeting, and over all turns."""
    return sum(
        1 / (FUSION + 1 + np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1))
        for scores in (one, other)
    )


def in_context(one: Scores, other: Scores, task: Ranking) -> Scores:
    """Reciprocal ranks of the first POOL of both rankings inside each meeting, raised by the turns beside."""
    found = np.zeros_like(one)
    for query, own in enumerate(task.candidates or ()):
        for scores in (one[query], other[query]):
            best = np.array(own)[np.argsort(-scores[list(own)], kind="stable")[:POOL]]
            found[query, best] += 1 / (FUSION + 1 + np.arange(len(best)))
    return beside(found, task)


def beside(scores: Scores, task: Ranking) -> Scores:
    """Each turn's score raised by those of the turns beside it in its meeting."""
    places = {n: (str(m), at) for m, own in enumerate(by_meeting(task)) for at, n in enumerate(own)}
    out = np.empty_like(scores)
    for row, told in zip(out, scores, strict=True):
        found = raised({place: float(told[n]) for n, place in places.items()}, REACH)
        row[list(places)] = list(found.values())
    return out


def measured(
    name: str, scores: Scores, bm25: Scores, turns: Ranking, meetings: Ranking
) -> list[dict[str, str]]:
    ndcg, recall = turn_values(scores, turns)
    against = turn_values(bm25, turns)[1]
    row = {
        "system": name,
        "ndcg": interval(ndcg),
        "recall": interval(recall),
        "relative": "" if scores is bm25 else relative(recall, against),
    }
    # In context, only turns of the query's own meeting have scores: nothing is said of meetings.
    everywhere = not name.endswith(" + BM25, in context")
    parents = np.asarray(meetings.parents)
    for how in ("max", "mean3"):
        table = parent_scores(scores, parents, lambda own, how=how: document_score(own.tolist(), how))
        row[how] = interval(hits(table, meetings)) if everywhere else ""
    row["learned"] = interval(learned(scores, parents, meetings)) if everywhere else ""
    return [row]


def turn_values(scores: Scores, task: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """nDCG@10 and recall@10 of each query, among the turns of its own meeting."""
    graded, count, judged = [], [], []
    for query, own in enumerate(task.candidates or ()):
        best = [own[n] for n in np.argsort(-scores[query, list(own)], kind="stable")[:K]]
        grades = [task.judged[query].get(n, 0.0) for n in best]
        graded.append(grades + [0.0] * (K - len(grades)))
        judged.append(list(task.judged[query].values()))
        count.append(sum(grade > 0 for grade in task.judged[query].values()))
    return metrics.ndcg_at_k(graded, judged, K), metrics.recall_at_k(graded, count, K)


def parent_scores(scores: Scores, parents: np.ndarray, of: Callable[[np.ndarray], float]) -> Scores:
    names = np.unique(parents)
    return np.array([[of(row[parents == name]) for name in names] for row in scores])


def hits(table: Scores, task: Ranking) -> np.ndarray:
    best = table.argmax(axis=1)
    return np.array([float(task.judged[q].get(int(b), 0) > 0) for q, b in enumerate(best)])


def learned(scores: Scores, parents: np.ndarray, task: Ranking) -> np.ndarray:
    """hits@1 of a logistic regression over the best, the means of 3 and 10, and the length; five folds."""
    from sklearn.linear_model import LogisticRegression

    ranked = [parent_scores(scores, parents, lambda own, k=k: np.sort(own)[-k:].mean()) for k in (1, 3, 10)]
    length = np.log(np.bincount(parents))
    table = np.stack([*((r - r.mean(1, keepdims=True)) / r.std(1, keepdims=True) for r in ranked)], axis=-1)
    table = np.concatenate([table, np.broadcast_to(length[None, :, None], (*table.shape[:2], 1))], axis=-1)
    right = np.array([[float(own.get(n, 0) > 0) for n in range(table.shape[1])] for own in task.judged])
    fold, out = np.arange(len(table)) % 5, np.zeros(len(table))
    for number in range(5):
        train, test = fold != number, fold == number
        model = LogisticRegression(max_iter=1000).fit(table[train].reshape(-1, 4), right[train].ravel())
        best = (table[test] @ model.coef_[0]).argmax(axis=1)
        out[test] = right[test][np.arange(test.sum()), best]
    return out


def interval(values: np.ndarray) -> str:
    low, high = metrics.bootstrap_interval(values)
    return f"{100 * values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def relative(values: np.ndarray, against: np.ndarray) -> str:
    """How much larger the mean is, in percent, with a paired bootstrap."""
    draw = np.random.default_rng(0)
    drawn = [draw.integers(0, len(values), len(values)) for _ in range(2000)]
    found = [values[rows].mean() / against[rows].mean() - 1 for rows in drawn]
    low, high = np.quantile(found, [0.025, 0.975])
    return f"{100 * (values.mean() / against.mean() - 1):+.0f} % [{100 * low:+.0f}, {100 * high:+.0f}]"


if __name__ == "__main__":
    main()
