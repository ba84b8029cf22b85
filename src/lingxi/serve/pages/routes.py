"""The addresses of the pages: `/ui/search`, `/ui/compare`, `/ui/status` and what they load."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from lingxi.serve.attend import Attend, attending
from lingxi.serve.pages import render
from lingxi.serve.pages.asked import Serves
from lingxi.serve.pages.comparing import compared, usual_sides
from lingxi.serve.pages.figures import EVERY_S, figures, limits, shown
from lingxi.serve.pages.forms import (
    MOST_TEXTS,
    CompareForm,
    FormError,
    SearchForm,
    compare_form,
    search_form,
)
from lingxi.serve.pages.frame import Asked, posted, read, result
from lingxi.serve.pages.front import BELOW, Front
from lingxi.serve.pages.searching import found, has_reranker, kinds_of
from lingxi.serve.pages.uploads import MOST_EXAMPLE, Example, example_in, is_upload, parts_of
from lingxi.serve.pages.words import WORDS
from lingxi.serve.refusal import Refusal
from lingxi.vectors import PRECISIONS

# What a form holds beside the file.
_FIELDS = 1 << 20


def install(app: FastAPI, service: Serves) -> None:
    """Put the pages into an application."""
    app.state.pages = {name: WORDS[name] for name in ("search", "compare", "status")}
    app.include_router(router(service, attending(service.settings.deadline_s)))
    app.add_middleware(Front)


def router(service: Serves, attend: Attend) -> APIRouter:
    """The routes of the pages; `attend` does work for a request."""
    routes = APIRouter(prefix=BELOW, include_in_schema=False)
    began = time.monotonic()

    def add(path: str, answer: Callable[..., Any], *methods: str) -> None:
        routes.add_api_route(path, answer, methods=list(methods), response_model=None)

    async def home(request: Request) -> Response:
        return RedirectResponse(request.scope.get("root_path", "") + f"{BELOW}/search", 307)

    async def search(request: Request) -> Response:
        return await _searched(service, attend, request)

    async def media(request: Request, key: str) -> Response:
        return await _shown(service, attend, request, key)

    async def compare(request: Request) -> Response:
        return await _compared(service, attend, request)

    async def status(request: Request) -> Response:
        return _status(service, request, time.monotonic() - began)

    async def numbers() -> Response:
        found = figures(service.state(), time.monotonic() - began)
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    async def asset(name: str) -> Response:
        return render.asset(name)

    add("", home, "GET", "HEAD")
    add("/search", search, "GET", "HEAD", "POST")
    add("/media/{key}", media, "GET", "HEAD")
    add("/compare", compare, "GET", "HEAD", "POST")
    add("/status", status, "GET", "HEAD")
    add("/status.json", numbers, "GET")
    add("/static/{name}", asset, "GET", "HEAD")
    return routes


# --- the pages -----------------------------------------------------------------------------------


async def _searched(service: Serves, attend: Attend, request: Request) -> Response:
    fields, example, wrong = request.query_params.multi_items(), None, None
    if request.method == "POST":
        fields, example, wrong = await _sent(request)
    asked, kinds = Asked(request, fields, "search"), kinds_of(service)
    if wrong is not None:
        asked.refuse(wrong)
    form = read(asked, lambda given: search_form(given, kinds), SearchForm())
    made = None
    if form.query or form.like or example:
        made = await result(asked, lambda: attend(request, partial(found, service, form, example)))
    able = has_reranker(service)
    return asked.page(
        "search.html",
        kinds=kinds,
        has_media=service.state().media,
        most=MOST_EXAMPLE >> 20,
        example=example.name if example else "",
        like=form.like or "",
        by_example=bool(example or form.like),
        rows=made.rows if made else [],
        beside=made.beside if made else 0,
        has_reranker=able,
        # Who has not asked yet is offered the better order.
        rerank=made.rerank if made else form.rerank or (able and not asked.given.get("q")),
        is_narrowed=bool(form.instruction or form.path or form.kind or asked.problem),
        passages=made.passages if made else None,
        ms=made.ms if made else 0,
    )


async def _sent(
    request: Request,
) -> tuple[list[tuple[str, str]], Example | None, FormError | Refusal | None]:
    """The fields and the example of a form that is sent, or what is wrong with it."""
    parts = await parts_of(request, MOST_EXAMPLE + _FIELDS) if is_upload(request) else []
    if parts is None:
        return [], None, Refusal(413, "too_large", "the form is too large, or none", "send less")
    try:
        fields, example = example_in(parts)
    except FormError as error:
        return [], None, error
    return fields, example, None if example else FormError("no_example")


async def _shown(service: Serves, attend: Attend, request: Request, key: str) -> Response:
    """A thumbnail or a sound; what it is called says what it is, as it was made here."""
    try:
        shown = await attend(request, lambda caller: service.shown(key))
    except Refusal as refusal:
        return Response(refusal.reason, refusal.status, media_type="text/plain")
    kept = {"Cache-Control": "private, max-age=600", "Content-Disposition": "inline"}
    return Response(shown.data, media_type=shown.type, headers=kept)


async def _compared(service: Serves, attend: Attend, request: Request) -> Response:
    fields = request.query_params.multi_items()
    too_large = False
    if request.method == "POST":
        sent = await posted(request)
        too_large = sent is None
        fields += sent or []
    asked = Asked(request, fields, "compare")
    if too_large:
        asked.refuse(Refusal(413, "too_large", "the form is too large", "send less"))
    form = read(asked, compare_form, CompareForm())
    cards = service.cards()
    if not any(name[:2] in ("a_", "b_") for name in asked.given):
        a, b = usual_sides(cards)
        form = replace(form, a=a, b=b)
    made = None
    if form.query:
        made = await result(asked, lambda: attend(request, partial(compared, service, form)))
    return asked.page(
        "compare.html",
        cards=cards,
        precisions=PRECISIONS,
        widths=sorted({dim for card in cards if card.kind == "embedder" for dim in card.dims}),
        has_index=service.state().index,
        most=MOST_TEXTS,
        a=form.a,
        b=form.b,
        depth=min(10, len(made.texts) // 2) if made else 0,
        result=made.result if made else None,
        texts=made.texts if made else [],
        labels=made.places if made else [],
        scoring_a=made.scoring_a if made else None,
        scoring_b=made.scoring_b if made else None,
    )


def _status(service: Serves, request: Request, uptime: float) -> Response:
    asked = Asked(request, request.query_params.multi_items(), "status")
    unknown = [name for name in asked.given if name != "lang"]
    if unknown:
        asked.refuse(FormError("unknown_field"))
    return asked.page(
        "status.html",
        cards=service.cards(),
        now=(now := shown(figures(service.state(), uptime))),
        loads=now["loads"],
        limits=limits(service.settings),
        every=EVERY_S,
    )
