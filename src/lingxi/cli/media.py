"""`lingxi search --images` and `lingxi media`: pictures and recordings found by words, or by one another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.cli import show
from lingxi.errors import InputError

if TYPE_CHECKING:
    from lingxi.index.media import Encodes, MediaHit, MediaReport
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
    context: typer.Context,
    query: str,
    paths: Sequence[str],
    place: Path | None,
    model: str | None,
    top_k: int,
    as_json: bool,
    *,
    pages: bool = False,
) -> None:
    """Find pictures and recordings below paths; a query that is such a file's path asks by example."""
    from lingxi import errors
    from lingxi.index.media import MediaIndex
    from lingxi.media.embedder import DEFAULT_MEDIA
    from lingxi.parse.walk import resolve

    roots = resolve(paths)
    embedder = both(context, model or DEFAULT_MEDIA)[1]
    if embedder is None:
        raise errors.InputError(
            f"{model} reads texts alone", f"name one that reads pictures: {DEFAULT_MEDIA}"
        )
    index = MediaIndex(place or _cache_place([str(root) for root in roots], embedder.fingerprint()), embedder)
    with show.indexing(quiet=as_json) as progress:
        report = index.add(paths, progress, pages=pages)
    hits = index.search(example_of(query) or query, top_k=top_k)
    say(report)
    if as_json:
        show.dump({"query": query, "index": asdict(report), "hits": [asdict(hit) for hit in hits]})
    else:
        print_hits(hits)
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


def both(context: typer.Context, model: str | None) -> tuple[Any, Encodes | None]:
    """Who embeds the texts of an index by a model's name, and who its pictures (None: it reads texts)."""
    from lingxi.cli.faces import of
    from lingxi.model.files import SHIPPED
    from lingxi.model.media_files import is_media_directory

    place = Path(model or "").expanduser()
    if model and is_media_directory(place if place.is_dir() else SHIPPED / model):
        media = opened(model)
        return media.text, media
    from lingxi.index.seeing import encoder_of

    embedder = of(context).embedder(model)
    return embedder, encoder_of(embedder)


def example_of(query: str) -> Path | None:
    """The picture or recording that a query names by its path; None for words."""
    from lingxi.index.media import kind_of_name

    example = Path(query).expanduser()
    return example if kind_of_name(query) in ("image", "audio") and example.is_file() else None


def print_hits(hits: Sequence[MediaHit]) -> None:
    """Print each hit in a line: cosine, kind, place."""
    for hit in hits:
        typer.echo(f"{hit.score:.3f}  {hit.kind}  {show.printable(hit.place)}")


def say(report: MediaReport | None) -> None:
    """Complain of what was left out or read in part."""
    for path, reason in report.skipped if report else ():
        show.complain(f"skipped {path}: {reason}")
    for path, reason in report.noted if report else ():
        show.complain(f"{path}: {reason}")


def opened(model: str | None) -> MediaEmbedder:
    """The encoder of that name, or the one that ships."""
    from lingxi.media import MediaEmbedder

    return MediaEmbedder(model)


def _cache_place(roots: list[str], fingerprint: Mapping[str, Any]) -> Path:
    from lingxi.cli.search import cache_place

    found = cache_place(roots, fingerprint)
    return found.with_name(hashlib.sha256(f"media {found.name}".encode()).hexdigest()[:20])
