"""What an update reads: new pairs, and old ones that it must not forget.

New data are pairs in any shape that trainers know, or documents, whose structure makes pairs. Old data are
the pairs that the model was trained on, where there are any, or documents that it embeds: of those headings
and first sentences stand for queries, and only the old model's own vectors are asked of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lingxi.collect.dataset import read_dataset
from lingxi.collect.origin import Origin
from lingxi.errors import InputError
from lingxi.generate.settings import StructureSettings
from lingxi.generate.structure import structured_pairs
from lingxi.parse import Skip, decode
from lingxi.parse.rst import rst_as_markdown
from lingxi.parse.walk import resolve, walk
from lingxi.records import Document, Pair, digest, drawn, pairs_of, read_pairs
from lingxi.tables import is_table

_LOTS = 2**64


@dataclass(frozen=True, slots=True)
class Parts:
    """Pairs to learn from, and pairs on which a merge is chosen; no group is on both sides."""

    train: tuple[Pair, ...]
    dev: tuple[Pair, ...]


def read_rows(path: Path, language: str) -> list[Pair]:
    """The pairs of a file or folder: curated Parquet, rows that trainers know, or documents.

    `language` is that of rows that do not say theirs. Raises InputError where there are none.
    """
    if not path.exists():
        raise InputError(f"{path} is not there", "name a file of pairs, or a folder of documents")
    rows = list(_pairs(path, language) if _holds_pairs(path) else _of_documents(path, language))
    found = [row for row in rows if row.dropped is None and row.positives and row.query.strip()]
    if not found:
        raise InputError(f"{path} holds no pairs, and no document that makes some", "give more of it")
    return found


def split(pairs: Sequence[Pair], share: float, most: int, seed: int) -> Parts:
    """Hold out about `share` of the groups, at most `most` rows; raises InputError where a side is empty."""
    # Named apart: who drew the new rows may have drawn by the same numbers.
    held = [row for row in pairs if drawn(seed, f"update {row.group}") < share * _LOTS]
    groups = {row.group for row in held}
    train = tuple(row for row in pairs if row.group not in groups)
    dev = tuple(sorted(held, key=lambda row: drawn(seed, row.id))[:most])
    if len(dev) < 2 or len(train) < 2:
        raise InputError(
            f"{len(train)} rows to learn from and {len(dev)} to choose on", "give more pairs, of more pages"
        )
    return Parts(train, dev)


def sampled(pairs: Iterable[Pair], most: int, seed: int) -> list[Pair]:
    """At most `most` pairs by seed, as many of each source and task as there are places."""
    strata: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for row in pairs:
        if row.dropped is None and row.positives:
            strata[row.source, row.task].append(row)
    left, out = most, []
    for number, own in enumerate(sorted(strata.values(), key=len)):
        share = left // (len(strata) - number)
        out += sorted(own, key=lambda row: drawn(seed, row.id))[:share]
        left = most - len(out)
    return sorted(out, key=lambda row: drawn(seed, row.id))


def sample_file(path: Path, most: int, seed: int) -> list[Pair]:
    """`sampled` of a Parquet file of pairs, of which only the rows that are taken are read whole."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["id", "source", "task", "dropped"])
    names = [table.column(name).to_pylist() for name in ("source", "task", "id", "dropped")]
    strata: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for source, task, key, dropped in zip(*names, strict=True):
        if dropped is None:
            strata[source, task].append((drawn(seed, key), key))
    taken = {key for own in strata.values() for _, key in sorted(own)[:most]}
    if len(taken) > 4 * most:
        # As many of each as could be taken at all: the rest is settled among whole rows.
        each = max(1, 4 * most // len(strata))
        taken = {key for own in strata.values() for _, key in sorted(own)[:each]}
    rows = pq.read_table(path, filters=[("id", "in", sorted(taken))])
    return sampled((pair for batch in rows.to_batches() for pair in pairs_of(batch)), most, seed)


def _holds_pairs(path: Path) -> bool:
    if path.is_dir():
        return any(is_table(inner) for inner in path.iterdir())
    return is_table(path) or path.suffix == ".json"


def _pairs(path: Path, language: str) -> Iterator[Pair]:
    if path.suffix == ".parquet" and path.is_file():
        yield from read_pairs(path)
        return
    yield from read_dataset(path, Origin(path.stem, "own", language))


def _of_documents(path: Path, language: str) -> Iterator[Pair]:
    settings = StructureSettings()
    for found in sorted(walk(resolve([path])).files):
        content = decode(Path(found), Path(found).read_bytes())
        if isinstance(content, Skip):
            continue
        text = rst_as_markdown(content.text) if content.kind == "rst" else content.text
        document = Document(digest(found), text, Path(found).stem, language, found, "own", found)
        yield from (row for _, row in structured_pairs(document, settings))
