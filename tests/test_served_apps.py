"""Applications in a server, over stand-in models: settings, paths, pages; what they refuse and hide."""

import asyncio
import json
import pickle
import re
import string
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
pytest.importorskip("lancedb", reason="an index needs lancedb: pip install 'lingxi[search]'")
pytest.importorskip("sklearn", reason="aligning needs the extra: graphs")

from fastapi.testclient import TestClient

from gullible import serving
from lingxi.apps.ask.calibration import Calibration, Logistic
from lingxi.apps.served import AppsSettings, Offered, read_apps
from lingxi.apps.served import pages as app_pages
from lingxi.apps.served.asking import Answered
from lingxi.apps.served.desk import Desk, as_it_comes
from lingxi.apps.served.forms import Before, ask_form
from lingxi.apps.served.parts import read_parts
from lingxi.apps.served.views import pieces
from lingxi.apps.served.words import WORDS
from lingxi.errors import InputError
from lingxi.index import Index
from lingxi.serve import pages
from lingxi.serve.app import create_app
from lingxi.serve.contract import Caller, Card, State
from lingxi.serve.operations import Operations
from lingxi.serve.pages.forms import FormError
from lingxi.serve.pages.words import LANGUAGES
from lingxi.serve.pages.words import WORDS as ALL_WORDS
from lingxi.serve.refusal import Refusal
from lingxi.serve.settings import Settings
from stand_in import WordEmbedder, WordReranker
from test_serve_pages import HOSTILE, _is_harmless, visible

FILES = {
    "museum.md": "# Museum\n\nThe city museum opens at 10:30 on Sundays. Tickets are sold at the gate.\n",
    "pump.md": "# Pump\n\nThe greenhouse pump needs mineral oil of grade 46.\n",
    "tea/green.md": "# Tea\n\nGreen tea is steeped for two minutes in water of 75 degrees.\n",
    "hostile.md": f"# Bananas\n\nBananas ripen in {HOSTILE} yellow paper.\n",
}
CODE = {
    "queue.py": "def push(item, heap):\n    '''Put an item on a heap.'''\n"
    "    heap.append(item)\n    return heap\n",
    "web/app.js": "function listen(port) {\n  // <script>alert(1)</script>\n  return port;\n}\n",
}
LEFT = "id\tname\tnote\nQ1\tMuseum of tea\t\nQ2\tGrade pump\t\n"
RIGHT = '{"id": "m", "name": "Tea museum"}\n{"id": "p", "name": "Pump grade"}\n'
# The stand-in's cosine is shared words, so its scale is read off by hand: half the words is enough.
SCALE = Calibration(
    embedder="stand-in stand-in", source="by hand", margin=0.05,
    sure=Logistic(weights=(6.0, 0.0, 4.0, *[0.0] * 9), bias=-3.0, threshold=0.5),
    support=Logistic(weights=(6.0, 6.0), bias=-8.0, threshold=0.5),
)  # fmt: skip
QUESTION = "When does the city museum open on Sundays?"


class StandIn:
    """The part of a service that applications ask, over models without weights."""

    def __init__(self, index: Index | None) -> None:
        self.settings = Settings(self_check=False)
        self.index = index
        self.model = WordEmbedder()

    def cards(self):
        made = [("nano", "embedder"), ("judge", "reranker")]
        return tuple(
            Card(name, kind, 64, (64,), 512, "float32", self.model.fingerprint(), (), 0)
            for name, kind in made
        )

    def card(self, model, kind):
        return self.cards()[0]

    def state(self):
        return State(True, False, {}, True)

    def face(self, caller, model=None):
        return self.model

    def judge(self, caller):
        return WordReranker()

    def embedder(self, model=None):
        return self.model


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index, a repository and a calibration."""
    folder = tmp_path_factory.mktemp("apps")
    written(folder / "notes", FILES)
    written(folder / "repo", CODE)
    Index.open(folder / "i", WordEmbedder()).add([folder / "notes"])
    (folder / "scale.json").write_text(SCALE.model_dump_json())
    return folder


def client(place: Path, *keys: str, on: tuple[str, ...] = ("ask", "code", "align")) -> TestClient:
    given = {
        "ask": ["ask", f"ask.calibration={place / 'scale.json'}"],
        "code": [f"code.repository={place / 'repo'}", f"code.index={place / 'code'}"],
        "align": ["align"],
    }
    service = StandIn(Index.open(place / "i", WordEmbedder()))
    offered = Offered(read_apps(None, [*(key for name in on for key in given[name]), *keys]))
    around = Operations(service.settings)
    app = create_app(service, service.settings, extras=[pages.install, offered, around.install])
    return TestClient(app, base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def asked(place: Path) -> TestClient:
    return client(place)


# --- settings -----------------------------------------------------------------------------------


def test_a_table_that_is_there_turns_its_application_on(tmp_path: Path) -> None:
    file = tmp_path / "apps.toml"
    file.write_text('[ask.llm]\nurl = "http://127.0.0.1:9/v1"\nmodel = "qwen3"\n[code]\nrepository = "."\n')
    read = read_apps(file, ["ask.llm.timeout=5", "align"])
    assert read.ask.llm.timeout == 5 and read.code.repository == Path() and read.align.most_entities == 2000
    assert read_apps(None, ["ask"]).code is None
    offered = Offered(read)
    assert pickle.loads(pickle.dumps(offered)) == offered  # as workers are given it


@pytest.mark.parametrize(
    ("key", "said"),
    [("asks", "asks"), ("ask.lmm.url=x", "ask.lmm"), ("ask.llm.url=x", "url"), ("code", "repository"),
     ("align.most_entities=0", "most_entities"), ("waiting=none", "waiting"), ("ask=1", "ask"), ("=", "=")],
)  # fmt: skip
def test_what_is_not_known_is_an_error_in_words(key: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_apps(None, [key])
    assert "docs/pages.md" in str(caught.value)


def test_ask_without_an_index_is_refused_at_the_start() -> None:
    with pytest.raises(InputError, match="no index is served"):
        create_app(StandIn(None), Settings(), extras=[Offered(read_apps(None, ["ask"]))])


def test_what_is_off_is_not_there(place: Path) -> None:
    page = client(place, on=("align",))
    assert page.post("/ask", json={"question": QUESTION}).status_code == 404
    assert page.get("/ui/code").status_code == 404 and page.get("/ui/align").status_code == 200
    shown = page.get("/ui/search").text
    assert "/ui/align" in shown and "/ui/ask" not in shown
    assert set(page.get("/openapi.json").json()["paths"]) >= {"/align", "/search"}
    assert "/ask" not in page.get("/openapi.json").json()["paths"]


# --- paths --------------------------------------------------------------------------------------


def test_an_answer_cites_what_it_says_and_hides_where_it_lies(asked: TestClient, place: Path) -> None:
    answer = asked.post("/ask", json={"question": QUESTION, "rerank": True})
    found = answer.json()
    assert answer.status_code == 200 and "10:30" in found["text"] and "[1]" in found["text"]
    (cited, passage) = (found["citations"][0], found["passages"][0])
    assert cited["place"] == "notes/museum.md:3" and cited["sentence"] in passage["text"]
    assert 0 <= found["reranking"]["saved"] <= 1 and found["reranking"]["pairs"] > 0
    assert str(place) not in answer.text
    other = asked.post("/ask", json={"question": "Who discovered radium?"}).json()
    assert other["refused"] and other["text"] == "not in these documents" and not other["citations"]
    below = asked.post("/ask", json={"question": QUESTION, "below": ["notes/tea"]}).json()
    assert below["refused"]


def test_questions_go_on_from_the_ones_before(asked: TestClient) -> None:
    before = [{"question": "Which oil does the greenhouse pump need?", "asked": "greenhouse pump oil grade"}]
    found = asked.post("/ask", json={"question": "And its grade?", "turns": before}).json()
    assert found["question"] == "And its grade?" and found["asked"].startswith("greenhouse pump")
    assert "46" in found["text"]


def test_a_model_writes_and_its_statements_come_as_they_are_verified(place: Path) -> None:
    said = "The city museum opens at 10:30 on Sundays [1]. Tickets are sold at the gate [1]. It is free [1]."
    with serving(lambda messages: said) as url:
        page = client(place, f"ask.llm.url={url}", "ask.llm.model=m", on=("ask",))
        body = {"question": "When does the city museum open on Sundays, where are tickets sold at the gate?"}
        whole = page.post("/ask", json=body).json()
        events = page.post("/ask", json={**body, "stream": True})
        shown = page.get("/ui/ask", params={"q": body["question"]}).text
    assert whole["how"] == "llm" and len(whole["withheld"]) == 1 and "free" not in whole["text"]
    assert events.headers["content-type"].startswith("text/event-stream")
    parts = [part.split("\ndata: ") for part in events.text.strip().split("\n\n")]
    assert [name for name, _ in parts] == ["event: statement", "event: statement", "event: answer"]
    assert "".join(json.loads(data)["text"] for _, data in parts[:2]) == whole["text"]
    assert json.loads(parts[2][1])["text"] == whole["text"]
    # The page that came in pieces is whole: the same statements, and the passage they link to.
    answer = re.search(r'id="said"[^>]*>(.*?)</p>', shown, re.S)[1]
    assert visible(answer) == whole["text"].replace(" [", "[") and answer.count('href="#cite-1"') == 2
    assert shown.count("<html") == shown.count("</html>") == 1 and shown.count("<main") == 1
    assert 'id="cite-1"' in shown and "was verified" in visible(shown)


def test_a_model_that_fails_is_said_without_its_address(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    page = client(place, "ask.llm.url=http://127.0.0.1:9/v1", "ask.llm.model=m", on=("ask",))
    answer = page.post("/ask", json={"question": QUESTION})
    assert answer.json()["how"] == "extract" and "the language model did not answer" in answer.text
    assert "127.0.0.1:9" not in answer.text and "127.0.0.1:9" in caplog.text
    shown = page.get("/ui/ask", params={"q": QUESTION})
    assert "language model did not answer" in visible(shown.text) and "127.0.0.1:9" not in shown.text


def test_no_request_can_name_a_model_of_its_own(asked: TestClient) -> None:
    for more in ({"llm": {"url": "http://evil.example"}}, {"llm_url": "http://evil.example"}):
        answer = asked.post("/ask", json={"question": QUESTION, **more})
        assert answer.status_code == 400 and answer.json()["error"]["remedy"]
    assert asked.get("/ui/ask", params={"q": QUESTION, "llm": "http://evil.example"}).status_code == 400


def test_code_is_found_with_its_filters(asked: TestClient, place: Path) -> None:
    found = asked.post("/code", json={"query": "put an item on a heap", "top_k": 1})
    (hit,) = found.json()["hits"]
    assert (hit["place"], hit["name"], hit["language"]) == ("queue.py:1", "push", "python")
    assert str(place) not in found.text
    only = asked.post("/code", json={"query": "put an item", "languages": ["js"]}).json()["hits"]
    assert {one["path"] for one in only} == {"web/app.js"}
    below = asked.post("/code", json={"query": "listen", "paths": ["web/"]}).json()["hits"]
    assert {one["path"] for one in below} == {"web/app.js"}


def test_tables_are_aligned_and_come_as_statements(asked: TestClient) -> None:
    found = asked.post("/align", json={"left": LEFT, "right": RIGHT}).json()
    assert {(one["left"], one["right"]) for one in found["matches"]} == {("Q1", "m"), ("Q2", "p")}
    assert found["left"]["entities"] == 2 and all(0 <= one["confidence"] <= 1 for one in found["matches"])
    same = asked.post("/align", json={"left": LEFT, "right": RIGHT, "format": "nt"})
    assert same.headers["content-disposition"] == 'attachment; filename="same.nt"'
    triple = "<urn:lingxi:left:Q1> <http://www.w3.org/2002/07/owl#sameAs> <urn:lingxi:right:m> ."
    assert triple in same.text.splitlines()
    seeded = asked.post("/align", json={"left": LEFT, "right": RIGHT, "seeds": "Q1\tp\n"}).json()
    given = [(one["left"], one["right"]) for one in seeded["matches"] if one["given"]]
    assert given == [("Q1", "p")]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/ask", {"question": "?"}, "empty"),
        ("/ask", {"question": QUESTION, "below": ["/etc"]}, "holds nothing below"),
        ("/ask", {"question": "a" * 4001}, "question"),
        ("/ask", {"question": 1}, "question"),
        ("/ask", {"question": QUESTION, "turns": [{"question": "a"}]}, "turns"),
        ("/code", {"query": " "}, "empty"),
        ("/code", {"query": "x", "languages": ["klingon"]}, "klingon"),
        ("/code", {"query": "x", "paths": ["../.."]}, "no indexed file"),
        ("/code", {"query": "x", "at": "HEAD"}, "at"),
        ("/align", {"left": "", "right": RIGHT}, "left is empty"),
        ("/align", {"left": "a\tb\n1\t2\n", "right": RIGHT}, "left.tsv:1 names no columns"),
        ("/align", {"left": '{"id": "1", "id2": [}', "right": RIGHT}, "left.jsonl:1 is not JSON"),
        ("/align", {"left": LEFT, "right": RIGHT, "seeds": "Q9\tm"}, "left has no entity"),
        ("/align", {"left": LEFT + "x" * 2000, "right": RIGHT}, "at most 2,000"),
        ("/align", {"left": "id\n1\n2\n3\n", "right": RIGHT}, "3 entities"),
        ("/align", {"left": "/etc/passwd", "right": RIGHT}, "names no columns"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(place: Path, path: str, body: dict, said: str) -> None:
    page = client(place, "align.most_bytes=2000", "align.most_entities=2")
    answer = page.post(path, json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400 and said in error["message"] + error["remedy"], error
    assert "lingxi-align-" not in answer.text and str(place) not in answer.text


def test_each_path_is_described(asked: TestClient) -> None:
    described = asked.get("/openapi.json").json()
    for path, model in (("/ask", "Ask"), ("/code", "Code"), ("/align", "Align")):
        post = described["paths"][path]["post"]
        schema = post["requestBody"]["content"]["application/json"]["schema"]
        assert post["description"] and schema["title"] == model and schema["additionalProperties"] is False


# --- the desk -----------------------------------------------------------------------------------


def test_one_client_does_not_hold_all_threads() -> None:
    async def test() -> None:
        desk, go = Desk(1, 3), threading.Event()
        many, other = Caller("many", "1"), Caller("other", "2")
        held = [asyncio.ensure_future(desk.do(many, lambda over: go.wait(20))) for _ in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(Refusal) as refused:
            await desk.do(many, lambda over: True)
        assert refused.value.status == 429 and refused.value.retry_after
        third = asyncio.ensure_future(desk.do(other, lambda over: "done"))
        await asyncio.sleep(0.01)
        go.set()
        assert await asyncio.gather(*held) == [True, True] and await third == "done"
        assert await desk.do(many, lambda over: "again") == "again"
        desk.close()

    asyncio.run(test())


def test_work_that_is_late_or_left_is_told_so() -> None:
    async def test() -> None:
        desk, over = Desk(1, 3), []

        def work(is_over):
            while not is_over():
                time.sleep(0.005)
            over.append(True)

        with pytest.raises(Refusal) as refused:
            await desk.do(Caller("a", "1", time.monotonic() + 0.05), work)
        assert refused.value.status == 504
        stream = as_it_comes(
            lambda show: desk.do(Caller("a", "2"), lambda is_over: (show("x"), work(is_over)))
        )
        assert await anext(stream) == "x"
        await stream.aclose()
        assert await desk.do(Caller("a", "3"), lambda is_over: len(over)) == 2
        desk.close()

    asyncio.run(test())


# --- pages --------------------------------------------------------------------------------------


def test_the_page_of_answers_links_to_its_passages(asked: TestClient) -> None:
    shown = asked.get("/ui/ask", params={"q": QUESTION, "rerank": "1"})
    text = visible(shown.text)
    assert 'href="#cite-1"' in shown.text and 'id="cite-1"' in shown.text
    assert "museum.md" in text and "sure" in text and "of the work saved" in text
    assert "<mark>The city museum opens at 10:30 on Sundays.</mark>" in shown.text
    refused = asked.get("/ui/ask", params={"q": "Who discovered radium?"})
    assert "Not in these documents." in refused.text and "% likely" in refused.text
    assert 'aria-current="page"' in shown.text and shown.headers["content-security-policy"] == pages.POLICY


def test_a_conversation_is_carried_by_its_form(asked: TestClient) -> None:
    first = asked.get("/ui/ask", params={"q": "Which oil does the greenhouse pump need?"})
    turn = re.search(r'name="turn" value="([^"]*)"', first.text)[1]
    sent = turn.replace("&#34;", '"').replace("&#39;", "'").replace("&amp;", "&")
    then = asked.post("/ui/ask", data={"q": "And its grade?", "turn": sent})
    assert then.status_code == 200 and then.text.count('name="turn"') == 2
    assert "Searched for: Which oil does the greenhouse pump need? And its grade?" in visible(then.text)
    assert '<p class="question" dir="auto">Which oil' in then.text
    for wrong in ("{", "[1,2,3]", '["a","b"]', json.dumps(["a" * 5000, "", ""])):
        assert asked.post("/ui/ask", data={"q": "x", "turn": wrong}).status_code == 400
    assert (
        asked.post("/ui/ask", data={"q": "x", "turn": [Before("a", "a", "").line()] * 9}).status_code == 400
    )


def test_the_page_of_code_shows_lines_in_their_place(asked: TestClient) -> None:
    shown = asked.get("/ui/code", params={"q": "put an item on a heap"})
    assert 'data-place="queue.py:1"' in shown.text and "<mark>def push(item, heap):</mark>" in shown.text
    assert "<option>javascript</option><option>python</option>" in shown.text.replace("\n", "")
    only = asked.get("/ui/code", params={"q": "port", "language": "javascript"}).text
    assert "queue.py" not in only and "&lt;script&gt;" in only
    assert asked.get("/ui/code", params={"q": "x", "language": "klingon"}).status_code == 400
    nothing = asked.get("/ui/code", params={"q": "x", "path": "no/such/"})
    assert nothing.status_code == 400 and "no indexed file" in nothing.text


def test_tables_are_pasted_or_sent_as_files(asked: TestClient) -> None:
    pasted = asked.post("/ui/align", data={"left": LEFT, "right": RIGHT, "least": "1"})
    assert pasted.status_code == 200 and "2 pairs from 2 and 2 rows" in visible(pasted.text)
    files = {"left_file": ("l.tsv", LEFT.encode()), "right_file": ("r.jsonl", RIGHT.encode())}
    sent = asked.post("/ui/align", data={"left": "", "right": "", "least": "0"}, files=files)
    assert "2 pairs from 2 and 2 rows" in visible(sent.text)
    assert "Museum of tea\t\n" in sent.text  # what was sent stands in the form, for the download
    same = asked.post(
        "/ui/align/same.nt", data={"left": LEFT, "right": RIGHT}, files={"seeds_file": ("", b"")}
    )
    assert same.text.count("owl#sameAs") == 2 and same.headers["content-type"] == "application/n-triples"
    for wrong in (
        {"left": LEFT},
        {"left": "x", "right": RIGHT},
        {"left": LEFT, "right": RIGHT, "least": "x"},
    ):
        assert asked.post("/ui/align", data=wrong).status_code == 400
    assert asked.post("/ui/align", content=b"x", headers={"content-type": "text/plain"}).status_code == 413


def test_hostile_texts_are_shown_as_text(asked: TestClient) -> None:
    for answer in (
        asked.get("/ui/ask", params={"q": f"Bananas ripen in {HOSTILE} yellow paper?", "path": "notes"}),
        asked.post("/ui/ask", data={"q": "Bananas ripen", "turn": Before(HOSTILE, HOSTILE, HOSTILE).line()}),
        asked.get("/ui/code", params={"q": HOSTILE, "path": ""}),
        asked.post(
            "/ui/align",
            data={"left": f"id\tname\n1\t{HOSTILE.replace(chr(9), '')}\n", "right": RIGHT, "seeds": HOSTILE},
        ),
        asked.post("/ui/align", data={"left": f"id\tname\n1\t{HOSTILE}\n", "right": RIGHT}),
    ):
        assert "alert(1)" in answer.text
        _is_harmless(answer.text)


def test_statements_are_cut_where_they_cite() -> None:
    assert list(pieces("A [1] [2]. B", frozenset({1}))) == [("A", None), ("[1]", 1), (" [2]. B", None)]
    assert list(pieces("no")) == [("no", None)] and list(pieces("")) == []
    assert app_pages._statement("a <b> [12]") == 'a &lt;b&gt;<a class="cite" href="#cite-12">[12]</a>'


@given(st.binary(max_size=200), st.text(max_size=60))
def test_any_form_with_files_is_read_or_refused(body: bytes, stated: str) -> None:
    for kind in (stated, f"multipart/form-data; boundary={stated}", "multipart/form-data; boundary=x"):
        found = read_parts(kind, b"--x\r\n" + body + b"\r\n--x--\r\n")
        assert found is None or all(isinstance(v, str) for pair in found for v in pair)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), st.binary(max_size=50))
def test_a_file_comes_as_it_was_sent(text: str, other: bytes) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="left_file"; filename="a"\r\n\r\n%s\r\n'
    plain = b'--x\r\nContent-Disposition: form-data; name="left"\r\n\r\n%s\r\n'
    if b"--x" in text.encode() or b"--x" in other:
        return
    body = part % text.encode() + plain % other + b"--x--\r\n"
    assert read_parts("multipart/form-data; boundary=x", body) == [
        ("left_file", text), ("left", other.decode("utf-8", "replace"))
    ]  # fmt: skip


def test_a_form_of_too_many_parts_is_none() -> None:
    many = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n' * 21 + b"--x--\r\n"
    assert read_parts("multipart/form-data; boundary=x", many) is None
    with pytest.raises(FormError):
        ask_form([("q", "a"), ("q", "b")])


def test_every_phrase_is_there_in_both_languages_and_used() -> None:
    folder = Path(app_pages.__file__).parent
    said = "".join(
        p.read_text("utf-8") for p in folder.rglob("*") if p.suffix in (".html", ".py") and p.stem != "words"
    )
    built = re.compile(r"kind_\w+|page_\w+|left_file|right_file")
    for key, phrases in WORDS.items():
        assert len(phrases) == len(LANGUAGES) and key not in ALL_WORDS, key
        names = [sorted(n for _, n, _, _ in string.Formatter().parse(one) if n) for one in phrases]
        assert names[0] == names[1] and not re.search(r"[一-鿿]", phrases[0]), key
        assert re.search(rf"""["']{key}["']""", said) or built.fullmatch(key), key
    used = set(re.findall(r"""say\(\s*["'](\w+)["'](?!\s*[~])""", said))
    assert used <= set(WORDS) | set(ALL_WORDS)


def test_pages_speak_both_languages(asked: TestClient) -> None:
    for path in ("/ui/ask", f"/ui/ask?q={QUESTION}", "/ui/code?q=heap", "/ui/align"):
        english, chinese = (asked.get(path, headers={"accept-language": tag}) for tag in ("en", "zh"))
        assert not re.search(r"[一-鿿]", visible(english.text).replace("灵犀", "").replace("中文", "")), path
        assert 'lang="zh-Hans"' in chinese.text and "问答" in chinese.text


def test_the_answer_type_is_what_streams_end_with(asked: TestClient) -> None:
    assert Answered.__slots__ and AppsSettings().ask is None
