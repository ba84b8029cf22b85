"""The addresses of the pages: `/ui/search`, `/ui/compare`, `/ui/status` and what they load."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from lingxi.errors import InputError
from lingxi.serve.attend import Attend, attending
from lingxi.serve.pages import render
from lingxi.serve.pages.asked import Serves
from lingxi.serve.pages.comparing import compared, usual_sides
from lingxi.serve.pages.figures import EVERY_S, figures, limits, shown
from lingxi.serve.pages.forms import (
    KINDS,
    MOST_TEXTS,
    CompareForm,
    Fields,
    FormError,
    SearchForm,
    compare_form,
    search_form,
    told,
)
from lingxi.serve.pages.front import BELOW, Front
from lingxi.serve.pages.searching import found, has_reranker
from lingxi.serve.pages.words import Phrases, choose_language
from lingxi.serve.refusal import Refusal
from lingxi.vectors import PRECISIONS

T = TypeVar("T")
_LARGEST_FORM = 300_000
_FORM = "application/x-www-form-urlencoded"


def install(app: FastAPI, service: Serves) -> None:
    """Put the pages into an application."""
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
    add("/search", search, "GET", "HEAD")
    add("/compare", compare, "GET", "HEAD", "POST")
    add("/status", status, "GET", "HEAD")
    add("/status.json", numbers, "GET")
    add("/static/{name}", asset, "GET", "HEAD")
    return routes


# --- what every page does ------------------------------------------------------------------------


class _Asked:
    """A request of a page: its fields, the language, and what the frame of the page needs."""

    def __init__(self, request: Request, fields: Fields, here: str) -> None:
        self.fields = fields
        self.given = dict(fields)
        self.problem, self.status, self.headers = "", 200, dict[str, str]()
        lang = self.given.get("lang")
        accepted = request.headers.get("accept-language", "")
        try:
            self.say = Phrases(choose_language(lang, accepted))
        except InputError:
            self.say, lang = Phrases(choose_language(None, accepted)), None
            self.refuse(FormError("bad_choice", "language"))
        root = request.scope.get("root_path", "")
        other = "en" if self.say.language == "zh" else "zh"
        # A long list of texts does not fit an address.
        kept = [(k, v) for k, v in fields if k not in ("lang", "texts") and v]
        self.frame = {
            "root": root,
            "here": here,
            "lang": lang,
            "lang_only": f"?lang={lang}" if lang else "",
            "switch": f"{root}{BELOW}/{here}?{urlencode([*kept, ('lang', other)], errors='replace')}",
        }

    def refuse(self, error: FormError | Refusal) -> None:
        """Keep what is wrong, for the page to say."""
        if isinstance(error, FormError):
            self.status, self.problem = 400, told(error, self.say)
            return
        self.status = error.status
        no_index = error.kind == "not_found" and error.param != "model"
        self.problem = (
            self.say("no_index") if no_index else self.say(f"refused_{error.kind}", **_reason(error))
        )
        if error.retry_after is not None:
            self.headers["Retry-After"] = str(math.ceil(error.retry_after))

    def page(self, template: str, **values: Any) -> Response:
        """The page with what was asked and what is wrong."""
        given = dict.fromkeys(("q", "instruction", "path", "kind", "n", "texts", "source"), "")
        given |= {name: render.AsTyped(value) for name, value in self.given.items()}
        values |= {
            "given": given,
            "problem": self.problem,
            **self.frame,
        }
        answer = render.page(template, self.say, status=self.status, **values)
        answer.headers.update(self.headers)
        return answer


def _reason(error: Refusal) -> Mapping[str, str]:
    return {"reason": f"{error.reason}; {error.remedy}"} if error.kind == "invalid_input" else {}


async def _result(asked: _Asked, make: Callable[[], Awaitable[T]]) -> T | None:
    """What `make` gives, or None with the reason kept."""
    if asked.problem:
        return None
    try:
        return await make()
    except (FormError, Refusal) as error:
        asked.refuse(error)
        return None


def _read(asked: _Asked, read: Callable[[Fields], T], otherwise: T) -> T:
    try:
        return read(asked.fields)
    except FormError as error:
        asked.refuse(error)
        return otherwise


# --- the pages -----------------------------------------------------------------------------------


async def _searched(service: Serves, attend: Attend, request: Request) -> Response:
    asked = _Asked(request, request.query_params.multi_items(), "search")
    form = _read(asked, search_form, SearchForm())
    result = None
    if form.query:
        result = await _result(asked, lambda: attend(request, partial(found, service, form)))
    able = has_reranker(service)
    return asked.page(
        "search.html",
        kinds=KINDS,
        has_reranker=able,
        # Who has not asked yet is offered the better order.
        rerank=result.rerank if result else form.rerank or (able and not asked.given.get("q")),
        is_narrowed=bool(form.instruction or form.path or form.kind or asked.problem),
        passages=result.passages if result else None,
        ms=result.ms if result else 0,
    )


async def _compared(service: Serves, attend: Attend, request: Request) -> Response:
    fields = request.query_params.multi_items()
    too_large = False
    if request.method == "POST":
        posted = await _posted(request)
        too_large = posted is None
        fields += posted or []
    asked = _Asked(request, fields, "compare")
    if too_large:
        asked.refuse(Refusal(413, "too_large", "the form is too large", "send less"))
    form = _read(asked, compare_form, CompareForm())
    cards = service.cards()
    if not any(name[:2] in ("a_", "b_") for name in asked.given):
        a, b = usual_sides(cards)
        form = replace(form, a=a, b=b)
    result = None
    if form.query:
        result = await _result(asked, lambda: attend(request, partial(compared, service, form)))
    return asked.page(
        "compare.html",
        cards=cards,
        precisions=PRECISIONS,
        widths=sorted({dim for card in cards if card.kind == "embedder" for dim in card.dims}),
        has_index=service.state().index,
        most=MOST_TEXTS,
        a=form.a,
        b=form.b,
        depth=min(10, len(result.texts) // 2) if result else 0,
        result=result.result if result else None,
        texts=result.texts if result else [],
        labels=result.places if result else [],
        scoring_a=result.scoring_a if result else None,
        scoring_b=result.scoring_b if result else None,
    )


async def _posted(request: Request) -> list[tuple[str, str]] | None:
    """The fields of a form, None for one that is too large or no form."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return None
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_FORM:
            return None
    try:
        return parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return None


def _status(service: Serves, request: Request, uptime: float) -> Response:
    asked = _Asked(request, request.query_params.multi_items(), "status")
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
