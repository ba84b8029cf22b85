"""From files to tasks: one reader a shape of file, each naming the file and the line that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lingxi.errors import InputError
from lingxi.evaluate.readers import code, instructed, retrieval, rows
from lingxi.evaluate.readers.asked import Asked
from lingxi.evaluate.suite import SetSettings, SuiteSettings
from lingxi.evaluate.tasks import Task, ids_of

READERS: Mapping[str, Callable[[Asked], Iterator[Task]]] = {
    "beir": retrieval.beir,
    "parallel": retrieval.parallel,
    "questions": retrieval.questions,
    "meetings": retrieval.meetings,
    "candidates": retrieval.candidates,
    "passages": retrieval.passages,
    "graph": retrieval.graph,
    "bitext": rows.bitext,
    "sentences": rows.sentences,
    "pairs": rows.pairs,
    "labels": rows.labels,
    "code": code.code,
    "instructions": instructed.instructions,
}


def read_set(settings: SetSettings, suite: SuiteSettings, root: Path) -> Iterator[Task]:
    """Stream the tasks of a set, one a language.

    Raises InputError where a file is missing, a row is broken, an id is there twice, a judgement names an
    unknown id, a query has nothing relevant, or the corpus is empty.
    """
    asked = Asked(
        settings,
        _place(settings.path, root),
        settings.queries or suite.queries,
        settings.documents or suite.documents,
        suite.seed,
    )
    found = 0
    for task in READERS[settings.reader](asked):
        if not ids_of(task):
            raise InputError(f"the set {settings.name!r} at {asked.path} asks nothing", "add rows to it")
        found += 1
        yield task
    if not found:
        raise InputError(
            f"the set {settings.name!r} at {asked.path} has no rows to measure",
            "check the path, and `languages` where it is given",
        )


def files_of(settings: SetSettings, root: Path) -> list[Path]:
    """The files and folders that a set is read from, so that a change of them is seen."""
    shipped = [instructed.MEDICAL] if settings.reader == "instructions" else []
    place = _place(settings.path, root)
    return [*sorted(place.parent.glob(f"{place.name}*")), *shipped]


def _place(path: str, root: Path) -> Path:
    """The file or folder of a set; `hf://ORG/NAME/FILE` is a file of a dataset of the Hugging Face hub."""
    if not path.startswith("hf://"):
        return root / path
    parts = path.removeprefix("hf://").split("/", 2)
    if len(parts) != 3:
        raise InputError(f"{path}: which file of which dataset?", "write hf://ORG/NAME/FILE")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download("/".join(parts[:2]), parts[2], repo_type="dataset"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as problem:
        raise InputError(
            f"{path} could not be fetched ({str(problem).splitlines()[0]})",
            "check the name and the network, or give a local file",
        ) from problem
