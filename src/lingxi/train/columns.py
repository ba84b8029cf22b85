"""What a store keeps of a record batch of pairs, as numpy arrays: pure functions, no object a row."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError
from lingxi.records import pair_schema, require_pyarrow

# Together they make a stratum.
STRATUM = ("task", "instruction", "source", "query_language")
SIDES = ("positives", "negatives")
_OTHERS = ("group", "query", *SIDES, "document_language", "scores", "dropped")
NO_POSITIVES, NO_TEXT = "without positives", "without text"


def schema() -> Any:
    """Those columns of `records.pair_schema` that are read."""
    whole = pair_schema()
    return require_pyarrow().schema([whole.field(name) for name in (*STRATUM, *_OTHERS)])


def typed(batch: Any, path: Path) -> Any:
    """The columns that are read, in their types; raises InputError naming the file where they are others."""
    import pyarrow as pa

    try:
        return batch.select(schema().names).cast(schema())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as problem:
        raise InputError(
            f"{path} holds other columns than pairs ({problem})", "write it with lingxi.records"
        ) from None


def kept(batch: Any, path: Path) -> tuple[Any, dict[str, int]]:
    """The rows of a batch that are trained on, and how many are left out by reason.

    Raises InputError naming the file and the columns that have empty cells in a row that is kept.
    """
    import pyarrow.compute as pc

    reasons = _reasons(batch)
    counts = {each["values"]: each["counts"] for each in pc.value_counts(reasons.drop_null()).to_pylist()}
    rows = batch.filter(reasons.is_null()) if counts else batch
    named = (*STRATUM, "group", "document_language")
    if empty := [name for name in named if rows.column(name).null_count]:
        raise InputError(f"{path}: the columns {', '.join(empty)} have empty cells", "fill them in")
    return rows, counts


def _reasons(batch: Any) -> Any:
    """Why each row is left out, null where it is kept."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lacking = pc.fill_null(pc.equal(pc.list_value_length(batch.column("positives")), 0), True)
    untold = _is_empty(batch.column("query"))
    for side in SIDES:
        column = batch.column(side)
        untold[pc.list_parent_indices(column).to_numpy()[_is_empty(passages(column, "text"))]] = True
    nothing = pa.scalar(None, pa.string())
    return pc.coalesce(
        batch.column("dropped"),
        pc.if_else(lacking, NO_POSITIVES, nothing),
        pc.if_else(pa.array(untold), NO_TEXT, nothing),
    )


def _is_empty(texts: Any) -> NDArray[np.bool_]:
    import pyarrow.compute as pc

    found = pc.fill_null(pc.equal(pc.binary_length(texts), 0), True)
    return np.array(found.to_numpy(zero_copy_only=False))


def passages(column: Any, name: str) -> Any:
    """One field of all passages of a column of lists, one after another."""
    import pyarrow.compute as pc

    return pc.struct_field(pc.list_flatten(column), name)


def texts_of(column: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The UTF-8 bytes of a column of texts, and how many bytes each has; the bytes are not copied."""
    if not len(column):
        return np.empty(0, np.uint8), np.empty(0, np.int64)
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    lengths = (ends[1:] - ends[:-1]).astype(np.int64)
    return np.frombuffer(data, np.uint8)[ends[0] : ends[-1]], lengths


def ids(batch: Any, side: str) -> Any:
    """What names each passage: its source with its id (good for that source alone), or else with its text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = batch.column(side)
    given, text = passages(column, "id"), passages(column, "text")
    named = pc.coalesce(pc.if_else(pc.equal(given, ""), pa.scalar(None, pa.string()), given), text)
    sources = batch.column("source").take(pc.list_parent_indices(column))
    return pc.binary_join_element_wise(sources, named, "\x1f")


def hashes(column: Any) -> NDArray[np.uint64]:
    """`records.stable_hash` of each text of a column, each different text read once."""
    import pyarrow as pa

    coded = column.dictionary_encode()
    values = coded.dictionary.cast(pa.binary()).to_pylist()
    joined = b"".join([blake2b(value, digest_size=8).digest() for value in values])
    found = np.frombuffer(joined, ">u8").astype(np.uint64)
    return found[np.asarray(coded.indices.to_numpy(), np.int64)]


def scores(batch: Any, key: str) -> NDArray[np.float32]:
    """One score of each row, NaN where it has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.map_lookup(batch.column("scores"), pa.scalar(key), "first")
    return np.asarray(pc.fill_null(found, float("nan")).to_numpy(), np.float32)


def own_positives(batch: Any) -> int:
    """How many negatives are, by id or by text, a positive of their own row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [batch.column(side) for side in SIDES]
    rows = [pc.list_parent_indices(column).to_numpy().astype(np.int64) << 32 for column in columns]
    wrong = np.zeros(len(rows[1]), bool)
    if not len(wrong):
        return 0
    for named in ([ids(batch, side) for side in SIDES], [passages(column, "text") for column in columns]):
        codes = pa.concat_arrays(named).dictionary_encode().indices.to_numpy()
        wrong |= np.isin(codes[len(rows[0]) :] | rows[1], codes[: len(rows[0])] | rows[0])
    return int(wrong.sum())
