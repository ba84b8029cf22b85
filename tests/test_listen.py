"""Connections that hang: no head of a request, half of one, an answer that is not taken."""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("uvicorn")

from lingxi.serve.listen import Patience, Server, Signs, bound, config

LARGE = 30 * 2**20


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b"x" * (LARGE if scope["path"] == "/large" else 2)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


@contextmanager
def served(patience):
    ready = threading.Event()
    with bound("127.0.0.1", 0) as listener:
        server = Server(config(app, drain_s=1, patience=patience), Signs(ready.set))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        assert ready.wait(10)
        try:
            yield listener.getsockname()[1], server
        finally:
            server.should_exit = True
            thread.join()


def closed_after(connection):
    """Seconds until the server closed, having said nothing."""
    start = time.monotonic()
    connection.settimeout(5)
    assert connection.recv(100) == b""
    return time.monotonic() - start


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_come_is_not_waited_for(begun):
    with served(Patience(head=0.2)) as (port, _), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(begun)
        assert 0.1 < closed_after(connection) < 2


def test_a_second_request_on_a_connection_is_not_waited_for_either():
    with served(Patience(head=0.2)) as (port, _), socket.create_connection(("127.0.0.1", port)) as connection:
        for pause in (0, 0, 0.3):  # idle between requests is allowed for longer than a head
            time.sleep(pause)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\r\n\r\nxx"):
                answer += connection.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert 0.1 < closed_after(connection) < 2


def test_a_client_that_does_not_take_its_answer_is_let_go():
    with (
        served(Patience(answer=0.3)) as (port, server),
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        end = time.monotonic() + 5
        while not server.server_state.connections and time.monotonic() < end:
            time.sleep(0.01)
        while server.server_state.connections and time.monotonic() < end:
            time.sleep(0.01)
        assert not server.server_state.connections


def test_a_large_answer_that_is_taken_slowly_comes_whole():
    with (
        served(Patience(answer=0.5)) as (port, _),
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        size = 0
        while part := connection.recv(2**20):
            size += len(part)
            time.sleep(0.01)
        assert size > LARGE


def test_what_is_no_http_is_refused_and_the_next_is_served():
    with served(Patience()) as (port, _):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
