"""Queries by a language model: a small server that speaks the dialect, and does not always behave."""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from lingxi.asking import NoAnswerError, endpoint
from lingxi.asking import asked as ask
from lingxi.collect import instructions
from lingxi.errors import InputError
from lingxi.generate import GenerateSettings, generate_pairs
from lingxi.generate.llm import Chat, RefusedError, found_json
from lingxi.generate.settings import ChatSettings, WrittenSettings
from lingxi.generate.written import nearest_personas, want, write_queries
from lingxi.records import Document, Pair, read_pairs, write_documents
from listening import listening

Reply = tuple[int, Any] | str
Behaviour = Callable[[str, int], Reply]
CHOICE = '{"persona": 2, "question_type": "yes_or_no", "difficulty": "university"}'
TEXT = "Tea number {} is steeped for two minutes, and not a minute more, or else it turns bitter. " * 3


def document(number: int, language: str = "en") -> Document:
    return Document(f"d{number}", TEXT.format(*[number] * 3), f"Tea {number}", language, "shop", "CC0")


def number_of(prompt: str) -> int:
    """Which tea a prompt speaks of."""
    return int(re.search(r"Tea (\d+)", prompt)[1])


def obedient(prompt: str, time: int) -> Reply:
    """Chooses, then asks about the tea that the prompt speaks of."""
    if "**Personas**" in prompt:
        return CHOICE
    return json.dumps({"query": f"is tea {number_of(prompt)} bitter"})


class Server:
    """Requests, and how often each prompt came."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.times: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.lock = threading.Lock()
        self.url = ""

    def reply(self, body: dict[str, Any], key: str | None) -> tuple[int, Any]:
        prompt = "\n".join(message["content"] for message in body["messages"])
        with self.lock:
            self.bodies.append(body)
            self.keys.append(key)
            self.times[prompt] += 1
            time = self.times[prompt]
        said = self.behaviour(prompt, time)
        if isinstance(said, tuple):
            return said
        message = {"choices": [{"message": {"role": "assistant", "content": said}}]}
        return 200, message | {"usage": {"prompt_tokens": 100, "completion_tokens": 10}}


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Server]:
    server = Server(behaviour)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, said = server.reply(body, self.headers.get("Authorization"))
            written = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status if self.path == "/v1/chat/completions" else 404)
            if status == 429:
                self.send_header("Retry-After", "7")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        def log_message(self, *_: Any) -> None:
            pass

    with listening(Handler) as httpd:
        server.url = f"http://127.0.0.1:{httpd.server_port}/v1"
        yield server


def settings(server: Server, cache: Path, **chat: Any) -> WrittenSettings:
    known = {"url": server.url, "model": "small", "cache": cache, "wait": 0.0, "retries": 2, **chat}
    return WrittenSettings(chat=ChatSettings(**known))


def written(asked: WrittenSettings, documents: list[Document]) -> tuple[list[Pair], Counter[str], Chat]:
    refused: Counter[str] = Counter()
    chat = Chat(asked.chat, pause=lambda seconds: None)
    return list(write_queries(documents, chat, asked, refused)), refused, chat


def test_two_calls_write_a_query_and_rows_keep_the_order_of_the_documents(tmp_path: Path) -> None:
    with serving(obedient) as server:
        rows, refused, chat = written(
            settings(server, tmp_path, concurrency=8), [document(i) for i in range(40)]
        )
    assert [row.query for row in rows] == [f"is tea {i} bitter" for i in range(40)] and not refused
    row = rows[7]
    assert (row.group, row.source, row.licence, row.task) == ("d7", "shop", "CC0", "retrieval")
    assert row.instruction == instructions.YES_OR_NO
    assert row.positives[0].text == document(7).text.strip()
    assert (chat.spent().calls, chat.spent().prompt_tokens, chat.spent().answer_tokens) == (80, 8000, 800)


def test_the_second_call_is_told_what_the_first_chose(tmp_path: Path) -> None:
    with serving(obedient) as server:
        asked = settings(server, tmp_path)
        written(asked, [document(1, "de")])
        first, second = ("\n".join(m["content"] for m in body["messages"]) for body in server.bodies)
    offered = re.findall(r"^\d\. (.+)$", first, re.M)
    assert len(offered) == 5 and set(offered) <= set(asked.personas)
    assert f"**Character**\n{offered[1]}" in second
    assert "yes_or_no (" in second and "university (" in second and "Language: German" in second
    assert re.search(r"about (5|10|15|25) words", second) and document(1).text.strip() in second


def test_a_second_run_asks_nothing_and_gets_the_same(tmp_path: Path) -> None:
    def clumsy(prompt: str, time: int) -> Reply:
        return "Let me think" if time == 1 else obedient(prompt, time)

    with serving(clumsy) as server:
        asked = settings(server, tmp_path)
        first, _, spent = written(asked, [document(i) for i in range(5)])
        sent = len(server.bodies)
        again, _, cached = written(asked, [document(i) for i in range(5)])
        assert len(server.bodies) == sent == 20
    assert first == again and len(first) == 5
    assert (spent.spent().calls, spent.spent().cached) == (20, 0)
    assert (cached.spent().calls, cached.spent().cached) == (0, 20)


def test_rubbish_is_asked_again_and_then_refused_with_a_reason(tmp_path: Path) -> None:
    rubbish = {
        0: "no idea", 1: '{"persona": 2',
        2: '{"persona": 9, "question_type": "keywords", "difficulty": "phd"}',
        3: '{"persona": 1, "question_type": "riddle", "difficulty": "phd"}', 4: '{"persona": 1}',
        5: '{"persona": 1, "question_type": "keywords", "difficulty": "none"}',
    }  # fmt: skip
    queries = {6: '{"query": " "}', 7: '{"query": 3}', 8: '{"query": "' + "tea " * 200 + '"}'}

    def poor(prompt: str, time: int) -> Reply:
        number = number_of(prompt)
        if "**Personas**" in prompt:
            return rubbish.get(number, CHOICE)
        return queries.get(number) or obedient(prompt, time)

    with serving(poor) as server:
        rows, refused, _ = written(settings(server, tmp_path), [document(i) for i in range(10)])
        asked = Counter(number_of(prompt) for prompt in server.times.elements())
    assert [row.group for row in rows] == ["d9"]
    assert refused == {
        "no JSON": 1, "broken JSON": 1, "persona that was not offered": 1, "unknown question type": 1,
        "configuration without a fitting 'question_type'": 1, "unknown difficulty": 1, "empty query": 1,
        "answer without a fitting 'query'": 1, "query too long": 1,
    }  # fmt: skip
    assert (asked[0], asked[6], asked[9]) == (3, 4, 2)


def test_a_query_in_the_wrong_script_is_refused(tmp_path: Path) -> None:
    with serving(obedient) as server:
        rows, refused, _ = written(settings(server, tmp_path), [document(1, "ru")])
    assert not rows and refused == {"query in another script": 1}


def test_a_busy_server_is_asked_again_as_it_wishes(tmp_path: Path) -> None:
    def busy(prompt: str, time: int) -> Reply:
        bad: list[Reply] = [(429, {}), (500, {})]
        return bad[time - 1] if time <= 2 and "**Personas**" in prompt else obedient(prompt, time)

    pauses: list[float] = []
    with serving(busy) as server:
        asked = settings(server, tmp_path, wait=0.5)
        refused: Counter[str] = Counter()
        rows = list(write_queries([document(1)], Chat(asked.chat, pauses.append), asked, refused))
    assert len(rows) == 1 and not refused
    assert pauses == [7.0, 1.0], "the server said seven seconds; then twice the first wait"


def test_what_a_server_cannot_answer_is_refused_and_asked_again_next_time(tmp_path: Path) -> None:
    broken = {1: (500, {}), 2: (400, {}), 3: (200, b"<html>"), 4: (200, {"choices": []})}
    healthy = False

    def partly(prompt: str, time: int) -> Reply:
        number = number_of(prompt)
        return broken[number] if number in broken and not healthy else obedient(prompt, time)

    with serving(partly) as server:
        asked = settings(server, tmp_path)
        rows, refused, chat = written(asked, [document(i) for i in range(5)])
        assert [row.group for row in rows] == ["d0"]
        assert refused == {"the server says 500": 1, "the server says 400": 1, "no answer of the server": 2}
        assert chat.spent().calls == 2 + 3 + 1 + 3 + 3
        healthy = True
        rows, refused, chat = written(asked, [document(i) for i in range(5)])
    assert len(rows) == 5 and not refused and chat.spent().calls == 8


def test_a_closed_door_and_a_server_that_is_gone_end_the_stage(tmp_path: Path) -> None:
    with serving(lambda prompt, time: (401, {})) as server:
        with pytest.raises(NoAnswerError, match="401"):
            written(settings(server, tmp_path), [document(i) for i in range(5)])
        gone = settings(server, tmp_path, concurrency=1, retries=0)
    with pytest.raises(InputError, match="no answer"):
        written(gone, [document(i) for i in range(30)])


def test_the_key_comes_from_a_file_and_stays_out_of_the_cache(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-secret\n")
    with serving(obedient) as server:
        written(settings(server, tmp_path / "cache", key_file=tmp_path / "key"), [document(1)])
        assert set(server.keys) == {"Bearer sk-secret"}
        kept = b"".join(path.read_bytes() for path in (tmp_path / "cache").iterdir())
        assert b"sk-secret" not in kept and kept
        with pytest.raises(InputError, match="cannot be read"):
            written(settings(server, tmp_path, key_file=tmp_path / "none"), [])
        (tmp_path / "key").write_text("two\nlines")
        with pytest.raises(InputError, match="holds no key") as problem:
            written(settings(server, tmp_path, key_file=tmp_path / "key"), [])
        assert "two" not in str(problem.value)


def test_a_key_does_not_follow_a_redirect() -> None:
    keys: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.append(self.headers.get("Authorization"))
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            keys.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[1]")

        def log_message(self, *_: Any) -> None:
            pass

    with listening(Elsewhere) as httpd:
        url = f"http://127.0.0.1:{httpd.server_port}/v1"
        assert ask(url, {}, lambda answer: answer[0], lacking="one", fix="-", timeout=9, key="sk-1") == 1
    assert keys == ["Bearer sk-1", None]


def test_the_stage_reports_tokens_and_cost(tmp_path: Path) -> None:
    def some(prompt: str, time: int) -> Reply:
        return "rubbish" if "Tea 3\n" in prompt else obedient(prompt, time)

    write_documents(
        [*(document(i) for i in range(6)), Document("short", "Tea.")], tmp_path / "documents.parquet"
    )
    with serving(some) as server:
        asked = settings(server, tmp_path / "cache", prompt_price=2.0, answer_price=10.0)
        whole = GenerateSettings(structure=None, written=asked)
        report = generate_pairs(whole, tmp_path, tmp_path / "out")
        again = generate_pairs(whole, tmp_path, tmp_path / "out")
    assert report.by_kind == {"written": 5} and report.rows == len(
        list(read_pairs(tmp_path / "out/pairs.parquet"))
    )
    assert report.calls == 13 and report.tokens == {"prompt": 1300, "answer": 130} and report.unmetered == 0
    assert report.cost == pytest.approx((1300 * 2 + 130 * 10) / 1e6)
    assert report.refused == {"no JSON": 1, "no passage of that length": 1}
    assert (again.rows, again.calls, again.cached, again.cost) == (5, 0, 13, 0)


def test_a_share_of_the_documents_is_drawn_by_seed(tmp_path: Path) -> None:
    write_documents([document(i) for i in range(20)], tmp_path / "documents.parquet")
    with serving(obedient) as server:
        asked = settings(server, tmp_path / "cache").model_copy(update={"documents": 5})
        for seed, out in ((0, "a"), (0, "b"), (1, "c")):
            seeded = GenerateSettings(structure=None, written=asked.model_copy(update={"seed": seed}))
            assert generate_pairs(seeded, tmp_path, tmp_path / out).rows == 5
    drawn = [[row.group for row in read_pairs(tmp_path / out / "pairs.parquet")] for out in "abc"]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == sorted(drawn[0], key=lambda name: int(name[1:]))


def test_answers_without_usage_are_counted_as_such(tmp_path: Path) -> None:
    def silent(prompt: str, time: int) -> Reply:
        return 200, {"choices": [{"message": {"content": obedient(prompt, time)}}]}

    with serving(silent) as server:
        _, _, chat = written(settings(server, tmp_path, prompt_price=1, answer_price=1), [document(1)])
    assert (chat.spent().unmetered, chat.spent().prompt_tokens, chat.spent().calls) == (2, 0, 2)


def test_queries_in_other_languages(tmp_path: Path) -> None:
    base = WrittenSettings(chat=ChatSettings(url="http://localhost:1", model="m"), languages=("sw", "en"))
    across = base.model_copy(update={"cross_share": 0.5})
    asked_in = Counter(want(document(i), across).query_language for i in range(100))
    assert set(asked_in) == {"en", "sw"} and 30 < asked_in["sw"] < 70
    assert want(document(1), base).query_language == "en"
    assert want(Document("d", "short"), base) is None


def test_the_nearest_personas_are_offered() -> None:
    base = WrittenSettings(chat=ChatSettings(url="http://localhost:1", model="m"), candidates=2)

    def encode(texts: Any, instruction: str | None) -> np.ndarray:
        return np.array(
            [[float("nurse" in t or "physician" in t), "shop" in t, 0.1] for t in texts], np.float32
        )

    assert set(nearest_personas(base, encode)("what a nurse does")) == {
        "a nurse on a hospital ward", "a physician who looks up a treatment",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('```json\n{"a": {"b": 2}}\n```', {"a": {"b": 2}}),
        ('<think>{"a": 0}</think>\nHere it is: {"a": 1} Good?', {"a": 1}),
    ],
)
def test_json_is_found_in_what_models_write_around_it(said: str, found: Any) -> None:
    assert found_json(said) == found


@pytest.mark.parametrize("said", ["", "none", '{"a": ', "[1, 2]", '{"a": ' * 100_000])
def test_what_is_no_json_is_a_reason(said: str) -> None:
    with pytest.raises(ValueError, match="JSON"):
        found_json(said)


def test_settings_that_cannot_work_are_refused() -> None:
    for url in ("localhost:8000", "file:///etc/passwd", "http://me:secret@localhost/v1"):
        with pytest.raises(ValidationError, match="address"):
            ChatSettings(url=url, model="m")
    chat = ChatSettings(url="http://localhost", model="m")
    for wrong in ({"personas": ()}, {"cross_share": 0.5}, {"question_types": {}}, {"nonsense": 1}):
        with pytest.raises(ValidationError):
            WrittenSettings(chat=chat, **wrong)


def test_a_refusal_names_its_reason(tmp_path: Path) -> None:
    def read(answer: Any) -> None:
        raise ValueError("not that\nand more")

    with serving(lambda prompt, time: "{}") as server:
        chat = Chat(settings(server, tmp_path).chat, pause=lambda seconds: None)
        with pytest.raises(RefusedError, match=r"^not that$"):
            chat.answer([{"role": "user", "content": "?"}], read)
        assert len(server.bodies) == 3


def test_an_address_may_be_whole_or_not() -> None:
    for given in ("http://a/v1", "http://a/v1/", "http://a/v1/embeddings", "http://a/v1/embeddings/"):
        assert endpoint(given, "/embeddings") == "http://a/v1/embeddings"
