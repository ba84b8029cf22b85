"""A server on 127.0.0.1 that answers from our own models in each dialect, with a fault where asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np
import torch

from lingxi import Embedder, Reranker, prompts
from lingxi.engine.run import pooled_states
from lingxi.model.packed import pack
from lingxi.vectors import cut
from listening import listening

Answer = Callable[[str, dict[str, Any]], Any]


@contextmanager
def served(answer: Answer, token: str | None = None) -> Iterator[str]:
    """Serve `answer(path, body)` as JSON (None: 404; bytes: as they are) and give the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: dict[str, Any]) -> None:
            allowed = token is None or self.headers.get("Authorization") == f"Bearer {token}"
            found = answer(self.path, body) if allowed else None
            said = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(401 if not allowed else 404 if found is None else 200)
            self.end_headers()
            with suppress(OSError):  # the asker may have had enough
                self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            pass

    with listening(Handler) as server:
        yield f"http://127.0.0.1:{server.server_port}"


class Vectors:
    """Embeddings in OpenAI's and TEI's dialects; `fault` is a mistake by name."""

    def __init__(self, embedder: Embedder, dialect: str, fault: str = "") -> None:
        self.embedder, self.dialect, self.fault = embedder, dialect, fault
        self.seen: list[dict[str, Any]] = []

    def __call__(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/v1/models":
            return {"object": "list", "data": [{"id": "toy"}]}
        if path == "/v1/embeddings" and self.dialect == "openai" and body["model"] == "toy":
            found = self._vectors(body["input"], body)
            return {"data": [{"index": i, "embedding": v.tolist()} for i, v in enumerate(found)]}
        if path == "/embed" and self.dialect == "tei":
            return self._vectors(body["inputs"], body).tolist()
        return None

    def _vectors(self, texts: Sequence[str], body: dict[str, Any]) -> np.ndarray:
        self.seen.append(body)
        task = body.get("instruction")
        if body.get("prompt_name") == "query":
            task = prompts.DEFAULT_TASK
        if task is not None and self.fault != "no instruction":
            texts = [prompts.query(t, task) for t in texts]
        found = self._encoded(texts)
        width = body.get("dimensions", 48 if self.fault == "narrow" else found.shape[1])
        found = cut(found, width) if self.fault != "not normalised" else found[:, :width] * 7
        return found[::-1] if self.fault == "rows swapped" else found

    def _encoded(self, texts: Sequence[str]) -> np.ndarray:
        ids = self.embedder.token_ids(texts)
        if self.fault == "end token dropped":
            ids = [i[:-1] or i for i in ids]
        if self.fault == "special tokens":
            ids = Embedder(self.embedder.directory, reference_specials=True).token_ids(texts)
        if self.fault == "truncated":
            ids = [i if len(i) <= 32 else [*i[:31], i[-1]] for i in ids]
        decoder = self.embedder._network
        if self.fault == "mean pooling":
            with torch.inference_mode():
                return np.stack([decoder.states(pack([i])).mean(0).numpy() for i in ids])
        if self.fault == "padding" and len(ids) > 1:
            longest = max(map(len, ids))
            ids = [[0] * (longest - len(i)) + i for i in ids]
        return pooled_states(decoder, ids).numpy()


class Scores:
    """Rerank scores in Cohere's and TEI's dialects; `fault` is a mistake by name."""

    def __init__(self, reranker: Reranker, dialect: str, fault: str = "") -> None:
        self.reranker, self.dialect, self.fault = reranker, dialect, fault

    def __call__(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/v1/rerank" and self.dialect == "cohere":
            found = self._items(body["query"], body["documents"], body.get("instruction"))
            return {"results": [{"index": i, "relevance_score": s} for i, s in found]}
        if path == "/rerank" and self.dialect == "tei" and "texts" in body:
            found = self._items(body["query"], body["texts"], None)
            return [{"index": i, "score": s} for i, s in found]
        return None

    def _items(self, query: str, documents: Sequence[str], task: str | None) -> list[tuple[int, float]]:
        if self.fault == "no instruction":
            task = ""
        scores = self._scores([(query, d) for d in documents], task).astype(np.float64)
        if self.fault == "raw scores":
            scores = np.log(scores) - np.log1p(-scores)
        if self.fault == "sigmoid twice":
            scores = 1 / (1 + np.exp(-scores))
        order = np.argsort(-scores, kind="stable")
        if self.fault == "rows swapped":
            return [(place, float(scores[i])) for place, i in enumerate(order)]
        return [(int(i), float(scores[i])) for i in order]

    def _scores(self, pairs: list[tuple[str, str]], task: str | None) -> np.ndarray:
        ranker = self.reranker
        if self.fault == "no template":
            ids = ranker.tokenizer.texts([q + d for q, d in pairs])
        else:
            ids = ranker.token_ids(pairs, instruction=task)
        if self.fault == "truncated":
            frame = ranker.judge.frame
            tail = len(ranker.judge.suffix)
            ids = [
                i if len(i) <= frame + 32 else [*i[: frame - tail + 32], *ranker.judge.suffix] for i in ids
            ]
        if self.fault == "end lost":
            ids = [i[:64] for i in ids]
        states = pooled_states(ranker.judge.networks[0], ids)
        return torch.sigmoid(states @ ranker.judge.row).numpy()


def slow(path: str, body: dict[str, Any]) -> Any:
    """An answer that comes too late."""
    time.sleep(1.0)
    return []
