"""The applications' own paths: `/ask`, `/code`, `/align`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lingxi.apps.align import Alignment
from lingxi.apps.align.export import same_as, tsv
from lingxi.apps.served.aligning import Tables, told
from lingxi.apps.served.asking import Answered, Question, Turn
from lingxi.apps.served.desk import as_it_comes
from lingxi.apps.served.opened import Apps
from lingxi.serve.attend import Attend
from lingxi.serve.contract import Caller
from lingxi.serve.dialects import own
from lingxi.serve.dialects.bodies import Body, path_of
from lingxi.serve.exchange import answer, read
from lingxi.serve.logged import told as logged
from lingxi.serve.refusal import Refusal, broken

MOST_TURNS = 20
Text = Annotated[str, Field(max_length=4000)]
_TYPES = {"nt": "application/n-triples", "tsv": "text/tab-separated-values; charset=utf-8"}


class AskedBefore(Body):
    """An earlier question, and what was searched for then (`asked` of its answer)."""

    question: Text
    asked: Text


class Ask(Body):
    """A question to the index. `turns` are earlier ones, oldest first; `below` names files or folders.

    `rerank` asks the reranker, no more than it takes; `stream` sends statements as they are verified, as
    server-sent events `statement` {"text"}, then `answer` (what comes without `stream`) or `error`.
    """

    question: Text
    turns: Annotated[list[AskedBefore], Field(max_length=MOST_TURNS)] = Field(default_factory=list)
    below: list[str] = Field(default_factory=list)
    rerank: bool = False
    stream: bool = False


class Code(Body):
    """Words, a name, code or an error; `languages` as `python` or `py`, `paths` folders or patterns."""

    query: Annotated[str, Field(max_length=20_000)]
    top_k: Annotated[int, Field(ge=1, le=100)] = 10
    languages: list[str] = Field(default_factory=list)
    paths: list[str] = Field(default_factory=list)


class Align(Body):
    """Two tables, each TSV with a header or JSON Lines, and known pairs: two ids a line, a tab between.

    `least` is the confidence of the matches told; `format` may be `nt` (owl:sameAs) or `tsv`.
    """

    left: str
    right: str
    seeds: str = ""
    least: Annotated[float, Field(ge=0, le=1)] = 0.0
    rerank: bool = False
    format: Literal["json", "nt", "tsv"] = "json"


def router(apps: Apps, attend: Attend) -> APIRouter:
    """The paths of what is on."""
    routes = APIRouter(tags=["lingxi"])

    async def ask(request: Request) -> Response:
        """An answer from the passages of the index, every statement with a citation, or a refusal."""
        body = await read(request, Ask)
        if body.stream:
            return await _streamed(apps, body, request, attend)
        return answer(await attend(request, lambda caller: _asked(apps, body, caller)))

    async def code(request: Request) -> Response:
        """Functions, types and pieces of code of the repository, best first."""
        body = await read(request, Code)
        return answer(await attend(request, lambda caller: _coded(apps, body, caller)))

    async def align(request: Request) -> Response:
        """The entities of two tables that are the same, how sure, and why."""
        body = await read(request, Align)
        tables = Tables(body.left, body.right, body.seeds)
        found = await attend(request, lambda caller: _numbered(apps, tables, body.rerank, caller))
        return answer_of(*found, body.least, body.format)

    for path, route, model, is_on in (
        ("/ask", ask, Ask, apps.settings.ask),
        ("/code", code, Code, apps.settings.code),
        ("/align", align, Align, apps.settings.align),
    ):
        if is_on is not None:
            path_of(routes, path, model, route)
    return routes


def question_of(body: Ask) -> Question:
    """The question that a body asks."""
    turns = tuple(Turn(one.question, one.asked) for one in body.turns)
    return Question(body.question, turns, tuple(body.below), body.rerank)


async def _asked(apps: Apps, body: Ask, caller: Caller) -> dict[str, Any]:
    return values(await apps.ask(question_of(body), caller), caller.request)


def values(found: Answered, request: str | None = None) -> dict[str, Any]:
    """An answer as plain values, with the passages that it cites."""
    said = asdict(found.answer)
    said["reranking"]["saved"] = found.answer.reranking.saved
    said["passages"] = [
        {
            "number": number,
            "path": hit.path,
            "first_line": hit.first_line,
            "last_line": hit.last_line,
            "start": hit.start,
            "end": hit.end,
            "text": hit.text,
        }
        for number, hit in sorted(found.passages.items())
    ]
    return {**({"id": request} if request else {}), **said}


async def _streamed(apps: Apps, body: Ask, request: Request, attend: Attend) -> Response:
    """Events as they come; what fails before the first is refused like any other request."""

    async def begun(caller: Caller) -> tuple[Any, AsyncIterator[Any]]:
        came = as_it_comes(lambda show: apps.ask(question_of(body), caller, show))
        return await anext(came), came

    first, later = await attend(request, begun)
    return StreamingResponse(_events(first, later), media_type="text/event-stream")


async def _events(first: str | Answered, later: AsyncIterator[str | Answered]) -> AsyncIterator[bytes]:
    try:
        yield _event(first)
        async for one in later:
            yield _event(one)
    except Exception as error:
        refusal = error if isinstance(error, Refusal) else broken()
        if refusal is not error:
            logged(error)
        yield b"event: error\ndata: " + bytes(own.refusal(refusal).body) + b"\n\n"


def _event(one: str | Answered) -> bytes:
    name, said = ("statement", {"text": one}) if isinstance(one, str) else ("answer", values(one))
    return f"event: {name}\ndata: ".encode() + orjson.dumps(said) + b"\n\n"


async def _coded(apps: Apps, body: Code, caller: Caller) -> dict[str, Any]:
    found = await apps.code(body.query, caller, top_k=body.top_k, languages=body.languages, paths=body.paths)
    hits = [
        {key: value for key, value in {**asdict(hit), "place": hit.place}.items() if key != "blame"}
        for hit in found.hits
    ]
    return {"id": caller.request, "query": found.query, "kind": found.kind, "hits": hits}


async def _numbered(apps: Apps, tables: Tables, rerank: bool, caller: Caller) -> tuple[Alignment, str]:
    return await apps.align(tables, caller, rerank=rerank), caller.request


def answer_of(found: Alignment, request: str, least: float, form: str) -> Response:
    """An alignment in a format; files are named, for a browser to keep."""
    if form == "json":
        sides = {
            graph.name: {
                "entities": len(graph.entities), "triples": len(graph.triples), "notes": list(graph.notes)
            }
            for graph in (found.left, found.right)
        }  # fmt: skip
        return answer(
            {
                "id": request,
                **sides,
                "calibration": found.calibration,
                "seconds": dict(found.seconds),
                "matches": told(found, least),
            }
        )
    kept = [match for match in found.matches if match.confidence >= least]
    lines = (same_as if form == "nt" else tsv)(found, kept)
    name = {"content-disposition": f'attachment; filename="same.{form}"'}
    return Response("".join(f"{line}\n" for line in lines), headers=name, media_type=_TYPES[form])
