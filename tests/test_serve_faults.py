"""What goes wrong with a server: it stays up, others are unharmed, errors are right and give nothing away."""

import http.client
import json
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
pytest.importorskip("prometheus_client")

from lingxi import Embedder, Reranker
from lingxi.serve.service import Service
from operating import KEY, QUICK, running
from toys import write_toy

# The fields of an error in each dialect, by a path that is asked with a good and with other bodies.
OPENAI = ("/v1/embeddings", {"error"}, {"input": "hello"})
COHERE = (
    "/v2/embed",
    {"message", "detail"},
    {"texts": ["hello"], "input_type": "search_query", "model": "toy"},
)
JINA = ("/v1/rerank", {"message", "detail"}, {"query": "a", "documents": ["b"], "model": "judge"})
BOTH = ("/rerank", {"error", "error_type", "message", "detail"}, {"query": "a", "texts": ["b"]})
TEI = ("/embed", {"error", "error_type"}, {"inputs": "hello"})
OWN = ("/segment", {"error"}, {"documents": ["One. Two."]})
DIALECTS = [OPENAI, COHERE, JINA, BOTH, TEI, OWN]
SECRET = "planted-text-of-a-client"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("planted-folder")


@pytest.fixture(scope="module")
def server(folder):
    models = {"toy": Embedder(write_toy(folder / "toy"))}
    judges = {"judge": Reranker(write_toy(folder / "judge", "reranker", seed=1))}
    with running(models, judges) as found:
        yield found


def healthy(server):
    """It answers another client as ever."""
    status, _, said = server.ask("/v1/embeddings", {"input": "hello"})
    return status == 200 and len(said["data"][0]["embedding"]) > 1


def raw(server, head, *, timeout=10):
    """A connection that has sent the head of a request."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=timeout)
    lines = [*head, "Host: 127.0.0.1", f"x-api-key: {KEY}", "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection


def answered(connection):
    """Status and JSON of what a raw connection gets."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())


def clean(server, folder, said):
    """Neither the answer nor the log holds a planted text, key or path."""
    for text in (json.dumps(said), server.written.getvalue()):
        for planted in (SECRET, KEY, str(folder), "planted-folder", "site-packages", "Traceback"):
            assert planted not in text, f"{planted} in {text[-2000:]}"


@pytest.mark.parametrize("case", DIALECTS, ids=lambda case: case[0])
def test_every_dialect_answers(server, case):
    path, _, good = case
    assert server.ask(path, good)[0] == 200


@pytest.mark.parametrize("case", DIALECTS, ids=lambda case: case[0])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"text"', b"3", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000,
        b'{"input": NaN}', b'{"input": ' + b"9" * 5000 + b"}", b'{"unknown": 1}',
        f'{{"input": {{"{SECRET}": "{SECRET}"}}, "inputs": {{}}, "texts": 5, "query": ["{SECRET}"]}}'
        .encode(),
    ],
    ids=lambda body: repr(body[:24]),
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_the_dialect(server, folder, case, body):
    path, fields, _ = case
    status, _, said = server.ask(path, body)
    assert status in (400, 422) and set(said) == fields, (status, said)
    clean(server, folder, said)


@pytest.mark.parametrize("case", DIALECTS, ids=lambda case: case[0])
def test_wrong_types_in_every_field(server, folder, case):
    path, fields, good = case
    for field in good:
        for wrong in (None, 1.5, {}, {"a": SECRET}, [[[]]], [None], True, -1, 10**30):
            status, _, said = server.ask(path, {**good, field: wrong})
            if status != 200:
                assert status in (400, 404, 422) and set(said) == fields, (field, wrong, status, said)
                clean(server, folder, said)


@pytest.mark.parametrize("case", DIALECTS, ids=lambda case: case[0])
def test_half_characters_are_no_crash(server, folder, case):
    path, fields, good = case
    text = json.dumps(good).replace("hello", "\\ud800").replace('"a"', '"\\ud800"').replace("One", "\\ud800")
    status, _, said = server.ask(path, text.encode())
    assert status in (400, 422) and set(said) == fields, (status, said)
    whole = json.dumps(good).replace("hello", "\\ud83d\\ude00 \\\\ud800")
    assert server.ask(path, whole.encode())[0] == 200


@pytest.mark.parametrize("case", DIALECTS, ids=lambda case: case[0])
def test_refusals_of_the_door_are_in_the_dialect(server, folder, case):
    path, fields, good = case
    for status, headers in (
        (401, {"authorization": f"Bearer {SECRET}-{SECRET}"}),
        (400, {"host": f"{SECRET}.example"}),
        (403, {"origin": f"https://{SECRET}.example"}),
    ):
        got, _, said = server.ask(path, good, headers=headers)
        assert got in (status, 422) and set(said) == fields  # 422 is TEI's word for 400
        clean(server, folder, said)
    got, _, said = server.ask(path, method="DELETE")
    assert got == 405 and set(said) == fields


def test_an_unknown_path_is_answered_and_not_logged(server, folder):
    status, _, said = server.ask(f"/{SECRET}/../../etc/passwd?q={SECRET}")
    assert status == 404
    clean(server, folder, said)


@pytest.mark.parametrize("case", DIALECTS, ids=lambda case: case[0])
def test_a_body_of_a_gigabyte_is_cut_off(server, folder, case):
    path, fields, _ = case
    with raw(server, [f"POST {path} HTTP/1.1", f"Content-Length: {2**30}"]) as connection:
        status, said = answered(connection)
    assert status == 413 and set(said) == fields
    # One that does not say how long it is: cut off while it comes.
    with raw(server, [f"POST {path} HTTP/1.1", "Transfer-Encoding: chunked"]) as connection:
        chunk, sent = b"10000\r\n" + b"x" * 2**16 + b"\r\n", 0
        try:
            while sent < 2**30:
                connection.sendall(chunk)
                sent += 2**16
        except OSError:
            pass
    assert sent < 2**28, "the server went on reading"
    assert healthy(server)


def test_a_body_above_the_limit_gets_its_answer(server):
    status, headers, said = server.ask("/embed", {"inputs": "x" * (2**20 + 1)})
    assert status == 413 and "1,048,576 bytes" in said["error"] and headers["connection"] == "close"


def test_a_hundred_thousand_texts_are_refused(server):
    for path, fields, body in (
        ("/v1/embeddings", {"error"}, {"input": ["a"] * 100_000}),
        ("/embed", TEI[1], {"inputs": ["a"] * 100_000}),
        ("/rerank", BOTH[1], {"query": "a", "texts": ["b"] * 100_000}),
    ):
        status, _, said = server.ask(path, body)
        assert status in (400, 413, 422) and set(said) == fields, (status, said)
    assert healthy(server)


def test_slow_bodies_are_given_up_and_others_served_meanwhile(server):
    slow = [raw(server, ["POST /embed HTTP/1.1", "Content-Length: 1000"]) for _ in range(50)]
    for connection in slow:
        connection.sendall(b'{"inp')
    assert healthy(server)
    for connection in slow:
        status, said = answered(connection)
        assert status == 408 and set(said) == {"error", "error_type"}
        connection.close()


def test_clients_that_hang_or_leave_harm_nobody(server):
    body = json.dumps({"inputs": ["word " * 200] * 50}).encode()
    left = []
    for _ in range(20):
        connection = raw(server, ["POST /embed HTTP/1.1", f"Content-Length: {len(body)}"])
        connection.sendall(body)
        left.append(connection)
    for connection in left[::2]:
        connection.close()
    assert healthy(server)
    for connection in left[1::2]:
        connection.close()
    end = time.monotonic() + 10
    while server.service.state().loads["toy"].waiting and time.monotonic() < end:
        time.sleep(0.02)
    assert server.service.state().loads["toy"].waiting == 0
    assert healthy(server)


def test_a_model_whose_files_are_gone_goes_on(tmp_path):
    place = write_toy(tmp_path / "gone")
    with running({"toy": Embedder(place)}, {}) as server:
        before = server.ask("/embed", {"inputs": ["some text", "another"]})[2]
        shutil.rmtree(place)
        after = server.ask("/embed", {"inputs": ["some text", "another"]})
        assert after[0] == 200 and np.allclose(before, after[2])
        # What would read a file anew is refused at worst, and shows no path.
        status, _, said = server.ask("/v1/embeddings", {"input": "new", "embed_dtype": "int8"})
        assert status in (200, 500)
        clean(server, tmp_path, said)
        assert server.ask("/embed", {"inputs": "some text"})[0] == 200


def test_a_jump_of_the_clock_changes_nothing(server, monkeypatch):
    now = time.time
    try:
        for jump in (-(10**9), 10**9, 0):
            monkeypatch.setattr(time, "time", lambda jump=jump: now() + jump)
            assert healthy(server)
            time.sleep(0.15)
    finally:
        monkeypatch.undo()
    assert all(0 <= line["seconds"] < 60 for line in server.lines() if "seconds" in line)


class Broken(Service):
    """Fails as a bug would: with an error that quotes a text and a path."""

    async def _rows(self, one, kind, items, *rest):
        if not self.state().ready:  # the warm-up
            return await super()._rows(one, kind, items, *rest)
        raise RuntimeError(f"{SECRET} {items} in {self.planted}")


@pytest.mark.parametrize("case", [OPENAI, COHERE, TEI], ids=lambda case: case[0])
def test_a_crash_is_an_error_without_detail(folder, case):
    path, fields, good = case
    Broken.planted = folder
    models = {"toy": Embedder(folder / "toy" if (folder / "toy").exists() else write_toy(folder / "toy"))}
    with running(models, {}, service_of=Broken) as server:
        status, _, said = server.ask(path, json.loads(json.dumps(good).replace("hello", SECRET)))
        assert status in (424, 500) and set(said) == fields
        clean(server, folder, said)
        assert any(line["level"] == "error" and "RuntimeError" in json.dumps(line) for line in server.lines())
        assert server.ask("/live")[0] == 200


def test_the_log_says_who_and_how_much_and_shows_no_text(server, folder):
    server.ask("/embed", {"inputs": [f"{SECRET} one", "two"]}, headers={"x-request-id": "mine-1"})
    line = next(line for line in reversed(server.lines()) if line.get("request") == "mine-1")
    assert line["client"] == "tester" and line["path"] == "/embed" and line["status"] == 200
    assert line["texts"] == 2 and line["tokens"] > 2 and line["model"] == "toy"
    assert 0 <= line["waited"] + line["computed"] <= line["seconds"] < 60
    clean(server, folder, "")


def test_texts_are_logged_where_asked_for(folder):
    from dataclasses import replace

    with running(
        {"toy": Embedder(write_toy(folder / "other"))}, {}, replace(QUICK, log_texts=True)
    ) as server:
        server.ask("/embed", {"inputs": SECRET})
        assert SECRET in server.written.getvalue() and KEY not in server.written.getvalue()


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "é"])
def test_request_ids_that_are_not_well_formed_are_made_anew(server, given):
    _, headers, _ = server.ask("/live", headers={"x-request-id": given.encode()})
    assert len(headers["x-request-id"]) == 32 and headers["x-request-id"] != given


def test_many_at_once_are_all_answered(server):
    def one(number):
        return server.ask("/embed", {"inputs": [f"text {number} {i}" for i in range(number % 5 + 1)]})

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(one, range(100)))
    assert all(status == 200 and len(said) == n % 5 + 1 for n, (status, _, said) in enumerate(answers))
    assert threading.active_count() < 100


def test_metrics_count_what_was_asked(server):
    text = server.ask("/metrics")[2].decode()
    assert 'lingxi_requests_total{path="/embed",status="200"}' in text and "te_request_count" in text
    assert 'lingxi_refused_total{kind="too_large"}' in text and 'lingxi_tokens_total{model="toy"}' in text
    assert "\nlingxi_open_requests 1.0\n" in text, "a request is still counted as under way"
