"""The application: work ends with its client, failures say nothing of texts, a signal drains."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
from fastapi import APIRouter
from fastapi.testclient import TestClient
from starlette.requests import Request

from lingxi import Embedder
from lingxi.cli import run
from lingxi.serve.app import create_app
from lingxi.serve.attend import Attend, attending
from lingxi.serve.contract import Caller
from lingxi.serve.dialects import openai
from lingxi.serve.refusal import Refusal
from lingxi.serve.service import Service
from lingxi.serve.settings import Settings

SECRET = "the patient's name"
SETTINGS = Settings(self_check=False)


def test_work_is_cancelled_when_the_client_leaves() -> None:
    async def main() -> None:
        left, cancelled = asyncio.Event(), asyncio.Event()

        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def make(caller: Caller) -> None:
            assert caller.client == "10.0.0.1" and caller.deadline is not None
            left.set()
            try:
                await asyncio.sleep(60)
            finally:
                cancelled.set()

        scope = {"type": "http", "client": ("10.0.0.1", 5), "headers": [], "state": {}}
        with pytest.raises(Refusal) as refused:
            await attending(30)(Request(scope, receive), make)
        assert refused.value.status == 499
        await asyncio.wait_for(cancelled.wait(), 5)

    asyncio.run(main())


def test_a_crash_says_nothing_of_what_was_sent(embedder: Embedder, caplog: pytest.LogCaptureFixture) -> None:
    def router(service: Service, attend: Attend) -> APIRouter:
        routes = APIRouter()

        @routes.post("/crash")
        async def crash() -> None:
            raise ValueError(SECRET)

        return routes

    crashing = SimpleNamespace(router=router, refusal=openai.refusal)
    app = create_app(Service({"toy": embedder}, settings=SETTINGS), SETTINGS, dialects=(openai, crashing))
    with caplog.at_level(logging.DEBUG), TestClient(app) as client:
        found = client.post("/crash")
    assert found.status_code == 500 and found.json()["error"]["type"] == "server_error"
    assert SECRET not in found.text and SECRET not in caplog.text
    assert "ValueError at" in caplog.text


def test_errors_of_paths_and_methods_have_the_dialects_shape(embedder: Embedder) -> None:
    with TestClient(create_app(Service({"toy": embedder}, settings=SETTINGS), SETTINGS)) as client:
        for method, path, status in (
            ("GET", "/v1/embeddings", 405),
            ("GET", "/nothing/here", 404),
            ("GET", "/v1/models/none", 404),
        ):
            found = client.request(method, path)
            assert found.status_code == status, path
        assert set(client.get("/v1/models/none").json()["error"]) == {"message", "type", "param", "code"}
        assert client.get("/v1/embeddings").headers["allow"] == "POST"
        broken = client.post("/v1/embeddings", content=b'{"input": ')
        assert broken.status_code == 400 and "JSON" in broken.json()["error"]["message"]


def test_refusals_say_when_to_come_again(embedder: Embedder) -> None:
    app = create_app(Service({"toy": embedder}, settings=SETTINGS), SETTINGS)
    shaped = app.state.shape("/v1/embeddings", Refusal(429, "overloaded", "full", "wait", retry_after=6.4))
    assert shaped.status_code == 429 and shaped.headers["retry-after"] == "6"


def test_a_service_that_drains_answers_503(embedder: Embedder) -> None:
    service = Service({"toy": embedder}, settings=SETTINGS)
    with TestClient(create_app(service, SETTINGS)) as client:
        assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 200
        service.drain()
        found = client.post("/v1/embeddings", json={"input": "a"})
        assert found.status_code == 503 and int(found.headers["retry-after"]) >= 1


def test_mistakes_at_the_start_are_said_in_a_line(
    embedder_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> str:
        assert run(["serve", *arguments]) == 2
        [line] = capsys.readouterr().err.strip().splitlines()
        return line

    model = ("--embedder", str(embedder_directory))
    assert "no key" in said(*model, "--host", "0.0.0.0")
    assert "unknown model" in said("--embedder", "nope", "--port", "0")
    assert "no index" in said(*model, "--port", "0", "--index", "nowhere")
    assert "no name" in said(*model, "--adapter", "folder")
    assert "max_request_tokens" in said(*model, "--max-request-tokens", "0")
    with _listening() as port:
        assert "in use" in said(*model, "--port", str(port))


@contextmanager
def _listening() -> Iterator[int]:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@contextmanager
def served(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A real `lingxi serve` on a free port, killed at the end if it is still there."""
    code = "from lingxi.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--port", "0", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+) serves ", line)
        assert found, line
        yield found[1], process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _post(url: str, body: Any) -> tuple[int, Any]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def _under_way(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        said = answer.read().decode()
    return float(re.search(r"^te_queue_size (\S+)", said, re.MULTILINE)[1]) > 0  # type: ignore[index]


def test_a_signal_drains_a_real_server(embedder_directory: Path) -> None:
    texts = [f"gravity {n} attracts two bodies " * 6 for n in range(600)]
    with served("--embedder", f"toy={embedder_directory}", "--max-batch-tokens", "512") as (url, process):
        answers: list[tuple[int, Any]] = []
        ask = threading.Thread(target=lambda: answers.append(_post(f"{url}/v1/embeddings", {"input": texts})))
        ask.start()
        while not _under_way(url):
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        refused = 0
        while ask.is_alive():
            try:
                refused += _post(f"{url}/v1/embeddings", {"input": "too late"})[0] == 503
            except OSError:
                break
        ask.join()
        assert answers[0][0] == 200 and len(answers[0][1]["data"]) == len(texts)
        assert refused > 0
        assert process.wait(60) == 0
