"""So many clients at once, each with one request under way; run in a process of its own by serve_load.py.

    python benchmarks/load_client.py URL TEXTS.json --clients 16 --path /v1/embeddings

Written on bare sockets: a client library would take more of a core than the server. Prints JSON: seconds,
latencies, failures, and the processor time this process took, which says whether it was in the way.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


async def main() -> None:
    """Ask for every text once, after a warm-up, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--path", default="/v1/embeddings")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--model", default="model")
    parser.add_argument("--together", type=int, default=1, help="texts of one request")
    options = parser.parse_args()
    texts = json.loads(options.texts.read_text(encoding="utf-8"))
    starts = range(0, len(texts), options.together)
    requests = [_request(options, texts[i : i + options.together]) for i in starts]
    address = urlsplit(options.url)
    host, port = str(address.hostname), int(address.port or 80)
    await _clients(host, port, iter(requests[: 2 * options.clients]), options.clients)
    began, cpu = time.perf_counter(), time.process_time()
    latencies, failures = await _clients(host, port, iter(requests), options.clients)
    found: dict[str, Any] = {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "latencies": latencies,
        "failures": failures,
    }
    print(json.dumps(found))


def _request(options: argparse.Namespace, texts: list[str]) -> bytes:
    body = json.dumps({"model": options.model, "input": texts}).encode()
    head = (
        f"POST {options.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _clients(host: str, port: int, requests: Iterator[bytes], count: int) -> tuple[list[float], int]:
    """All requests, shared out among clients; seconds of each that was answered with 200, and the others."""
    latencies: list[float] = []
    failures = 0

    async def client() -> None:
        nonlocal failures
        reader, writer = await asyncio.open_connection(host, port, limit=2**22)
        for request in requests:
            began = time.perf_counter()
            writer.write(request)
            status = await _answer(reader)
            latencies.append(time.perf_counter() - began)
            failures += status != 200
        writer.close()

    await asyncio.gather(*(client() for _ in range(count)))
    return latencies, failures


async def _answer(reader: asyncio.StreamReader) -> int:
    """Read one answer to its end; its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split()[1])


if __name__ == "__main__":
    asyncio.run(main())
