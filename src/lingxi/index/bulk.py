"""Vectors for a Parquet file or a folder of them: one part a row group, here, in processes, or on a cluster.

Each part is written in one step and not made again, so a run that was stopped goes on. A part holds the
columns of its rows and their vectors; the folder says which model and columns made it, and refuses others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lingxi import vectors
from lingxi.errors import InputError, ModelError
from lingxi.inputs import texts_alone
from lingxi.records import require_pyarrow
from lingxi.spread import Runner, spread

MADE = "embedded.json"
_ROWS = 2048

Make = Callable[[str | None], Any]


@dataclass(frozen=True, slots=True)
class BulkSettings:
    """The text's column, the model, width and precision of the vectors, and whether texts are queries."""

    column: str = "text"
    model: str | None = None
    dim: int | None = None
    precision: str = "float32"
    query: bool = False


@dataclass(frozen=True, slots=True)
class BulkReport:
    """Rows and parts of the folder, and how many parts this run made."""

    rows: int
    parts: int
    made: int


def embed_parquet(
    source: Path,
    out: Path,
    make: Make,
    settings: BulkSettings,
    runner: Runner = "here",
    processes: int | None = None,
) -> BulkReport:
    """Write the rows of Parquet files with a column `vector` to a folder of parts.

    `make` gives the embedder of a name, in every process. Raises InputError for a file that is no Parquet,
    lacks the column or has another one named `vector`, a row without text, or a folder made another way.
    """
    require_pyarrow()
    vectors.check_precision(settings.precision)
    files = sorted(source.rglob("*.parquet")) if source.is_dir() else [source]
    if not files:
        raise InputError(f"{source}: no .parquet files", "name a file, or a folder that holds some")
    items = [item for file in files for item in _items(file, source, settings)]
    _agree(out, make(settings.model).fingerprint(), settings)
    waiting = [json.dumps(item) for item in items if not (out / str(item["part"])).exists()]
    spread(Embedding(make, str(out), settings), waiting, runner, processes)
    return BulkReport(sum(int(item["rows"]) for item in items), len(items), len(waiting))


@dataclass(frozen=True, slots=True)
class Embedding:
    """The work on one part, as it goes to another process."""

    make: Make
    out: str
    settings: BulkSettings

    def __call__(self, said: str) -> str:
        """Embed a row group and write its part; returns the part's name."""
        import pyarrow.parquet as pq

        item = json.loads(said)
        target = Path(self.out) / item["part"]
        coming = target.with_suffix(".coming")
        source, writer = pq.ParquetFile(item["file"]), None
        try:
            for batch in source.iter_batches(_ROWS, row_groups=[item["group"]]):
                table = self._with_vectors(batch, item["file"])
                writer = writer or pq.ParquetWriter(coming, table.schema, compression="zstd")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
        if writer is not None:
            coming.replace(target)
        return str(item["part"])

    def _with_vectors(self, batch: Any, file: str) -> Any:
        import pyarrow as pa

        settings = self.settings
        texts = batch.column(batch.schema.get_field_index(settings.column)).to_pylist()
        if None in texts:
            raise InputError(f"{file}: a row has no {settings.column!r}", "fill it, or leave the row out")
        embedder = _embedder(self.make, settings.model)
        encode = embedder.encode_query if settings.query else embedder.encode_document
        made = np.asarray(
            encode(texts, truncate_dim=settings.dim, precision=settings.precision, show_progress_bar=False)
        )
        if made.dtype == np.float32 and not np.isfinite(made).all():
            raise ModelError("the embedder made vectors that are not numbers", "check it with `lingxi check`")
        listed = pa.FixedSizeListArray.from_arrays(pa.array(made.ravel()), made.shape[1])
        return pa.Table.from_batches([batch]).append_column("vector", listed)


@lru_cache(maxsize=1)
def _embedder(make: Make, model: str | None) -> Any:
    """The embedder of this process, loaded once."""
    return texts_alone(make(model))


def _items(file: Path, source: Path, settings: BulkSettings) -> list[dict[str, str | int]]:
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    try:
        opened = pq.ParquetFile(file)
    except (ArrowException, OSError) as error:
        raise InputError(
            f"{file}: cannot be read as Parquet ({error})", "correct the path or the file"
        ) from None
    names = opened.schema_arrow.names
    if settings.column not in names:
        raise InputError(f"{file}: has no column {settings.column!r}", f"name one of: {', '.join(names)}")
    if "vector" in names:
        raise InputError(f"{file}: has a column 'vector' already", "rename or leave it out")
    name = file.relative_to(source).with_suffix("").as_posix() if source.is_dir() else file.stem
    # Another file of the same name must not pass for this one.
    known = hashlib.sha256(f"{name} {file.stat().st_size} {opened.metadata.num_rows}".encode()).hexdigest()[
        :8
    ]
    stem = f"{name.replace('/', '-')}-{known}"
    return [
        {
            "file": str(file), "group": group, "rows": opened.metadata.row_group(group).num_rows,
            "part": f"{stem}-{group:05}.parquet",
        }
        for group in range(opened.num_row_groups)
        if opened.metadata.row_group(group).num_rows
    ]  # fmt: skip


def _agree(out: Path, fingerprint: dict[str, str | int], settings: BulkSettings) -> None:
    """Say in the folder what makes it, or hold it against what was said."""
    said = {key: value for key, value in asdict(settings).items() if key != "model"}
    wanted = {"settings": said, "model": {k: v for k, v in fingerprint.items() if k != "name"}}
    file = out / MADE
    if not file.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out}: holds something else", "name a folder that does not exist yet")
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(wanted), encoding="utf-8")
        return
    try:
        made = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{file}: cannot be read", "name another folder") from None
    if made != wanted:
        raise InputError(f"{out}: was made by another model or other settings", "name another folder")
