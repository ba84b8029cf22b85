"""A server on 127.0.0.1 that speaks as lingxi does, or as others do, with faults where asked."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from lingxi import Embedder, Index, Reranker
from listening import listening

Answer = tuple[int, Mapping[str, str], Any]


@dataclass
class Speaker:
    """What is answered, and what was asked; `faults` are answers that come before the right ones.

    A fault is a status with headers and body, or None: the connection is dropped without an answer. It stands
    for the answer to a POST.
    """

    embedder: Embedder
    reranker: Reranker
    index: Index | None = None
    ours: bool = True
    floats: bool = False
    token: str | None = None
    faults: list[Answer | None] = field(default_factory=list)
    seen: list[tuple[str, Any]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    def answer(self, path: str, body: Any) -> Any:
        known = {
            "/fingerprint": self._cards if self.ours else None,
            "/v1/models": lambda _: {"data": [{"id": "toy"}]},
            "/v1/embeddings": self._embeddings,
            "/v1/rerank": self._rerank,
            "/search": self._search if self.index else None,
        }
        make = known.get(path)
        return None if make is None else make(body)

    def _cards(self, _: Any) -> Any:
        faces = (("embedder", self.embedder), ("reranker", self.reranker))
        return {
            "models": [
                {"name": face.name, "kind": kind, "fingerprint": face.fingerprint()} for kind, face in faces
            ]
        }

    def _embeddings(self, body: Any) -> Any:
        known = {"input", "encoding_format", "model", "dimensions"} | (
            {"prompt_name", "embed_dtype", "truncate_prompt_tokens"} if self.ours else set()
        )
        assert set(body) <= known, body
        assert self.ours or body["model"] == "toy"
        assert not self.ours or (body["truncate_prompt_tokens"] == -1 and all(body["input"]))
        precision = body.get("embed_dtype", "float32")
        found = self.embedder.encode(
            body["input"],
            prompt_name=body.get("prompt_name"),
            truncate_dim=body.get("dimensions"),
            precision=precision,
        )
        said = [
            v.tolist() if self.floats else base64.b64encode(v.astype(v.dtype.newbyteorder("<")).tobytes())
            for v in found
        ]
        data = [
            {"index": i, "embedding": v.decode() if isinstance(v, bytes) else v} for i, v in enumerate(said)
        ]
        return {"data": data[::-1]}

    def _rerank(self, body: Any) -> Any:
        assert self.ours or "instruction" not in body
        found = self.reranker.rank(body["query"], body["documents"], instruction=body.get("instruction"))
        return {"results": [{"index": r["corpus_id"], "relevance_score": r["score"]} for r in found]}

    def _search(self, body: Any) -> Any:
        assert self.index is not None
        hits = self.index.search(
            body["query"],
            body["top_k"],
            body.get("instruction"),
            rerank=body["rerank"],
            below=body["below"],
        )
        names = ("path", "start", "end", "first_line", "last_line", "text", "score")
        return {
            "hits": [
                {n: getattr(hit, n) for n in names}
                | {"scores": dict(hit.scores), "ranks": dict(hit.ranks), "sentence": list(hit.sentence)}
                for hit in hits
            ]
        }


@contextmanager
def speaking(speaker: Speaker) -> Iterator[str]:
    """Serve a speaker and give the address."""
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: Any) -> None:
            with turn:
                speaker.seen.append((self.path, body))
                speaker.running += 1
                speaker.most_running = max(speaker.most_running, speaker.running)
                fault = speaker.faults.pop(0) if speaker.faults and body is not None else ()
            try:
                self._say(fault, body)
            finally:
                with turn:
                    speaker.running -= 1

        def _say(self, fault: Any, body: Any) -> None:
            if fault is None:
                self.close_connection = True
                self.connection.close()
                return
            if speaker.token and self.headers.get("Authorization") != f"Bearer {speaker.token}":
                fault = (401, {}, {"error": {"message": "no key"}})
            status, headers, found = fault or (200, {}, speaker.answer(self.path, body))
            said = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(404 if found is None else status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    with listening(Handler, Server) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def same(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
