"""The curate stage: asks every rule of every row, writes what stays, what goes and why, and the ledger."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic import Field

from lingxi.collect.archives import opened_tar
from lingxi.config import Settings
from lingxi.curate.agreement import AgreementSettings, Stratum
from lingxi.curate.duplicates import SENTENCES, near_duplicate_rule, over_cap, repeated
from lingxi.curate.files import KEPT_FILE, LEDGER_FILE, LEDGER_TABLE, ROWS_FOLDER
from lingxi.curate.judged import Scores, judged, scores_of
from lingxi.curate.kinds import kinds_of, rows_at
from lingxi.curate.ledger import Clock, CurateReport, Ledger, as_markdown
from lingxi.curate.review.feedback import load_feedback
from lingxi.curate.rowwise import Asked, Columns, judge_rows
from lingxi.curate.rules import RuleSettings
from lingxi.curate.write import write_rows
from lingxi.records import check_pairs
from lingxi.spread import Runner


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
    feedback: Path | None = None
    """What people's verdicts change, as `lingxi review RUN --feedback FILE` writes it; unset, nothing."""
    runner: Runner = "here"
    """Where rows are judged: in this process, in several ("native"), or on a Ray cluster ("ray")."""
    processes: int | None = Field(default=None, ge=1)
    """Processes at most; all the machine has when unset."""


def curate_pairs(
    settings: CurateSettings, pairs: Path | Sequence[Path], out: Path, barred: Collection[str] = ()
) -> CurateReport:
    """Write the kept rows, the dropped rows and the ledger of `pairs` to the folder `out`, in their order.

    `pairs` is a Parquet file, a folder with `pairs.parquet`, or several of them. Rows whose source is one of
    `barred` (the packages that a benchmark is built from) are dropped. Raises InputError when one of them or
    the benchmark cannot be read.
    """
    given = [pairs] if isinstance(pairs, Path) else pairs
    files = [path / KEPT_FILE if path.is_dir() else path for path in given]
    for path in files:
        check_pairs(path)
    feedback = load_feedback(settings.feedback) if settings.feedback is not None else None
    clock = Clock()
    with clock("rules"):
        asked = _asked(settings, barred)
        columns = judge_rows(asked, files, out / ROWS_FOLDER, settings.runner, settings.processes)
    with clock("duplicates"):
        _compare(settings, files, columns)
    with clock("agreement"):
        scores, strata = _judge(settings, files, columns)
    ledger = Ledger()
    with clock("writing"):
        write_rows(files, columns, scores, feedback, out, ledger)
    report = ledger.report(strata, clock.seconds)
    (out / LEDGER_FILE).write_text(json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n", "utf-8")
    (out / LEDGER_TABLE).write_text(as_markdown(report), "utf-8")
    return report


def _asked(settings: CurateSettings, barred: Collection[str]) -> Asked:
    benchmark = None
    if settings.benchmark is not None:
        benchmark = str(opened_tar(settings.benchmark, settings.cache.expanduser()))
    return Asked(
        settings.row_rules.model_dump_json(),
        benchmark,
        settings.distractors,
        tuple(sorted(barred)),
        settings.seed,
    )


def _compare(settings: CurateSettings, files: Sequence[Path], columns: Columns) -> None:
    """Drop what was seen before and what is too much of one kind, among the rows that no rule drops."""
    alive = columns.alive()
    columns.drop(alive[repeated(columns.key[alive])], "duplicate")
    kinds, labels = kinds_of(files, ("source", "task", "query_language", "document_language"))
    if settings.near_duplicates:
        alive = columns.alive()
        long = np.array([label[1] not in SENTENCES for label in labels], bool)
        rule = near_duplicate_rule()
        copies = [place for place, row in rows_at(files, alive[long[kinds[alive]]]) if rule(row)]
        columns.drop(np.array(copies, np.int64), "near duplicate")
    alive = columns.alive()
    columns.drop(alive[over_cap(kinds[alive], columns.draw[alive], settings.cap)], "over the cap")


def _judge(settings: CurateSettings, files: Sequence[Path], columns: Columns) -> tuple[Scores, list[Stratum]]:
    """Scores of the rows that the base embedder judges, whose sides may turn out to disagree."""
    scores: Scores = {}
    strata: list[Stratum] = []
    if settings.agreement is None:
        return scores, strata
    for positions, scored in judged(settings.agreement, files, columns, settings.seed):
        strata.append(scored.stratum)
        scores.update((position, scores_of(scored, place)) for place, position in enumerate(positions))
        columns.drop(np.array(positions, np.int64)[~scored.agrees], "sides disagree")
    return scores, strata
