"""Two graphs become pairs: readers that name what is wrong, candidates, one to one, neighbours, reasons."""

import json
import re
import shutil
import socket
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi import Embedder
from lingxi.apps.align import (
    AlignSettings,
    Entity,
    Graph,
    Triple,
    align,
    assign,
    confidence,
    graph_of,
    read_graph,
    read_seeds,
    structure,
    write,
)
from lingxi.apps.align.nearest import Candidates, apart, nearest
from lingxi.apps.align.sounds import consonants, latin, sketched, spelled
from lingxi.cli import run
from lingxi.errors import InputError
from lingxi.vectors import cut

rdflib = pytest.importorskip("rdflib", reason="the extra graphs is not installed")
pytest.importorskip("scipy", reason="the extra graphs is not installed")
pytest.importorskip("anyascii", reason="the extra graphs is not installed")

DATA = Path(__file__).parent / "data" / "align"


class Hashed:
    """An embedder that knows no meaning: every text its own direction."""

    def encode_document(self, inputs, **options):
        rows = [np.random.default_rng(list(text.encode())).standard_normal(64) for text in inputs]
        return cut(np.array(rows, np.float32).reshape(-1, 64), 64)

    encode_query = encode_document


def floats(rows: int, columns: int, seed: int) -> np.ndarray:
    return cut(np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32), columns)


def pair(n: int = 40) -> tuple[Graph, Graph]:
    """A ring with a chord in two graphs, whose entities have names that say nothing; the same order."""
    sides = []
    for side in "ab":
        entities = [Entity(f"{side}{i}", f"{side}{'xyzuvw'[i % 6] * (i + 2)}") for i in range(n)]
        ring = [Triple(f"{side}{i}", "next", f"{side}{(i + 1) % n}") for i in range(n)]
        chords = [Triple(f"{side}{i}", "over", f"{side}{(i * 7 + 3) % n}") for i in range(n)]
        sides.append(graph_of(side, entities, [*ring, *chords]))
    return sides[0], sides[1]


# Readers


def test_a_folder_of_tables_and_a_turtle_file_are_aligned_across_languages(tmp_path):
    for name in ("zh.tsv", "zh-facts.tsv"):
        shutil.copy(DATA / name, tmp_path)
    left, right = read_graph(tmp_path), read_graph(DATA / "en.ttl", "en")
    ai = next(e for e in right.entities if e.id.endswith("AI"))
    assert (ai.name, set(ai.aliases)) == ("Artificial Intelligence", {"AI", "Künstliche Intelligenz"})
    found = align(left, right, Embedder())
    nearest_of = [key.rpartition("/")[2] for key, _ in found.nearest("z1", 3)]
    assert "AI" in nearest_of
    best = {m.left: m.right.rpartition("/")[2] for m in found.matches}
    assert best["z3"] == "Beijing"
    assert best["z4"] == "China"
    beijing = next(m for m in found.matches if m.left == "z3")
    assert [(a.left_relation, a.right_neighbour) for a in beijing.neighbours] == [
        ("首都", "http://example.org/China")
    ]


def test_shapes_of_rows_and_rdf_give_the_same_graph(tmp_path):
    rows = [
        {"id": "urn:a", "name": "One", "aliases": ["Eins"], "relations": [["knows", "urn:b"]], "height": 3},
        {"id": "urn:b", "name": "Two"},
    ]
    (tmp_path / "g.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "g.tsv").write_text("id\tname\taliases\theight\nurn:a\tOne\tEins\t3\nurn:b\tTwo\t\t\n")
    lines = [
        '<urn:a> <http://www.w3.org/2000/01/rdf-schema#label> "One" .',
        '<urn:a> <http://www.w3.org/2004/02/skos/core#altLabel> "Eins" .',
        '<urn:a> <urn:x/height> "3" .',
        "<urn:a> <knows:> <urn:b> .",
        '<urn:b> <http://www.w3.org/2000/01/rdf-schema#label> "Two" .',
    ]
    (tmp_path / "g.nt").write_text("\n".join(lines))
    read = [read_graph(tmp_path / name) for name in ("g.jsonl", "g.tsv", "g.nt")]
    assert read[0].entities == read[1].entities == read[2].entities
    assert read[0].triples == (Triple("urn:a", "knows", "urn:b"),)


BAD = {
    "none.tsv": ("", "none.tsv:1 names no columns"),
    "cells.tsv": ("id\tname\n1\tone\ttoo many\n", "cells.tsv:2 has 3 cells, the header 2"),
    "twice.tsv": ("id\tname\n1\tone\n1\tother\n", "twice.tsv:3: the id '1' was given to 'one' at"),
    "nothing.tsv": ("id\tname\n\t\n x", "nothing.tsv:3 has 1 cells"),
    "bare.tsv": ("id\tname\tdescription\n\t\tsome\n", "bare.tsv:2: an entity with neither id nor name"),
    "torn.jsonl": ('{"id": 1}\n{"id":', "torn.jsonl:2 is not JSON"),
    "deep.jsonl": ("[" * 100_000, "deep.jsonl:1 is not JSON"),
    "list.jsonl": ("[1]", "list.jsonl:1 is list, not an object"),
    "other.jsonl": ('{"title": "x"}', "other.jsonl:1 is no entity and no triple"),
    "kind.jsonl": ('{"id": "1", "name": ["x"]}', "kind.jsonl:1: 'name' is list"),
    "empty.jsonl": ('{"head": "a", "relation": "", "tail": "b"}', "empty.jsonl:1: 'relation' is empty"),
    "rel.jsonl": ('{"id": "1", "relations": [["a"]]}', "rel.jsonl:1: ['a'] is no relation"),
    "syntax.ttl": ("<urn:a> <urn:b> .\n\n<urn:c> !\n", "syntax.ttl:"),
    "syntax.nt": ("<urn:a> <urn:b> <urn:c> .\nnonsense\n", "syntax.nt"),
    "syntax.rdf": ("<rdf:RDF>\n<a></b>", "syntax.rdf:"),
    "picture.png": ("x", "picture.png: not known to hold a graph"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_a_file_is_said_with_its_line(name, tmp_path):
    text, said = BAD[name]
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_graph(tmp_path / name)
    assert said in str(error.value)


def test_another_encoding_is_named_with_its_line(tmp_path):
    (tmp_path / "latin.tsv").write_bytes("id\tname\n1\tZürich\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.tsv:2 is not UTF-8"):
        read_graph(tmp_path / "latin.tsv")
    (tmp_path / "latin.ttl").write_bytes('<urn:a> <urn:b> "Zürich" .'.encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.ttl:1 is not UTF-8"):
        read_graph(tmp_path / "latin.ttl")


HEAD = '<?xml version="1.0"?>\n'
RDF = (
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    ' xmlns:r="http://www.w3.org/2000/01/rdf-schema#"><rdf:Description rdf:about="urn:a">'
    "<r:label>{}</r:label></rdf:Description></rdf:RDF>"
)
BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;">]>\n'
LONG = f'<!DOCTYPE x [<!ENTITY a "{"h" * 10_000}">]>\n'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n'


@pytest.mark.parametrize("head", [BOMB, LONG, OUTSIDE])
def test_entities_that_grow_or_lie_outside_are_refused(head, tmp_path):
    (tmp_path / "g.rdf").write_text(HEAD + head + RDF.format("&a;"))
    with pytest.raises(InputError, match=r"g\.rdf:2: the entity"):
        read_graph(tmp_path / "g.rdf")


def test_a_short_entity_of_a_vocabulary_is_fine_and_nothing_is_fetched(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    head = '<!DOCTYPE x SYSTEM "http://example.org/x.dtd" [<!ENTITY n "name">]>\n'
    (tmp_path / "g.rdf").write_text(HEAD + head + RDF.format("a &n;"))
    (tmp_path / "h.ttl").write_text(
        "<urn:o> <http://www.w3.org/2002/07/owl#imports> <http://example.org/other> ."
    )
    assert {e.name for e in read_graph(tmp_path).entities} == {"a name", "urn:o"}


def test_what_is_left_out_is_said(tmp_path):
    (tmp_path / "e.tsv").write_text("id\tname\n1\tone\n1\tone\n2\t\n")
    (tmp_path / "t.tsv").write_text("head\trelation\ttail\n1\tr\t2\n1\tr\t9\n1\tr\t2\n")
    graph = read_graph(tmp_path)
    assert len(graph.entities) == 2
    assert graph.triples == (Triple("1", "r", "2"),)
    said = "\n".join(graph.notes)
    assert "t.tsv:3: no entity '9'; 1 triples" in said
    assert "e.tsv:3 and others: 1 entities stand there twice" in said
    assert "e.tsv:4 and others: 1 entities have no name" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [("a0", "has 1 cells"), ("a0\tb99", "no entity 'b99'"), ("a0\tb0\na0\tb1", "has a pair already")],
)
def test_seeds_that_cannot_be_are_named(line, said, tmp_path):
    (tmp_path / "s.tsv").write_text(line)
    with pytest.raises(InputError, match=said):
        read_seeds(tmp_path / "s.tsv", *pair())


# Candidates and matching


def test_nearest_is_exact_across_blocks():
    left, right = floats(2100, 16, 1), floats(300, 16, 2)
    found = nearest(left, right, 7)
    scores = left @ right.T
    assert np.allclose(found.scores, -np.sort(-scores, axis=1)[:, :7], atol=1e-5)
    assert np.allclose(np.take_along_axis(scores, found.rows, 1), found.scores, atol=1e-5)


def test_csls_is_its_equation():
    left, right = floats(50, 8, 1), floats(60, 8, 2)
    scores = left @ right.T
    own = np.sort(scores, axis=1)[:, -10:].mean(axis=1)[:, None]
    other = np.sort(scores, axis=0)[-10:].mean(axis=0)[None]
    order = np.argsort(-(2 * scores - own - other), axis=1)
    found = apart(left, right, 5)
    assert found.rows.tolist() == order[:, :5].tolist()
    assert np.allclose(found.scores, np.take_along_axis(scores - other / 2, order, 1)[:, :5], atol=1e-5)


def candidates_of(scores: np.ndarray) -> Candidates:
    order = np.argsort(-scores, axis=1, kind="stable")
    return Candidates(order, np.take_along_axis(scores, order, 1).astype(np.float32))


def test_transport_gives_what_two_want_to_the_one_that_wants_it_most():
    scores = np.array([[0.9, 0.8], [0.9, 0.1]])
    shares = assign.transport(candidates_of(scores), 2, 0.05)
    assert shares.rows[:, 0].tolist() == [1, 0]
    assert np.allclose(shares.scores.sum(axis=1), 1)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_every_matching_is_one_to_one_and_the_assignment_is_the_best(rows, columns, seed):
    from scipy.optimize import linear_sum_assignment

    scores = np.random.default_rng(seed).random((rows, columns))
    found = candidates_of(scores)
    for matching in (assign.mutual, assign.greedy, assign.assigned):
        pairs = matching(found, columns)
        assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    best = linear_sum_assignment(-scores)
    pairs = assign.assigned(found, columns)
    assert scores[pairs[:, 0], pairs[:, 1]].sum() == pytest.approx(scores[best].sum(), abs=1e-5)


def test_a_left_entity_without_candidates_stays_alone():
    found = Candidates(np.array([[-1, -1], [0, -1]]), np.array([[-np.inf] * 2, [0.5, -np.inf]], np.float32))
    shares = assign.transport(found, 3, 0.02)
    for matching in (assign.mutual, assign.greedy, assign.assigned):
        assert matching(shares, 3).tolist() == [[1, 0]]


# Names and structure


def test_names_of_any_script_are_written_in_latin_letters():
    assert latin("Владимир Путин") == "vladimir putin"
    assert consonants("ジョゼ・マリオ・ヴァス") == consonants("José Mário Vaz") == "s nl bs"
    left, right = spelled(["阿卜杜拉·居尔", "北京"], ["Abdullah Gül", "Beijing", "Berlin"])
    likeness = (left @ right.T).toarray()
    assert likeness.argmax(axis=1).tolist() == [0, 1]
    assert spelled(["…"], ["!"])[0].shape[0] == 1


def test_a_sketch_keeps_products():
    left, right = spelled(["Beijing", "Berlin", "Bern"], ["Beijing", "Berlin", "Bern"])
    products = sketched(left, 4096, 1) @ sketched(right, 4096, 1).T
    assert np.allclose(products, (left @ right.T).toarray(), atol=0.08)


def test_seeds_are_carried_over_the_triples_where_names_say_nothing():
    left, right = pair()
    seeds = [(f"a{i}", f"b{i}") for i in range(0, 40, 4)]
    found = align(left, right, Hashed(), seeds=seeds, settings=AlignSettings(structure=0.95, rounds=8))
    right_ones = sum(m.left[1:] == m.right[1:] for m in found.matches)
    assert right_ones >= 36
    assert {(m.left, m.right) for m in found.matches if m.given} == set(seeds)
    alone = align(left, right, Hashed(), seeds=seeds, settings=AlignSettings(structure=0))
    assert sum(m.left[1:] == m.right[1:] for m in alone.matches) < 25


def test_agreement_is_its_sum():
    """Against the sum in the docstring of `structure`, written as loops."""
    left, right = (structure.edges_of(graph) for graph in pair(12))
    image = np.where(np.arange(12) % 3 == 0, -1, np.arange(12))
    sure = np.linspace(0.2, 1, 12).astype(np.float32) * (image >= 0)
    alike = structure.alike(left, right, image, sure).toarray()
    rows = structure.evidence(left, right, image, sure)
    at = np.tile(np.arange(12), 2), np.concatenate([np.arange(12), np.roll(np.arange(12), 1)])
    expected = []
    for x, y in zip(*at, strict=True):
        total = 0.0
        for e in np.flatnonzero(left.owner == x):
            for f in np.flatnonzero(right.owner == y):
                if image[left.neighbour[e]] == right.neighbour[f]:
                    like = alike[left.relation[e], right.relation[f]]
                    known = left.identifies[e] * right.identifies[f]
                    total += (known * like) ** 0.5 * sure[left.neighbour[e]]
        expected.append(1 - np.exp(-total))
    assert np.allclose(structure.agreement(rows, *at), expected, atol=1e-5)
    assert max(expected) > 0.3


def test_a_graph_of_loops_and_cycles_ends():
    entities = [Entity(str(i), f"name {i}") for i in range(5)]
    loops = [Triple(str(i), "r", str(j)) for i in range(5) for j in range(5)]
    graph = graph_of("g", entities, loops)
    found = align(graph, graph, Hashed())
    assert all(m.left == m.right for m in found.matches)
    assert len(found.matches) == 5


def test_aliases_count_and_the_names_that_matched_are_said():
    left = graph_of("l", [Entity("1", "zzz", aliases=("Peking University",)), Entity("2", "Bonn")])
    right = graph_of("r", [Entity("a", "qqq", aliases=("xx", "Peking University")), Entity("b", "Kiel")])
    best = align(left, right, Hashed()).matches[0]
    assert (best.left, best.right, best.names) == ("1", "a", ("Peking University",) * 2)


def test_names_written_the_same_are_surer_than_names_that_sound_alike():
    left = graph_of("l", [Entity("1", "Ursynów"), Entity("2", "Lefèvre")])
    right = graph_of("r", [Entity("a", "URSYNOW"), Entity("b", "Le Fevr")])
    sure = {m.left: m.confidence for m in align(left, right, Hashed()).matches}
    assert sure["1"] > 0.95 > sure["2"]


def test_entities_without_names_and_of_different_numbers_do_not_stop_it():
    left = graph_of("l", [Entity("1", ""), Entity("2", "")])
    right = graph_of("r", [Entity("a", "")])
    assert len(align(left, right, Hashed()).matches) <= 1
    with pytest.raises(InputError, match="no entities"):
        graph_of("empty", [])
    with pytest.raises(InputError, match="which l does not have"):
        align(left, right, Hashed(), seeds=[("9", "a")])


class Says:
    """A reranker that knows one answer."""

    def __init__(self, wanted: str) -> None:
        self.wanted, self.asked = wanted, 0

    def predict(self, pairs, *, instruction=None):
        self.asked += len(pairs)
        return np.array([0.99 if self.wanted in document else 0.01 for _, document in pairs])


def test_a_reranker_decides_the_close_calls_alone():
    left = graph_of("l", [Entity("1", "Springfield"), Entity("2", "Quito")])
    right = graph_of("r", [Entity("a", "Springfield", "in Ohio"), Entity("b", "Springfield", "in Texas"),
                           Entity("c", "Quito")])  # fmt: skip
    judge = Says("Texas")
    found = align(left, right, Hashed(), reranker=judge)
    match = next(m for m in found.matches if m.left == "1")
    assert (match.right, match.reranked) == ("b", 0.99)
    assert judge.asked == 3  # the three candidates of Springfield; Quito is no close call


def test_confidence_is_fitted_to_seeds_where_they_are_enough():
    rng = np.random.default_rng(0)
    features = rng.random((400, len(confidence.FEATURES))).astype(np.float32)
    right = rng.random(400) < features[:, 1]
    fitted = confidence.of_seeds(features, right, confidence.NAMES_ALONE)
    said = confidence.confidences(features, fitted)
    assert fitted.source == "fitted on 400 seeds"
    assert abs(said.mean() - right.mean()) < 0.02
    few = confidence.of_seeds(features[:10], right[:10], confidence.WITH_TRIPLES)
    assert few is confidence.WITH_TRIPLES


def test_it_comes_out_the_same_twice():
    left, right = pair(30)
    first, second = (align(left, right, Hashed()) for _ in range(2))
    assert first.matches == second.matches


# Export and the command


def test_exports_are_read_back(tmp_path):
    left = graph_of("l", [Entity("http://a.org/x y", "a"), Entity("urn:ok", 'b "\t<')])
    right = graph_of("r", [Entity("n/1>", "a"), Entity("urn:too", 'b "\t<')])
    found = align(left, right, Hashed())
    assert write(found, tmp_path / "m.nt") == 2
    same = rdflib.Graph().parse(tmp_path / "m.nt", format="nt")
    assert (rdflib.URIRef("urn:ok"), rdflib.OWL.sameAs, rdflib.URIRef("urn:too")) in same
    assert rdflib.URIRef("urn:lingxi:left:http%3A%2F%2Fa.org%2Fx%20y") in set(same.subjects())
    write(found, tmp_path / "m.tsv")
    table = [line.split("\t") for line in (tmp_path / "m.tsv").read_text().splitlines()]
    assert {len(row) for row in table} == {8}
    write(found, tmp_path / "m.json")
    assert len(json.loads((tmp_path / "m.json").read_text())["matches"]) == 2
    with pytest.raises(InputError, match="no format by that name"):
        write(found, tmp_path / "m.xlsx")


def test_the_command_prints_writes_and_complains(tmp_path, capsys):
    (tmp_path / "zh").mkdir()
    for name in ("zh.tsv", "zh-facts.tsv"):
        shutil.copy(DATA / name, tmp_path / "zh")
    (tmp_path / "seeds.txt").write_text("z2\thttp://example.org/Turing\n")
    arguments = ["align", str(tmp_path / "zh"), str(DATA / "en.ttl"), "--language", "en"]
    out = tmp_path / "same.nt"
    assert run([*arguments, "--seeds", str(tmp_path / "seeds.txt"), "--out", str(out)]) == 0
    assert "<urn:lingxi:left:z2>" in out.read_text()
    capsys.readouterr()
    assert run([*arguments, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["matches"]) == 5
    assert run([*arguments, "--set", "rounds=none"]) == 2
    assert run([*arguments, "--set", "unknown=1"]) == 2
    assert run(["align", "missing.tsv", str(DATA / "en.ttl")]) == 2
    assert "no file at missing.tsv" in capsys.readouterr().err


@pytest.mark.slow
def test_fifteen_thousand_entities_a_side_fit_four_gigabytes():
    left, right = floats(15_000, 384, 1), floats(15_000, 384, 2)
    tracemalloc.start()
    apart(left, right, 50)
    assert tracemalloc.get_traced_memory()[1] < 1e9
    tracemalloc.stop()


def test_the_example_in_the_docs_runs(capsys):
    text = (Path(__file__).parent.parent / "docs" / "align.md").read_text(encoding="utf-8")
    exec(re.search(r"```python\n(.*?)```", text, re.S)[1], {})
    assert "北京 = Beijing" in capsys.readouterr().out
