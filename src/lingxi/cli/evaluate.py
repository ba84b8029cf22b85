"""`lingxi evaluate`, `gate` and `claim`: what systems are worth, whether one may go out, what is true."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.cli import show
from lingxi.cli.options import Json
from lingxi.errors import InputError

if TYPE_CHECKING:
    from lingxi.evaluate.suite import SuiteSettings

Suite = Annotated[str, typer.Option(help="A suite that ships, or a TOML file.")]
Root = Annotated[Path | None, typer.Option(help="Folder or tar archive that holds the suite's sets.")]
Sets = Annotated[str | None, typer.Option(help="Only these sets, comma by comma.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="A setting over the suite's: queries=100.")
]
Cache = Annotated[Path, typer.Option(help="Where vectors and unpacked archives are kept.")]
Quick = Annotated[
    bool, typer.Option("--quick", help="100 queries a set (or --set queries=N), 12 languages: ten minutes.")
]
_DRAWN = (
    "queries drawn from headings, comments and first sentences of the files: they rank systems, and are "
    "easier than what people ask; give your own with --queries"
)
_CACHE = Path("~/.cache/lingxi")


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("evaluate")(evaluate)
    app.command("gate")(gate)
    app.command("claim")(claim)


def evaluate(
    systems: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SYSTEM]...", help="See `docs/evaluate.md`; default: the one that ships."),
    ] = None,
    suite: Suite = "benchmark",
    root: Root = None,
    sets: Sets = None,
    overrides: Overrides = None,
    quick: Quick = False,
    corpus: Annotated[
        Path | None, typer.Option(help="Measure on one's own files instead: a folder of documents or code.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="With --corpus: JSON Lines of `query` and `path` (or `path:line`).")
    ] = None,
    llm: Annotated[str | None, typer.Option(help="With --corpus: URL#MODEL that writes the queries.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the evaluation; a stopped one goes on.")] = Path(
        "evaluation"
    ),
    published: Annotated[
        Path | None, typer.Option(help="CSV of published MTEB scores, shown where the rows are the same.")
    ] = None,
    cache: Cache = _CACHE,
    as_json: Json = False,
) -> None:
    """Measure systems on a suite, or on one's own files, beside BM25; write tables, a page and every item."""
    from lingxi.embedder import DEFAULT_EMBEDDER
    from lingxi.evaluate.named import system
    from lingxi.evaluate.own import own_suite
    from lingxi.evaluate.publish import publish, read_published
    from lingxi.evaluate.run import evaluate as run

    names = [*(systems or [DEFAULT_EMBEDDER]), *([] if "bm25" in (systems or ()) else ["bm25"])]
    if corpus is None and (queries or llm):
        raise InputError("--queries and --llm go with --corpus", "give --corpus, or leave them out")
    say = show.complain
    if corpus is not None:
        resolved = own_suite(corpus, out, queries=queries, llm=llm)
        if queries is None:
            say(_DRAWN if llm is None else f"queries written by {llm}")
    else:
        resolved = resolved_suite(suite, overrides, sets, quick)
    if published is not None:
        # Read now, so that an unreadable table is said before hours of measuring.
        list(read_published(published, resolved))
    place = cache.expanduser()
    made = [system(name, place / "vectors") for name in names]
    report = run(resolved, root, made, out, place, say=say)
    page = publish(resolved, report.scores, out, published)
    if as_json:
        show.dump({"scores": [asdict(score) for score in report.scores], "page": str(page)})
        return
    for line in (out / "scores.md").read_text(encoding="utf-8").splitlines():
        typer.echo(line)
    typer.echo(f"\n{page}, in {report.seconds:.0f} s")


def gate(
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="The system that is out, or an evaluation's folder.")
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The one that would replace it, likewise.")],
    suite: Suite = "benchmark",
    root: Root = None,
    sets: Sets = None,
    overrides: Overrides = None,
    quick: Quick = False,
    max_drop: Annotated[float, typer.Option(help="Points (of 100) that may be lost.")] = 0.5,
    confidence: Annotated[float, typer.Option(help="Of all bounds together.")] = 0.95,
    strict: Annotated[
        bool, typer.Option("--strict", help="Pass only where no drop is proved in every slice.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the evaluation.")] = Path("evaluation"),
    cache: Cache = _CACHE,
    as_json: Json = False,
) -> None:
    """Say whether NEW may replace OLD: passes, blocked (exit 1) or undecided (exit 1 with --strict)."""
    from lingxi.evaluate.gate import decide
    from lingxi.evaluate.named import system
    from lingxi.evaluate.results import groups_to_compare
    from lingxi.evaluate.run import evaluate as run

    if not 0 < confidence < 1 or max_drop < 0:
        raise InputError(
            f"a confidence of {confidence} and a drop of {max_drop}", "choose 0 to 1, and 0 points or more"
        )
    if not (Path(old).is_dir() and Path(new).is_dir() and _is_evaluation(old) and _is_evaluation(new)):
        resolved = resolved_suite(suite, overrides, sets, quick)
        place = cache.expanduser()
        made = [system(name, place / "vectors") for name in (old, new)]
        run(resolved, root, made, out, place, say=show.complain)
        pair = groups_to_compare(out, out, made[0].name, made[1].name)
    else:
        pair = groups_to_compare(Path(old), Path(new), None, None)
    decision = decide(
        pair.new, pair.old, pair.lengths, max_drop=max_drop, confidence=confidence, strict=strict
    )
    if as_json:
        show.dump(asdict(decision))
    else:
        _print(decision)
    stops = decision.verdict == "blocked" or (strict and decision.verdict != "passes")
    raise typer.Exit(1 if stops else 0)


def claim(
    name: Annotated[
        str, typer.Argument(metavar="CLAIM", help="widths, code, segments, languages or reranking.")
    ],
    model: Annotated[str, typer.Argument(metavar="[MODEL]")] = "lingxi-pico",
    reranker: Annotated[str, typer.Option(help="For `reranking`.")] = "lingxi-pico-reranker",
    root: Root = None,
    quick: Quick = False,
    out: Annotated[Path | None, typer.Option(help="Folder; default claim-CLAIM.")] = None,
    cache: Cache = _CACHE,
) -> None:
    """Try something that is said of embeddings on a model, and write a small report."""
    from lingxi.evaluate.claims import Asked, try_claim

    folder = out or Path(f"claim-{name}")
    asked = Asked(model, reranker, root, folder, cache.expanduser(), quick, show.complain)
    typer.echo(try_claim(name, asked).read_text(encoding="utf-8"))


def _print(decision: Any) -> None:
    typer.echo(f"{decision.verdict}: {decision.reasons[0]}")
    for reason in decision.reasons[1:]:
        typer.echo(f"  {reason}")
    if decision.verdict == "undecided":
        typer.echo(f"  the smallest drop it could have proved is {decision.smallest:.2f} points")
    for part in decision.slices:
        span = f"[{part.low:+.2f}, {part.high:+.2f}]"
        typer.echo(f"  {part.name:40} {part.difference:+7.2f} {span:18} {part.n:>7,} items")


def resolved_suite(suite: str, overrides: list[str] | None, sets: str | None, quick: bool) -> SuiteSettings:
    """The suite that an evaluation's options name: settings over it, some sets, or a quick one."""
    from lingxi.evaluate.suite import resolve

    return resolve(suite, tuple(overrides or ()), _split(sets), quick=quick)


def _split(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip()) if names else ()


def _is_evaluation(folder: str) -> bool:
    from lingxi.evaluate.results import RESULTS

    return (Path(folder) / RESULTS).exists()
