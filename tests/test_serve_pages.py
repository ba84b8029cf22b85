"""Pages of a server: every text harmless, both languages whole, what is asked read or refused in words."""

import re
import string
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="the pages need the extra: serve")

from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

from lingxi.errors import InputError
from lingxi.index.search import Hit
from lingxi.serve import pages
from lingxi.serve.contract import Card, Embedded, Load, Scored, State
from lingxi.serve.guard import put_on
from lingxi.serve.operations import rules_of
from lingxi.serve.pages.figures import clock, figures, thousands
from lingxi.serve.pages.forms import FormError, compare_form, search_form, told
from lingxi.serve.pages.orders import compare
from lingxi.serve.pages.passages import passages
from lingxi.serve.pages.render import harmless
from lingxi.serve.pages.sides import _plain
from lingxi.serve.pages.words import LANGUAGES, WORDS, Phrases, choose_language
from lingxi.serve.refusal import Refusal
from lingxi.serve.settings import Settings
from lingxi.vectors import cut, quantize, similarity

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=f()> \x1b[31mred\x1b[0m \u202egnp.exe {{ 7*7 }}"
HTML = {"accept": "text/html"}


def hit(text: str, path: str = "docs/a.md", **more: object) -> Hit:
    values = {"scores": {"vector": 0.7, "text": 3.0}, "sentence": (0, min(9, len(text)))} | more
    return Hit(path, 0, len(text), 1, 1 + text.count("\n"), text, 0.5, **values)  # type: ignore[arg-type]


class StandIn:
    """A service that answers from what it is given, and remembers what it was asked."""

    def __init__(self, hits: list[Hit] | Exception = ()) -> None:
        self.settings = Settings()
        self.hits = hits
        self.asked: list[tuple[str, dict]] = []
        fingerprint = {"name": HOSTILE, "weights": "abc"}
        self._cards = (
            Card(
                "nano",
                "embedder",
                64,
                (32, 64),
                512,
                "int8",
                fingerprint,
                ("query", "document"),
                1_700_000_000,
            ),
            Card("judge", "reranker", 1, (1,), 512, "int8", {}, (), 1_700_000_000),
        )

    def cards(self):
        return self._cards

    def state(self):
        return State(True, False, {"nano": Load(1, 2345, 1, 0, 3, 4, 5678901, 0, 0, 1.0, 1234.0)}, True)

    async def embed(self, inputs, wanted, caller, *, model=None):
        rows = [np.random.default_rng(len(text)).standard_normal(64) for text in inputs]
        vectors = cut(np.array(rows, np.float32), wanted.dim or 64)
        return Embedded(quantize(vectors, wanted.precision, 0.01), [1] * len(inputs))

    async def score(self, pairs, caller, *, model=None, instruction=None):
        scores = np.array([len(text) / 1000 for _, text in pairs], np.float32)
        return Scored(scores, scores, [1] * len(pairs))

    async def search(self, query, caller, **asked):
        self.asked.append((query, asked))
        if isinstance(self.hits, Exception):
            raise self.hits
        return list(self.hits)


def client(hits: list[Hit] | Exception = (), **options: object) -> TestClient:
    app = FastAPI()
    service = StandIn(hits)

    @app.get("/")
    def health() -> dict:
        return {"status": "ok"}

    pages.install(app, service)
    made = TestClient(app, base_url="http://127.0.0.1", **options)
    made.service = service
    return made


def visible(text: str) -> str:
    return re.sub(r"<[^>]*>", "", text)


# --- harmless -------------------------------------------------------------------------------------


def test_hostile_texts_are_shown_as_text() -> None:
    page = client([hit(HOSTILE, path=f"docs/{HOSTILE.replace('/', '')}.md")])
    answer = page.get("/ui/search", params={"q": HOSTILE, "instruction": HOSTILE, "path": HOSTILE})
    assert answer.status_code == 200 and "alert(1)" in answer.text
    _is_harmless(answer.text)


def test_hostile_texts_are_harmless_when_compared_and_in_the_status() -> None:
    page = client()
    texts = f"{HOSTILE}\nanother"
    answer = page.post("/ui/compare", data={"q": HOSTILE, "texts": texts, "instruction": HOSTILE})
    assert answer.status_code == 200 and 'class="links"' in answer.text
    for text in (answer.text, page.get("/ui/status").text):
        assert "alert(1)" in text
        _is_harmless(text)


def _is_harmless(text: str) -> None:
    """Scripts are our own files, no tag has a handler, and nothing acts on a terminal or turns the text."""
    scripts = re.findall(r"<script\b[^>]*>", text)
    assert len(scripts) == 1 and re.fullmatch(r'<script src="/ui/static/\w+\.js\?\w+" defer>', scripts[0])
    tags = re.findall(r'<[a-z](?:[^>"]|"[^"]*")*>', text)
    assert not any(re.search(r"\s(on\w+|style)\s*=", re.sub(r'"[^"]*"', '""', tag)) for tag in tags)
    assert "<img" not in text and "49" not in visible(text).split("alert(1)")[1][:200]
    # What a person typed stays in its field as typed; there it cannot act on what is around it.
    shown = re.sub(
        r'value="[^"]*"|<textarea.*?</textarea>|<title>.*?</title>|href="[^"]*"', "", text, flags=re.S
    )
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


@given(st.text())
def test_no_character_that_acts_is_left(text: str) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", harmless(text))
    assert harmless("עברית ok\t\n") == "עברית ok\t\n"


@given(st.text(max_size=400), st.integers(0, 400), st.integers(0, 400), st.sampled_from(["a.py", "a.md"]))
def test_any_passage_is_cut_into_what_was_there(text: str, start: int, length: int, path: str) -> None:
    (one,) = passages([hit(text, path=path, sentence=(start, start + length))])
    assert "\n".join("".join(line) for line in one.lines) == text
    assert one.best.split() == text[start : start + length].split()


def test_huge_lines_are_cut() -> None:
    answer = client([hit("x" * 2_000_000, "a.js", sentence=(0, 2_000_000))]).get("/ui/search?q=x")
    assert len(answer.text) < 60_000 and "longer than is shown" in answer.text


def test_headers_bind_the_browser() -> None:
    page = client()
    asset = re.search(r'href="([^"]+page\.css[^"]*)"', page.get("/ui/search").text)[1]
    for path in ("/ui/search", "/ui/compare", "/ui/status", "/ui/status.json", "/ui/none", asset):
        headers = page.get(path).headers
        assert headers["content-security-policy"] == pages.POLICY
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert "set-cookie" not in headers
    assert "unsafe" not in pages.POLICY and "default-src 'none'" in pages.POLICY


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = client([hit("a text")])
    for path in ("/ui/search?q=a", "/ui/compare", "/ui/status"):
        for link in re.findall(r'(?:src|href|action|data-from)="([^"]*)"', page.get(path).text):
            assert link.startswith(("/ui/", "#")), link
            if "/static/" in link:
                assert page.get(link).status_code == 200
    assert page.get("/ui/static/..%2fwords.py").status_code == 404


# --- the front --------------------------------------------------------------------------------------


def test_browsers_get_the_page_at_the_front_and_programs_get_health() -> None:
    page = client()
    shown = page.get("/", headers=HTML)
    assert '<form class="ask"' in shown.text and shown.headers["vary"] == "Accept"
    assert "content-security-policy" in shown.headers
    for accept in ("*/*", "application/json", ""):
        assert page.get("/", headers={"accept": accept}).json() == {"status": "ok"}
    assert page.get("/ui", headers=HTML).url.path == "/ui/search"


def test_pages_know_where_they_are_mounted() -> None:
    page = client(root_path="/models")
    text = page.get("/models/ui/search").text
    assert 'action="/models/ui/search"' in text and 'src="/models/ui/static/page.js' in text


def test_a_browser_behind_a_key_asks_its_user_for_it() -> None:
    secret = "a-secret-of-16-or-more"
    app = FastAPI()
    pages.install(app, StandIn())
    put_on(
        app,
        rules_of(Settings(api_keys=(secret,))),
        lambda path, refusal: Response(status_code=refusal.status),
    )
    page = TestClient(app, base_url="http://127.0.0.1")
    refused = page.get("/ui/search")
    assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Basic ")
    assert page.get("/v1/models").headers["www-authenticate"] == "Bearer"
    assert page.get("/ui/search", auth=("me", secret)).status_code == 200
    for wrong in ("Basic", "Basic x", "Basic bWU=", f"Basic {secret}"):
        assert page.get("/ui/search", headers={"authorization": wrong}).status_code == 401
    assert page.get("/ui/search", auth=("me", secret + "x")).status_code == 401


# --- asking -----------------------------------------------------------------------------------------


def test_a_search_is_asked_as_the_form_says() -> None:
    page = client([hit("first text", "src/a.py"), hit("second text", "docs/b.md")])
    asked = {"q": " tea ", "instruction": "find", "path": "docs/", "kind": "code", "n": "7", "rerank": "1"}
    answer = page.get("/ui/search", params=asked)
    assert page.service.asked == [
        (
            "tea",
            {
                "top_k": 7,
                "instruction": "find",
                "below": ("docs/",),
                "kinds": ("code",),
                "languages": (),
                "rerank": True,
            },
        )
    ]
    assert answer.text.count('class="hit"') == 2 and "2 passages in" in answer.text
    assert 'value="docs/"' in answer.text and re.search(r'name="rerank" value="1" checked', answer.text)


def test_hits_show_where_and_why() -> None:
    text = "Nothing here.\nTea is a drink. It is hot."
    scores = [{"vector": 0.5, "text": 8.0, "rerank": 0.9}, {"vector": 0.75, "rerank": 0.2}]
    first = hit(text, sentence=(14, 29), scores=scores[0], ranks={"vector": 12, "text": 1, "rerank": 1})
    page = client([first, hit("x", "b.md", scores=scores[1], ranks={"vector": 1, "rerank": 2})])
    found = page.get("/ui/search?q=tea&rerank=1").text
    assert "<mark>Tea is a drink.</mark>" in found and 'data-place="docs/a.md:2"' in found
    assert re.findall(r'<rect width="(\d+)%"', found) == ["50", "100", "90", "75", "20"]
    assert "0.500" in found and "#12<" in found and "not in the first 100" in found


def test_a_path_that_is_not_there_is_as_one_without_passages() -> None:
    asked = "/ui/search?q=x&path=/etc/passwd"
    missing = client(InputError("/etc/passwd: no such file or folder", "check")).get(asked)
    empty = client([]).get(asked)
    same = [re.sub(r"in \d+ ms", "", one.text) for one in (missing, empty)]
    assert same[0] == same[1] and missing.status_code == 200 and "No passage was found" in same[0]


@pytest.mark.parametrize(
    "asked",
    ["q=a&n=0", "q=a&n=101", "q=a&n=1e3", "q=a&n=%D9%A5", "q=a&kind=exe", "q=a&rerank=yes", "q=a&q=b",
     "q=a&x=1", "q=" + "a" * 2001, "q=a&path=" + "p" * 1001, "q=a&lang=fr"],
)  # fmt: skip
def test_bad_values_are_refused_in_words(asked: str) -> None:
    page = client([hit("text")])
    answer = page.get(f"/ui/search?{asked}")
    assert answer.status_code == 400 and 'role="alert"' in answer.text and not page.service.asked


@pytest.mark.parametrize(
    ("refusal", "status", "said"),
    [
        (Refusal(404, "not_found", "no index", "start with one"), 404, "has no index"),
        (Refusal(429, "overloaded", "busy", "wait", retry_after=1.2), 429, "busy"),
        (Refusal(400, "invalid_input", "a <b>reason</b>", "mend"), 400, "a &lt;b&gt;reason&lt;/b&gt;; mend"),
        (Refusal(503, "unready", "x", "y"), 503, "starting or stopping"),
        (Refusal(500, "backend", "secret", "y"), 500, "The model failed"),
    ],
)
def test_refusals_are_said_on_the_page(refusal: Refusal, status: int, said: str) -> None:
    answer = client(refusal).get("/ui/search?q=x")
    assert answer.status_code == status and said in answer.text and "secret" not in answer.text
    assert answer.headers.get("retry-after") == ("2" if status == 429 else None)


# --- comparing --------------------------------------------------------------------------------------


def test_two_widths_are_compared() -> None:
    texts = "\r\n".join("x" * n for n in range(1, 13))
    asked = {
        "q": "tea",
        "texts": texts,
        "a_model": "nano",
        "b_model": "nano",
        "b_dim": "32",
        "b_precision": "int8",
    }
    text = client().post("/ui/compare", data=asked).text
    assert text.count("place-row") == 24 and "nano · 32 · int8" in text and "128" not in asked
    assert "256 bytes a vector" in text and "32 bytes a vector" in text
    assert re.search(r"by the first 10</dt><dd>\d+ of 10", text)


def test_the_passages_of_the_index_are_ordered_anew() -> None:
    page = client([hit("short"), hit("a longer passage", "b.md")])
    text = page.get("/ui/compare?q=tea&source=index&b_model=judge").text
    assert "docs/a.md:1" in text and "probability" in text
    assert page.service.asked[0][1]["top_k"] == 20


@pytest.mark.parametrize(
    "asked",
    [{"q": "a", "texts": "one"}, {"q": "a", "texts": "x\n" * 51}, {"q": "a"}, {"texts": "a\nb"},
     {"q": "a", "texts": "a\nb", "a_dim": "65"}, {"q": "a", "texts": "a\nb", "b_model": "none"},
     {"q": "a", "texts": "a\nb", "b_model": "judge", "b_dim": "1"},
     {"q": "a", "texts": "a\nb", "a_precision": "int4"},
     {"q": "a", "texts": "a\n" + "b" * 4001}, {"q": "a", "source": "index"}, {"q": "a", "source": "web"}],
)  # fmt: skip
def test_comparisons_that_make_no_sense_are_refused(asked: dict) -> None:
    answer = client([hit("one")]).post("/ui/compare", data=asked)
    assert answer.status_code == 400 and 'role="alert"' in answer.text


def test_a_form_too_large_or_of_another_type_is_refused() -> None:
    page = client()
    assert page.post("/ui/compare", data={"q": "a", "texts": "x" * 400_000}).status_code == 413
    assert page.post("/ui/compare", json={"q": "a"}).status_code == 413


def test_orders_are_compared() -> None:
    found = compare([3, 2, 1, 0], [0, 3, 2, 1])
    assert [p.text for p in found.b] == [1, 2, 3, 0] and found.moved == 4
    assert next((p.rank, p.other, p.gain) for p in found.a) == (1, 4, 3)
    assert found.overlaps == ((1, 0), (3, 2)) and found.tau == pytest.approx(0.0)
    assert compare([1, 2, 3], [1, 2, 3]).tau == pytest.approx(1.0)
    assert compare([1, 1], [1, 2]).tau is None


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=30))
def test_tau_counts_pairs_that_agree(pairs: list[tuple[int, int]]) -> None:
    a, b = zip(*pairs, strict=True)
    found = compare(a, b)
    both = list(combinations(pairs, 2))
    agreeing = sum(((x[0] - y[0]) * (x[1] - y[1]) > 0) - ((x[0] - y[0]) * (x[1] - y[1]) < 0) for x, y in both)
    untied = [sum(x[side] != y[side] for x, y in both) for side in (0, 1)]
    expected = agreeing / (untied[0] * untied[1]) ** 0.5 if all(untied) else None
    assert found.tau == (None if expected is None else pytest.approx(expected))
    assert sorted(p.text for p in found.b) == list(range(len(pairs)))


@pytest.mark.parametrize("precision", ["float32", "int8", "uint8", "binary", "ubinary"])
def test_codes_of_every_precision_compare_as_what_they_stand_for(precision: str) -> None:
    plain = cut(np.random.default_rng(0).standard_normal((20, 256)).astype(np.float32), 256)
    codes = quantize(plain, precision, 0.003)
    exact = (
        similarity(plain, plain) if "binary" not in precision else similarity(np.sign(plain), np.sign(plain))
    )
    assert np.abs(similarity(*[_plain(codes, precision)] * 2) - exact).max() < 0.01


# --- status -----------------------------------------------------------------------------------------


def test_the_status_says_what_is_served_and_what_waits() -> None:
    page = client()
    text = page.get("/ui/status").text
    for said in (
        "nano",
        "judge",
        "32 · 64",
        "5\u202f678\u202f901",
        "2\u202f345",
        "2023-11-14",
        "abc",
        "Ready",
    ):
        assert said in text, said
    found = page.get("/ui/status.json").json()
    assert found["state"] == "ready" and found["tokens"] == 5678901 and found["loads"]["nano"]["waiting"] == 1
    assert page.get("/ui/status?x=1").status_code == 400


def test_figures_are_readable() -> None:
    assert clock(59) == "0:00:59" and clock(90061) == "1 d 1:01:01"
    assert thousands(1234567.4) == "1\u202f234\u202f567"
    assert figures(State(True, True, {}, False), 1.5)["state"] == "draining"


# --- words ------------------------------------------------------------------------------------------


def test_every_phrase_is_there_in_both_languages_with_the_same_values() -> None:
    for key, phrases in WORDS.items():
        assert len(phrases) == len(LANGUAGES) and all(phrases), key
        names = [sorted(name for _, name, _, _ in string.Formatter().parse(one) if name) for one in phrases]
        assert names[0] == names[1], key
        assert not re.search(r"[\u4e00-\u9fff]", phrases[0]), key
        assert re.search(r"[\u4e00-\u9fff]", phrases[1]) or re.search(r"\{\w+\}", phrases[1]), key


def test_every_phrase_is_used_and_every_phrase_used_is_there() -> None:
    folder = Path(pages.__file__).parent
    said = "".join(
        p.read_text("utf-8") for p in folder.rglob("*") if p.suffix in (".html", ".py") and p.stem != "words"
    )
    used = set(re.findall(r"""say\(\s*["'](\w+)["'](?!\s*[~])""", said))
    assert used <= set(WORDS)
    built = re.compile(
        r"by_\w+|limit_\w+|refused_\w+|score_\w+|kind_\w+|ready|unready|draining|embedder|reranker"
    )
    unused = [key for key in WORDS if not re.search(rf"""["']{key}["']""", said) and not built.fullmatch(key)]
    assert not unused


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [(None, "", "en"), (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"), (None, "en-GB,zh;q=0.9", "en"),
     (None, "fr,de;q=0.5", "en"), ("en", "zh", "en"), ("zh", "en", "zh"), (None, "zh;q=0", "en"),
     (None, "*", "en"), (None, ";;q=,zh;q=9,\x00", "en")],
)  # fmt: skip
def test_languages_are_chosen(asked: str | None, accepted: str, language: str) -> None:
    assert choose_language(asked, accepted) == language


def test_pages_speak_the_language_asked_for() -> None:
    page = client([hit("text")])
    for path in ("/ui/search?q=x", "/ui/compare", "/ui/status"):
        both = [page.get(path, headers={"accept-language": tag}) for tag in ("en", "zh-CN")]
        assert ['lang="en"' in both[0].text, 'lang="zh-Hans"' in both[1].text] == [True, True]
        assert both[1].headers["content-language"] == "zh-Hans"
        assert not re.search(
            r"[\u4e00-\u9fff]", visible(both[0].text).replace("灵犀", "").replace("中文", "")
        )
    text = page.get("/ui/search?q=x&lang=zh").text
    assert 'name="lang" value="zh"' in text and "/ui/status?lang=zh" in text and "q=x&amp;lang=en" in text


@pytest.mark.parametrize("say", [Phrases("en"), Phrases("zh")])
def test_every_refusal_of_a_form_has_its_words(say: Phrases) -> None:
    wrong = [[("x", "1")], [("q", "a"), ("q", "b")], [("n", "x")], [("kind", "x")], [("q", "a" * 2001)]]
    for fields in wrong:
        with pytest.raises(FormError) as caught:
            search_form(fields)
        assert told(caught.value, say)
    for fields in (
        [("texts", "a")],
        [("texts", "a\nb")],
        [("b_dim", "x"), ("q", "a")],
        [("texts", "a\n" + "b" * 9000)],
    ):
        with pytest.raises(FormError) as caught:
            compare_form(fields)
        assert told(caught.value, say)
