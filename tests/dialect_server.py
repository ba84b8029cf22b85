"""A server of the dialects on a free port of this machine, and golden requests with their answers.

`python tests/dialect_server.py` (with `src` on the path) writes the answers of `golden/serve_*.json` anew.
"""

from __future__ import annotations

import json
import math
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lingxi import Embedder, Reranker
from lingxi.serve.app import create_app
from lingxi.serve.service import Service
from lingxi.serve.settings import Settings

GOLDEN = Path(__file__).parent / "golden"
_CHANGING = {"created", "id"}
SETTINGS = Settings(self_check=False)


@cache
def models() -> tuple[Embedder, Reranker]:
    """lingxi-pico and its reranker, opened once."""
    return Embedder("lingxi-pico"), Reranker("lingxi-pico-reranker")


def app_of(index: Any = None, embedder: Embedder | None = None, reranker: Reranker | None = None) -> FastAPI:
    """An application over lingxi-pico and its reranker, or others, under their names."""
    served = {"lingxi-pico": embedder or models()[0]}, {"lingxi-pico-reranker": reranker or models()[1]}
    return create_app(Service(*served, index=index, settings=SETTINGS), SETTINGS)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The address of the application, served while the context lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()


def asked(client: TestClient, case: dict[str, Any]) -> tuple[int, Any]:
    """Status and answer of a golden request."""
    method = "POST" if "body" in case else "GET"
    answer = client.request(method, case["path"], json=case.get("body"))
    return answer.status_code, answer.json() if answer.content else None


def cases(name: str) -> list[dict[str, Any]]:
    """The requests of a golden file."""
    found: list[dict[str, Any]] = json.loads((GOLDEN / f"serve_{name}.json").read_text(encoding="utf-8"))
    return found


def same(got: Any, wanted: Any, where: str = "") -> None:
    """Fail where two answers differ by more than rounding; ids and the time of day are let through."""
    if isinstance(wanted, dict):
        assert isinstance(got, dict) and set(got) == set(wanted), f"{where}: {got} is not {wanted}"
        for key in set(wanted) - (set() if "special" in wanted else _CHANGING):
            same(got[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, list):
        assert isinstance(got, list) and len(got) == len(wanted), f"{where}: {got} is not {wanted}"
        for i, (one, other) in enumerate(zip(got, wanted, strict=True)):
            same(one, other, f"{where}[{i}]")
    elif isinstance(wanted, float):
        assert isinstance(got, float) and math.isclose(got, wanted, abs_tol=1e-4), f"{where}: {got} {wanted}"
    else:
        assert got == wanted and type(got) is type(wanted), f"{where}: {got!r} is not {wanted!r}"


def _write() -> None:
    for path in sorted(GOLDEN.glob("serve_*.json")):
        with TestClient(media_app() if path.stem == "serve_media" else app_of()) as client:
            lines = []
            for case in json.loads(path.read_text(encoding="utf-8")):
                case["status"], case["answer"] = asked(client, case)
                lines.append(json.dumps(_rounded(case), ensure_ascii=False))
            path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def media_app() -> FastAPI:
    """An application over a model that gives every picture one vector, and every sound another."""
    from lingxi.media import MediaEmbedder
    from media_toys import write_deaf_media

    with tempfile.TemporaryDirectory() as folder:
        media = MediaEmbedder(write_deaf_media(Path(folder), models()[0]), text=models()[0])
    return create_app(Service({"nano-vl": media}, {"judge": models()[1]}, settings=SETTINGS), SETTINGS)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value


if __name__ == "__main__":
    _write()
