"""`lingxi negatives`: a copy of a file of pairs in which every row has hard negatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.cli import show
from lingxi.cli.faces import of
from lingxi.cli.options import Json, Model
from lingxi.config import made
from lingxi.errors import InputError

if TYPE_CHECKING:
    from lingxi.generate.settings import NegativeSettings
    from lingxi.records import Pair


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("negatives")(negatives)


def negatives(
    context: typer.Context,
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="A Parquet file of pairs.")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    model: Model = None,
    ranks: Annotated[str, typer.Option(help="Ranks that are passed over, and where they end.")] = "10,100",
    margin: Annotated[float, typer.Option(help="Most of the positive's score, as a share of it.")] = 0.95,
    count: Annotated[int, typer.Option(help="Negatives a row.")] = 7,
    pool: Annotated[int, typer.Option(help="Passages searched of a task and document language.")] = 20_000,
    reranker: Annotated[
        str | None, typer.Option(help="A reranker has to say no to each; none by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    as_json: Json = False,
) -> None:
    """Mine hard negatives with an embedder: ranked high for the query, and clearly below its positives."""
    from lingxi.encoding import encoder
    from lingxi.generate.negatives import mine_negatives
    from lingxi.records import write_pairs

    if out.resolve() == pairs.resolve():
        raise InputError(f"{out} is the file that is read", "write to another one with --out")
    if not pairs.is_file():
        raise InputError(f"no Parquet file at {pairs}", "name a file of pairs, as a stage writes it")
    settings = _settings(ranks=_two(ranks), margin=margin, count=count, pool=pool, seed=seed)
    encode, judge = encoder(of(context).embedder(model)), of(context).reranker(reranker) if reranker else None

    def rerank(asked: Sequence[tuple[str, str]], instruction: str) -> Any:
        return judge.predict(asked, instruction=instruction, show_progress_bar=False)  # type: ignore[union-attr]

    counts: Counter[str] = Counter(rows=0, negatives=0, without=0)
    mined = mine_negatives(pairs, encode, settings, rerank if judge else None)
    write_pairs(_counted(mined, counts), out)
    if as_json:
        show.dump({"out": str(out), **counts})
        return
    typer.echo(
        f"{out}: {counts['rows']:,} rows with {counts['negatives']:,} negatives, "
        f"{counts['without']:,} rows without any"
    )


def _settings(**values: Any) -> NegativeSettings:
    from lingxi.generate.settings import NegativeSettings

    return made(NegativeSettings, "see `lingxi negatives --help`", **values)


def _two(ranks: str) -> tuple[int, int]:
    first, _, last = ranks.partition(",")
    if not (first.strip().isdecimal() and last.strip().isdecimal()):
        raise InputError(f"ranks are {ranks!r}", "write two numbers, as 10,100")
    return int(first), int(last)


def _counted(rows: Iterable[Pair], counts: Counter[str]) -> Iterator[Pair]:
    for row in rows:
        counts["rows"] += 1
        counts["negatives"] += len(row.negatives)
        counts["without"] += not row.negatives
        yield row
