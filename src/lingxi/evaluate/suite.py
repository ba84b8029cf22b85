"""A suite is data: a TOML file that names sets, what is asked of them, and how much of each is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from lingxi import config
from lingxi.config import Settings
from lingxi.errors import InputError
from lingxi.evaluate.tasks import TaskType

SUITES = Path(__file__).parent / "suites"
# Queries of a set where it should be quick.
_QUICK = 100
Reader = Literal[
    "beir", "parallel", "questions", "bitext", "sentences", "pairs", "labels", "candidates",
    "meetings", "graph", "passages", "code", "instructions",
]  # fmt: skip
METRICS = (
    "ndcg@10", "mrr@10", "mrr", "recall@10", "recall@100", "hits@1", "hits@10", "answer@1", "answer@5",
    "accuracy", "f1", "spearman", "average_precision", "knn_accuracy", "v_measure", "p_mrr",
)  # fmt: skip


class SetSettings(Settings):
    """One set of a suite."""

    name: str = Field(pattern=r"^[\w.-]+$")
    task: TaskType
    reader: Reader
    path: str
    """File or folder below the suite's root, or `hf://ORG/NAME/FILE` of a dataset on the hub."""
    fields: dict[str, str] = Field(default_factory=dict)
    """What the file calls a field that the reader wants: `q = "question"`."""
    instruction: str = ""
    """What queries carry (and, between texts of equal standing, both sides)."""
    metrics: tuple[str, ...] = Field(min_length=1)
    """The first is the set's main metric."""
    language: str = "en"
    """Language of the rows, or `from>to`; rows that name their own go by that."""
    languages: tuple[str, ...] | None = None
    """Only these of a set in many languages."""
    quick: tuple[str, ...] | None = None
    """The languages that `--quick` measures."""
    binary: bool = False
    """Count any grade above 0 as 1."""
    alike: bool = False
    """Queries and documents are of equal standing: both carry the instruction."""
    whole: bool = False
    """Rank whole documents, by their best segment."""
    positive: str | None = None
    """Label of a true pair, where labels are words."""
    published: str | None = None
    """MTEB task whose rows are the same, for published scores beside ours."""
    queries: int | None = Field(default=None, ge=1)
    """Overrides the suite's."""
    documents: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _checked(self) -> SetSettings:
        unknown = [metric for metric in self.metrics if metric not in METRICS]
        if unknown:
            raise ValueError(f"unknown metric {unknown[0]!r}; there are {', '.join(METRICS)}")
        return self


class SuiteSettings(Settings):
    """Sets that are measured together."""

    name: str
    root: Path | None = None
    """Folder or tar archive that holds the sets; given on the command line where it is unset."""
    built: Literal["code-search"] | None = None
    """What builds the sets where no root is given."""
    queries: int = Field(default=300, ge=1)
    """Most queries of a set, drawn by seed."""
    documents: int = Field(default=3000, ge=1)
    """Largest corpus; larger ones are thinned, but never of a document that is relevant to a query."""
    seed: int = 0
    sets: tuple[SetSettings, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _checked(self) -> SuiteSettings:
        names = [item.name for item in self.sets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sets are named {twice[0]!r}")
        return self


def read_suite(name: str | Path, overrides: tuple[str, ...] = ()) -> SuiteSettings:
    """A suite by its file, or by name where it ships; raises InputError or RecipeError."""
    path = Path(name)
    shipped = SUITES / f"{name}.toml"
    if path.suffix != ".toml" and shipped.exists():
        path = shipped
    elif not path.exists():
        known = ", ".join(sorted(p.stem for p in SUITES.glob("*.toml")))
        raise InputError(f"no suite {str(name)!r}", f"give a .toml file, or one that ships: {known}")
    return config.load(path, SuiteSettings, overrides)


def chosen(suite: SuiteSettings, names: tuple[str, ...]) -> SuiteSettings:
    """The suite with some of its sets only; raises InputError for a name it does not have."""
    known = [item.name for item in suite.sets]
    if unknown := sorted(set(names) - set(known)):
        raise InputError(f"the suite has no set {unknown[0]!r}", f"name some of: {', '.join(known)}")
    return suite.model_copy(update={"sets": tuple(item for item in suite.sets if item.name in names)})


def resolve(
    name: str | Path, overrides: tuple[str, ...] = (), sets: tuple[str, ...] = (), *, quick: bool = False
) -> SuiteSettings:
    """A suite with overrides and, where `sets` names some, only those.

    A quick one has the languages named as `quick`, and 100 queries a set where the overrides do not say.
    """
    suite = read_suite(name, overrides)
    suite = chosen(suite, sets) if sets else suite
    if not quick:
        return suite
    told = any(each.partition("=")[0].strip() == "queries" for each in overrides)
    return _quick(suite, suite.queries if told else min(suite.queries, _QUICK))


def _quick(suite: SuiteSettings, queries: int) -> SuiteSettings:
    sets = tuple(
        item.model_copy(update={"languages": item.quick}) if item.quick and not item.languages else item
        for item in suite.sets
    )
    return suite.model_copy(update={"queries": queries, "sets": sets})
