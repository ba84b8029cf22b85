"""What is done with an index as a whole: estimate, snapshot, restore, upgrade, publish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, get_args

import typer

from lingxi.cli import show
from lingxi.cli.faces import of
from lingxi.errors import InputError

Place = Annotated[str, typer.Argument(metavar="INDEX", help="Folder of the index.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(index: typer.Typer) -> None:
    """Add the verbs of this file to `lingxi index`."""
    for verb in (snapshot, restore, upgrade, publish):
        index.command(verb.__name__)(verb)


def snapshot(
    place: Place,
    out: Annotated[str, typer.Argument(help="A folder that does not exist yet.")],
    as_json: Json = False,
) -> None:
    """Keep an index as it is now; on one file system this takes no space until either changes."""
    from lingxi.index.snapshot import snapshot as kept

    _say_kept(kept(place, out), out, as_json)


def restore(
    source: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Folder made by `index snapshot`.")],
    place: Place,
    as_json: Json = False,
) -> None:
    """Put an index as it was in a snapshot, once every file of it was checked."""
    from lingxi.index.snapshot import restore as restored

    _say_kept(restored(source, place), place, as_json)


def upgrade(
    context: typer.Context,
    place: Place,
    model: Annotated[
        str | None, typer.Option(help="The model to move to: a directory, hub id or name.")
    ] = None,
    back: Annotated[
        bool, typer.Option("--back", help="Undo the last upgrade, or drop an unfinished one.")
    ] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Drop the vectors of the model before.")] = False,
    as_json: Json = False,
) -> None:
    """Move an index to another model; the old one answers until all is done, and can be gone back to."""
    from lingxi.index import upgrade as moving

    if (model is not None) + back + forget != 1:
        raise InputError("an upgrade is one of --model NEW, --back and --forget", "give one of them")
    if back:
        values: dict[str, Any] = {"now": moving.back(place)}
    elif forget:
        moving.forget(place)
        values = {"forgotten": True}
    else:
        with show.indexing(quiet=as_json) as progress:
            values = asdict(moving.upgrade(place, of(context).embedder(model), progress))
    _say(values, as_json)


def publish(
    place: Place,
    store: Annotated[
        str, typer.Argument(metavar="STORE", help="faiss:FOLDER, postgresql://…#NAME, qdrant:…")
    ],
    dim: Annotated[int | None, typer.Option(help="Cut vectors to this width.")] = None,
    precision: Annotated[
        str, typer.Option(help="What a first look reads: float32, int8 or binary.")
    ] = "float32",
    look: Annotated[str, typer.Option(help="exact, or ann (an approximate index).")] = "exact",
    namespace: Annotated[str, typer.Option(help="The part of the index to publish.")] = "",
    as_json: Json = False,
) -> None:
    """Bring another store of vectors to what an index holds; nothing is embedded again."""
    from lingxi.index.publish import layout_of
    from lingxi.index.publish import publish as published
    from lingxi.index.stores import Collection
    from lingxi.index.stores.layout import Look, Precision

    for value, known in ((precision, get_args(Precision)), (look, get_args(Look))):
        if value not in known:
            raise InputError(f"no {value!r}", f"choose one of: {', '.join(known)}")
    layout = layout_of(place, dim=dim, precision=precision, look=look)  # type: ignore[arg-type]
    with Collection.open(store, layout) as out:
        _say(asdict(published(place, out, namespace=namespace)), as_json)


def say_estimate(embedder: Any, paths: Sequence[str], as_json: bool) -> None:
    """Print what indexing would cost."""
    from lingxi.index.estimate import estimate

    found = estimate(embedder, paths)
    if as_json:
        show.dump(asdict(found))
        return
    typer.echo(
        f"{found.files:,} files, {found.segments:,} segments, {found.text_bytes / 1e6:,.1f} MB of text; "
        f"about {found.seconds:,.0f} s to embed, about {found.index_bytes / 1e6:,.1f} MB on disk"
    )
    typer.echo(
        f"vectors in a store of their own; recall of the 10 nearest among a sample of {found.sample:,}:"
    )
    typer.echo(f"{'width':>5} {'precision':9} {'MB read':>9} {'MB kept':>9} {'recall':>7} {'rescored':>9}")
    for form in found.forms:
        typer.echo(
            f"{form.dim:5} {form.precision:9} {form.bytes_read / 1e6:9.2f} {form.bytes_kept / 1e6:9.2f} "
            f"{form.recall:7.3f} {form.rescored:9.3f}"
        )


def _say_kept(found: Any, where: str, as_json: bool) -> None:
    if as_json:
        show.dump(asdict(found))
    else:
        typer.echo(
            f"{found.segments:,} segments in {found.files} files ({found.bytes / 1e6:,.1f} MB) in {where}"
        )


def _say(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show.dump(values)
    else:
        typer.echo(
            ", ".join(
                f"{name} {value:,.1f}" if isinstance(value, float) else f"{name} {value}"
                for name, value in values.items()
            )
        )
