"""The applications' pages: `/ui/ask`, `/ui/code`, `/ui/align`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lingxi.apps.align import Alignment
from lingxi.apps.served.asking import Answered
from lingxi.apps.served.desk import as_it_comes
from lingxi.apps.served.forms import (
    MOST_TURNS,
    AlignForm,
    AskForm,
    Before,
    CodeForm,
    align_form,
    ask_form,
    code_form,
)
from lingxi.apps.served.opened import Apps
from lingxi.apps.served.parts import parts_of
from lingxi.apps.served.paths import answer_of
from lingxi.apps.served.views import pairs, pieces, shown, units
from lingxi.apps.served.words import WORDS
from lingxi.serve.attend import Attend
from lingxi.serve.contract import Caller
from lingxi.serve.logged import told
from lingxi.serve.pages import render
from lingxi.serve.pages.forms import Fields, FormError
from lingxi.serve.pages.frame import Asked, posted, read, result
from lingxi.serve.pages.front import BELOW
from lingxi.serve.refusal import Refusal, broken

TEMPLATES = Path(__file__).parent / "templates"
# Between these marks an answer stands; one that comes in pieces is written there as it comes.
_OPEN, _END = Markup("<!--answer-->"), Markup("<!--end of answer-->")
_LARGEST_ASK, _MOST_FIELDS = 400_000, 40


def install(app: FastAPI, apps: Apps, attend: Attend) -> None:
    """Put the pages of what is on beside those of the server, and into their list."""
    routes = APIRouter(prefix=BELOW, include_in_schema=False)

    async def ask(request: Request) -> Response:
        return await _ask(apps, attend, request)

    async def code(request: Request) -> Response:
        return await _code(apps, attend, request)

    async def align(request: Request) -> Response:
        return await _align(apps, attend, request, "json")

    async def align_nt(request: Request) -> Response:
        return await _align(apps, attend, request, "nt")

    async def align_tsv(request: Request) -> Response:
        return await _align(apps, attend, request, "tsv")

    on = {name: getattr(apps.settings, name) is not None for name in ("ask", "code", "align")}
    for name, path, answer, methods in (
        ("ask", "/ask", ask, ["GET", "HEAD", "POST"]),
        ("code", "/code", code, ["GET", "HEAD"]),
        ("align", "/align", align, ["GET", "HEAD", "POST"]),
        ("align", "/align/same.nt", align_nt, ["POST"]),
        ("align", "/align/same.tsv", align_tsv, ["POST"]),
    ):
        if on[name]:
            routes.add_api_route(path, answer, methods=methods, response_model=None)
    app.include_router(routes)
    # Before the last, which is the status.
    last = app.state.pages.popitem()
    app.state.pages.update({name: WORDS[f"page_{name}"] for name in on if on[name]})
    app.state.pages.update([last])


def _page(request: Request, fields: Fields, here: str) -> Asked:
    return Asked(request, fields, here, WORDS, TEMPLATES)


def _has_reranker(apps: Apps) -> bool:
    return any(card.kind == "reranker" for card in apps.service.cards())


# --- answers -------------------------------------------------------------------------------------


async def _ask(apps: Apps, attend: Attend, request: Request) -> Response:
    fields, refusal = await _fields(request, _LARGEST_ASK)
    asked = _page(request, fields, "ask")
    if refusal:
        asked.refuse(refusal)
    form = read(asked, ask_form, AskForm())
    able = _has_reranker(apps)
    # Who has not asked yet is offered to have them judged.
    form_rerank = form.rerank or (able and not form.question)
    seen: dict[str, Any] = {
        "question": form.question, "turns": form.turns, "has_reranker": able, "rerank": form_rerank,
        "by_model": _by_model(apps), "open_mark": _OPEN, "end_mark": _END, "typed": render.AsTyped,
        "live": False, "shown": None, "more": [], "is_narrowed": bool(form.path or asked.problem),
    }  # fmt: skip
    if not form.question or asked.problem:
        return asked.page("ask.html", **seen)
    began = time.perf_counter()

    async def begun(caller: Caller) -> tuple[str | Answered, AsyncIterator[str | Answered]]:
        came = as_it_comes(lambda show: apps.ask(form.asked(form.rerank and able), caller, show))
        first = await anext(came)
        while isinstance(first, str) and not seen["by_model"]:
            first = await anext(came)
        return first, came

    found = await result(asked, lambda: attend(request, begun))
    if found is None:
        return asked.page("ask.html", **seen)
    if isinstance(found[0], Answered):
        return asked.page("ask.html", **_ended(form, found[0], began, seen))
    return StreamingResponse(
        _written(asked, form, *found, began, seen), headers=render.headers(asked.say), media_type="text/html"
    )


def _by_model(apps: Apps) -> bool:
    return apps.asker is not None and apps.asker.llm is not None


def _ended(form: AskForm, found: Answered, began: float, seen: dict[str, Any]) -> dict[str, Any]:
    answer = found.answer
    turn = Before(form.question, answer.asked, "" if answer.refused else answer.text)
    ms = round(1000 * (time.perf_counter() - began))
    more = [one.line() for one in (*form.turns, turn)][-MOST_TURNS:]
    return {**seen, "shown": shown(found, ms), "more": more}


async def _written(
    asked: Asked,
    form: AskForm,
    first: str | Answered,
    later: AsyncIterator[str | Answered],
    began: float,
    seen: dict[str, Any],
) -> AsyncIterator[str]:
    """The page up to the answer, each statement as it comes, and the rest of the page."""

    def page(**values: Any) -> str:
        return render.text("ask.html", asked.say, folder=TEMPLATES, **asked.values(**values))

    yield page(**{**seen, "live": True}).partition(_OPEN)[0]
    end: str | Answered = first
    try:
        while isinstance(end, str):
            yield _statement(end)
            end = await anext(later)
        values = _ended(form, end, began, seen)
    except Exception as error:
        if not isinstance(error, Refusal):
            told(error)
        asked.refuse(error if isinstance(error, Refusal) else broken())
        values = {**seen, "live": True}
    yield page(**values).partition(_END)[2]


def _statement(said: str) -> str:
    linked = (
        escape(render.harmless(text))
        if number is None
        else Markup('<a class="cite" href="#cite-{0}">{1}</a>').format(number, text)
        for text, number in pieces(said)
    )
    return "".join(linked)


# --- code ----------------------------------------------------------------------------------------


async def _code(apps: Apps, attend: Attend, request: Request) -> Response:
    asked = _page(request, request.query_params.multi_items(), "code")
    languages = apps.coder.languages if apps.coder else ()
    form = read(asked, lambda fields: code_form(fields, languages), CodeForm())
    began = time.perf_counter()
    found = None
    if form.query:
        found = await result(
            asked,
            lambda: attend(
                request,
                lambda caller: apps.code(
                    form.query,
                    caller,
                    top_k=form.number,
                    languages=(form.language,) if form.language else (),
                    paths=(form.path,) if form.path else (),
                ),
            ),
        )
    return asked.page(
        "code.html",
        languages=languages,
        language=form.language,
        is_narrowed=bool(form.language or form.path or asked.problem),
        hits=units(found.hits) if found else None,
        kind=found.kind if found else "",
        ms=round(1000 * (time.perf_counter() - began)),
    )


# --- tables --------------------------------------------------------------------------------------


async def _align(apps: Apps, attend: Attend, request: Request, form_of: str) -> Response:
    app = apps.settings.align
    assert app is not None
    fields, refusal = await _fields(request, 6 * app.most_bytes, files=True)
    asked = _page(request, fields, "align")
    if refusal:
        asked.refuse(refusal)
    form = read(asked, align_form, AlignForm())
    found: Alignment | None = None
    if request.method == "POST":
        if not asked.problem and not (form.tables.left and form.tables.right):
            asked.refuse(FormError("need_tables"))
        rerank = form.rerank and _has_reranker(apps)
        found = await result(
            asked, lambda: attend(request, lambda caller: apps.align(form.tables, caller, rerank=rerank))
        )
    if found is not None and form_of != "json":
        return answer_of(found, "", form.least / 100, form_of)
    matches, count = pairs(found, form.least) if found else ([], 0)
    return asked.page(
        "align.html",
        tables={side: render.AsTyped(getattr(form.tables, side)) for side in ("left", "right", "seeds")},
        least=form.least,
        has_reranker=_has_reranker(apps),
        rerank=form.rerank,
        app=app,
        found=found,
        matches=matches,
        count=count,
        notes=[f"{graph.name}: {note}" for graph in (found.left, found.right) for note in graph.notes]
        if found
        else [],
    )


async def _fields(
    request: Request, most: int, files: bool = False
) -> tuple[list[tuple[str, str]], Refusal | None]:
    """What address and form say, and what is wrong with the form."""
    fields = request.query_params.multi_items()
    if request.method != "POST":
        return fields, None
    sent = await (parts_of(request, most) if files else posted(request, most, _MOST_FIELDS))
    if sent is None:
        return fields, Refusal(413, "too_large", "the form is too large", "send less")
    return fields + sent, None
