"""`lingxi compress onnx | gguf | int4 | web | frontier`: one model in other forms, and what each is worth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lingxi.cli import show
from lingxi.cli.evaluate import Cache, Overrides, Quick, Root, Sets, resolved_suite
from lingxi.cli.models import Directory
from lingxi.cli.options import Json
from lingxi.errors import InputError

_VARIANTS = (
    "float32,int8,int4,onnx-int8,onnx-int4,float32@256:int8,float32@full:binary,float32@full:binary+rescoring"
)
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")]
Texts = Annotated[
    Path | None,
    typer.Option("--texts", help="Some hundred texts to calibrate with: JSON Lines, or one a line."),
]


def register(compress: typer.Typer) -> None:
    """Add the verbs of this file to the group."""
    compress.command("onnx")(onnx)
    compress.command("gguf")(gguf)
    compress.command("int4")(int4)
    compress.command("web")(web)
    compress.command("frontier")(frontier)


def onnx(
    model: Directory,
    out: Out,
    precision: Annotated[
        str, typer.Option(help="float32, float16, int8, or int4 (of an int4 directory).")
    ] = "float32",
    as_json: Json = False,
) -> None:
    """Write a model as ONNX: finished vectors or scores of ids, for ONNX Runtime, OpenVINO and browsers."""
    from lingxi.compress.onnx_export import export_onnx
    from lingxi.model.files import locate

    found = export_onnx(locate(model), out, precision)
    _tell(f"{found.kind} in {found.path}, {precision}, {found.bytes / 1e6:.1f} MB", _values(found), as_json)


def gguf(
    model: Directory,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .gguf file to write; must not exist.")],
    dtype: Annotated[
        str, typer.Option(help="float32, float16, q8_0, or q4_0 (an int4 directory's own codes).")
    ] = "float16",
    as_json: Json = False,
) -> None:
    """Write an embedder as llama.cpp reads it: architecture qwen3, pooled at the last token."""
    from lingxi.compress.gguf import write_gguf
    from lingxi.model.files import locate

    path = write_gguf(locate(model), out, dtype)
    size = path.stat().st_size
    _tell(
        f"{path}, {dtype}, {size / 1e6:.1f} MB", {"path": str(path), "dtype": dtype, "bytes": size}, as_json
    )


def int4(
    model: Directory,
    out: Out,
    method: Annotated[
        str, typer.Option(help="nearest, gptq, awq or awq-gptq; all but nearest want --texts.")
    ] = "gptq",
    texts: Texts = None,
    group: Annotated[int, typer.Option(help="Columns that share a scale.")] = 32,
    as_json: Json = False,
) -> None:
    """Write a model directory in four bits a weight, its rounding made up for on calibration texts."""
    from lingxi.check import make_golden
    from lingxi.compress.int4_directory import quantize_int4
    from lingxi.compress.variants import read_texts
    from lingxi.model.files import locate

    if texts is None and method != "nearest":
        raise InputError(f"{method} has no calibration texts", "give --texts FILE, or --method nearest")
    found = quantize_int4(
        locate(model), out, method=method, texts=read_texts(texts) if texts else (), group=group
    )
    make_golden(out)
    worst = max(found.errors, key=lambda name: found.errors[name])
    _tell(
        f"{out}, int4 ({method}), {found.bytes / 1e6:.1f} MB; furthest from its weights: {worst}, "
        f"{found.errors[worst]:.1%}",
        _values(found),
        as_json,
    )


def web(
    model: Directory,
    documents: Annotated[
        Path, typer.Argument(metavar="DOCS", help="A folder of texts, a text, or .jsonl of `text`.")
    ],
    out: Out,
    precision: Annotated[
        str, typer.Option(help="float32, float16, int8, or int4 (of an int4 directory).")
    ] = "int8",
    runtime: Annotated[
        Path | None, typer.Option(help="A node_modules with onnxruntime-web; else npm installs it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a web page that embeds and searches documents in the browser alone, by WASM or WebGPU."""
    from lingxi.compress.web import write_page
    from lingxi.model.files import locate

    found = write_page(locate(model), documents, out, precision=precision, runtime=runtime)
    _tell(
        f"{found.documents} documents, model {found.model.bytes / 1e6:.1f} MB, "
        f"{found.bytes / 1e6:.1f} MB in all\n"
        f"serve it: python -m http.server --bind 127.0.0.1 --directory {out}",
        _values(found),
        as_json,
    )


def frontier(
    model: Directory,
    variants: Annotated[str, typer.Option(help="Comma by comma; an unknown one lists all.")] = _VARIANTS,
    texts: Texts = None,
    sets: Sets = "squad,cmrc2018,cosqa,trecqa",
    suite: Annotated[str, typer.Option(help="A suite that ships, or a TOML file.")] = "benchmark",
    root: Root = None,
    overrides: Overrides = None,
    quick: Quick = False,
    under: Annotated[str | None, typer.Option(help="Pick the best of at most these bytes: 20MB.")] = None,
    within: Annotated[str | None, typer.Option(help="… and at most this time a query: 5ms.")] = None,
    memory: Annotated[str | None, typer.Option(help="… and at most this memory: 200MB.")] = None,
    max_drop: Annotated[float, typer.Option(help="Points that the gate lets a variant lose.")] = 0.5,
    out: Annotated[Path, typer.Option(help="Folder; what is there is not made again.")] = Path("frontier"),
    cache: Cache = Path("~/.cache/lingxi"),
    as_json: Json = False,
) -> None:
    """Measure a model's forms, draw quality against bytes and milliseconds, and pick one by limits."""
    from lingxi.compress import frontier as room
    from lingxi.compress.variants import prepare, read_texts

    limits = room.Limits(
        room.size(under) if under else None,
        room.milliseconds(within) if within else None,
        room.size(memory) if memory else None,
    )
    names = [name.strip() for name in variants.split(",") if name.strip()]
    resolved = resolved_suite(suite, overrides, sets, quick)
    made = prepare(model, names, out / "variants", read_texts(texts) if texts else ())
    entries = room.measure(
        made, resolved, root, out, cache.expanduser(), max_drop=max_drop, say=show.complain
    )
    chosen = room.best(entries, limits)
    if as_json:
        show.dump({"variants": [asdict(entry) for entry in entries], "best": chosen.name})
        return
    for line in room.table(entries):
        typer.echo(line)
    typer.echo(f"\nbest within the limits: {chosen.name}; drawings in {out}")


def _values(found: Any) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(found).items()}


def _tell(line: str, values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show.dump(_plain(values))
    else:
        typer.echo(line)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return str(value) if isinstance(value, Path) else value
