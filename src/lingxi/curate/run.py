"""The curate stage: asks every rule of every row, writes what stays, what goes and why, and the ledger."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from lingxi.collect.archives import opened_tar
from lingxi.config import Settings
from lingxi.curate.agreement import AgreementSettings, Stratum
from lingxi.curate.duplicates import Cap, duplicate_rule, near_duplicate_rule
from lingxi.curate.judged import Scores, judged, scores_of
from lingxi.curate.leaks import barred_rule, leak_rule
from lingxi.curate.ledger import CurateReport, Ledger, as_markdown
from lingxi.curate.rules import RuleSettings, first_reason, rules
from lingxi.records import batches, pair_schema, read_pairs

KEPT_FILE = "pairs.parquet"
DROPPED_FILE = "dropped.parquet"
LEDGER_FILE = "ledger.json"
LEDGER_TABLE = "ledger.md"


class CurateSettings(Settings):
    """Which rows may stay."""

    row_rules: RuleSettings = RuleSettings()
    """Bounds of the rules that look at one row."""
    benchmark: Path | None = None
    """Folder or tar archive of the benchmark: rows that overlap with it are dropped; unset, none are."""
    cache: Path = Path("~/.cache/lingxi/sources")
    """Where a benchmark archive is unpacked; may be deleted at any time."""
    distractors: bool = False
    """Whether corpus passages that answer no question of the benchmark count as leaks too."""
    near_duplicates: bool = False
    """Whether long passages that are nearly equal count as duplicates (needs the extra `curate`)."""
    cap: int = Field(default=30_000, ge=1)
    """Most rows of one source, task and pair of languages; the rest is dropped by a seeded draw."""
    seed: int = 0
    """Seed of every draw."""
    agreement: AgreementSettings | None = None
    """A base embedder judges a sample of each task and pair of languages; none does when unset."""


def curate_pairs(
    settings: CurateSettings, pairs: Path, out: Path, barred: Collection[str] = ()
) -> CurateReport:
    """Write the kept rows, the dropped rows and the ledger of `pairs` to the folder `out`, in their order.

    `pairs` is a Parquet file, or a folder with `pairs.parquet`. Rows whose source is one of `barred` (the
    packages that a benchmark is built from) are dropped. Raises InputError when it or the benchmark
    cannot be read.
    """
    source = pairs / KEPT_FILE if pairs.is_dir() else pairs
    reasons = _reasons(settings, source, barred)
    scores: Scores = {}
    strata: list[Stratum] = []
    if settings.agreement is not None:
        for positions, scored in judged(settings.agreement, source, reasons, settings.seed):
            strata.append(scored.stratum)
            for place, position in enumerate(positions):
                scores[position] = scores_of(scored, place)
                if not scored.agrees[place]:
                    reasons[position] = "sides disagree"
    out.mkdir(parents=True, exist_ok=True)
    ledger = Ledger()
    _write(source, reasons, scores, out, ledger)
    report = ledger.report(strata)
    (out / LEDGER_FILE).write_text(json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n", "utf-8")
    (out / LEDGER_TABLE).write_text(as_markdown(report), "utf-8")
    return report


def _reasons(settings: CurateSettings, source: Path, barred: Collection[str]) -> list[str | None]:
    """The reason of every row in file order; the cap is drawn among the rows that no rule drops."""
    asked = [barred_rule(barred), *rules(settings.row_rules)]
    if settings.benchmark is not None:
        folder = opened_tar(settings.benchmark, settings.cache)
        asked.append(leak_rule(folder, distractors=settings.distractors))
    asked.append(duplicate_rule())
    if settings.near_duplicates:
        asked.append(near_duplicate_rule())
    cap = Cap(settings.cap, settings.seed)
    reasons: list[str | None] = []
    for position, row in enumerate(read_pairs(source)):
        reason = row.dropped or first_reason(row, asked)
        reasons.append(reason)
        if reason is None:
            cap.enter(row, position)
    for position in cap.losers():
        reasons[position] = "over the cap"
    return reasons


def _write(source: Path, reasons: list[str | None], scores: Scores, out: Path, ledger: Ledger) -> None:
    """Copy the rows to the kept and the dropped file; both appear under their names only when complete."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    schema, start = pair_schema(), 0
    partial = [out / (name + ".part") for name in (KEPT_FILE, DROPPED_FILE)]
    with (
        pq.ParquetWriter(partial[0], schema, compression="zstd") as kept,
        pq.ParquetWriter(partial[1], schema, compression="zstd") as dropped,
    ):
        for batch in batches(source, schema):
            verdicts = reasons[start : start + batch.num_rows]
            batch = _with_scores(batch, scores, start)
            start += batch.num_rows
            ledger.note(batch, verdicts)
            mask = pa.array([reason is None for reason in verdicts], pa.bool_())
            index = schema.get_field_index("dropped")
            marked = batch.set_column(index, schema.field("dropped"), pa.array(verdicts, pa.string()))
            kept.write_batch(marked.filter(mask))
            dropped.write_batch(marked.filter(pc.invert(mask)))
    for path in partial:
        path.replace(path.with_suffix(""))


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
