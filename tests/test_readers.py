"""Reading sets: every shape of file, sampling by seed, and what is wrong named with its file and line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingxi.errors import InputError, RecipeError
from lingxi.evaluate.readers import read_set
from lingxi.evaluate.suite import SetSettings, SuiteSettings, chosen, read_suite
from lingxi.evaluate.tasks import (
    Bitext,
    Instructed,
    Labelled,
    Pairs,
    Ranking,
    Task,
    expected_of,
    ids_of,
    texts_of,
)

BENCHMARK = Path(__file__).parent / "data" / "benchmark"


def read(reader: str, path: str, root: Path = BENCHMARK, **more: Any) -> list[Task]:
    sampling = {key: more.pop(key) for key in ("queries", "documents", "seed") if key in more}
    settings = SetSettings(
        name="a-set",
        task=more.pop("task", "retrieval"),
        reader=reader,  # type: ignore[arg-type]
        path=path,
        metrics=("ndcg@10",),
        **more,
    )
    return list(read_set(settings, SuiteSettings(name="test", sets=(settings,), **sampling), root))


def ranking(reader: str, path: str, root: Path = BENCHMARK, **more: Any) -> Ranking:
    (task,) = read(reader, path, root, **more)
    assert isinstance(task, Ranking)
    return task


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# --- the shapes ----------------------------------------------------------------------------------


def test_parallel_questions_ask_every_language_for_english_paragraphs() -> None:
    english, spanish = read("parallel", "xquad")
    assert isinstance(spanish, Ranking) and isinstance(english, Ranking)
    assert (english.head.language, spanish.head.language) == ("en>en", "es>en")
    assert spanish.documents == english.documents
    assert spanish.queries[1] == "¿Dónde se extrae el cobre?"
    assert spanish.judged == english.judged == ({0: 1.0}, {1: 1.0}, {2: 1.0})


def test_sampling_is_seeded_and_spares_the_relevant() -> None:
    small = ranking("beir", "cosqa_test", documents=3)
    assert len(small.documents) == 3
    assert [small.documents[next(iter(grades))][:8] for grades in small.judged] == ["def read", "def sort"]
    one = ranking("beir", "cosqa_test", queries=1, documents=1)
    assert len(one.queries) == len(one.documents) == 1
    assert ranking("beir", "cosqa_test", seed=5) == ranking("beir", "cosqa_test", seed=5)


def test_translations_pairs_and_labels() -> None:
    german, spanish = read("bitext", "bitext_tatoeba.jsonl")
    assert isinstance(spanish, Bitext) and isinstance(german, Bitext)
    assert (german.head.language, spanish.left[1], spanish.right[1]) == (
        "deu",
        "El perro duerme.",
        "The dog is sleeping.",
    )
    (only,) = read("sentences", "cls_bitext_sib200_test.jsonl")
    assert isinstance(only, Bitext) and only.head.language == "spa_Latn" and len(only.left) == 2
    (pairs,) = read("pairs", "sts_stsb_*_test.jsonl")
    assert isinstance(pairs, Pairs) and pairs.gold == (4.5, 1.5, 0.0) and pairs.head.language == "en"
    topics = read("labels", "cls_bitext_sib200_test.jsonl")
    assert [isinstance(t, Labelled) and t.head.language for t in topics] == ["eng_Latn", "spa_Latn"]


def test_words_for_labels_are_made_true_or_false(tmp_path: Path) -> None:
    write(tmp_path / "nli.jsonl", [{"a": "x", "b": "y", "y": "neutral"}, {"a": "x", "b": "x", "y": "same"}])
    (pairs,) = read("pairs", "nli.jsonl", tmp_path, positive="same")
    assert isinstance(pairs, Pairs) and pairs.gold == (0.0, 1.0)


def test_candidates_are_a_query_s_own(tmp_path: Path) -> None:
    rows = [{"q": f"question {n}", "c": [["no", 0], [f"yes {n}", 2]]} for n in range(3)]
    write(tmp_path / "c.jsonl", rows)
    task = ranking("candidates", "c.jsonl", tmp_path, queries=2)
    assert task.candidates == ((0, 1), (2, 3))
    assert len(task.documents) == 4
    assert [task.documents[max(grades, key=lambda d: grades[d])][:3] for grades in task.judged] == [
        "yes",
        "yes",
    ]


def test_passages_carry_their_answers(tmp_path: Path) -> None:
    write(
        tmp_path / "rag.jsonl",
        [{"q": "how many?", "answer": ["12"], "pos": ["12 were"], "neg": ["none", "?"]}],
    )
    task = ranking("passages", "rag.jsonl", tmp_path)
    assert (
        task.answers == (("12",),)
        and task.judged == ({0: 1.0, 1: 0.0, 2: 0.0},)
        and task.candidates == ((0, 1, 2),)
    )


def test_meetings_are_ranked_whole_or_turn_by_turn(tmp_path: Path) -> None:
    write(
        tmp_path / "m/corpus.jsonl",
        [{"id": f"m{m}t{t}", "text": f"turn {t} of {m}"} for m in (0, 1) for t in (0, 1)],
    )
    write(tmp_path / "m/queries.jsonl", [{"id": "m1q0", "text": "what was said?"}])
    (tmp_path / "m/qrels.tsv").write_text("m1q0\tm1t1\t1\n")
    turns = ranking("meetings", "m", tmp_path)
    assert turns.candidates == ((2, 3),) and turns.judged == ({3: 1.0},)
    whole = ranking("meetings", "m", tmp_path, whole=True)
    assert (
        whole.parents == (0, 0, 1, 1) and whole.judged == ({1: 1.0},) and whole.document_ids == ("m0", "m1")
    )


def test_entities_are_asked_by_name(tmp_path: Path) -> None:
    for name, lines in {
        "ent_ids_1.tsv": "1\t人工智能\n2\t北京",
        "ent_ids_2.tsv": "3\tArtificial intelligence\n4\tBeijing",
        "ref_ent_ids.tsv": "1\t3\n2\t4",
    }.items():
        (tmp_path / name).write_text(lines + "\n", encoding="utf-8")
    task = ranking("graph", ".", tmp_path)
    assert task.queries == ("人工智能", "北京") and task.documents == ("Artificial intelligence", "Beijing")
    assert task.alike


CODE = [
    {"l": "go", "q": "Reports the sum", "zh": "求和", "p": "func function_name() {}"},
    {"l": "go", "q": "Closes a file", "zh": None, "p": "func function_name(f File) {}"},
    {"l": "ruby", "q": "Joins words", "zh": None, "p": "def function_name"},
]


def test_code_is_asked_for_among_the_functions_of_its_language(tmp_path: Path) -> None:
    path = write(tmp_path / "code.jsonl", CODE).name
    go, ruby = read("code", path, tmp_path, language="en>code")
    assert isinstance(go, Ranking) and isinstance(ruby, Ranking)
    assert go.head.language == "en>go" and len(go.queries) == 2 and len(ruby.documents) == 1
    chinese = ranking("code", path, tmp_path, language="zh>code", languages=("go",))
    assert chinese.queries == ("求和",) and len(chinese.documents) == 2 and chinese.judged == ({0: 1.0},)
    back = ranking("code", path, tmp_path, language="code>en", languages=("ruby",))
    assert back.head.language == "ruby>en" and back.documents == ("Joins words",)
    with pytest.raises(InputError, match="choose one of: en>code"):
        read("code", path, tmp_path, language="en")


def test_the_same_query_is_asked_under_two_instructions(tmp_path: Path) -> None:
    sib = [
        {"l": language, "id": str(i), "y": "health" if i < 3 else "sports", "t": f"{language} {i}"}
        for language in ("eng_Latn", "spa_Latn", "fra_Latn")
        for i in range(6)
    ]
    bank = [
        {"t": f"question {i} of {label}", "y": label} for label in ("card_lost", "refund") for i in range(3)
    ]
    write(tmp_path / "cls_bitext_sib200_test.jsonl", sib)
    write(tmp_path / "cls_banking77_test.jsonl", bank)
    tasks = read("instructions", "cls_*_test.jsonl", tmp_path)
    by_name = {task.head.language: task for task in tasks}
    assert list(by_name) == [
        name + end for name in ("sib200", "banking77", "medical") for end in ("", " (control)")
    ]
    topics = {row["t"]: row["y"] for row in sib}
    sib200 = by_name["sib200"]
    assert isinstance(sib200, Instructed)
    for query, said, target in zip(sib200.queries, sib200.instructions, sib200.targets, strict=True):
        found = sib200.documents[target]
        if "translation" in said:
            assert found == query.replace("eng", "spa")
        else:
            assert found.startswith("eng") and found != query and topics[found] == topics[query]
    for name, task in by_name.items():
        assert isinstance(task, Instructed)
        assert all(a != b for a, b in zip(task.instructions, task.others, strict=True))
        plain_task = by_name[name.removesuffix(" (control)")]
        assert isinstance(plain_task, Instructed) and task.targets == plain_task.targets


def test_parquet_rows_and_fields_of_other_names(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"question": ["why?", "who?"], "context": ["because", "she"]})
    pq.write_table(table, tmp_path / "test.parquet")
    task = ranking("questions", "test.parquet", tmp_path, fields={"q": "question", "p": "context"})
    assert task.queries == ("why?", "who?") and task.documents == ("because", "she")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"broken\.parquet is no readable Parquet"):
        read("questions", "broken.parquet", tmp_path)
    with pytest.raises(InputError, match="write hf://ORG/NAME/FILE"):
        read("questions", "hf://someone", tmp_path)


def test_every_task_says_what_it_asks_and_expects() -> None:
    tasks = [
        *read("parallel", "xquad"),
        *read("bitext", "bitext_tatoeba.jsonl"),
        *read("pairs", "sts_stsb_*_test.jsonl"),
        *read("labels", "cls_bitext_sib200_test.jsonl"),
    ]
    for task in tasks:
        assert len(ids_of(task)) == len(texts_of(task)) == len(expected_of(task)) > 0
        assert len(set(ids_of(task))) == len(ids_of(task))


# --- what is wrong -------------------------------------------------------------------------------


def _beir(folder: Path) -> Path:
    write(
        folder / "corpus.jsonl", [{"_id": "d1", "title": "Tea", "text": "leaves"}, {"_id": "d2", "text": "x"}]
    )
    write(folder / "queries.jsonl", [{"_id": "q1", "text": "tea?"}, {"_id": "q2", "text": "unjudged"}])
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    return folder


def test_the_shape_of_beir_is_read(tmp_path: Path) -> None:
    task = ranking("beir", "b", _beir(tmp_path / "b").parent)
    assert task.documents == ("Tea\nleaves", "x")
    assert task.query_ids == ("q1",), "a query without judgements is not asked"


def _no_qrels(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").unlink()


def _broken_qrels(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("q1\td1\t1\nq1 d2 1\n")


def _unknown_document(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("q1\td9\t1\n")


def _unknown_query(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("q9\td1\t1\n")


def _nothing_relevant(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("q1\td1\t0\n")


def _twice(folder: Path) -> None:
    write(folder / "corpus.jsonl", [{"_id": "d1", "text": "a"}, {"_id": "d1", "text": "b"}])


def _no_text(folder: Path) -> None:
    write(folder / "corpus.jsonl", [{"_id": "d1", "text": "a"}, {"_id": "d2"}])


def _number(folder: Path) -> None:
    write(folder / "queries.jsonl", [{"_id": "q1", "text": 7}])


def _no_json(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n\n{"_id": "d2", ')


def _empty(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text("")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_no_qrels, "qrels.tsv"),
        (_broken_qrels, "test.tsv:2"),
        (_unknown_document, "'d9'"),
        (_unknown_query, "'q9'"),
        (_nothing_relevant, "nothing is relevant to query 'q1'"),
        (_twice, "corpus.jsonl:2: the id 'd1' is there twice"),
        (_no_text, "corpus.jsonl:2: the field 'text' is missing"),
        (_number, "queries.jsonl:1: the field 'text' is int"),
        (_no_json, "corpus.jsonl:3 is no JSON"),
        (_empty, "corpus.jsonl has no rows"),
    ],
)
def test_what_is_wrong_is_named(damage: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    damage(_beir(tmp_path / "b"))
    with pytest.raises(InputError) as caught:
        read("beir", "b", tmp_path)
    assert words in str(caught.value) and "; " in str(caught.value)


@pytest.mark.parametrize("reader", ["beir", "parallel", "questions", "bitext", "sentences", "pairs", "labels",
                                    "candidates", "meetings", "graph", "passages"])  # fmt: skip
def test_missing_files_are_named(reader: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read(reader, "nowhere", tmp_path)


def test_a_language_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="xyz"):
        read("bitext", "bitext_tatoeba.jsonl", languages=("xyz",))


# --- suites --------------------------------------------------------------------------------------


def test_the_shipped_suite_resolves() -> None:
    suite = read_suite("benchmark", ("queries=50",))
    assert suite.queries == 50 and len(suite.sets) > 20
    assert len(chosen(suite, ("xquad",)).sets) == 1
    with pytest.raises(InputError, match="nonsense"):
        chosen(suite, ("nonsense",))


def test_bad_suites_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="benchmark"):
        read_suite("no-such-suite")
    row = 'name = "s"\n[[sets]]\nname = "a"\ntask = "retrieval"\nreader = "beir"\npath = "p"\n'
    for text, words in (
        (row + 'metrics = ["ndcg"]\n', "unknown metric 'ndcg'"),
        (row + 'metrics = ["ndcg@10"]\ncolour = 1\n', "colour"),
        (row + 'metrics = ["ndcg@10"]\n' + row.split("\n", 1)[1] + 'metrics = ["mrr"]\n', "two sets"),
        ('name = "s"\nsets = []\n', "sets"),
    ):
        (tmp_path / "s.toml").write_text(text)
        with pytest.raises(RecipeError, match=words):
            read_suite(tmp_path / "s.toml")
