"""Training data in every shape that trainers know: ids, scores and negatives kept; no shape is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from lingxi.collect import CollectSettings, collect_pairs
from lingxi.collect.dataset import read_dataset
from lingxi.collect.instructions import ANSWER, SEARCH, SIMILAR
from lingxi.collect.origin import Origin
from lingxi.errors import InputError
from lingxi.records import Pair, digest, read_pairs


def read(path: Path, language: str | None = "en") -> list[Pair]:
    return list(read_dataset(path, Origin("source", "MIT", language)))


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sides(pair: Pair) -> tuple[list[str], list[str]]:
    return [item.text for item in pair.positives], [item.text for item in pair.negatives]


def chat(*said: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in said]


USER = [("user", "what is tea?")]
SHAPES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "FlagEmbedding": (
        {"query": "what is tea?", "pos": ["a", "b"], "neg": ["c", ""], "pos_scores": [0.9, 0.8],
         "neg_scores": [0.1, 0]},
        ["a", "b"],
        ["c"],
    ),
    "ms-swift": (
        {"messages": chat(*USER), "positive_messages": [chat(("assistant", "a"))],
         "negative_messages": [chat(("user", "c"))]},
        ["a"],
        ["c"],
    ),
    "ms-swift, label 0": (
        {"messages": chat(*USER), "positive_messages": [chat(("user", "c"))], "label": 0.0}, [], ["c"],
    ),
    "Tevatron": (
        {"query_id": "1", "query": "what is tea?",
         "positive_passages": [{"docid": "7", "title": "T", "text": "a"}],
         "negative_passages": [{"docid": "8", "title": "", "text": "c"}]},
        ["T\na"],
        ["c"],
    ),
    "Automodel": ({"question": "what is tea?", "pos_doc": "a", "neg_doc": ["c", "d"]}, ["a"], ["c", "d"]),
    "SQuAD row": (
        {"question": "what is tea?", "context": "a", "answers": {"text": ["x"], "answer_start": [0]}},
        ["a"], [],
    ),
    "SQuAD 2 row": (
        {"question": "what is tea?", "context": "c", "answers": {"text": [], "answer_start": []}}, [], ["c"],
    ),
    "triplet": (
        {"anchor": "what is tea?", "positive": "a", "negative_1": "c", "negative_2": "d"}, ["a"], ["c", "d"],
    ),
    "our own": ({"query": "what is tea?", "positive": ["a", "b"], "negative": ["c", "a"]}, ["a", "b"], ["c"]),
    "pair, label 0": ({"query": "what is tea?", "answer": "c", "label": 0}, [], ["c"]),
    "labelled list": ({"query": "what is tea?", "document": ["a", "c"], "labels": [2, 0]}, ["a"], ["c"]),
    "sentences": ({"sentence1": "what is tea?", "sentence2": "a"}, ["a"], []),
    "sentences, label 0": ({"sentence1": "what is tea?", "sentence2": "c", "label": "0"}, [], ["c"]),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_read(shape: str, tmp_path: Path) -> None:
    row, right, wrong = SHAPES[shape]
    (pair,) = read(lines(tmp_path / "a.jsonl", row))
    assert pair.query == "what is tea?" and sides(pair) == (right, wrong)
    assert (pair.query_language, pair.licence, pair.source) == ("en", "MIT", "source")
    asked = ANSWER if "question" in row else SIMILAR if "sentence1" in row else SEARCH
    assert pair.instruction == asked and pair.task == ("pair" if asked == SIMILAR else "retrieval")


def test_ids_and_scores_are_kept(tmp_path: Path) -> None:
    flag, tevatron, listed, own = read(
        lines(
            tmp_path / "a.jsonl",
            SHAPES["FlagEmbedding"][0] | {"prompt": "Find tea", "language": "de_DE", "license": "CC0-1.0"},
            SHAPES["Tevatron"][0],
            SHAPES["labelled list"][0],
            {"query": "q", "positive": ["a", "b"], "negative": ["c"], "positive_ids": ["1", "2"],
             "negative_ids": [3], "scores": [0.5, 0.25, 0.125], "task": "code", "instruction": "Find"},
        )
    )  # fmt: skip
    assert [p.score for p in (*flag.positives, *flag.negatives)] == [0.9, 0.8, 0.1]
    assert (flag.instruction, flag.query_language, flag.licence) == ("Find tea", "de", "CC0-1.0")
    assert flag.positives[0].id == digest("a")
    assert [p.id for p in (*tevatron.positives, *tevatron.negatives)] == ["7", "8"]
    assert [p.score for p in (*listed.positives, *listed.negatives)] == [2.0, 0.0]
    assert [(p.id, p.score) for p in (*own.positives, *own.negatives)] == [
        ("1", 0.5),
        ("2", 0.25),
        ("3", 0.125),
    ]
    assert (own.task, own.instruction) == ("code", "Find")


def test_similarities_are_of_one_scale(tmp_path: Path) -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "score": score} for score in (0.5, 1.0)]
    assert [pair.scores["similarity"] for pair in read(lines(tmp_path / "one.jsonl", *rows))] == [2.5, 5.0]
    rows = [{"sentence1": "a", "sentence2": "b", "score": score} for score in (0.5, 4)]
    pairs = read(lines(tmp_path / "five.jsonl", *rows))
    assert [pair.scores["similarity"] for pair in pairs] == [0.5, 4.0] and pairs[0].task == "sts"
    rows = [{"sentence1": "a", "sentence2": "b", "score": 80}]
    with pytest.raises(InputError, match="not between 0 and 1, or 0 and 5"):
        read(lines(tmp_path / "hundred.jsonl", *rows))


SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Tea",
            "paragraphs": [
                {
                    "context": "Tea is a drink.",
                    "qas": [
                        {
                            "id": "1",
                            "question": "What is tea?",
                            "answers": [{"text": "a drink", "answer_start": 7}],
                        },
                        {"id": "2", "question": "Who drank it?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}


def test_files_of_squad(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(SQUAD))
    what, who = read(tmp_path)
    assert sides(what) == (["Tea is a drink."], []) and sides(who) == ([], ["Tea is a drink."])
    assert what.group == who.group, "questions of one paragraph are never split"


def test_other_files(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"anchor": ["q"], "positive": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text('query,positive,language\nq,"a, b",sw\n')
    (tmp_path / "c.json").write_text('[{"query": "q", "positive": "c"}]')
    (tmp_path / "d.json").write_text('{"query": "q", "positive": "d"}\n{"query": "q", "positive": "e"}\n')
    pairs = read(tmp_path)
    assert [sides(pair)[0] for pair in pairs] == [["a"], ["a, b"], ["c"], ["d"], ["e"]]
    assert pairs[1].query_language == "sw"


def beir(folder: Path, qrels: str = "qrels/train.tsv") -> Path:
    lines(folder / "corpus.jsonl", {"_id": "d1", "title": "T", "text": "a"}, {"_id": "d2", "text": "c"})
    lines(folder / "queries.jsonl", {"_id": "q1", "text": "what is tea?"}, {"_id": "q2", "text": "unjudged"})
    (folder / qrels).parent.mkdir(exist_ok=True)
    (folder / qrels).write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n")
    return folder


@pytest.mark.parametrize("qrels", ["qrels/train.tsv", "qrels.tsv"])
def test_folders_of_beir(qrels: str, tmp_path: Path) -> None:
    beir(tmp_path, qrels)
    origin = Origin("source", "MIT", "en")
    (pair,) = read_dataset(tmp_path / "qrels.tsv" if qrels == "qrels.tsv" else tmp_path, origin)
    assert not origin.left_out, "its own judgements are no unknown file"
    assert [(p.id, p.text, p.score) for p in pair.positives] == [("d1", "T\na", 2.0)]
    assert [(p.id, p.score) for p in pair.negatives] == [("d2", 0.0)]


def test_judgements_for_measuring_are_not_learned(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its judgements are for measuring"):
        read(beir(tmp_path, "qrels/test.tsv"))


def test_judgements_that_do_not_say_what_for_are_asked_about(tmp_path: Path) -> None:
    beir(tmp_path / "set", "qrels.tsv")
    with pytest.raises(InputError, match=r"qrels\.tsv does not say whether .* name it in paths"):
        read(tmp_path / "set")
    source = {"reader": "dataset", "paths": [tmp_path / "set" / "qrels.tsv"], "language": "en"}
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    assert collect_pairs(settings, tmp_path / "out").by_source == {"set": 1}
    lines(tmp_path / "set" / "corpus.jsonl", {"_id": "d1", "text": "new"}, {"_id": "d2", "text": "c"})
    collect_pairs(settings, tmp_path / "out")
    assert next(read_pairs(tmp_path / "out" / "pairs.parquet")).positives[0].text == "new"


def test_sets_in_a_folder_of_sets_are_named(tmp_path: Path) -> None:
    beir(tmp_path / "inner")
    lines(tmp_path / "a.jsonl", {"query": "q", "positive": "a"})
    origin = Origin("source", "MIT", "en")
    assert len(list(read_dataset(tmp_path, origin))) == 1
    assert "inner/corpus.jsonl: part of another set; give its folder as a path of its own" in origin.left_out


def test_ids_are_looked_up_in_the_corpus_beside(tmp_path: Path) -> None:
    lines(
        tmp_path / "corpus.jsonl", {"docid": "7", "document_text": "a"}, {"docid": "8", "document_text": "c"}
    )
    row = {"query_id": "1", "query_text": "q", "positive_document_ids": ["7"], "negative_document_ids": ["8"]}
    lines(tmp_path / "train.jsonl", row)
    (pair,) = read(tmp_path)
    assert sides(pair) == (["a"], ["c"]) and pair.positives[0].id == "7"
    origin = Origin("source", "MIT", "en")
    lines(tmp_path / "train.jsonl", row | {"positive_document_ids": ["9"]})
    assert not list(read_dataset(tmp_path, origin)) and "no document '9'" in origin.left_out[0]


def test_only_the_split_for_training_is_read(tmp_path: Path) -> None:
    for name in ("train-00000-of-00001", "test", "validation-0", "trained"):
        lines(tmp_path / "data" / f"{name}.jsonl", {"query": "q", "positive": name})
    origin = Origin("source", "MIT", "en")
    names = [pair.positives[0].text for pair in read_dataset(tmp_path, origin)]
    assert names == ["train-00000-of-00001", "trained"]
    assert [said.partition(":")[0] for said in origin.left_out] == [
        "data/test.jsonl",
        "data/validation-0.jsonl",
    ]


@pytest.mark.parametrize(
    ("place", "split"),
    [
        ("nli_test.jsonl", "test"), ("stsb-dev.jsonl", "dev"), ("test/en/0.jsonl", "test"),
        ("a/validation/b/c/0.jsonl", "validation"), ("nq.Test.jsonl", "test"), ("train/dev.jsonl", "dev"),
        ("testset.jsonl", "test"), ("train-test.jsonl", "test"), ("evaluation_0.jsonl", "evaluation"),
        ("nli_train.jsonl", None), ("dev/train.jsonl", None), ("latest.jsonl", None), ("contest.jsonl", None),
        ("devices.jsonl", None), ("test/training/0.jsonl", None), ("0.jsonl", None),
    ],
)  # fmt: skip
def test_splits_are_known_wherever_they_are_named(place: str, split: str | None, tmp_path: Path) -> None:
    lines(tmp_path / place, {"query": "q", "positive": "a"})
    origin = Origin("source", "MIT", "en")
    found = list(read_dataset(tmp_path, origin))
    assert len(found) == (split is None)
    assert origin.left_out == (
        [] if split is None else [f"{place}: of the split {split}, which is for measuring"]
    )


@pytest.mark.parametrize("first", ["premise", "sentence1"])
def test_inference_is_read_by_its_words(first: str, tmp_path: Path) -> None:
    second = "hypothesis" if first == "premise" else "sentence2"
    label = "label" if first == "premise" else "gold_label"
    rows = [
        {first: "p", second: said, label: said} for said in ("entailment", "neutral", "contradiction", "-")
    ]
    yes, no = read(lines(tmp_path / "a.jsonl", *rows))
    assert sides(yes) == (["entailment"], []) and sides(no) == ([], ["contradiction"])


def test_ids_count_through_all_columns_of_negatives(tmp_path: Path) -> None:
    row = {"query": "q", "positive": "a", "negative_1": "b", "negative_2": None, "negative_3": ["c", "d"]}
    (pair,) = read(lines(tmp_path / "a.jsonl", row | {"negative_ids": ["1", "2", "3", "4"]}))
    assert [(item.id, item.text) for item in pair.negatives] == [("1", "b"), ("3", "c"), ("4", "d")]
    (pair,) = read(lines(tmp_path / "b.jsonl", row))
    assert [item.text for item in pair.negatives] == ["b", "c", "d"]


AUTOMODEL = {
    "question_id": "1",
    "question": "q",
    "corpus_id": "c",
    "pos_doc": [{"id": "7"}],
    "neg_doc": ["8"],
}


def test_a_list_of_rows_is_no_squad(tmp_path: Path) -> None:
    lines(tmp_path / "corpus.jsonl", {"id": "7", "text": "a"}, {"id": "8", "text": "c"})
    (tmp_path / "train.json").write_text(json.dumps({"corpus": [{"path": "c"}], "data": [AUTOMODEL]}))
    (pair,) = read(tmp_path)
    assert sides(pair) == (["a"], ["c"]) and pair.negatives[0].id == "8"


@pytest.mark.parametrize(
    "row",
    [AUTOMODEL, {"question": "q", "pos_doc": ["7"], "corpus_id": "c"},
     {"question": "q", "pos_doc": {"id": "7"}},
     {"question": "q", "pos_doc": "a text", "neg_doc": [{"id": "8"}]}],
)  # fmt: skip
def test_ids_without_a_corpus_are_no_texts(row: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it names documents by id, and there is no corpus"):
        read(lines(tmp_path / "a.jsonl", row))


def test_what_gives_no_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "squad.json").write_text('{"data": [{"paragraphs": []}]}')
    (tmp_path / "odd.json").write_text('{"data": [{"paragraphs": [{"qas": 3}]}]}')
    lines(tmp_path / "good.jsonl", {"query": "q", "positive": "a"})
    origin = Origin("source", "MIT", "en")
    assert len(list(read_dataset(tmp_path, origin))) == 1
    assert [said.rpartition("/")[2].partition(";")[0] for said in origin.left_out] == [
        "empty.jsonl gives no row",
        "odd.json:1: 'qas' of SQuAD is no list of objects",
        "squad.json gives no row",
    ]
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder holds no rows for training"):
        read(tmp_path / "folder")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"premise": "p", "hypothesis": "h", "label": 0}, "the label 0 of a premise .* as 0 or as 1"),
        ({"premise": "p", "hypothesis": "h", "label": "1"}, "write entailment, contradiction, neutral"),
        ({"premise": "p", "hypothesis": "h"}, "have no label"),
        ({"text": "a", "label": 1}, r"a.jsonl:1 has the fields text, label, which are no known shape.*Flag"),
        ({"query": "", "positive": "a"}, "a.jsonl:1: the query is missing or empty"),
        ({"query": "q", "positive": ""}, "the field 'positive' is empty"),
        ({"query": "q", "positive": 3}, "holds int, no text"),
        ({"query": "q", "pos": [], "neg": []}, "neither a positive nor a negative"),
        ({"query": "q", "answer": "a", "label": 2}, "the label 2 is neither 0 nor 1"),
        ({"query": "q", "document": ["a", "b"], "labels": [1]}, "2 texts have 1 labels"),
        ({"query": "q", "positive": "a", "negative": "b", "scores": [1, 2, 3]}, "2 texts have 3 scores"),
        ({"query": "q", "pos": ["a"], "pos_scores": ["x"]}, "a score is 'x', no number"),
        ({"messages": "q", "positive_messages": []}, "a chat is no list of turns"),
        ({"query_id": "1", "query": "q", "positive_document_ids": ["7"]}, "there is no corpus beside it"),
        ({"question": "q", "context": None}, "holds NoneType, no text"),
    ],
)  # fmt: skip
def test_rows_that_are_wrong_are_named(row: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read(lines(tmp_path / "a.jsonl", row))


def test_the_language_is_asked_for(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl", {"query": "q", "positive": "a", "lang": "sw"}, {"query": "q", "positive": "b"}
    )
    with pytest.raises(InputError, match=r'a\.jsonl:2: the row does not say its language.*language = "en"'):
        read(path, None)
    assert [pair.query_language for pair in read(path, "de")] == ["sw", "de"]


def test_a_dataset_is_a_source(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"query": "q", "positive": "a"}, {"query": "q", "positive": "b"})
    (tmp_path / "b.json").write_text('{"data": [{"paragraphs": 3}]}')
    source = {
        "reader": "dataset",
        "paths": [tmp_path / "a.jsonl", tmp_path / "b.json"],
        "language": "en",
        "cap": 1,
    }
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    report = collect_pairs(settings, tmp_path / "out")
    assert report.rows == 1 and [said.partition(":")[0] for said in report.skipped] == ["b.json"]
