"""`lingxi update`: teach a model something new, and keep what was stored by the old one searchable."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lingxi.cli import show
from lingxi.cli.evaluate import Cache, resolved_suite
from lingxi.errors import InputError

Home = Annotated[Path, typer.Argument(metavar="HOME", help="Folder of the releases.")]
At = Annotated[Path, typer.Option("--home", help="Folder of the releases.")]
Keeps = Annotated[
    str, typer.Option("--keep", help="Suite of what must not get worse: a .toml file or a name.")
]
Root = Annotated[Path | None, typer.Option(help="Folder or tar archive of the suite's sets.")]
Sets = Annotated[str | None, typer.Option(help="Only these sets of the suite, with commas.")]
Replay = Annotated[
    list[Path], typer.Option("--replay", help="Old pairs (a run's 3-curate/pairs.parquet), or old documents.")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the [update] table.")]
Language = Annotated[str, typer.Option(help="Language of rows and documents that do not say theirs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_CACHE = Path("~/.cache/lingxi")


class _Learning(TyperGroup):
    """`lingxi update MODEL --new …` is `lingxi update learn MODEL --new …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["learn", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    group = typer.Typer(cls=_Learning, no_args_is_help=True, rich_markup_mode=None)
    for verb in (learn, watch, back, reindex, anchor):
        group.command(verb.__name__)(verb)
    group.command("show")(serving)
    app.add_typer(
        group, name="update", help="`update MODEL --new DATA --keep SUITE`: learn without forgetting."
    )


def learn(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Directory, hub id or shipped name.")],
    new: Annotated[list[Path], typer.Option("--new", help="New pairs in any known shape, or documents.")],
    keep: Keeps,
    replay: Replay,
    root: Root = None,
    sets: Sets = None,
    quick: Annotated[bool, typer.Option("--quick", help="100 queries a set.")] = False,
    home: At = Path("updates"),
    settings: Overrides = None,
    language: Language = "en",
    strict: Annotated[bool, typer.Option("--strict", help="Promote only where no drop is proved.")] = False,
    cache: Cache = _CACHE,
    as_json: Json = False,
) -> None:
    """Teach MODEL new pairs; where the gate lets it, the outcome serves.

    Exit code 1 where it does not, or where the merge takes nothing of what was learnt.
    """
    from lingxi.index.lock import writing
    from lingxi.update import releases
    from lingxi.update.run import rows_of, update
    from lingxi.update.watch import LOCK

    asked = _settings(settings)
    kept = _keep(keep, root, sets, quick, cache)
    home.mkdir(parents=True, exist_ok=True)
    with writing(home, LOCK):
        release = releases.begin(home, model)
        if release.number == 0 and release.said.get("begun from") != model:
            raise InputError(
                f"{home} was begun from {release.said.get('begun from')!r}", "name another --home"
            )
        outcome = update(
            home, rows_of(new, language), _replay(replay, asked, language), kept, asked,
            strict=strict, say=show.complain,
        )  # fmt: skip
    if as_json:
        show.dump(asdict(outcome))
    else:
        for line in outcome.lines:
            typer.echo(line)
        cpu, wall = sum(outcome.cpu_seconds.values()), sum(outcome.seconds.values())
        typer.echo(f"{wall:.0f} s, {cpu:.0f} CPU seconds")
    raise typer.Exit(0 if outcome.promoted else 1)


def watch(
    home: Home,
    keep: Keeps,
    replay: Replay,
    model: Annotated[str, typer.Option(help="What the first release is.")] = "lingxi-pico",
    folder: Annotated[list[Path] | None, typer.Option("--folder", help="Documents to follow.")] = None,
    queue: Annotated[
        list[Path] | None, typer.Option("--queue", help="JSON Lines that others append to; - is stdin.")
    ] = None,
    root: Root = None,
    sets: Sets = None,
    quick: Annotated[bool, typer.Option("--quick", help="100 queries a set.")] = False,
    every: Annotated[float, typer.Option(help="Hours between updates.")] = 24,
    pause: Annotated[float, typer.Option(help="Seconds between turns.")] = 10,
    turns: Annotated[int | None, typer.Option(help="End after so many turns.")] = None,
    settings: Overrides = None,
    language: Language = "en",
    cache: Cache = _CACHE,
) -> None:
    """Follow folders and queues: index at once, learn on schedule or drift, promote or go back by itself."""
    from lingxi.update import releases
    from lingxi.update.watch import Watch, WatchSettings, run

    asked = _settings(settings)
    home.mkdir(parents=True, exist_ok=True)
    releases.begin(home, model)
    queues = [path for path in queue or () if str(path) != "-"]
    if len(queues) < len(queue or ()):
        queues.append(_from_stdin(home))
    watched = Watch(
        home, tuple(folder or ()), tuple(queues), tuple(_replay(replay, asked, language)),
        _keep(keep, root, sets, quick, cache), WatchSettings(every=every * 3600, language=language), asked,
    )  # fmt: skip
    run(watched, pause, show.complain, turns)


def back(
    home: Home,
    index: Annotated[Path | None, typer.Option(help="An index that was moved with it.")] = None,
    as_json: Json = False,
) -> None:
    """Let the release before serve again."""
    from lingxi.update.moving import back as gone

    _say(gone(home, index), as_json)


def reindex(
    home: Home, index: Annotated[Path, typer.Argument(metavar="INDEX")], as_json: Json = False
) -> None:
    """Embed an index again with the serving release; the old vectors answer until all is there."""
    from lingxi.update.moving import reindex as moved

    with show.indexing(quiet=as_json) as progress:
        release = moved(home, index, progress=progress)
    _say(release, as_json)


def anchor(
    home: Home,
    number: Annotated[int | None, typer.Argument(help="A release; none: the one that serves.")] = None,
    as_json: Json = False,
) -> None:
    """Name the release since which the gate sums what old slices lose; before that it is the first."""
    from lingxi.update import releases

    _say(releases.name_anchor(home, releases.serving(home).number if number is None else number), as_json)


def serving(home: Home, as_json: Json = False) -> None:
    """Say which release serves, where its model lies, what old slices have lost, and what was stopped."""
    from lingxi.update import making, releases
    from lingxi.update.gate import shown

    _say(releases.serving(home), as_json)
    if as_json:
        return
    typer.echo(f"losses are summed since release {releases.anchor(home).number}")
    for folder in making.stopped(home):
        typer.echo(f"not promoted, in {folder}:")
        for line in shown(releases.read(folder).said):
            typer.echo(f"  {line}")


def _say(release: Any, as_json: bool) -> None:
    from lingxi.update.gate import shown

    if as_json:
        show.dump(asdict(release))
        return
    typer.echo(f"release {release.number}: {release.model}")
    typer.echo(f"stored vectors: {release.space}{', over a map' if release.bridged else ''}")
    for line in shown(release.said):
        typer.echo(line)


def _settings(overrides: list[str] | None) -> Any:
    from lingxi.config import overridden
    from lingxi.update.settings import UpdateSettings

    return overridden(UpdateSettings, overrides or ())


def _keep(suite: str, root: Path | None, sets: str | None, quick: bool, cache: Path) -> Any:
    from lingxi.update.gate import Keep

    return Keep(resolved_suite(suite, None, sets, quick), root, cache.expanduser())


def _replay(paths: list[Path], settings: Any, language: str) -> list[Any]:
    from lingxi.update.material import read_rows, sample_file

    rows: list[Any] = []
    most = settings.replay + settings.dev_rows
    for path in paths:
        rows += (
            sample_file(path, most, settings.seed) if path.suffix == ".parquet" else read_rows(path, language)
        )
    return rows


def _from_stdin(home: Path) -> Path:
    """A file of what comes on stdin, written as it comes by a thread of its own."""
    import threading

    path = home / "stdin.jsonl"

    def pour() -> None:
        with path.open("a", encoding="utf-8") as file:
            for line in sys.stdin:
                file.write(line)
                file.flush()

    threading.Thread(target=pour, daemon=True).start()
    return path
