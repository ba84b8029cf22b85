"""The mteb bridge: our models run mteb's tasks, mteb's evaluator agrees with ours on our sets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

mteb = pytest.importorskip("mteb", reason="the extra `mteb` is not installed")

from mteb.results.task_result import TaskError, TaskResult  # noqa: E402

from lingxi.bridges.instructions import BY_NAME, BY_TYPE, instruction_of  # noqa: E402
from lingxi.bridges.mteb import MtebCrossEncoder, MtebEncoder  # noqa: E402
from lingxi.bridges.mteb_tasks import mteb_task, mteb_tasks  # noqa: E402
from lingxi.errors import InputError  # noqa: E402
from lingxi.evaluate.dense import Dense  # noqa: E402
from lingxi.evaluate.encoders import Own  # noqa: E402
from lingxi.evaluate.measure import measure, statistic  # noqa: E402
from lingxi.evaluate.tasks import Bitext, Head, Labelled, Pairs, Ranking, Task  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
WORDS = [
    "red",
    "green",
    "blue",
    "tea",
    "rain",
    "stone",
    "river",
    "light",
    "paper",
    "night",
    "song",
    "bread",
    "wolf",
    "glass",
    "road",
]


@pytest.fixture(scope="module")
def encoder(embedder_directory: Path) -> MtebEncoder:
    return MtebEncoder(str(embedder_directory))


def sentences(count: int, seed: int) -> tuple[str, ...]:
    rng = np.random.default_rng(seed)
    return tuple(f"{i} " + " ".join(rng.choice(WORDS, 6)) for i in range(count))


def ranking() -> Ranking:
    documents, queries = sentences(60, 1), sentences(20, 2)
    rng = np.random.default_rng(3)
    judged = tuple({int(p): 1.0 for p in rng.choice(60, 3, replace=False)} for _ in queries)
    return Ranking(
        Head("toys", "retrieval", "en"), ("ndcg@10", "mrr@10", "recall@10"), "Find the words",
        tuple(f"q{i}" for i in range(20)), queries, tuple(f"d{i}" for i in range(60)), documents, judged,
    )  # fmt: skip


def bitext() -> Bitext:
    left, right = sentences(40, 4), tuple(text.replace("r", "l") for text in sentences(40, 4))
    ids = tuple(map(str, range(40)))
    head = Head("toys", "bitext mining", "de")
    return Bitext(head, ("f1",), "Retrieve parallel sentences", ids, left, right)


def pairs() -> Pairs:
    gold = tuple(np.random.default_rng(5).uniform(0, 5, 30).round(1).tolist())
    ids, sides = tuple(map(str, range(30))), (sentences(30, 6), sentences(30, 7))
    return Pairs(Head("toys", "sts", "en"), ("spearman",), "Similar?", ids, sides[0], sides[1], gold)


def theirs(encoder: Any, task: Task) -> dict[str, float]:
    found = mteb.evaluate(encoder, [mteb_task(task)], cache=None, co2_tracker=False, show_progress_bar=False)
    return dict(found.task_results[0].scores["test"][0])


def ours(encoder: MtebEncoder, task: Task) -> dict[str, float]:
    return {
        found.metric: statistic(found.metric)(found.values, found.gold)
        for found in measure(task, Dense(Own(encoder._embedder)))
    }


def test_their_evaluator_agrees_on_rankings(encoder: MtebEncoder) -> None:
    own, other = ours(encoder, ranking()), theirs(encoder, ranking())
    assert own["ndcg@10"] == pytest.approx(other["ndcg_at_10"], abs=1e-4)
    assert own["mrr@10"] == pytest.approx(other["mrr_at_10"], abs=1e-4)
    assert own["recall@10"] == pytest.approx(other["recall_at_10"], abs=1e-4)
    assert 0 < own["ndcg@10"] < 1


def test_their_evaluator_agrees_on_translations(encoder: MtebEncoder) -> None:
    own, other = ours(encoder, bitext())["f1"], theirs(encoder, bitext())["f1"]
    assert own == pytest.approx(other, abs=1e-4) and 0 < own < 1


def test_their_evaluator_agrees_on_similarities(encoder: MtebEncoder) -> None:
    own, other = ours(encoder, pairs())["spearman"], theirs(encoder, pairs())["cosine_spearman"]
    assert own == pytest.approx(other, abs=1e-4)


def test_the_embedder_passes_their_mock_run(encoder: MtebEncoder) -> None:
    results = mteb.mock_run(encoder)
    assert results.all_passed
    ran = [name for name, status in results.items() if status is not None]
    assert len(ran) >= 20


def test_the_reranker_passes_their_mock_run(reranker_directory: Path) -> None:
    results = mteb.mock_run(MtebCrossEncoder(str(reranker_directory)))
    failed = {name: status for name, status in results.items() if isinstance(status, TaskError)}
    # No cross-encoder can search a corpus without candidates: theirs fails on these as well.
    assert all("requires top_ranked" in status.exception for status in failed.values())
    assert sum(isinstance(status, TaskResult) for _, status in results.items()) >= 4


def test_known_tasks_have_the_authors_words() -> None:
    assert instruction_of("NFCorpus", "Retrieval") == (
        "Given a question, retrieve relevant documents that best answer the question"
    )
    assert instruction_of("SomethingNew", "STS") == BY_TYPE["STS"]
    assert instruction_of("CQADupstackGaming", "Retrieval").startswith("Given a question, retrieve detailed")
    names = {cls.metadata.name for cls in mteb.get_tasks(exclude_private=False, exclude_superseded=False)}
    assert {n for n in BY_NAME if n not in names} == set()


def test_sets_become_tasks() -> None:
    folder = Path(__file__).parent / "data" / "benchmark"
    tasks = mteb_tasks("benchmark", folder, sets=("xquad", "tatoeba"))
    assert [type(task).__name__ for task in tasks][:1] == ["lingxi_xquad_en_en"]
    with pytest.raises(InputError, match="is no ranking"):
        head = Head("toys", "classification", "en")
        mteb_task(Labelled(head, ("knn_accuracy",), "", ("1",), ("a",), ("b",)))
