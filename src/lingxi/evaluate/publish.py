"""From a finished evaluation to its page, with scores that others published beside ours."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lingxi.errors import InputError
from lingxi.evaluate import results
from lingxi.evaluate.page import Material, Published, write_page
from lingxi.evaluate.report import Score
from lingxi.evaluate.suite import SuiteSettings

# The metric that MTEB gives for each task type, where it is one of ours.
_METRICS = {"bitext mining": "f1", "sts": "spearman"}
_SPLITS = ("test", "validation")


def publish(suite: SuiteSettings, scores: Sequence[Score], out: Path, published: Path | None = None) -> Path:
    """Write the page of an evaluation to its folder.

    `published` is a CSV file (or .csv.gz) with the columns model, task, split, subset and main_score.
    """
    beside = list(read_published(published, suite)) if published else []
    material = Material(
        f"lingxi evaluation: {suite.name}",
        scores,
        list(results.read_groups(out)),
        results.read_items(out),
        beside,
    )
    return write_page(material, out)


def read_published(path: Path, suite: SuiteSettings) -> Iterator[Published]:
    """Scores of the suite's sets out of a table of MTEB scores; raises InputError for a file that is none."""
    wanted = {item.published: item for item in suite.sets if item.published}
    for row in _rows(path):
        item = wanted.get(row["task"])
        if item is None or row["split"] not in _SPLITS:
            continue
        language = row["subset"].removesuffix("-eng")
        language = item.language if language == "default" else language
        model = row["model"].replace("__", "/")
        try:
            value = float(row["main_score"])
        except (TypeError, ValueError):
            continue
        yield Published(model, item.name, language, _METRICS[item.task], value)


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    if not path.is_file():
        raise InputError(f"no file at {path}", "give a CSV of published scores, or leave --published out")
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    table = csv.DictReader(io.StringIO(data.decode("utf-8")))
    lacking = {"model", "task", "split", "subset", "main_score"} - set(table.fieldnames or ())
    if lacking:
        raise InputError(
            f"{path} lacks the column {sorted(lacking)[0]!r}", "give a CSV of published MTEB scores"
        )
    yield from table
