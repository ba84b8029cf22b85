"""The collect stage: settings in, one `pairs.parquet` and a count of what came from where out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import Field

from lingxi.collect import aligned, archives, labelled, mediawiki, registries
from lingxi.collect.sources import Part, Piece, SourceSettings, pieces, read_piece
from lingxi.config import Settings
from lingxi.records import Pair, batches, document_schema, pair_schema, write_pairs
from lingxi.spread import Runner, spread

PAIRS_FILE = "pairs.parquet"
DOCUMENTS_FILE = "documents.parquet"
PARTS = "parts"


class CollectSettings(Settings):
    """Where the data lies and how much is made of it."""

    labelled: Path | None = None
    """A folder of labelled JSONL files, or a tar archive (.tar.zst too) of them; none is read when unset."""
    mediawiki: str = "apt"
    """MediaWiki's Debian package: a .deb, an unpacked folder, "apt" to download it, or "none"."""
    cache: Path = Path("~/.cache/lingxi/sources")
    """Where archives are unpacked and packages kept; may be deleted at any time."""
    sources: tuple[SourceSettings, ...] = ()
    """Packages and files to read beside them, each by its reader."""
    runner: Runner = "here"
    """Where pieces are read: in this process, in several ("native"), or on a Ray cluster ("ray")."""
    processes: int | None = Field(default=None, ge=1)
    """Processes at most; all the machine has when unset."""
    crosswise_share: float = Field(default=0.25, ge=0, le=1)
    """Share of the many-language sentences that also pair with a language other than English."""
    topic_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the many-language sentences that also pair with another sentence of the same topic."""
    seed: int = 0
    """Seed of every choice of the stage."""


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What was collected: rows in all, by source, language of the query and task; what no reader took.

    `documents` counts the texts of `documents.parquet`, which is there only where there are any.
    """

    rows: int
    by_source: dict[str, int]
    by_language: dict[str, int]
    by_task: dict[str, int]
    inputs: dict[str, str]
    skipped: tuple[str, ...]
    documents: int = 0


def collect_pairs(settings: CollectSettings, out: Path, barred: Sequence[str] = ()) -> CollectReport:
    """Read every source and write `out/pairs.parquet` and `documents.parquet`; what was read stays read.

    Packages of `barred` (what a benchmark is built from) are not read. Raises InputError when a source is
    missing or unreadable.
    """
    cache = settings.cache.expanduser()
    came = [
        *_labelled(settings, out, cache),
        *_mediawiki(settings, out, cache),
        *_packages(settings, out, cache, barred),
    ]
    return _merged(came, out)


@dataclass(frozen=True, slots=True)
class _Came:
    """What one input gave: the part files of its pairs and documents, and what of it was left out."""

    source: str
    file: str
    pairs: Path | None = None
    documents: Path | None = None
    skipped: tuple[str, ...] = ()


def _labelled(settings: CollectSettings, out: Path, cache: Path) -> Iterator[_Came]:
    if settings.labelled is not None:
        folder = archives.opened_tar(settings.labelled, cache)
        rows = chain(labelled.read_folder(folder, _origins(settings)), aligned.read_translations(folder))
        part, unknown = _part(rows, out, "labelled"), tuple(labelled.unknown_files(folder))
        yield _Came("labelled", settings.labelled.name, part, skipped=unknown)


def _mediawiki(settings: CollectSettings, out: Path, cache: Path) -> Iterator[_Came]:
    if settings.mediawiki != "none":
        package = mediawiki_package(settings.mediawiki, cache)
        rows = mediawiki.read_pairs(archives.opened_deb(package, cache))
        yield _Came("mediawiki", package.name, _part(rows, out, "mediawiki"))


def _packages(settings: CollectSettings, out: Path, cache: Path, barred: Sequence[str]) -> Iterator[_Came]:
    """The pieces of the sources, those first that did not come; what two sources name alike is read once."""
    found = list(dict.fromkeys(pieces(settings.sources, out / PARTS, cache, barred)))
    asked = [json.dumps(asdict(piece)) for piece in found if isinstance(piece, Piece)]
    done = spread(read_piece, asked, settings.runner, settings.processes)
    absent = [piece for piece in found if isinstance(piece, Part)]
    for part in (*absent, *(Part(**json.loads(said)) for said in done)):
        reasons = [part.refused] if part.refused else part.left_out
        path = Path(part.path)
        yield _Came(
            part.source,
            path.name,
            path if part.pairs else None,
            path if part.documents else None,
            tuple(f"{part.source}: {reason}" for reason in reasons),
        )


def _merged(came: Sequence[_Came], out: Path) -> CollectReport:
    pairs = [each.pairs for each in came if each.pairs]
    counts = _merge(pairs, out / PAIRS_FILE, pair_schema(), ("source", "query_language", "task"))
    texts = [each.documents for each in came if each.documents]
    return CollectReport(
        rows=sum(counts["source"].values()),
        by_source=dict(counts["source"].most_common()),
        by_language=dict(counts["query_language"].most_common()),
        by_task=dict(counts["task"].most_common()),
        inputs={each.source: each.file for each in came},
        skipped=tuple(reason for each in came for reason in each.skipped),
        documents=_merge_documents(texts, out / DOCUMENTS_FILE),
    )


def mediawiki_package(named: str, cache: Path) -> Path:
    """The package or folder a recipe names; "apt" downloads it into the cache."""
    return registries.fetched_deb("mediawiki", cache) if named == "apt" else Path(named).expanduser()


def _origins(settings: CollectSettings) -> labelled.Origins:
    def origin(source: str, licence: str) -> labelled.Origin:
        return labelled.Origin(source, licence, settings.seed, settings.crosswise_share, settings.topic_share)

    return origin


def _part(rows: Iterable[Pair], out: Path, name: str) -> Path:
    path = out / PARTS / f"{name}.parquet"
    write_pairs(rows, path)
    return path


def _merge_documents(parts: Sequence[Path], out: Path) -> int:
    if not parts:
        # Those of a run with other sources.
        out.unlink(missing_ok=True)
        return 0
    return sum(_merge(parts, out, document_schema(), ("source",))["source"].values())


def _merge(
    parts: Sequence[Path], out: Path, schema: Any, counted: Sequence[str]
) -> Mapping[str, Counter[str]]:
    """Put the parts together in order, a batch in memory at a time; returns how many rows of each kind."""
    import pyarrow.parquet as pq

    counts: dict[str, Counter[str]] = {name: Counter() for name in counted}
    partial = out.with_name(out.name + ".part")
    out.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for part in parts:
            for batch in batches(part, schema):
                writer.write_batch(batch)
                for name, counter in counts.items():
                    for value in batch.column(name).value_counts().to_pylist():
                        counter[value["values"]] += value["counts"]
    partial.replace(out)
    return counts
