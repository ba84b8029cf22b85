"""The reranker on an embedder's own token states: its scores, its directory, its training."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from late_toys import toy_pairs, write_bert, write_toy_late
from lingxi import Embedder, Reranker, prompts
from lingxi.check import check_model
from lingxi.cli import run
from lingxi.config import load, resolved
from lingxi.errors import InputError, LingxiWarning, ModelError, RecipeError
from lingxi.evaluate.reranked import Reranked
from lingxi.evaluate.systems import Candidates, Matrix, Texts
from lingxi.judging.contract import Opening
from lingxi.judging.late import Late, query_prompt
from lingxi.model.late import read_late
from lingxi.serve.contract import Caller
from lingxi.serve.service import Service
from lingxi.train.late import train_late
from lingxi.train.late_settings import LateSettings
from toys import TEXTS as ALL_TEXTS
from toys import assert_mendable, gap

TEXTS = ALL_TEXTS[:-1]
QUERIES = ("capital of China", "北京", "", "What is gravity?")
PAIRS = [(query, text) for query in QUERIES for text in TEXTS]
RECIPE = Path(__file__).parents[1] / "recipes" / "nano-reranker.toml"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("late") / "bert")


@pytest.fixture(scope="module")
def directory(bert: Path) -> Path:
    return write_toy_late(bert.parent / "late", bert)


@pytest.fixture(scope="module")
def late(directory: Path) -> Reranker:
    return Reranker(directory)


@pytest.fixture(scope="module")
def trained(bert: Path) -> Path:
    return train_late(settings_of(bert), bert.parent / "run" / "made").out


def settings_of(bert: Path, **changes: Any) -> LateSettings:
    pairs = bert.parent / "pairs.parquet"
    values = {
        "name": "made", "embedder": str(bert), "pairs": [str(pairs if pairs.exists() else toy_pairs(pairs))],
        "weights": None, "steps": 40, "queries": 6, "documents": 6, "depth": 12, "projection_rate": 2e-3,
        "learning_rate": 1e-2, "mixture_rate": 0.3,
    }  # fmt: skip
    return resolved(values | changes, LateSettings, (), "a test")


def by_hand(directory: Path, query: str, document: str) -> float:
    """The score as the paper writes it, token by token, in float64."""
    embedder, (_, head) = Embedder(str(directory.parent / "bert")), read_late(directory)
    weights = {name: value.double().numpy() for name, value in head.state_dict().items()}
    asked = embedder.token_ids([query], prompt_name="query")[0]
    read = embedder.token_ids([document], prompt_name="document")[0]
    q, d = (states.astype(np.float64) for states in embedder.token_states([asked, read]))
    cosine = q.mean(0) @ d.mean(0) / np.linalg.norm(q.mean(0)) / np.linalg.norm(d.mean(0))
    own = q[1 + len(embedder.tokenizer.texts(["query: "])[0]) : -1] if query else q
    total = weighed = 0.0
    for token in own:
        weight = np.log1p(np.exp(weights["weight.weight"] @ token + weights["weight.bias"]))[0]
        a = weights["projection.weight"] @ token + weights["projection.bias"]
        near = []
        for other in d:
            b = weights["projection.weight"] @ other + weights["projection.bias"]
            near.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        total, weighed = total + weight, weighed + weight * max(near)
    features = np.array([cosine, weighed / total])
    return float(1 / (1 + np.exp(-(weights["mix.weight"] @ features + weights["mix.bias"])))[0])


def test_a_score_is_the_papers(directory: Path, late: Reranker) -> None:
    chosen = PAIRS[:4] + PAIRS[16:18]
    expected = [by_hand(directory, *pair) for pair in chosen]
    assert gap(late.predict(chosen), expected) < 1e-5


def test_a_score_is_its_pairs_own(late: Reranker) -> None:
    scores = late.predict(PAIRS)
    assert ((scores > 0) & (scores < 1)).all() and scores[: len(TEXTS)].std() > 0.01
    assert gap(scores, np.concatenate([late.predict([pair]) for pair in PAIRS])) < 1e-6
    assert gap(late.predict(PAIRS[::-1])[::-1], scores) < 1e-6
    assert late.predict([]).shape == (0,)


class Counting(Embedder):
    """Counts the sequences it reads."""

    read = 0

    def token_states(self, sequences: Sequence[Sequence[int]], *, lane: int = 0) -> Any:
        """As its parent."""
        self.read += len(sequences)
        return super().token_states(sequences, lane=lane)


def test_each_text_is_read_once(bert: Path, directory: Path, late: Reranker) -> None:
    judge = Late(directory, Opening(), Counting(bert))
    sequences = late.token_ids(PAIRS)
    assert gap(judge.states(sequences), late.states(sequences)) == 0
    assert isinstance(judge.embedder, Counting)
    assert judge.embedder.read == len(QUERIES) + len(TEXTS)


def test_an_instruction_is_read_where_the_embedder_has_the_form(bert: Path, tmp_path: Path) -> None:
    plain, asked = Embedder(bert), Embedder(write_bert(tmp_path / "asked", query=prompts.query_prefix()))
    assert query_prompt(plain, "Find twins") == "query: "
    assert query_prompt(asked, "Find twins") == prompts.query_prefix("Find twins")
    assert query_prompt(asked, prompts.DEFAULT_TASK) == prompts.query_prefix()
    reranker = Reranker(write_toy_late(tmp_path / "late", tmp_path / "asked"))
    assert gap(reranker.predict(PAIRS), reranker.predict(PAIRS, instruction="Find twins")) > 1e-4


def test_long_documents_are_cut_and_said(late: Reranker) -> None:
    long = "gravity " * 200
    with pytest.warns(LingxiWarning, match="1 of 2"):
        late.predict([("q", long), ("q", "short")])
    with pytest.raises(InputError) as caught:
        late.token_ids([("q", long)], truncate="none")
    assert_mendable(caught.value, "pair 0", str(late.max_length))
    start, end = (late.token_ids([("q", f"China {long} 北京")], truncate=t)[0] for t in ("end", "start"))
    assert len(start.document) == late.max_length == 64
    assert start.document != end.document
    (short,) = late.token_ids([("q", long)], max_tokens_per_document=5)
    assert len(short.document) < 20


def test_another_embedder_is_refused(bert: Path, tmp_path: Path) -> None:
    other = write_bert(tmp_path / "other", seed=1)
    write_toy_late(tmp_path / "late", bert, "../other")
    with pytest.raises(ModelError) as caught:
        Reranker(tmp_path / "late")
    assert_mendable(caught.value, "another", "lingxi late")
    write_toy_late(tmp_path / "late", other, "../other")
    assert Reranker(tmp_path / "late").judge.network_directory.resolve() == other.resolve()


def test_an_open_embedder_is_shared(bert: Path, directory: Path, late: Reranker, tmp_path: Path) -> None:
    shared = Embedder(bert)
    reranker = Reranker(directory, embedder=shared)
    assert isinstance(reranker.judge, Late) and reranker.judge.embedder is shared
    assert gap(reranker.predict(PAIRS), late.predict(PAIRS)) == 0
    with pytest.raises(ModelError, match="another"):
        Reranker(directory, embedder=Embedder(write_bert(tmp_path / "other", seed=1)))


def test_torn_directories_are_said(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((directory / "config.json").read_bytes())
    with pytest.raises(ModelError, match="cannot be read"):
        Reranker(tmp_path)
    with pytest.raises(ModelError, match="reranker"):
        Embedder(directory)


def test_a_server_scores_the_same(late: Reranker) -> None:
    service = Service({}, {"late": late})

    async def asked() -> np.ndarray[Any, Any]:
        return (await service.score(PAIRS, Caller("a test", "a request"), model="late")).scores

    try:
        assert gap(asyncio.run(asked()), late.predict(PAIRS)) < 1e-6
    finally:
        service.close()


class Given:
    """A first stage with scores of its own."""

    name, fingerprint = "given", "given"

    def blocks(self, queries: Texts, documents: Texts, candidates: Candidates | None = None) -> Any:
        """Falling scores."""
        yield np.tile(-np.arange(len(documents), dtype=np.float32), (len(queries), 1))

    def compare(self, left: Texts, right: Texts) -> Matrix:
        """None."""
        raise NotImplementedError

    def vectors(self, texts: Texts) -> None:
        """None."""


def test_an_evaluation_reranks_all_queries_at_once(late: Reranker) -> None:
    queries = Texts(QUERIES, ("Find it", "Find it", "Find twins", "Find it"))
    (found,) = Reranked(Given(), late, 4, "late").blocks(queries, Texts(TEXTS))
    for row, (query, task) in enumerate(zip(QUERIES, queries.instruction or (), strict=True)):
        wanted = late.predict([(query, text) for text in TEXTS[:4]], instruction=task)
        assert gap(found[row, :4], wanted) < 1e-6
    assert (found[:, 4:] < 0).all()


def test_training_helps_and_repeats_itself(bert: Path, trained: Path, tmp_path: Path) -> None:
    again = train_late(settings_of(bert), tmp_path / "again" / "made").out
    assert (again / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    steps = [json.loads(line) for line in (trained.parent / "log.jsonl").read_text("utf-8").splitlines()]
    assert len(steps) == 40
    first, last = (np.mean([step["loss"] for step in some]) for some in (steps[:8], steps[-8:]))
    assert last < 0.9 * first


def test_what_was_trained_proves_itself(trained: Path) -> None:
    report = check_model(trained)
    assert report.ok and report.rows[0].check == "together"
    text = (trained / "README.md").read_text("utf-8")
    assert "toy" in text and "pairs.parquet" in text
    assert sum(path.stat().st_size for path in trained.rglob("*") if path.is_file()) < 1_500_000


def test_recipes_are_typed(bert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(RECIPE, LateSettings).called == "lingxi-nano"
    with pytest.raises(RecipeError, match="unknown key 'step'"):
        settings_of(bert, step=1)
    with pytest.raises(RecipeError, match="depth"):
        settings_of(bert, depth=3)
    with pytest.raises(InputError) as caught:
        train_late(settings_of(bert, sources=["none-*"]), bert.parent / "none")
    assert_mendable(caught.value, "none-*")
    assert run(["late", str(RECIPE), "rows=7", "--dry-run"]) == 0
    assert "rows = 7" in capsys.readouterr().out
