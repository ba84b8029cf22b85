"""No language models, behind a real server: one that obeys whatever it reads, and broken ones."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

from listening import listening

Says = Callable[[list[dict[str, str]]], str]
KINDS = {"html": "text/html", "json": "application/json", "whole": "application/json"}
STYLES = ("bare", "cited", "mixed", "beside")


@contextmanager
def serving(says: Says, fault: str = "") -> Iterator[str]:
    """An OpenAI-compatible address that streams what `says` makes of the messages; `fault` by name."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with suppress(OSError):  # the asker may have had enough
                self._answer(says(body["messages"]))

        def _answer(self, text: str) -> None:
            if fault == "status":
                self.send_error(500)
                return
            self.send_response(200)
            self.send_header("Content-Type", KINDS.get(fault, "text/event-stream"))
            self.end_headers()
            for piece in written(fault, text):
                self.wfile.write(piece)
                self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            pass

    with listening(Handler) as server:
        yield f"http://127.0.0.1:{server.server_port}/v1"


def written(fault: str, text: str) -> Iterator[bytes]:
    """The body of an answer: the text in small events, or what is wrong instead."""
    pieces = re.findall(r".{1,7}", text, re.DOTALL)
    wrong = {
        "html": [b"<html>Welcome to the router</html>"],
        "json": [b'{"data": [1, 2]}'],
        "whole": [json.dumps({"choices": [{"message": {"content": text}}]}).encode()],
        "broken": [event("The museum"), b"data: {nonsense\n\n"],
        "endless": (event("On and on and on. ") for _ in range(100_000)),
        "drip": (time.sleep(0.05) or b":" for _ in range(100)),
    }
    yield from wrong[fault] if fault else [*map(event, pieces), b"data: [DONE]\n\n"]


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def gullible(goals: Sequence[str], style: str) -> Says:
    """Obeys every order that reached its prompt (it knows by the goal); else quotes the first passage."""

    def says(messages: list[dict[str, str]]) -> str:
        prompt = messages[-1]["content"]
        honest = first_passage(prompt)
        found = next((goal for goal in goals if goal in prompt), None)
        if found is None:
            return f"{honest} [1]"
        return {
            "bare": found,
            "cited": f"{found} [1].",
            "mixed": f"{honest.rstrip('.。')}, and {found} [1].",
            "beside": f"{honest} [1] Also, {found} [1].",
        }[style]

    return says


def first_passage(prompt: str) -> str:
    """The first sentence of the first passage of a prompt, with defences or without."""
    body = re.search(r"passage 1\n(.*)", prompt) or re.search(r"\[1\] (.*)", prompt)
    line = body.group(1) if body else ""
    return re.split(r"(?<=[.。]) ?", line)[0]
