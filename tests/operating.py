"""The real application over toy models on a free port of this machine, its log kept; and requests to it."""

import asyncio
import http.client
import io
import json
import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace

from lingxi.serve import logs
from lingxi.serve.app import create_app
from lingxi.serve.listen import Patience, Server, Signs, bound, config
from lingxi.serve.operations import Operations
from lingxi.serve.service import Service
from lingxi.serve.settings import Settings

KEY = "plantedkey-0123456789abcdef"
QUICK = Settings(port=0, drain_s=1, body_s=0.5, max_body_bytes=2**20, self_check=False)


@dataclass
class Running:
    """A server that runs: its port, what it logged, its service and application."""

    port: int
    written: io.StringIO
    service: Service
    app: object

    def ask(self, path, body=None, method=None, headers=(), timeout=20):
        """Status, headers, and the body read as JSON where it is; `body` bytes, or what JSON is made of."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            given = {"content-type": "application/json", "authorization": f"Bearer {KEY}", **dict(headers)}
            connection.request(method or ("GET" if body is None else "POST"), path, sent, given)
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        said = json.loads(raw) if answer.headers.get_content_type() == "application/json" and raw else raw
        return answer.status, answer.headers, said

    def lines(self):
        """The log so far, a dictionary a line."""
        return [json.loads(line) for line in self.written.getvalue().splitlines()]


@contextmanager
def logged(**options):
    """The log of this process in a string, as a server writes it; afterwards all is as before."""
    names = ("", "uvicorn", "uvicorn.error", "uvicorn.access")
    before = [
        (logging.getLogger(n), logging.getLogger(n).handlers[:], logging.getLogger(n).level) for n in names
    ]
    written = io.StringIO()
    logs.configure(stream=written, **options)
    try:
        yield written
    finally:
        for logger, handlers, level in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.propagate = True


@contextmanager
def running(embedders, rerankers, settings=QUICK, *, service_of=Service, patience=None, extras=()):
    """Serve models (names to faces) while the context lasts, with a key that `Running.ask` shows."""
    told = replace(settings, api_keys=(f"tester {KEY}",), hosts=("127.0.0.1",))
    around = Operations(told)
    service = service_of(embedders, rerankers, settings=told, watch=around.watch)
    app = create_app(service, told, extras=[*extras, around.install])
    ready = threading.Event()
    with logged(texts=told.log_texts) as written, bound("127.0.0.1", 0) as listener:
        made = config(app, drain_s=1, patience=patience or Patience())
        server = Server(made, Signs(ready.set))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        assert ready.wait(20)
        try:
            yield Running(listener.getsockname()[1], written, service, app)
        finally:
            server.should_exit = True
            thread.join()
            service.close()
