"""Checks of what training is fed and of what it did: leaks, false negatives, weights that stood still.

Each is a plain function that raises GuardError saying what, where and how to mend it. That training and
serving agree is checked in `served`; what stands beside the loop is in `watches`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi.collect.archives import opened_tar
from lingxi.curate.leaks import leak_rule
from lingxi.errors import GuardError
from lingxi.records import Pair

# Sums in another order, and a merge of equal models, move a number by so many of its last places.
_ROUNDING = 4
_NAMED = 5


def weights_moved(
    before: Mapping[str, torch.Tensor],
    after: Mapping[str, torch.Tensor],
    trained: Collection[str] | None = None,
) -> None:
    """Raise GuardError where training (or merging) left no trace in tensors that should have changed.

    `trained` names those; None means every matrix (norms in half precision may round back to what they
    were). A tensor moved where a number of it changed by more than rounding in the coarser of both types.
    """
    other = sorted(before.keys() ^ after.keys())
    if other:
        raise GuardError(
            f"{len(other)} tensors are in one of both models only, the first is {other[0]!r}",
            "compare the model with the one it was trained from",
        )
    expected = [n for n in before if (before[n].dim() >= 2 if trained is None else n in trained)]
    still = [name for name in expected if not _moved(name, before[name], after[name])]
    if still and len(still) == len(expected):
        raise GuardError(
            "the model equals the one it started from: no tensor changed by more than rounding",
            "look whether gradients reach the weights, the learning rate is above 0 and adapters were merged",
        )
    if still:
        raise GuardError(
            f"{len(still)} of {len(expected)} trained tensors did not change: {', '.join(still[:_NAMED])}",
            "look whether they are frozen, outside the optimizer, or without a gradient",
        )


def _moved(name: str, before: torch.Tensor, after: torch.Tensor) -> bool:
    if before.shape != after.shape:
        raise GuardError(
            f"{name!r} has the shape {list(after.shape)}, it was {list(before.shape)}",
            "compare the model with the one it was trained from",
        )
    rounding = _ROUNDING * max(torch.finfo(before.dtype).eps, torch.finfo(after.dtype).eps)
    # Piece by piece: most tensors show at once that they moved.
    for start in range(0, max(1, before.numel()), 2**20):
        part = slice(start, start + 2**20)
        a, b = (t.detach().flatten()[part].float().cpu() for t in (before, after))
        if bool(((b - a).abs() > rounding * torch.maximum(a.abs(), b.abs())).any()):
            return True
    return False


def no_positive_among_negatives(
    relevant: tuple[NDArray[np.int64], NDArray[np.int64]],
    negatives: tuple[NDArray[np.int64], NDArray[np.int64]],
    text: Callable[[int], str],
) -> None:
    """Raise GuardError where a batch counts a query's relevant document among its negatives.

    Both are pairs of arrays (owner, document), as `np.nonzero` gives of a mask [queries, documents]: the
    query's row in the batch and the document's id. `text` gives the text of an id, for the error.
    """
    (owners, documents), (rows, ids) = relevant, negatives
    known, numbers = np.unique(np.concatenate((documents, ids)), return_inverse=True)
    right = owners.astype(np.int64) * len(known) + numbers[: len(documents)]
    wrong = np.flatnonzero(np.isin(rows.astype(np.int64) * len(known) + numbers[len(documents) :], right))
    if len(wrong):
        first = int(wrong[0])
        raise GuardError(
            f"{len(wrong)} negatives of the batch are relevant documents of their own query; the first is "
            f"document {int(ids[first])} of row {int(rows[first])}, {short(text(int(ids[first])))}",
            "list every known positive of a query in its pair, and mask negatives by id",
        )


def no_benchmark_rows(
    pairs: Iterable[Pair], benchmark: Path, cache: Path, *, distractors: bool = False
) -> Iterator[Pair]:
    """Pass pairs through; raises GuardError at the first that shows the benchmark to the model.

    `benchmark` is a folder or tar archive (unpacked under `cache`), and what overlaps is decided by
    `curate.leaks`, as in the curate stage. Raises InputError at once where it cannot be read.
    """
    rule = leak_rule(opened_tar(benchmark, cache.expanduser()), distractors=distractors)

    def passed() -> Iterator[Pair]:
        """The pairs, up to the first that leaks."""
        for number, row in enumerate(pairs):
            reason = rule(row)
            if reason is not None:
                raise GuardError(
                    f"row {number} ({row.id}, from {row.source}) is in the benchmark {benchmark}: {reason}; "
                    f"its query is {short(row.query)}",
                    "run the curate stage with curate.benchmark set, and train on what it keeps",
                )
            yield row

    return passed()


def short(text: str) -> str:
    """A text as errors show it: quoted, on one line, cut."""
    return repr(text if len(text) <= 60 else text[:59] + "…")
