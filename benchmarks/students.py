"""What a student keeps of its teacher: the ratio of their means on the same items, with paired intervals.

    lingxi evaluate TEACHER STUDENT --quick --out evaluation
    python benchmarks/students.py evaluation:TEACHER evaluation:STUDENT [--sets squad] [--languages en,zh]

Either argument is the folder of an evaluation and, where the first of its systems is not meant, the name of
one. A set counts with its main metric; those that are no mean of items (correlations) are left out. Items are
drawn with replacement, both systems' values together; 95 % percentile intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lingxi.errors import LingxiError
from lingxi.evaluate.evidence import CONTROL, check_paired, interval
from lingxi.evaluate.measure import is_mean
from lingxi.evaluate.results import groups_to_compare, main_of

RESAMPLES = 2_000

Pairs = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Kept:
    """One line: how many items, both means, and their ratio with its interval."""

    name: str
    items: int
    teacher: float
    student: float
    kept: float
    low: float
    high: float


def paired(teacher: str, student: str, sets: Sequence[str], languages: Sequence[str]) -> dict[str, Pairs]:
    """set → [items, 2] values of teacher and student by the set's main metric, where that is a mean of items.

    Raises InputError where the two were not measured on the same items.
    """
    (old_out, old), (new_out, new) = (_system(name) for name in (teacher, student))
    both = groups_to_compare(old_out, new_out, old, new)
    found: dict[str, list[Pairs]] = {}
    for before, after in zip(main_of(both.old), main_of(both.new), strict=True):
        name, language = before.head.name, before.head.language
        named = (not sets or name in sets) and (not languages or language in languages)
        if named and is_mean(before.metric) and not language.endswith(CONTROL):
            check_paired(after, before)
            found.setdefault(name, []).append(np.stack((before.values, after.values), axis=1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _system(name: str) -> tuple[Path, str | None]:
    folder, _, system = name.partition(":")
    return Path(folder), system or None


def summary(groups: Mapping[str, Pairs], seed: int = 0, resamples: int = RESAMPLES) -> list[Kept]:
    """Each set; the mean of sets, items drawn within each; all items as one."""
    rng = np.random.default_rng(seed)
    drawn = {name: _means(values, rng, resamples) for name, values in groups.items()}
    lines = [_kept(name, len(v), v.mean(0), drawn[name]) for name, v in groups.items()]
    items = sum(map(len, groups.values()))
    of_sets = np.mean([v.mean(0) for v in groups.values()], axis=0)
    lines.append(_kept("mean of sets", items, of_sets, np.mean(list(drawn.values()), axis=0)))
    whole = np.concatenate(list(groups.values()))
    lines.append(_kept("all items", items, whole.mean(0), _means(whole, rng, resamples)))
    return lines


def _means(values: Pairs, rng: np.random.Generator, resamples: int) -> Pairs:
    """[resamples, 2] means of items drawn with replacement."""
    return np.stack([values[rng.integers(0, len(values), len(values))].mean(0) for _ in range(resamples)])


def _kept(name: str, items: int, means: Pairs, drawn: Pairs) -> Kept:
    if not means[0]:
        return Kept(name, items, float(means[0]), float(means[1]), float("nan"), float("nan"), float("nan"))
    ratios = drawn[:, 1] / np.maximum(drawn[:, 0], 1e-12)
    return Kept(name, items, float(means[0]), float(means[1]), float(means[1] / means[0]), *interval(ratios))


def table(lines: Sequence[Kept]) -> str:
    """A Markdown table, values × 100."""
    rows = ["| set | items | teacher | student | kept |", "|---|---:|---:|---:|---:|"]
    for k in lines:
        means = f"{100 * k.teacher:.1f} | {100 * k.student:.1f}"
        kept = f"{100 * k.kept:.1f} [{100 * k.low:.1f}, {100 * k.high:.1f}]"
        rows.append(f"| {k.name} | {k.items:,} | {means} | {kept} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of two runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("teacher", help="FOLDER or FOLDER:SYSTEM")
    parser.add_argument("student", help="FOLDER or FOLDER:SYSTEM")
    parser.add_argument("--sets", default="", help="only these, comma by comma")
    parser.add_argument("--languages", default="", help="only these, as the sets name them")
    given = parser.parse_args(arguments)
    sets, languages = ([each for each in text.split(",") if each] for text in (given.sets, given.languages))
    try:
        groups = paired(given.teacher, given.student, sets, languages)
    except LingxiError as error:
        raise SystemExit(str(error)) from None
    if not groups:
        raise SystemExit("no set is left: name sets and languages as the evaluation does")
    print(table(summary(groups)))


if __name__ == "__main__":
    main()
