"""`lingxi serve`: models and an index over HTTP."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from lingxi.serve.opening import Plan
    from lingxi.serve.settings import Settings

Several = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("serve")(serve)


def serve(
    embedder: Annotated[
        Several, typer.Option("--embedder", "--model-id", help="MODEL or NAME=MODEL; may be repeated.")
    ] = None,
    reranker: Annotated[Several, typer.Option(help="MODEL or NAME=MODEL; may be repeated.")] = None,
    adapter: Annotated[
        Several, typer.Option(help="NAME=FOLDER of a LoRA adapter of a model served; may be repeated.")
    ] = None,
    index: Annotated[Path | None, typer.Option(help="Folder of an index, for /search.")] = None,
    host: Annotated[
        str, typer.Option(help="Address; another than this machine's own needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    api_keys: Annotated[
        Path | None,
        typer.Option(
            "--api-keys", "--api-key-file", help="File of keys, a line each: SECRET or NAME SECRET."
        ),
    ] = None,
    allow_host: Annotated[
        Several, typer.Option(help="A name that requests may be addressed to, * for any; may be repeated.")
    ] = None,
    allow_origin: Annotated[
        Several, typer.Option(help="A site whose pages may ask; may be repeated.")
    ] = None,
    open_path: Annotated[
        Several, typer.Option("--open", help="A path that needs no key, as /ready; may be repeated.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that share the port.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.")] = None,
    engine: Annotated[str | None, typer.Option(help="native or torch: who computes.")] = None,
    weights: Annotated[str | None, typer.Option(help="float32 or int8: what is computed in.")] = None,
    max_batch_tokens: Annotated[int | None, typer.Option(help="Tokens computed at a time.")] = None,
    max_waiting_tokens: Annotated[
        int, typer.Option(help="Tokens that may wait for a model; more is refused with 429.")
    ] = 600_000,
    max_request_tokens: Annotated[int, typer.Option(help="Tokens of one request.")] = 300_000,
    max_items: Annotated[
        int, typer.Option("--max-items", "--max-client-batch-size", help="Texts of one request.")
    ] = 2048,
    max_body_bytes: Annotated[
        int, typer.Option("--max-body-bytes", "--payload-limit", help="Bytes of one request.")
    ] = 32 * 2**20,
    deadline: Annotated[float, typer.Option(help="Seconds after which a request is given up (504).")] = 60.0,
    drain: Annotated[float, typer.Option(help="Seconds that a stop waits for requests under way.")] = 30.0,
    log_texts: Annotated[bool, typer.Option("--log-texts", help="Write what is sent into the log.")] = False,
    otlp: Annotated[
        str | None, typer.Option("--otlp", "--otlp-endpoint", help="Where OpenTelemetry spans go.")
    ] = None,
    self_check: Annotated[
        bool, typer.Option(help="Compare what is served with the models' golden files at the start.")
    ] = True,
) -> None:
    """Serve embedders, rerankers, adapters and an index as OpenAI, Cohere and TEI do, and in our own way."""
    try:
        from lingxi.serve.keys import read_keys
        from lingxi.serve.opening import Plan, named
        from lingxi.serve.settings import Settings
    except ImportError as error:
        raise MissingExtraError(error.name or "fastapi", "serve", "lingxi serve") from None
    settings = Settings(
        host=host,
        port=port,
        api_keys=read_keys(api_keys) if api_keys else (),
        hosts=tuple(allow_host or _hosts(host)),
        origins=tuple(allow_origin or ()),
        open_paths=tuple(open_path or ()),
        workers=workers,
        max_batch_tokens=max_batch_tokens,
        max_waiting_tokens=max_waiting_tokens,
        max_request_tokens=max_request_tokens,
        max_items=max_items,
        max_body_bytes=max_body_bytes,
        deadline_s=deadline,
        drain_s=drain,
        log_texts=log_texts,
        otlp=otlp,
        self_check=self_check,
    )
    how: dict[str, Any] = {"device": device, "dtype": dtype, "engine": engine, "weights": weights}
    # What ships is served where nothing is named.
    models: dict[str, Any] = {"embedders": named(embedder or ()), "rerankers": named(reranker or ())}
    plan = Plan(
        **(models if embedder or reranker else {}),
        adapters=_stated(adapter or ()),
        index=str(index) if index else None,
        **how,
    )
    _run(plan, settings)


def _run(plan: Plan, settings: Settings) -> None:
    try:
        from lingxi.serve.running import run
    except ImportError as error:
        raise MissingExtraError(error.name or "uvicorn", "serve", "lingxi serve") from None
    names = ", ".join([*plan.embedders, *plan.rerankers, *plan.adapters])
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host

    def started(port: int) -> None:
        typer.echo(f"http://{shown}:{port} serves {names}; /docs says how to ask")

    run(plan, settings, started=started)


def _stated(given: Iterable[str]) -> dict[str, str]:
    from lingxi.serve.opening import named

    for one in given:
        if "=" not in one:
            raise InputError(f"the adapter {one!r} has no name", "write NAME=FOLDER")
    return named(given)


def _hosts(host: str) -> tuple[str, ...]:
    """Names that requests may be addressed to: behind a key any, on this machine its own."""
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    return ("127.0.0.1", "localhost", "::1") if is_here else ("*",)
