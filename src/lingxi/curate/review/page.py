"""The reviewer's page: a row at a time, a key for each verdict, the next when the last is on disk.

The picture or sound of an answer is shown as `lingxi.media.preview` makes it; nothing is fetched for a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from lingxi.curate.review.figures import kappa, precisions
from lingxi.curate.review.shown import Shown
from lingxi.curate.review.verdicts import REASONS, Verdicts, said_of
from lingxi.errors import InputError, MissingExtraError
from lingxi.media.preview import kind_of_file, of_file

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self'; media-src 'self'"
)
# Pixels: a reviewer is to see what is on the picture.
_SIDE = 900
_STATIC = Path(__file__).parent


def make_app(sample: Sequence[Shown], verdicts: Verdicts) -> Any:
    """The ASGI application of a review; raises MissingExtraError without FastAPI."""
    try:
        from fastapi import Body, FastAPI, HTTPException
        from fastapi.middleware.trustedhost import TrustedHostMiddleware
        from fastapi.responses import HTMLResponse, Response
    except ImportError:
        raise MissingExtraError("fastapi", "review", "the review page") from None
    app = FastAPI(title="lingxi review", docs_url=None, redoc_url=None, openapi_url=None)
    # Another site's name for this address must not reach the page.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "testserver"])
    known = {shown.id: shown.seen for shown in sample}
    media = {shown.id: shown.media for shown in sample if shown.media}

    @app.get("/", response_class=HTMLResponse)
    def page() -> HTMLResponse:
        return HTMLResponse(page_html(), headers={"Content-Security-Policy": _POLICY})

    @app.get("/rows/{reviewer}")
    def rows(reviewer: str) -> Mapping[str, Any]:
        return state(sample, verdicts, reviewer)

    @app.get("/media/{row}")
    def look(row: str) -> Response:
        try:
            found = of_file(media[row], _SIDE)
        except (KeyError, InputError, MissingExtraError):
            raise HTTPException(404, "there is no picture or sound that can be opened") from None
        return Response(found.data, media_type=found.type, headers={"X-Content-Type-Options": "nosniff"})

    # A JSON body is asked for, so that another site's form cannot give verdicts.
    @app.post("/verdicts")
    def say(said: dict[str, Any] = Body()) -> Mapping[str, Any]:
        if said.get("row") not in known:
            raise HTTPException(404, "no such row in this sample")
        try:
            verdicts.say(said_of({"seen": known[said["row"]], **said}))
        except InputError as problem:
            raise HTTPException(422, str(problem)) from None
        return state(sample, verdicts, str(said["reviewer"]))

    @app.post("/undo")
    def undo(said: dict[str, Any] = Body()) -> Mapping[str, Any]:
        verdicts.undo(str(said.get("reviewer")))
        return state(sample, verdicts, str(said.get("reviewer")))

    return app


def state(sample: Sequence[Shown], verdicts: Verdicts, reviewer: str) -> Mapping[str, Any]:
    """What the page shows: the next row without a verdict of this reviewer, progress, and the figures."""
    said = verdicts.all()
    own = {one.row for one in said if one.reviewer == reviewer}
    following = next((shown for shown in sample if shown.id not in own), None)
    agreement = kappa(said)
    return {
        "row": None if following is None else _told(following),
        "done": sum(shown.id in own for shown in sample),
        "total": len(sample),
        "figures": [asdict(found) for found in precisions(sample, said) if found.stratum.startswith("all ")],
        "kappa": None if agreement is None else round(agreement, 3),
    }


def _told(shown: Shown) -> Mapping[str, Any]:
    """A row as the page gets it: of a picture or sound what it is, and no place on the disk."""
    kind = kind_of_file(shown.media) if shown.media else None
    return {**asdict(shown), "seen": shown.seen, "media": kind}


def page_html() -> str:
    """The page; its texts come by JSON and are only ever set as text."""
    options = "".join(
        f'<button type="button" data-reason="{escape(reason)}">{number} {escape(reason)}</button>'
        for number, reason in enumerate(REASONS, 1)
    )
    return (_STATIC / "review.html").read_text("utf-8").replace("<!-- reasons -->", options)
