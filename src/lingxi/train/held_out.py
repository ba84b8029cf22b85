"""Pairs that are never trained on: the dev probe beside the loop, and a suite to measure the result on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.engine.batches import by_budget, common_prefix
from lingxi.errors import InputError
from lingxi.metrics import ndcg_at_k
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.tokens import Tokens
from lingxi.records import Pair, drawn, read_pairs, write_pairs
from lingxi.train.encoders import encode_by
from lingxi.train.mixture import SYMMETRIC
from lingxi.train.parallel import settle
from lingxi.vectors import cut

TRAINED, HELD = "trained.parquet", "held-out.parquet"
# Tasks that rank documents; graded and labelled pairs have other measures.
_RANKED = ("retrieval", "code", "bitext")
_PROBED = 200
# Tokens computed at a time.
_PROBED_TOKENS = 8_192
_LOTS = 2**64


@dataclass(frozen=True, slots=True)
class Split:
    """Files of pairs: those to train on, and those held out, if any."""

    trained: Path
    held: Path | None


def split_pairs(pairs: Path, share: float, seed: int, folder: Path) -> Split:
    """Hold out about `share` of the groups, drawn by seed; no group is on both sides.

    Files that are there are kept. Raises InputError where one side stays empty.
    """
    if share == 0:
        return Split(pairs, None)
    trained, held = folder / TRAINED, folder / HELD
    if not (trained.exists() and held.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        counts = [
            write_pairs((row for row in read_pairs(pairs) if _is_held(row, share, seed) is side), path)
            for side, path in ((False, trained), (True, held))
        ]
        if not all(counts):
            trained.unlink()
            raise InputError(
                f"{pairs}: {counts[0]} rows to train on and {counts[1]} held out",
                "hold out another share, or add pairs",
            )
    return Split(trained, held)


def _is_held(row: Pair, share: float, seed: int) -> bool:
    return drawn(seed, row.group) < share * _LOTS


def write_suite(held: Path, folder: Path) -> Path | None:
    """Write held-out rows as a suite of BEIR sets, one an instruction, and return its file.

    None where no task among them ranks documents.
    """
    sets = []
    for number, ((task, instruction), rows) in enumerate(sorted(_by_kind(held).items())):
        name = f"{task}-{number}"
        _write_set(rows, folder / name)
        alike = "\nalike = true" if task in SYMMETRIC else ""
        sets.append(
            f'[[sets]]\nname = "{name}"\ntask = "retrieval"\nreader = "beir"\npath = "{name}"\n'
            f"instruction = {json.dumps(instruction, ensure_ascii=False)}\n"
            f'metrics = ["ndcg@10", "recall@10"]{alike}\n'
        )
    if not sets:
        return None
    path = folder / "suite.toml"
    head = f'name = "held-out"\nroot = {json.dumps(str(folder.resolve()))}\n\n'
    path.write_text(head + "\n".join(sets), encoding="utf-8")
    return path


def _by_kind(held: Path) -> dict[tuple[str, str], list[Pair]]:
    kinds: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for row in read_pairs(held):
        if row.task in _RANKED and row.positives and row.dropped is None:
            kinds[row.task, row.instruction].append(row)
    return kinds


def _write_set(rows: Sequence[Pair], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    texts = dict.fromkeys(item.text for row in rows for item in row.positives)
    documents = {text: f"d{number}" for number, text in enumerate(texts)}
    queries: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        queries[row.query] |= {documents[item.text] for item in row.positives}
    _lines(folder / "corpus.jsonl", ({"_id": name, "text": text} for text, name in documents.items()))
    _lines(folder / "queries.jsonl", ({"_id": f"q{n}", "text": text} for n, text in enumerate(queries)))
    judged = [f"q{n}\t{name}\t1" for n, own in enumerate(queries.values()) for name in sorted(own)]
    (folder / "qrels.tsv").write_text(
        "\n".join(("query-id\tcorpus-id\tscore", *judged)) + "\n", encoding="utf-8"
    )


def _lines(path: Path, rows: Iterator[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def probe(
    held: Path, network: Decoder | Encoder, tokens: Tokens, max_tokens: int
) -> Callable[[], float] | None:
    """A score of the network as it is when asked: mean nDCG@10 over kinds of held-out rows, 0 to 1.

    Of each kind up to 200 rows, drawn by their ids, are asked among their own documents. None where nothing
    ranks.
    """
    kinds = [(task, asked, _few(rows)) for (task, asked), rows in sorted(_by_kind(held).items())]
    kinds = [kind for kind in kinds if len(kind[2]) > 1]
    if not kinds:
        return None

    def score() -> float:
        return float(np.mean([_ndcg(network, tokens, max_tokens, *kind) for kind in kinds]))

    return score


def _few(rows: Sequence[Pair]) -> list[Pair]:
    # By lot: the first of a file are of one source, and may be of one language.
    return sorted(rows, key=lambda row: drawn(0, row.id))[:_PROBED]


def _ndcg(
    network: Decoder | Encoder,
    tokens: Tokens,
    most: int,
    task: str,
    instruction: str,
    rows: Sequence[Pair],
) -> float:
    before = prompts.query_prefix(instruction)
    after = before if task in SYMMETRIC else ""
    documents = list(dict.fromkeys(item.text for row in rows for item in row.positives))
    places = {text: number for number, text in enumerate(documents)}
    room = most + len(tokens.prompt(before)) + tokens.frame

    def encoded(texts: Sequence[str]) -> NDArray[np.float32]:
        ids = [tokens.framed(own, room) for own in tokens.texts(texts)]
        states: NDArray[np.float32] = pooled(network, ids).numpy()
        return cut(states, states.shape[1])

    scores = encoded([before + row.query for row in rows]) @ encoded([after + text for text in documents]).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    right = [{places[item.text] for item in row.positives} for row in rows]
    ranked = [[float(int(place) in own) for place in line] for line, own in zip(order, right, strict=True)]
    return float(ndcg_at_k(_padded(ranked), [np.ones(len(own)) for own in right], 10).mean())


# Not `engine.pooled_states`: what FSDP gathers in inference mode cannot be trained on afterwards.
@torch.no_grad()
def pooled(network: Decoder | Encoder, sequences: Sequence[list[int]]) -> torch.Tensor:
    """Pooled states [sequences, hidden] on the CPU; what all begin with is computed once a batch."""
    encode, out = encode_by(network), torch.empty(len(sequences), network.size.hidden)
    shared = common_prefix(sequences) if len(sequences) > 1 and network.continues else 0
    for batch in by_budget([len(ids) - shared for ids in sequences], _PROBED_TOKENS):
        out[batch] = encode([sequences[i] for i in batch], shared).cpu()
    settle(network)
    return out


def _padded(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    return np.array([[*row, *[0.0] * (10 - len(row))] for row in rows])
