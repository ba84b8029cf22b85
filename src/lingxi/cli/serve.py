"""`lingxi serve`: models and an index over HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from lingxi.serve.opening import Plan
    from lingxi.serve.settings import Settings

Several = list[str] | None
Embedders = Annotated[
    Several, typer.Option("--embedder", "--model-id", help="MODEL or NAME=MODEL; may be repeated.")
]
Rerankers = Annotated[Several, typer.Option(help="MODEL or NAME=MODEL; may be repeated.")]
Adapters = Annotated[
    Several, typer.Option(help="NAME=FOLDER of a LoRA adapter of a model served; may be repeated.")
]
IndexFolder = Annotated[Path | None, typer.Option(help="Folder of an index, for /search.")]
Host = Annotated[str, typer.Option(help="Address; another than this machine's own needs keys.")]
Port = Annotated[int, typer.Option(help="Port; 0 takes a free one.")]
Keys = Annotated[
    Path | None,
    typer.Option("--api-keys", "--api-key-file", help="File of keys: SECRET or NAME SECRET a line."),
]
Hosts = Annotated[
    Several,
    typer.Option("--allow-host", help="Name requests may be addressed to, * for any; may be repeated."),
]
Origins = Annotated[
    Several, typer.Option("--allow-origin", help="A site whose pages may ask; may be repeated.")
]
Open = Annotated[Several, typer.Option("--open", help="Path that needs no key, as /ready; may be repeated.")]
Workers = Annotated[int, typer.Option(help="Processes that share the port.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, …")]
Dtype = Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.")]
Engine = Annotated[str | None, typer.Option(help="native or torch: who computes.")]
Weights = Annotated[str | None, typer.Option(help="float32 or int8: what is computed in.")]
BatchTokens = Annotated[int | None, typer.Option(help="Tokens computed at a time.")]
WaitingTokens = Annotated[
    int, typer.Option(help="Tokens that may wait for a model; more is refused with 429.")
]
RequestTokens = Annotated[int, typer.Option(help="Tokens of one request.")]
Items = Annotated[int, typer.Option("--max-items", "--max-client-batch-size", help="Texts of one request.")]
Bytes = Annotated[int, typer.Option("--max-body-bytes", "--payload-limit", help="Bytes of one request.")]
Deadline = Annotated[
    float, typer.Option("--deadline", help="Seconds after which a request is given up (504).")
]
Drain = Annotated[float, typer.Option("--drain", help="Seconds that a stop waits for requests under way.")]
LogTexts = Annotated[bool, typer.Option("--log-texts", help="Write what is sent into the log.")]
Otlp = Annotated[str | None, typer.Option("--otlp", "--otlp-endpoint", help="Where OpenTelemetry spans go.")]
SelfCheck = Annotated[
    bool, typer.Option(help="Compare what is served with the models' golden files at the start.")
]


AppsFile = Annotated[
    Path | None, typer.Option("--apps", help="TOML file of applications: [ask], [code], [align].")
]
AppKeys = Annotated[
    Several,
    typer.Option(
        "--app", help="ask, code.repository=PATH, align, or another key=value of --apps; may be repeated."
    ),
]
FetchUrls = Annotated[
    bool,
    typer.Option("--fetch-urls", help="Fetch pictures and sounds named by http URLs, from public addresses."),
]
MaxPictures = Annotated[int, typer.Option(help="Pictures and sounds of one request, frames of videos too.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("serve")(serve)


def serve(
    context: typer.Context,
    embedder: Embedders = None,
    reranker: Rerankers = None,
    adapter: Adapters = None,
    index: IndexFolder = None,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    api_keys: Keys = None,
    hosts: Hosts = None,
    origins: Origins = None,
    open_paths: Open = None,
    workers: Workers = 1,
    device: Device = None,
    dtype: Dtype = None,
    engine: Engine = None,
    weights: Weights = None,
    max_batch_tokens: BatchTokens = None,
    max_waiting_tokens: WaitingTokens = 600_000,
    max_request_tokens: RequestTokens = 300_000,
    max_items: Items = 2048,
    max_body_bytes: Bytes = 32 * 2**20,
    deadline_s: Deadline = 60.0,
    drain_s: Drain = 30.0,
    log_texts: LogTexts = False,
    otlp: Otlp = None,
    self_check: SelfCheck = True,
    apps: AppsFile = None,
    app: AppKeys = None,
    fetch_urls: FetchUrls = False,
    max_pictures: MaxPictures = 64,
) -> None:
    """Serve embedders, rerankers, adapters and an index as OpenAI, Cohere and TEI do, and in our own way."""
    try:
        from lingxi.serve.opening import Plan, named
    except ImportError as error:
        raise MissingExtraError(error.name or "fastapi", "serve", "lingxi serve") from None
    settings = _settings(context.params, api_keys, hosts or _hosts(host))
    # What ships is served where nothing is named.
    models: dict[str, Any] = {"embedders": named(embedder or ()), "rerankers": named(reranker or ())}
    plan = Plan(
        **(models if embedder or reranker else {}),
        adapters=_stated(adapter or ()),
        index=str(index) if index else None,
        device=device,
        dtype=dtype,
        engine=engine,
        weights=weights,
    )
    _run(plan, settings, apps, app or ())


def _settings(given: Mapping[str, Any], keys: Path | None, hosts: Sequence[str]) -> Settings:
    """The settings of options, which have their names."""
    from lingxi.serve.keys import read_keys
    from lingxi.serve.settings import Settings

    names = {field.name for field in fields(Settings)} & set(given)
    stated = {name: given[name] for name in names}
    lists = {"origins": stated["origins"] or (), "open_paths": stated["open_paths"] or (), "hosts": hosts}
    stated |= {name: tuple(values) for name, values in lists.items()}
    return Settings(**{**stated, "api_keys": read_keys(keys) if keys else ()})


def _run(plan: Plan, settings: Settings, apps: Path | None, keys: Sequence[str]) -> None:
    try:
        from lingxi.apps.served import Offered, read_apps
        from lingxi.serve import pages
        from lingxi.serve.running import run
    except ImportError as error:
        raise MissingExtraError(error.name or "uvicorn", "serve", "lingxi serve") from None
    more = (Offered(read_apps(apps, keys)),) if apps or keys else ()
    names = ", ".join([*plan.embedders, *plan.rerankers, *plan.adapters])
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host

    def started(port: int) -> None:
        typer.echo(f"http://{shown}:{port} serves {names}; /docs says how to ask")

    run(plan, settings, extras=(pages.install, *more), started=started)


def _stated(given: Iterable[str]) -> dict[str, str]:
    from lingxi.serve.opening import named

    for one in given:
        if "=" not in one:
            raise InputError(f"the adapter {one!r} has no name", "write NAME=FOLDER")
    return named(given)


def _hosts(host: str) -> tuple[str, ...]:
    """Names that requests may be addressed to: behind a key any, on this machine its own."""
    from lingxi.serve.operations import is_here

    return ("127.0.0.1", "localhost", "::1") if is_here(host) else ("*",)
