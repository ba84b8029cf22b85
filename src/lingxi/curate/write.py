"""The kept and the dropped rows on disk, in their order, with scores, reasons and what people mended."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from lingxi.curate.files import DROPPED_FILE, KEPT_FILE
from lingxi.curate.judged import Scores
from lingxi.curate.ledger import Ledger
from lingxi.curate.review.feedback import Feedback, apply_feedback
from lingxi.curate.rowwise import Columns
from lingxi.records import batches, pair_columns, pair_schema, pairs_of


def write_rows(
    files: Sequence[Path],
    columns: Columns,
    scores: Scores,
    feedback: Feedback | None,
    out: Path,
    ledger: Ledger,
) -> None:
    """Copy the rows to the kept and the dropped file; both appear under their names only when complete."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    schema, start = pair_schema(), 0
    index = schema.get_field_index("dropped")
    names = pa.array([None, *columns.reasons[1:]], pa.string())
    partial = [out / (name + ".part") for name in (KEPT_FILE, DROPPED_FILE)]
    with (
        pq.ParquetWriter(partial[0], schema, compression="zstd") as kept,
        pq.ParquetWriter(partial[1], schema, compression="zstd") as dropped,
    ):
        for batch in chain.from_iterable(batches(path, schema) for path in files):
            reasons = names.take(pa.array(columns.reason[start : start + batch.num_rows]))
            batch = _with_scores(batch, scores, start)
            start += batch.num_rows
            if feedback is not None:
                batch, reasons = _mended(batch, reasons, feedback)
            ledger.note(batch, reasons)
            marked = batch.set_column(index, schema.field("dropped"), reasons)
            mask = pc.is_null(reasons)
            kept.write_batch(marked.filter(mask))
            dropped.write_batch(marked.filter(pc.invert(mask)))
    for path in partial:
        path.replace(path.with_suffix(""))


def _mended(batch: Any, reasons: Any, feedback: Feedback) -> tuple[Any, Any]:
    """The batch and its reasons after what people said of the rows that no rule dropped."""
    import pyarrow as pa

    rows, said = list(pairs_of(batch)), reasons.to_pylist()
    for place, reason in enumerate(said):
        if reason is None:
            outcome = apply_feedback(feedback, rows[place])
            if isinstance(outcome, str):
                said[place] = outcome
            else:
                rows[place] = outcome
    return pa.record_batch(pair_columns(rows), schema=pair_schema()), pa.array(said, pa.string())


def _with_scores(batch: Any, scores: Scores, start: int) -> Any:
    """The batch with the scores of its rows added to those they have."""
    import pyarrow as pa

    if not any(start + i in scores for i in range(batch.num_rows)):
        return batch
    index = batch.schema.get_field_index("scores")
    merged = [
        list({**dict(old or ()), **scores.get(start + i, {})}.items())
        for i, old in enumerate(batch.column(index).to_pylist())
    ]
    return batch.set_column(
        index, batch.schema.field(index), pa.array(merged, batch.schema.field(index).type)
    )
