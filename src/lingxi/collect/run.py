"""The collect stage: settings in, one `pairs.parquet` and a count of what came from where out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pydantic import Field

from lingxi.collect import aligned, archives, labelled, mediawiki
from lingxi.config import Settings
from lingxi.records import Pair, write_pairs

PAIRS_FILE = "pairs.parquet"


class CollectSettings(Settings):
    """Where the data lies and how much is made of it."""

    labelled: Path | None = None
    """A folder of labelled JSONL files, or a tar archive (.tar.zst too) of them; none is read when unset."""
    mediawiki: str = "apt"
    """MediaWiki's Debian package: a .deb, an unpacked folder, "apt" to download it, or "none"."""
    cache: Path = Path("~/.cache/lingxi/sources")
    """Where archives are unpacked and packages kept; may be deleted at any time."""
    crosswise_share: float = Field(default=0.25, ge=0, le=1)
    """Share of the many-language sentences that also pair with a language other than English."""
    topic_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the many-language sentences that also pair with another sentence of the same topic."""
    seed: int = 0
    """Seed of every choice of the stage."""


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What was collected: rows in all, by source, by language of the query, and what no reader took."""

    rows: int
    by_source: dict[str, int]
    by_language: dict[str, int]
    inputs: dict[str, str]
    skipped: tuple[str, ...]


def collect_pairs(settings: CollectSettings, out: Path) -> CollectReport:
    """Read every source of the settings and write `out/pairs.parquet`.

    Raises InputError when a source is missing or unreadable.
    """
    cache = settings.cache.expanduser()
    inputs: dict[str, str] = {}
    streams: list[Iterable[Pair]] = []
    skipped: list[str] = []
    if settings.labelled is not None:
        folder = archives.opened_tar(settings.labelled, cache)
        inputs["labelled"] = settings.labelled.name
        skipped = labelled.unknown_files(folder)
        streams.append(labelled.read_folder(folder, _origins(settings)))
        streams.append(aligned.read_translations(folder))
    if settings.mediawiki != "none":
        package = mediawiki_package(settings.mediawiki, cache)
        inputs["mediawiki"] = package.name
        streams.append(mediawiki.read_pairs(archives.opened_deb(package, cache)))
    by_source: Counter[str] = Counter()
    by_language: Counter[str] = Counter()
    rows = write_pairs(_counted(chain(*streams), by_source, by_language), out / PAIRS_FILE)
    return CollectReport(
        rows, dict(by_source.most_common()), dict(by_language.most_common()), inputs, tuple(skipped)
    )


def mediawiki_package(named: str, cache: Path) -> Path:
    """The package or folder a recipe names; "apt" downloads it into the cache."""
    return archives.fetched_deb("mediawiki", cache) if named == "apt" else Path(named).expanduser()


def _origins(settings: CollectSettings) -> labelled.Origins:
    def origin(source: str, licence: str) -> labelled.Origin:
        return labelled.Origin(source, licence, settings.seed, settings.crosswise_share, settings.topic_share)

    return origin


def _counted(rows: Iterable[Pair], by_source: Counter[str], by_language: Counter[str]) -> Iterator[Pair]:
    for row in rows:
        by_source[row.source] += 1
        by_language[row.query_language] += 1
        yield row
