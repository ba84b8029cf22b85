"""Evaluating: sets as the benchmark lays them out, floors, and a report of rows with intervals."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lingxi.errors import InputError
from lingxi.evaluate import EvaluateSettings, Score, evaluate_models
from lingxi.evaluate.report import as_markdown, read_report
from lingxi.evaluate.suites import BitextSet, RetrievalSet, Sampling, SimilaritySet, read_set
from lingxi.evaluate.systems import Bm25, EmbedderSystem, RerankerSystem, words

BENCHMARK = Path(__file__).parent / "data" / "benchmark"


class HashedWords:
    """Unit vectors of word counts by hash: lexical, deterministic, and an Encoder."""

    name = "hashed words"

    def __init__(self) -> None:
        self.documents = 0

    def encode_document(self, inputs: Any) -> npt.NDArray[Any]:
        self.documents += len(inputs)
        out = np.full((len(inputs), 256), 1e-3)
        for row, text in enumerate(inputs):
            for word in words(text):
                out[row, int(hashlib.md5(word.encode()).hexdigest()[:2], 16)] += 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    def encode_query(self, inputs: Any, *, instruction: str | None = None) -> npt.NDArray[Any]:
        return self.encode_document(inputs)


class LongestFirst:
    """A judge that likes long documents."""

    name = "longest"

    def predict(
        self, pairs: Iterable[tuple[str, str]], *, instruction: str | None = None
    ) -> npt.NDArray[Any]:
        return np.array([len(document) / 1000 for _, document in pairs])


def test_xquad_asks_every_language_for_english_paragraphs() -> None:
    english, spanish = read_set("xquad", BENCHMARK, Sampling())
    assert isinstance(spanish, RetrievalSet) and isinstance(english, RetrievalSet)
    assert (english.language, spanish.language) == ("en>en", "es>en")
    assert spanish.documents == english.documents
    assert spanish.queries[1] == "¿Dónde se extrae el cobre?"
    assert spanish.grades == english.grades == ({0: 1.0}, {1: 1.0}, {2: 1.0})


def test_sampling_is_seeded_and_spares_the_relevant() -> None:
    (small,) = read_set("cosqa", BENCHMARK, Sampling(documents=3))
    assert isinstance(small, RetrievalSet)
    assert len(small.documents) == 3
    assert [small.documents[next(iter(grades))][:8] for grades in small.grades] == ["def read", "def sort"]
    (one,) = read_set("cosqa", BENCHMARK, Sampling(queries=1, documents=1))
    assert isinstance(one, RetrievalSet)
    assert len(one.queries) == len(one.documents) == 1
    assert list(read_set("cosqa", BENCHMARK, Sampling(seed=5))) == list(
        read_set("cosqa", BENCHMARK, Sampling(seed=5))
    )


def test_bitext_and_similarity_sets() -> None:
    german, spanish = read_set("tatoeba", BENCHMARK, Sampling())
    assert isinstance(spanish, BitextSet) and isinstance(german, BitextSet)
    assert (german.language, spanish.left[1], spanish.right[1]) == (
        "deu",
        "El perro duerme.",
        "The dog is sleeping.",
    )
    (only,) = read_set("sib200", BENCHMARK, Sampling())
    assert isinstance(only, BitextSet) and only.language == "spa_Latn" and len(only.left) == 2
    (graded,) = read_set("sts", BENCHMARK, Sampling())
    assert isinstance(graded, SimilaritySet) and graded.gold == (4.5, 1.5, 0.0)


def test_unknown_languages_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="xyz"):
        list(read_set("tatoeba", BENCHMARK, Sampling(tatoeba_languages=("xyz",))))
    for name in ("xquad", "cosqa", "tatoeba", "sib200", "sts"):
        with pytest.raises(InputError):
            list(read_set(name, tmp_path, Sampling()))


def test_words_by_unicode_and_bigrams() -> None:
    assert words("Straße, HTTP-2!") == ["strasse", "http", "2"]
    assert words("机器学习 rocks") == ["机器", "器学", "学习", "rocks"]
    assert words("水") == ["水"]
    assert words("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"]
    assert words("…") == []


def test_bm25_ranks_shared_words_first() -> None:
    documents = ["the cat sat", "dogs run fast", "birds sing"]
    scores = Bm25().score(["a cat", "run dogs", "ξένος"], documents, instruction="")
    assert scores.shape == (3, 3)
    assert scores[:2].argmax(axis=1).tolist() == [0, 1]
    assert not scores[2].any()
    assert not Bm25().score(["a"], ["…"], instruction="").any()


def test_a_reranker_orders_the_top_and_leaves_the_rest_behind() -> None:
    documents = ["the cat sat", "the cat sat on a mat", "the dog", "nothing of it at all here"]
    system = RerankerSystem(EmbedderSystem(HashedWords()), LongestFirst(), depth=2)
    scores = system.score(["the cat sat"], documents, instruction="")[0]
    assert np.argsort(-scores).tolist()[:2] == [1, 0]
    assert (scores[:2] > 0).all() and (scores[2:] < 0).all()
    assert scores[2] > scores[3]


def test_one_corpus_is_embedded_once() -> None:
    embedder = HashedWords()
    settings = EvaluateSettings(benchmark=BENCHMARK, sets=("xquad",), bm25=False)
    list_of = list(read_set("xquad", BENCHMARK, Sampling()))
    system = EmbedderSystem(embedder)
    for suite in list_of:
        assert isinstance(suite, RetrievalSet)
        system.score(suite.queries, suite.documents, instruction=suite.instruction)
    assert embedder.documents == 3 + 3 + 3
    assert settings.queries == 300


def test_the_report_holds_every_row(tmp_path: Path) -> None:
    settings = EvaluateSettings(
        benchmark=BENCHMARK, sets=("xquad", "cosqa", "tatoeba", "sib200", "sts"), resamples=100
    )
    report = evaluate_models(settings, HashedWords(), LongestFirst(), tmp_path)
    rows = {(row.set, row.language, row.system, row.metric): row for row in report.scores}
    assert len(rows) == len(report.scores)
    assert rows["xquad", "en>en", "BM25", "ndcg@10"].value == pytest.approx(1.0)
    assert rows["xquad", "es>en", "BM25", "ndcg@10"].value < 1
    assert rows["cosqa_test", "en>python", "hashed words + longest (top 50)", "mrr@10"].n == 2
    assert rows["tatoeba", "deu", "chance", "accuracy"].value == 0.5
    assert rows["tatoeba", "mean of 2", "BM25", "accuracy"].n == 4
    assert rows["stsb", "en", "hashed words", "spearman"].value == pytest.approx(1.0)
    for row in report.scores:
        assert row.low - 1e-9 <= row.value <= row.high + 1e-9
    assert read_report(tmp_path) == report.scores
    assert (tmp_path / "scores.md").read_text("utf-8").count("\n") == len(report.scores) + 2
    assert evaluate_models(settings, HashedWords(), LongestFirst(), tmp_path) == report


def test_a_model_that_says_nothing_scores_nothing(tmp_path: Path) -> None:
    class Constant(HashedWords):
        def encode_document(self, inputs: Any) -> npt.NDArray[Any]:
            return np.ones((len(inputs), 1))

    settings = EvaluateSettings(benchmark=BENCHMARK, sets=("tatoeba", "sts"), bm25=False, resamples=100)
    rows = {
        (row.language, row.system): row
        for row in evaluate_models(settings, Constant(), None, tmp_path).scores
    }
    assert rows["en", "hashed words"].value == rows["en", "hashed words"].low == 0.0
    assert rows["spa", "hashed words"].value == rows["spa", "chance"].value


def test_the_table_is_in_percent() -> None:
    row = Score("tatoeba", "spa", "BM25", "accuracy", 0.1234, 0.1, 0.15, 10)
    assert "| tatoeba | spa | accuracy | BM25 | 12.3 | 10.0 – 15.0 | 10 |" in as_markdown([row])
