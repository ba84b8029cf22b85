"""Our sets as mteb 2.x tasks, so that any mteb model is measured on them, and their evaluator checks ours.

import mteb
from lingxi.bridges.mteb_tasks import mteb_tasks

mteb.evaluate(model, mteb_tasks("benchmark", Path("benchmark.tar.zst"), sets=("xquad",)), cache=None)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lingxi.collect.archives import opened_tar
from lingxi.errors import InputError, MissingExtraError
from lingxi.evaluate.readers import read_set
from lingxi.evaluate.suite import resolve
from lingxi.evaluate.tasks import Bitext, Pairs, Ranking, Task

_CACHE = Path("~/.cache/lingxi")


def mteb_tasks(
    suite: str | Path,
    root: Path,
    *,
    sets: tuple[str, ...] = (),
    overrides: tuple[str, ...] = (),
    cache: Path = _CACHE,
) -> list[Any]:
    """The rankings, translations and pairs of a suite as mteb tasks, one a set and language.

    What mteb has no task for (ranking by segments, answers in passages) is left out. Raises InputError as
    `read_set`, and MissingExtraError without mteb.
    """
    settings = resolve(suite, overrides, sets)
    folder = opened_tar(root, cache.expanduser() / "sources")
    read = [task for item in settings.sets for task in read_set(item, settings, folder)]
    found = [mteb_task(task) for task in read if _fits(task)]
    if not found:
        raise InputError(f"no set of {settings.name!r} is an mteb task", "name a set with `sets`")
    return found


def mteb_task(task: Task) -> Any:
    """One of our tasks as an mteb task that holds its data; queries carry the set's own instruction."""
    match task:
        case Ranking():
            return _made("retrieval", "Retrieval", "ndcg_at_10", task, _retrieval(task))
        case Bitext():
            translations = {"sentence1": task.left, "sentence2": task.right}
            return _made("text.bitext_mining", "BitextMining", "accuracy", task, _rows(translations))
        case Pairs() if task.metrics[0] == "spearman":
            pairs = {"sentence1": task.left, "sentence2": task.right, "score": task.gold}
            return _made("sts", "STS", "cosine_spearman", task, _rows(pairs))
    raise InputError(f"{task.head.name!r} is no ranking, translation or similarity", "choose another set")


def _fits(task: Task) -> bool:
    if isinstance(task, Ranking):
        return task.parents is None and task.answers is None and not task.alike
    return isinstance(task, Bitext) or (isinstance(task, Pairs) and task.metrics[0] == "spearman")


def _made(module: str, kind: str, main: str, task: Ranking | Bitext | Pairs, dataset: Any) -> Any:
    """An instance of a new subclass of mteb's abstract task of a kind, its data loaded."""
    try:
        from importlib import import_module

        abstract = import_module(f"mteb.abstasks.{module}")
        metadata = import_module("mteb.abstasks.task_metadata").TaskMetadata
    except ImportError:
        raise MissingExtraError("mteb", "mteb", "tasks for mteb") from None
    name = re.sub(r"\W+", "_", f"lingxi_{task.head.name}_{task.head.language}")
    said = metadata(
        name=name,
        type=kind,
        main_score=main,
        prompt=_prompt(task, kind),
        description=f"{task.head.name} of lingxi, {task.head.language}",
        reference=None,
        dataset={"path": "local", "revision": "local"},
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["und-Zyyy"],
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )
    own = getattr(abstract, f"AbsTask{kind}")
    made = type(name, (own,), {"metadata": said, "load_data": lambda self, **_: None})()
    made.dataset, made.data_loaded = dataset, True
    return made


def _prompt(task: Ranking | Bitext | Pairs, kind: str) -> Any:
    return {"query": task.instruction} if kind == "Retrieval" else task.instruction


def _retrieval(task: Ranking) -> Mapping[str, Any]:
    from datasets import Dataset

    pairs = zip(task.document_ids, task.documents, strict=True)
    corpus = [{"id": key, "title": "", "text": text} for key, text in pairs]
    queries = [{"id": i, "text": t} for i, t in zip(task.query_ids, task.queries, strict=True)]
    judged = {
        query: {task.document_ids[p]: int(grade) for p, grade in own.items()}
        for query, own in zip(task.query_ids, task.judged, strict=True)
    }
    split = {
        "corpus": Dataset.from_list(corpus),
        "queries": Dataset.from_list(queries),
        "relevant_docs": judged,
        "top_ranked": _ranked(task),
    }
    return {"default": {"test": split}}


def _ranked(task: Ranking) -> dict[str, list[str]] | None:
    if task.candidates is None:
        return None
    return {
        query: [task.document_ids[p] for p in own]
        for query, own in zip(task.query_ids, task.candidates, strict=True)
    }


def _rows(columns: Mapping[str, Sequence[Any]]) -> Any:
    from datasets import Dataset, DatasetDict

    return DatasetDict({"test": Dataset.from_dict({name: list(values) for name, values in columns.items()})})
