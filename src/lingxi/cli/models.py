"""`lingxi models` and `lingxi check`: what a model is, copies of it, proof that it computes right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lingxi.cli import show
from lingxi.cli.search import Json
from lingxi.errors import InputError

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
    app.add_typer(
        models,
        name="models",
        help="What ships; `models DIR` describes one; `export`, `quantize` and `adapt` write copies.",
    )
    app.command("check")(check)


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
    dtype: Annotated[str, typer.Option(help="float32, float16, bfloat16 or int8 (ours alone).")] = "float32",
    as_json: Json = False,
) -> None:
    """Write a model as a directory that sentence-transformers, TEI, vLLM and infinity load."""
    if out.exists():
        raise InputError(f"{out}: exists already", "name a folder that does not exist yet")
    from lingxi.model.layout import write_directory
    from lingxi.parity import make_golden

    write_directory(_files(directory), out, dtype)
    make_golden(out)
    _tell(out, dtype, as_json)


def adapt(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model that the adapter was trained on.")],
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="A folder with adapter_config.json.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")],
    dtype: Annotated[str, typer.Option(help="float32, float16, bfloat16 or int8 (ours alone).")] = "float32",
    kind: Annotated[
        str | None, typer.Option(help="embedder or reranker, where BASE does not say which it is.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Merge a LoRA adapter into a model, prove that it took effect, and write the model to OUT."""
    from lingxi.parity import make_golden
    from lingxi.train.adapt import apply_adapter

    apply_adapter(base, adapter, out, dtype, make_golden, _kind(kind))
    _tell(out, dtype, as_json)


def quantize(
    directory: Directory,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")],
    packed: Annotated[
        bool, typer.Option(help="Also write what the kernels read: as large again, and opens at once.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write an int8 copy of a model of any family, which is computed in int8: a quarter of fp32's bytes."""
    from lingxi.engine.quantizing import quantize_directory
    from lingxi.model.files import locate
    from lingxi.parity import make_golden

    quantize_directory(locate(directory), out, packed=packed)
    make_golden(out)
    _tell(out, "int8", as_json)


def check(
    model: Directory,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.")] = None,
    as_json: Json = False,
) -> None:
    """Compute a model's golden texts in every shape of batch and compare; exit 1 if one is off."""
    from lingxi import parity

    report = parity.check(model, device=device, dtype=dtype)
    rows = [
        {"check": r.check, "difference": r.difference, "tolerance": r.tolerance, "ok": r.ok}
        for r in report.rows
    ]
    if as_json:
        show.dump({"model": model, "ok": report.ok, "rows": rows})
    else:
        for row in rows:
            sign = "ok  " if row["ok"] else "FAIL"
            typer.echo(f"{sign} {row['check']:20} {row['difference']:.2e} (at most {row['tolerance']:.0e})")
    raise typer.Exit(0 if report.ok else 1)


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


def _values(directory: Path) -> dict[str, Any]:
    from lingxi.model.files import read_config
    from lingxi.model.layout import read_kind, read_max_length
    from lingxi.model.network import read_size

    config = read_config(directory)
    size = read_size(directory)
    return {
        "name": directory.resolve().name,
        "kind": read_kind(directory) or "embedder",
        "directory": str(directory),
        "dim": size.hidden,
        "layers": size.layers,
        "vocabulary": size.vocab,
        "parameters": size.parameters(),
        "max_length": read_max_length(directory) or size.max_positions,
        "weights": config.get("lingxi_weights", {}).get("dtype")
        or config.get("dtype")
        or config.get("torch_dtype"),
        "bytes": sum(path.stat().st_size for path in directory.glob("*.safetensors")),
    }


def _files(directory: str) -> Any:
    """Everything a directory is written from, with its weights in float32."""
    import torch

    from lingxi.model.files import locate, read_config, read_decoder, read_output_head
    from lingxi.model.layout import ModelFiles, read_kind, read_max_length
    from lingxi.model.sizes import size_from_config

    source = locate(directory)
    size = size_from_config(read_config(source), str(source))
    kind = read_kind(source) or "embedder"
    state = dict(read_decoder(source, torch.float32).state_dict())
    if kind == "reranker" and not size.tied_head:
        head = read_output_head(source, size)
        if head is None:
            raise InputError(
                f"{source}: holds no lm_head.weight",
                "export the causal original, not its classification twin",
            )
        state["lm_head.weight"] = head
    card = source / "README.md"
    return ModelFiles(
        kind=kind,
        size=size,
        state=state,
        tokenizer=(source / "tokenizer.json").read_text(encoding="utf-8"),
        card=card.read_text(encoding="utf-8") if card.exists() else f"# {source.name}\n",
        max_seq_length=read_max_length(source) or size.max_positions,
    )
