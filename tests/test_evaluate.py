"""Measuring: floors and models behind one face, values item by item, runs that go on where they stopped."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lingxi.errors import InputError
from lingxi.evaluate import results
from lingxi.evaluate.dense import Dense, Form, stored_blocks
from lingxi.evaluate.lexical import Bm25, TfIdf, words
from lingxi.evaluate.measure import contains, measure, plain, rank
from lingxi.evaluate.named import system as named_system
from lingxi.evaluate.report import Score, as_markdown, read_report
from lingxi.evaluate.reranked import Reranked
from lingxi.evaluate.run import evaluate
from lingxi.evaluate.suite import SuiteSettings, read_suite, resolve
from lingxi.evaluate.systems import Matrix, System, Texts, best_first, top_k
from lingxi.evaluate.tasks import Bitext, Head, Instructed, Labelled, Pairs, Ranking
from lingxi.model.golden import calibration_texts

BENCHMARK = Path(__file__).parent / "data" / "benchmark"
HEAD = Head("set", "retrieval", "en")


class HashedWords:
    """Unit vectors of word counts by hash: a deterministic encoder that counts the texts it is given."""

    name = "hashed words"
    fingerprint = "hashed words 1"

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, texts: Sequence[str], instruction: str | None) -> Matrix:
        self.encoded += len(texts)
        out = np.full((len(texts), 256), 1e-3)
        for row, text in enumerate(texts):
            for word in words(f"{instruction or ''} {text}"):
                out[row, int(hashlib.md5(word.encode()).hexdigest()[:2], 16)] += 1
        return (out / np.linalg.norm(out, axis=1, keepdims=True)).astype(np.float32)


class LongestFirst:
    """A judge that likes long documents."""

    name = "longest"

    def predict(self, pairs: Any, *, instruction: str | None = None) -> npt.NDArray[Any]:
        return np.array([len(document) / 1000 for _, document in pairs])


def suite(*names: str) -> SuiteSettings:
    table = {
        "xquad": ("cross-lingual retrieval", "parallel", "xquad", ("ndcg@10",)),
        "cosqa": ("code search", "beir", "cosqa_test", ("ndcg@10", "mrr@10")),
        "tatoeba": ("bitext mining", "bitext", "bitext_tatoeba.jsonl", ("accuracy",)),
        "stsb": ("sts", "pairs", "sts_stsb_*_test.jsonl", ("spearman",)),
        "topics": ("classification", "labels", "cls_bitext_sib200_test.jsonl", ("knn_accuracy",)),
    }
    keys = ("task", "reader", "path", "metrics")
    sets = [{"name": name, **dict(zip(keys, table[name], strict=True))} for name in names or table]
    return SuiteSettings.model_validate({"name": "tiny", "sets": sets})


def run(
    out: Path, systems: Sequence[System], *names: str, **more: Any
) -> dict[tuple[str, str, str, str], Score]:
    report = evaluate(suite(*names), BENCHMARK, systems, out, out.parent / "cache", resamples=100, **more)
    rows = {(row.set, row.language, row.system, row.metric): row for row in report.scores}
    assert len(rows) == len(report.scores)
    return rows


def systems(cache: Path | None = None) -> list[System]:
    first = Dense(HashedWords(), cache)
    return [first, Reranked(first, LongestFirst(), 2, "longest"), Bm25(), TfIdf()]


# --- the floors ----------------------------------------------------------------------------------


def test_words_by_unicode_and_bigrams() -> None:
    assert words("Straße, HTTP-2!") == ["strasse", "http", "2"]
    assert words("机器学习 rocks") == ["机器", "器学", "学习", "rocks"]
    assert words("水") == ["水"]
    assert words("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"]
    assert words("…") == []


@pytest.mark.parametrize("floor", [Bm25(), TfIdf()])
def test_floors_rank_shared_words_first(floor: System) -> None:
    documents = Texts(["the cat sat", "dogs run fast", "birds sing"])
    (scores,) = floor.blocks(Texts(["a cat", "run dogs", "ξένος"], "ignored"), documents)
    assert scores.shape == (3, 3)
    assert scores[:2].argmax(axis=1).tolist() == [0, 1]
    assert not scores[2].any()
    (nothing,) = floor.blocks(Texts(["a"], ""), Texts(["…"]))
    assert not nothing.any()
    assert floor.compare(Texts(["the cat"]), Texts(["the cat"]))[0] > 0


# --- systems -------------------------------------------------------------------------------------


def test_the_best_of_many_blocks_are_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 50, (7, 1000)).astype(np.float32)
    whole = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    assert np.array_equal(best_first(scores, 10), whole)
    for size in (1, 13, 400):
        blocks = (scores[:, start : start + size] for start in range(0, 1000, size))
        assert np.array_equal(top_k(blocks, 7, 10).positions, whole)


def test_vectors_are_embedded_once_and_read_back(tmp_path: Path) -> None:
    encoder = HashedWords()
    texts = Texts(["one text", "another"], "a task")
    first = Dense(encoder, tmp_path).vectors(texts)
    again = Dense(encoder, tmp_path).vectors(texts)
    assert encoder.encoded == 2 and np.array_equal(first, again)
    assert not np.array_equal(first, Dense(encoder, tmp_path).vectors(Texts(texts.texts)))
    Dense(encoder, tmp_path, Form(64, "int8")).vectors(texts)
    assert encoder.encoded == 4 + len(calibration_texts()), "only the calibration texts are new"


def test_vectors_stored_in_blocks_are_those_of_one_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = Texts(tuple(f"text {i}" for i in range(17)), tuple("ab"[i % 2] for i in range(17)))
    whole = Dense(HashedWords()).vectors(texts)
    monkeypatch.setattr("lingxi.evaluate.dense._BLOCK", 5)
    assert np.array_equal(Dense(HashedWords(), tmp_path).vectors(texts), whole)
    assert Dense(HashedWords(), tmp_path).vectors(Texts(())).shape == (0, 256)


def test_instructions_of_one_s_own_are_kept_apart() -> None:
    encoder = HashedWords()
    mixed = Dense(encoder).vectors(Texts(["x", "y", "z"], ("first task", "second task", "first task")))
    alone = [encoder.encode([text], task)[0] for text, task in (("x", "first task"), ("y", "second task"))]
    assert np.allclose(mixed[:2], alone)
    assert np.allclose(mixed[2], encoder.encode(["z"], "first task")[0])


def test_forms_cut_and_code() -> None:
    texts = Texts(["the cat sat on the mat", "a dog"])
    full, cut = (Dense(HashedWords(), form=form) for form in (Form(), Form(64)))
    assert cut.vectors(texts).shape == (2, 64)
    assert np.allclose(np.linalg.norm(cut.vectors(texts), axis=1), 1)
    coded = Dense(HashedWords(), form=Form(precision="int8")).vectors(texts)
    assert np.abs(coded - full.vectors(texts)).max() < 5e-3
    signs = Dense(HashedWords(), form=Form(64, "binary")).vectors(texts)
    assert np.allclose(np.abs(signs), 1 / 8)
    assert (str(Form(64, "binary")), str(Form()), str(Form(None, "int8"))) == ("@64:binary", "", "@full:int8")
    assert Form(256, "int8").bytes(1024) == 256 and Form(256, "binary").bytes(1024) == 32


def test_a_corpus_on_disk_is_read_in_blocks(tmp_path: Path) -> None:
    matrix = np.arange(50, dtype=np.float32).reshape(10, 5)
    np.save(tmp_path / "m.npy", matrix)
    blocks = list(stored_blocks(tmp_path / "m.npy", 4))
    assert [len(block) for block in blocks] == [4, 4, 2]
    assert np.array_equal(np.concatenate(blocks), matrix)


def test_a_reranker_orders_the_top_and_leaves_the_rest_behind() -> None:
    documents = Texts(["the cat sat", "the cat sat on a mat", "the dog", "nothing of it at all here"])
    pipeline = Reranked(Dense(HashedWords()), LongestFirst(), 2, "longest")
    (scores,) = pipeline.blocks(Texts(["the cat sat"]), documents)
    assert np.argsort(-scores[0]).tolist()[:2] == [1, 0]
    assert (scores[0, :2] > 0).all() and (scores[0, 2:] < 0).all()
    assert scores[0, 2] > scores[0, 3]
    (among,) = pipeline.blocks(Texts(["the cat sat"]), documents, candidates=[(2, 3)])
    assert among[0].argmax() == 3, "the candidates alone are reranked"


def test_names_mean_systems(tmp_path: Path) -> None:
    assert named_system("bm25").name == "BM25" and named_system("tfidf").name == "TF-IDF"
    for name, words_ in (
        ("no-such-model", "no-such-model"),
        ("st:/nowhere", "/nowhere"),
        ("http://127.0.0.1:1/v1", "which model"),
        ("bm25+no-such-reranker/5", "no-such-reranker"),
    ):
        with pytest.raises(Exception, match=words_) as caught:
            named_system(name, tmp_path)
        assert hasattr(caught.value, "remedy")
    shipped = named_system("lingxi-pico@64:int8", tmp_path)
    assert shipped.name == "lingxi-pico@64:int8"
    assert shipped.fingerprint != named_system("lingxi-pico", tmp_path).fingerprint


# --- values --------------------------------------------------------------------------------------


def ranking(**more: Any) -> Ranking:
    documents = ("the cat sat", "dogs run fast", "birds sing", "a cat and a dog")
    given: dict[str, Any] = {
        "head": HEAD,
        "metrics": ("ndcg@10", "mrr@10", "recall@10", "hits@1", "mrr"),
        "instruction": "",
        "query_ids": ("q0", "q1"),
        "queries": ("the cat", "sing"),
        "document_ids": ("d0", "d1", "d2", "d3"),
        "documents": documents,
        "judged": ({0: 1.0}, {1: 1.0, 2: 2.0}),
    }
    return Ranking(**(given | more))


def value(task: Any, system: System) -> dict[str, list[float]]:
    return {found.metric: found.values.tolist() for found in measure(task, system)}


def test_rankings_are_scored_by_every_metric() -> None:
    found = value(ranking(), Bm25())
    assert found["hits@1"] == [1, 1] and found["mrr@10"] == [1, 1] and found["mrr"] == [1, 1]
    assert found["ndcg@10"][0] == 1 and 0.8 < found["ndcg@10"][1] <= 1
    shown = measure(ranking(), Bm25())[0]
    assert shown.found[0][0] == "d0" and shown.top == ("the cat sat", "birds sing")


def test_candidates_alone_are_ranked() -> None:
    ranked = rank(ranking(candidates=((1, 2), (0, 2))), Bm25(), 4)
    assert set(ranked.positions[0].tolist()) == {1, 2, -1}
    assert ranked.positions[1].tolist()[:2] == [2, 0]


def test_a_document_is_as_good_as_its_best_segment() -> None:
    task = ranking(
        parents=(0, 0, 1, 1), document_ids=("m0", "m1"), judged=({0: 1.0}, {1: 1.0}), metrics=("hits@1",)
    )
    assert value(task, Bm25())["hits@1"] == [1, 1]
    assert measure(task, Bm25())[0].top == ("m0", "m1")


def test_an_answer_is_found_in_a_passage() -> None:
    assert plain("12 人, “twelve”!") == "12人twelve"
    task = ranking(answers=(("CAT, sat",), ("no such",)), metrics=("answer@1",))
    assert value(task, Bm25())["answer@1"] == [1, 0]


def test_translations_count_both_directions_and_ties_share() -> None:
    task = Bitext(
        HEAD, ("accuracy", "f1"), "", ("1", "2", "3"), ("a b", "c d", "e f"), ("a b", "c d x", "nothing")
    )
    found = value(task, Dense(HashedWords()))
    assert found["accuracy"][:2] == [1, 1] and found["f1"][:2] == [1, 1]

    class Constant(HashedWords):
        def encode(self, texts: Sequence[str], instruction: str | None) -> Matrix:
            return np.ones((len(texts), 1), np.float32)

    constant = value(task, Dense(Constant()))
    assert constant["accuracy"] == pytest.approx([1 / 3] * 3)
    assert constant["f1"] == [0.5, 0, 0], "one text was chosen by all three"


def test_pairs_carry_their_gold() -> None:
    task = Pairs(HEAD, ("spearman",), "", ("1", "2"), ("a b", "c"), ("a b", "d"), (5.0, 0.0))
    (found,) = measure(task, Dense(HashedWords()))
    assert found.gold is not None and found.gold.tolist() == [5, 0] and found.values[0] > found.values[1]


def test_neighbours_vote_and_clusters_form() -> None:
    texts = tuple(f"{word} {n}" for word in ("cat", "dog") for n in range(6))
    labels = tuple(text.split()[0] for text in texts)
    task = Labelled(HEAD, ("knn_accuracy", "v_measure"), "", texts, texts, labels)
    found = value(task, TfIdf())
    assert np.mean(found["knn_accuracy"]) == 1
    assert "v_measure" not in value(task, Bm25()), "BM25 has no vectors"
    assert sorted(set(found["v_measure"])) == [0, 1]


def test_a_target_falls_when_the_instruction_changes() -> None:
    documents = ("weather report", "cooking recipe", "train table")
    task = Instructed(HEAD, ("1",), ("today",), ("weather report",), ("cooking recipe",), documents, (0,))
    (found,) = measure(task, Dense(HashedWords()))
    assert 0 < found.values[0] <= 0.5 + 1e-9
    turned = Instructed(HEAD, ("1",), ("today",), ("cooking recipe",), ("weather report",), documents, (0,))
    assert measure(turned, Dense(HashedWords()))[0].values[0] == pytest.approx(-found.values[0])
    (deaf,) = measure(task, Bm25())
    assert deaf.values[0] == 0, "who does not hear instructions scores nothing"


# --- runs ----------------------------------------------------------------------------------------


def test_a_run_writes_items_scores_and_a_table(tmp_path: Path) -> None:
    rows = run(tmp_path / "out", systems(tmp_path / "vectors"))
    assert rows["xquad", "en>en", "BM25", "ndcg@10"].value == pytest.approx(1.0)
    assert rows["xquad", "es>en", "BM25", "ndcg@10"].value < 1
    assert rows["cosqa", "en", "hashed words+longest/2", "mrr@10"].n == 2
    assert rows["tatoeba", "mean of 2", "BM25", "accuracy"].n == 4
    assert rows["stsb", "en", "hashed words", "spearman"].value == pytest.approx(1.0)
    assert not any(key[0] == "tatoeba" and "longest" in key[2] for key in rows)
    for row in rows.values():
        assert row.low - 1e-9 <= row.value <= row.high + 1e-9
    assert read_report(tmp_path / "out") == tuple(rows.values())
    assert (tmp_path / "out" / "scores.md").read_text("utf-8").count("\n") == len(rows) + 2
    groups = list(results.read_groups(tmp_path / "out", ["BM25"]))
    assert {group.system for group in groups} == {"BM25"}
    items = results.read_items(tmp_path / "out")
    assert items["tatoeba", "spa", "spa-1"]["expected"] == "The dog is sleeping."


def test_a_finished_unit_is_not_measured_again(tmp_path: Path) -> None:
    said: list[str] = []
    run(tmp_path / "out", systems(), "cosqa", say=said.append)
    assert len(said) == 4
    run(tmp_path / "out", systems(), "cosqa", "stsb", say=said.append)
    assert [line.split(":")[0] for line in said[4:]] == ["[5/8] stsb", "[7/8] stsb", "[8/8] stsb"]


def test_a_run_that_was_stopped_ends_with_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "whole", systems())

    class Stopping(HashedWords):
        def encode(self, texts: Sequence[str], instruction: str | None) -> Matrix:
            if self.encoded > 20:
                raise KeyboardInterrupt
            return super().encode(texts, instruction)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", [Bm25(), Dense(Stopping())])
    assert list((tmp_path / "stopped" / results.UNITS).glob("*.parquet"))
    run(tmp_path / "stopped", systems())
    for name in (results.RESULTS, results.ITEMS, "scores.json", "scores.md"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes()


def test_changed_data_are_measured_again(tmp_path: Path) -> None:
    data = shutil.copytree(BENCHMARK, tmp_path / "data")
    one = suite("tatoeba")
    first = evaluate(one, data, [Bm25()], tmp_path / "out", tmp_path, 100)
    path = data / "bitext_tatoeba.jsonl"
    path.write_text(path.read_text("utf-8").replace("El perro duerme.", "The dog is sleeping."), "utf-8")
    second = evaluate(one, data, [Bm25()], tmp_path / "out", tmp_path, 100)
    assert first.scores[0].value < second.scores[0].value


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two systems are named"):
        run(tmp_path / "out", [Bm25(), Bm25()])
    with pytest.raises(InputError, match="give --root"):
        evaluate(suite(), None, [Bm25()], tmp_path, tmp_path)
    with pytest.raises(InputError, match="no evaluation"):
        list(results.read_groups(tmp_path / "nothing"))


def test_the_table_is_in_percent() -> None:
    row = Score("tatoeba", "spa", "BM25", "accuracy", 0.1234, 0.1, 0.15, 10)
    assert "| tatoeba | spa | accuracy | BM25 | 12.3 | 10.0 – 15.0 | 10 |" in as_markdown([row])


def test_a_quick_suite_has_few_languages_and_as_many_queries_as_told() -> None:
    whole, quick = resolve("benchmark"), resolve("benchmark", quick=True)
    assert (whole.queries, quick.queries) == (300, 100)
    assert resolve("benchmark", ("queries=300",), quick=True).queries == 300
    few, many = ({item.name: item for item in suite.sets}["tatoeba"] for suite in (quick, whole))
    assert few.languages == many.quick and many.languages is None


def test_every_reader_of_the_shipped_suite_is_there() -> None:
    from lingxi.evaluate.readers import READERS

    assert {item.reader for item in read_suite("benchmark").sets} <= set(READERS)


def test_systems_of_one_fingerprint_keep_their_own_items(tmp_path: Path) -> None:
    first, second = Bm25(), Bm25()
    second.name = "another"  # type: ignore[misc]
    rows = run(tmp_path / "out", [first, second], "cosqa")
    assert {key[2]: row.n for key, row in rows.items() if key[3] == "mrr@10"} == {"BM25": 2, "another": 2}


def test_vectors_without_end_are_refused(tmp_path: Path) -> None:
    class Broken(HashedWords):
        def encode(self, texts: Sequence[str], instruction: str | None) -> Matrix:
            return super().encode(texts, instruction) * np.float32("nan")

    with pytest.raises(InputError, match="gave no vector"):
        run(tmp_path / "out", [Dense(Broken())], "cosqa")


def test_what_no_system_can_have_is_said(tmp_path: Path) -> None:
    sets = suite("topics").model_dump(mode="json")
    sets["sets"][0] |= {"metrics": ["v_measure"], "task": "clustering"}
    with pytest.raises(InputError, match="none of the systems can be measured"):
        evaluate(SuiteSettings.model_validate(sets), BENCHMARK, [Bm25()], tmp_path / "out", tmp_path, 100)


@pytest.mark.parametrize(
    ("passage", "answer", "holds"),
    [
        ("It was just a dream", "US", False), ("The US Army", "US", True), ("costs $5", "$", False),
        ("2023年5月成立于北京市", "北京", True), ("Über-Größe, 12 cm", "größe 12", True),
        ("a.b.c", "B C", True),
    ],
)  # fmt: skip
def test_an_answer_is_words_and_not_part_of_one(passage: str, answer: str, holds: bool) -> None:
    assert contains(passage, answer) is holds
