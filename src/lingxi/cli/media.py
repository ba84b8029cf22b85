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

if TYPE_CHECKING:
    from lingxi.index.media import Encodes, MediaHit, MediaReport
    from lingxi.media import MediaEmbedder

Model = Annotated[str | None, typer.Option(help="A picture and sound encoder: a directory or shipped name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SIDE = 240
_READERS = ("folder", "stamps", "clipart", "emoji", "pages", "speech-folder", "speech-stamps", "speech-words")


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    media = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    media.command("collect")(collect)
    media.command("make")(make)
    media.command("evaluate")(evaluate)
    media.command("check")(check)
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
    from lingxi.collect.drawn import rendered
    from lingxi.collect.media import reader_of

    made = out.with_suffix("")
    return rendered(reader_of(reader, made, names)(folder, origin), made, _SIDE, origin)


def make(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, as recipes/nano-vl.toml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings: train.views=1.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Make a picture and sound encoder from folders of media: collect, curate, train, evaluate."""
    from lingxi import media_life

    told = media_life.run(recipe, overrides or (), runs=runs, dry_run=dry_run, say=show.complain)
    if as_json or dry_run:
        show.dump(told)
        return
    for stage, counts in told["stages"].items():
        typer.echo(f"{stage}: {json.dumps({k: v for k, v in counts.items() if k != 'reasons'})}")
    typer.echo(f"model: {told['model']}")


def check(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A picture and sound encoder's directory.")],
) -> None:
    """Prove a copy: its golden pictures and sounds give the vectors they gave when it was made."""
    from lingxi.media.golden import check_golden
    from lingxi.model.files import locate

    typer.echo(f"golden vectors: at most {check_golden(locate(model)):.1e} apart")


def evaluate(
    rows: Annotated[Path, typer.Argument(metavar="ROWS", help="Parquet rows that training has not seen.")],
    model: Model = None,
    known: Annotated[Path | None, typer.Option(help="Parquet rows that it was trained on.")] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe whose [evaluate] says what is shown, and names of classes.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for scores.json and scores.md.")] = None,
    as_json: Json = False,
) -> None:
    """Measure text to picture, picture to text and the like on held-out rows, beside chance and floors."""
    from lingxi import config
    from lingxi.evaluate.media_run import evaluate_files
    from lingxi.evaluate.media_settings import MediaEvaluateSettings
    from lingxi.media.embedder import DEFAULT_MEDIA
    from lingxi.media_life import MediaRecipe
    from lingxi.model.files import locate

    settings = config.load(recipe, MediaRecipe).evaluate if recipe is not None else None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    place = locate(model or DEFAULT_MEDIA)
    report = evaluate_files(settings or MediaEvaluateSettings(), place, (known, rows), out)
    if as_json:
        show.dump(asdict(report))
        return
    typer.echo(report.summary)
    for line in report.examples:
        typer.echo(line)


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
