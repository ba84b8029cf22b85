"""`lingxi embed` and `lingxi rerank`: vectors and scores of texts given as arguments, lines or a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from lingxi.cli import show
from lingxi.cli.faces import of
from lingxi.cli.options import Instruction, Json, Model, Query
from lingxi.errors import InputError
from lingxi.spread import Runner

File = Annotated[
    Path | None, typer.Option("--file", help="Read texts from a file, one a line; `-` is stdin.")
]
_WINDOW = 1024


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("embed")(embed)
    app.command("rerank")(rerank)


def embed(
    context: typer.Context,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="None: lines of stdin.")
    ] = None,
    file: File = None,
    model: Model = None,
    query: Annotated[bool, typer.Option("--query", help="The texts are queries, not documents.")] = False,
    instruction: Instruction = None,
    dim: Annotated[int | None, typer.Option(help="Cut vectors to this width.")] = None,
    precision: Annotated[str, typer.Option(help="float32, int8, uint8, binary or ubinary.")] = "float32",
    out: Annotated[
        Path | None, typer.Option(help="Write all vectors to this .npy file; from Parquet, to this folder.")
    ] = None,
    column: Annotated[str, typer.Option(help="The column of a Parquet file that holds the text.")] = "text",
    runner: Annotated[str, typer.Option(help="Parquet: here, native (processes) or ray.")] = "here",
    processes: Annotated[int | None, typer.Option(help="Parquet: how many work at a time.")] = None,
    as_json: Json = False,
) -> None:
    """Print the unit vector of each text as a JSON line, or write them all to a .npy file.

    `--file F.parquet --out FOLDER` (a file or a folder of them) writes the rows with a column `vector`, a
    part for each row group; stopped, it goes on.
    """
    if file is not None and (file.suffix == ".parquet" or file.is_dir()):
        if out is None or texts or instruction is not None:
            raise InputError("Parquet goes from --file to --out, without texts or a task", "name a folder")
        said = {"column": column, "model": model, "dim": dim, "precision": precision, "query": query}
        _embed_parquet(context, file, out, said, runner, processes, as_json)
        return
    if out is not None and out.suffix != ".npy":
        raise InputError(f"{out}: not a .npy file", "name the output with the ending .npy")
    lines = _lines(texts, file)
    first = next(lines, None)
    if first is None:
        raise InputError("no texts were given", "give them as arguments, with --file, or as lines of stdin")
    embedder = of(context).embedder(model)
    options: dict[str, Any] = {"truncate_dim": dim, "precision": precision}

    def encode(window: list[str]) -> Any:
        if query or instruction is not None:
            return embedder.encode_query(window, instruction=instruction, **options)
        return embedder.encode_document(window, **options)

    windows = _windows(first, lines)
    if out is None:
        _print_vectors(windows, encode)
    else:
        shape = _write_vectors(windows, encode, out)
        _say_written(out, shape, as_json)


def _embed_parquet(
    context: typer.Context,
    file: Path,
    out: Path,
    said: dict[str, Any],
    runner: str,
    processes: int | None,
    as_json: bool,
) -> None:
    from lingxi.index.bulk import BulkSettings, embed_parquet

    if runner not in get_args(Runner):
        raise InputError(f"no runner {runner!r}", f"choose one of: {', '.join(get_args(Runner))}")
    make = of(context).embedder
    done = embed_parquet(file, out, make, BulkSettings(**said), cast(Runner, runner), processes)
    if as_json:
        show.dump(asdict(done))
    else:
        typer.echo(f"{done.rows:,} rows in {done.parts} parts in {out}, {done.made} made now")


def rerank(
    context: typer.Context,
    query: Query,
    documents: Annotated[
        list[str] | None, typer.Argument(metavar="[DOCUMENT]...", help="None: lines of stdin.")
    ] = None,
    file: File = None,
    reranker: Annotated[
        str | None, typer.Option("--reranker", "--model", help="Directory, hub id or name.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", "-k", help="Show only the best.")] = None,
    instruction: Instruction = None,
    as_json: Json = False,
) -> None:
    """Order documents by how well they meet the query."""
    given = list(_lines(documents, file))
    if not given:
        raise InputError(
            "no documents were given", "give them as arguments, with --file, or as lines of stdin"
        )
    ranked = of(context).reranker(reranker).rank(query, given, top_k=top_k, instruction=instruction)
    if as_json:
        show.dump({"query": query, "results": ranked})
        return
    for row in ranked:
        typer.echo(f"{row['score']:.4f}  {' '.join(show.printable(row['text']).split())}")


def _lines(given: list[str] | None, file: Path | None) -> Iterator[str]:
    if given and file:
        raise InputError("texts and --file were both given", "give one of them")
    if given:
        yield from given
    elif file is None or str(file) == "-":
        yield from (line.rstrip("\r\n") for line in sys.stdin)
    else:
        try:
            with file.open(encoding="utf-8") as opened:
                yield from (line.rstrip("\r\n") for line in opened)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: cannot be read ({error})", "name a UTF-8 text file") from None


def _windows(first: str, rest: Iterator[str]) -> Iterator[list[str]]:
    window = [first, *islice(rest, _WINDOW - 1)]
    while window:
        yield window
        window = list(islice(rest, _WINDOW))


def _print_vectors(windows: Iterable[list[str]], encode: Any) -> None:
    index = 0
    for window in windows:
        for text, vector in zip(window, encode(window), strict=True):
            show.dump({"index": index, "text": text, "embedding": vector.tolist()})
            index += 1


def _write_vectors(windows: Iterable[list[str]], encode: Any, out: Path) -> tuple[int, ...]:
    import numpy as np

    vectors = np.concatenate([encode(window) for window in windows])
    try:
        np.save(out, vectors)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})", "choose another place") from None
    return tuple(vectors.shape)


def _say_written(out: Path, shape: tuple[int, ...], as_json: bool) -> None:
    if as_json:
        show.dump({"file": str(out), "shape": list(shape)})
    else:
        typer.echo(f"{shape[0]} vectors of {shape[1]} numbers in {out}")
