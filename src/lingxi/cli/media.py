"""`lingxi search --images` and `lingxi media`: pictures and recordings found by words, or by one another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.cli import show
from lingxi.errors import InputError

if TYPE_CHECKING:
    from lingxi.media import MediaEmbedder

Model = Annotated[str | None, typer.Option(help="A picture and sound encoder: a directory or shipped name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_READERS = ("folder", "stamps", "clipart", "emoji", "speech-folder", "speech-stamps", "speech-words")


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    media = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    media.command("collect")(collect)
    media.command("evaluate")(evaluate)
    app.add_typer(media, name="media", help="Pictures and sound: rows with captions, and what a model finds.")


def search(
    query: str, paths: Sequence[str], place: Path | None, model: str | None, top_k: int, as_json: bool
) -> None:
    """Find pictures and recordings below paths; a query that is such a file's path asks by example."""
    from lingxi.index.media import MediaIndex, kind_of_name
    from lingxi.parse.walk import resolve

    roots = resolve(paths)
    embedder = opened(model)
    index = MediaIndex(place or _cache_place([str(root) for root in roots], embedder.fingerprint()), embedder)
    with show.indexing(quiet=as_json) as progress:
        report = index.add(paths, progress)
    example = Path(query).expanduser()
    asked: Any = example if kind_of_name(query) and example.is_file() else query
    hits = index.search(asked, top_k=top_k)
    for path, reason in report.skipped:
        show.complain(f"skipped {path}: {reason}")
    if as_json:
        show.dump({"query": query, "index": asdict(report), "hits": [asdict(hit) for hit in hits]})
    else:
        for hit in hits:
            typer.echo(f"{hit.score:.3f}  {hit.kind}  {show.printable(hit.path)}")
    if not hits:
        show.complain("no pictures or recordings there")
        raise typer.Exit(1)


def collect(
    reader: Annotated[str, typer.Argument(metavar="READER", help=f"One of: {', '.join(_READERS)}.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the unpacked package.")],
    out: Annotated[Path, typer.Option(help="Parquet file of rows.")],
    source: Annotated[str, typer.Option(help="Package and version, kept on every row.")],
    licence: Annotated[str, typer.Option(help="Licence, kept on every row.")],
    language: Annotated[str | None, typer.Option(help="Language of captions that do not say it.")] = None,
    names: Annotated[
        Path | None, typer.Option(help="For emoji: the folder `annotations` of cldr-annotations-full.")
    ] = None,
) -> None:
    """Read pictures or recordings and their captions into rows of a Parquet file."""
    from lingxi.collect.origin import Origin
    from lingxi.records import write_documents

    origin = Origin(source, licence, language)
    count = write_documents(_rows(reader, folder, names, out, origin), out)
    for line in origin.left_out:
        show.complain(f"left out {line}")
    typer.echo(f"{count:,} rows, {len(origin.left_out):,} files left out")


def _rows(reader: str, folder: Path, names: Path | None, out: Path, origin: Any) -> Any:
    from lingxi.collect import pictures, recordings

    simple = {
        "folder": pictures.read_folder,
        "stamps": pictures.read_stamps,
        "clipart": pictures.read_clipart,
        "speech-folder": recordings.read_folder,
        "speech-stamps": recordings.read_stamp_speech,
        "speech-words": recordings.read_words,
    }
    if reader in simple:
        return simple[reader](folder, origin)
    if reader == "emoji" and names is not None:
        fonts = [folder] if folder.is_file() else sorted(folder.rglob("*.ttf"))
        if len(fonts) != 1:
            raise InputError(f"{folder} holds {len(fonts)} fonts", "name the font's file")
        return pictures.read_emoji(fonts[0], names, out.with_suffix(""), origin)
    if reader == "emoji":
        raise InputError("emoji without names", "give --names")
    raise InputError(f"unknown reader {reader!r}", f"choose one of: {', '.join(_READERS)}")


def evaluate(
    rows: Annotated[Path, typer.Argument(metavar="ROWS", help="Parquet rows that training has not seen.")],
    model: Model = None,
    least: Annotated[int, typer.Option(help="Captions a language needs to be measured.")] = 50,
    out: Annotated[Path | None, typer.Option(help="JSON file of every direction.")] = None,
    as_json: Json = False,
) -> None:
    """Measure text to picture, picture to text and the like on held-out rows, beside chance and floors."""
    from lingxi.evaluate.media import table
    from lingxi.evaluate.media_run import evaluate_rows
    from lingxi.records import read_documents

    found = evaluate_rows(list(read_documents(rows)), opened(model), least=least)
    values = [asdict(one) for one in found]
    if out is not None:
        out.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    if as_json:
        show.dump(values)
    else:
        typer.echo(table(found))


def opened(model: str | None) -> MediaEmbedder:
    """The encoder of that name, or the one that ships."""
    from lingxi.media import MediaEmbedder

    return MediaEmbedder(model)


def _cache_place(roots: list[str], fingerprint: dict[str, Any]) -> Path:
    from lingxi.cli.search import cache_place

    found = cache_place(roots, fingerprint)
    return found.with_name(hashlib.sha256(f"media {found.name}".encode()).hexdigest()[:20])
