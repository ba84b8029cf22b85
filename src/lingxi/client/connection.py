"""The address of a server, what a client was told of it, and how a request goes there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from lingxi import vectors
from lingxi.client.sending import Ask, Patience, Reply
from lingxi.client.server import Server
from lingxi.errors import InputError, MissingExtraError

# What people copy behind the address out of the documents of other clients.
_PATHS = ("/v1/embeddings", "/v1/rerank", "/v1")


class Connection:
    """What both clients hold: the address, and how requests are made."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        model: str | None = None,
        *,
        reranker: str | None = None,
        prompts: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        parallel: int = 4,
        max_items: int = 256,
        max_tokens: int = 200_000,
    ) -> None:
        least = {
            "retries": retries + 1,
            "parallel": parallel,
            "max_items": max_items,
            "max_tokens": max_tokens,
        }
        small = [name for name, value in least.items() if value < 1]
        if small:
            raise InputError(f"{small[0]} is too small", "choose a larger number")
        self.url = _address(url)
        self.name = model or self.url
        self._server = Server(self._fetch, model, reranker, dict(prompts or {}), max_items, max_tokens)
        self._patience = Patience(retries)
        self._parallel = parallel
        self._httpx = _httpx()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._open(headers=headers, timeout=timeout)

    def _open(self, **options: Any) -> None:
        raise NotImplementedError

    async def _fetch(self, asks: Sequence[Ask]) -> list[Any]:
        raise NotImplementedError

    def similarity(self, a: vectors.Floats, b: vectors.Floats) -> vectors.Floats:
        """Cosine of every row of `a` with every row of `b`: [n, m]; computed here."""
        return vectors.similarity(a, b)

    def _call(self, ask: Ask) -> tuple[str, str]:
        return "GET" if ask.body is None else "POST", self.url + ask.path

    def _failed(self, error: Exception) -> Reply:
        """A request without an answer; what was sent to no end is sent again, what took too long is not."""
        lost = (self._httpx.NetworkError, self._httpx.RemoteProtocolError, self._httpx.ConnectTimeout)
        return Reply(failure=str(error) or type(error).__name__, again=isinstance(error, lost))


def _address(url: str) -> str:
    bare = url.rstrip("/")
    for path in _PATHS:
        bare = bare.removesuffix(path)
    parts = urlsplit(bare)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError(f"{url!r} is no address of a server", "give one like http://127.0.0.1:8080")
    return bare


def _httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise MissingExtraError("httpx", "client", "the client of a server") from None
    return httpx
