"""`lingxi ask`: an answer from files, with citations; and `lingxi ask-calibrate`, its thresholds measured."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lingxi.cli import show
from lingxi.cli.faces import of, reranker_of
from lingxi.cli.options import Json, Model, Paths, Reranks
from lingxi.cli.search import cache_place

Question = Annotated[str, typer.Argument(metavar="QUESTION", help="In any language.")]
_ADD_LLM = "give --llm URL and --llm-model NAME together"


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("ask")(ask)
    app.command("ask-calibrate")(calibrate)


def ask(
    context: typer.Context,
    question: Question,
    paths: Paths,
    index: Annotated[str | None, typer.Option(help="Folder of the index (default: in the cache).")] = None,
    model: Model = None,
    reranker: Reranks = None,
    rerank: Annotated[str, typer.Option(help="adaptive, or always: judge all of the pool.")] = "adaptive",
    llm: Annotated[str | None, typer.Option("--llm", help="URL of a server with /chat/completions.")] = None,
    llm_model: Annotated[str | None, typer.Option(help="What the server calls the model.")] = None,
    llm_key_file: Annotated[Path | None, typer.Option(help="File that holds the key.")] = None,
    llm_timeout: Annotated[float, typer.Option(help="Seconds an answer may take.")] = 60,
    threshold: Annotated[
        float | None, typer.Option(help="Refuse below this probability (default: as calibrated).")
    ] = None,
    calibration: Annotated[Path | None, typer.Option(help="Thresholds that ask-calibrate wrote.")] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Show each statement once it is verified.")
    ] = False,
    chat: Annotated[bool, typer.Option("--chat", help="Go on asking: a line of stdin a question.")] = False,
    as_json: Json = False,
) -> None:
    """Answer a question from files, each statement with a place that supports it, or refuse."""
    from lingxi.apps.ask import AskSettings, Conversation, opened, read_calibration
    from lingxi.apps.ask.answering import checked_question
    from lingxi.config import made
    from lingxi.index import Index
    from lingxi.parse.walk import resolve

    checked_question(question)
    settings = made(AskSettings, "see `lingxi ask --help`", rerank=rerank, threshold=threshold)
    scale = read_calibration(calibration) if calibration else None
    says = _says(opened, llm, llm_model, llm_key_file, llm_timeout)
    roots = resolve(paths)
    embedder = of(context).embedder(model)
    judge = reranker_of(context, reranker)
    index_of = Index.open(
        Path(index) if index else cache_place(list(roots), embedder.fingerprint()), embedder
    )
    with show.indexing(quiet=as_json) as progress:
        index_of.add(paths, progress)
    options: dict[str, Any] = {
        "embedder": embedder, "reranker": judge, "llm": says, "settings": settings, "calibration": scale,
        "below": paths if index else (), "show": _streamed if stream and not as_json else _quiet,
    }  # fmt: skip
    talk, answer = Conversation().asked(index_of, question, **options)
    _print(answer, as_json, stream)
    for line in sys.stdin if chat else ():
        if line.strip():
            talk, answer = talk.asked(index_of, line, **options)
            _print(answer, as_json, stream)
    raise typer.Exit(1 if answer.refused else 0)


def calibrate(
    context: typer.Context,
    pairs: Annotated[
        list[Path], typer.Argument(metavar="PAIRS...", help="Tables of questions q and passages p.")
    ],
    out: Annotated[Path, typer.Option(help="Write the thresholds to this .json file.")],
    model: Model = None,
) -> None:
    """Measure when to answer, on questions asked with and without their own passages among the others."""
    from lingxi.apps.ask.calibrate import calibrate, read_group
    from lingxi.apps.ask.calibration import SHIPPED, own

    groups = [read_group(path) for path in pairs]
    source = f"{sum(len(g.questions) for g in groups)} questions of {', '.join(p.name for p in pairs)}"
    embedder = of(context).embedder(model)
    # Passages tell when to answer; whether a sentence carries a statement is kept from what ships.
    support = (own(embedder.fingerprint()) or SHIPPED[0]).support
    found = calibrate(embedder, groups, (), source=source, support=support)
    out.write_text(found.model_dump_json(indent=1) + "\n", "utf-8")
    typer.echo(f"{out}: answers from {found.sure.threshold:.3f} on; measured on {found.source}")


def _says(opened: Any, url: str | None, name: str | None, key: Path | None, timeout: float) -> Any | None:
    from lingxi.apps.ask import LlmSettings
    from lingxi.config import made
    from lingxi.errors import InputError

    if url is None and name is None and key is None:
        return None
    if url is None or name is None:
        raise InputError("half of a language model is named", _ADD_LLM)
    return opened(made(LlmSettings, _ADD_LLM, url=url, model=name, key_file=key, timeout=timeout))


def _quiet(text: str) -> None:
    """Nothing is shown before the answer is whole."""


def _streamed(text: str) -> None:
    typer.echo(show.printable(text), nl=False)
    sys.stdout.flush()


def _print(answer: Any, as_json: bool, streamed: bool) -> None:
    failed = [step for step in answer.steps if step.startswith("the model failed")]
    for step in failed:
        show.complain(f"warning: {step}; these are the best sentences of the passages")
    if as_json:
        show.dump({**asdict(answer), "saved": answer.reranking.saved})
        return
    typer.echo("" if streamed and not answer.refused else show.printable(answer.text))
    for citation in answer.citations:
        typer.echo(show.printable(f"  [{citation.number}] {citation.place}"))
    if answer.withheld:
        show.complain(f"{len(answer.withheld)} sentences of the model withheld: no passage supports them")
    if answer.removed:
        show.complain(f"{answer.removed} citations of the model removed: they do not hold")
    for flag in answer.flagged:
        show.complain(f"{flag.place}: left out, reads as an order ({flag.rule})")
    if answer.reranking.pairs:
        judged, pairs = answer.reranking.judged, answer.reranking.pairs
        show.complain(f"reranked {judged} of {pairs} passages: {answer.reranking.saved:.0%} saved")
