"""Templates to answers: every value escaped and harmless, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from starlette.responses import HTMLResponse, Response

from lingxi.errors import MissingExtraError
from lingxi.serve.pages.figures import thousands
from lingxi.serve.pages.words import Phrases

# Characters that act instead of being read: control characters but tab and newline, and those that
# turn the direction of what follows.
_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb]")
_HERE = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class AsTyped(str):
    """What a person typed, for the field it was typed into: escaped, and otherwise left as it is."""


def harmless(text: str) -> str:
    """Text with acting characters replaced by what they are called: ␛, or [U+202E]."""
    return _ACTING.sub(_name, text.replace("\r\n", "\n").replace("\r", "\n"))


def _name(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 32 else "␡" if code == 127 else f"[U+{code:04X}]"


def page(
    template: str, say: Phrases, root: str, status: int = 200, folder: Path | None = None, **values: Any
) -> HTMLResponse:
    """A template as an answer; `root` is the path that the application is mounted at."""
    return HTMLResponse(text(template, say, root, folder, **values), status, headers=headers(say))


def text(template: str, say: Phrases, root: str, folder: Path | None = None, **values: Any) -> str:
    """A template as text; `folder` holds templates beside those of this room."""
    found: str = templates(folder).get_template(template).render(say=say, root=root, asset=assets(), **values)
    return found


def headers(say: Phrases) -> dict[str, str]:
    """Headers of a page in a language."""
    return {"Content-Language": say.tag, "Cache-Control": "no-store"}


@cache
def templates(folder: Path | None = None) -> Any:
    """The Jinja environment; raises MissingExtraError without Jinja."""
    try:
        import jinja2
    except ImportError:
        raise MissingExtraError("jinja2", "serve", "the pages") from None
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_HERE / "templates", *([folder] if folder else [])]),
        autoescape=True,
        finalize=_finalized,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"thousands": thousands, "moment": _moment}
    return made


def _finalized(value: Any) -> Any:
    # What a macro made is finished already.
    is_done = isinstance(value, AsTyped) or hasattr(value, "__html__") or not isinstance(value, str)
    return value if is_done else harmless(value)


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


@cache
def assets() -> Mapping[str, str]:
    """Names of the files a page loads, with a mark of their content: a new version has a new address."""
    return {path.name: f"{path.name}?{_mark(path)}" for path in sorted((_HERE / "static").iterdir())}


def asset(name: str) -> Response:
    """One of those files, or 404."""
    if name not in assets():
        return Response(status_code=404)
    path = _HERE / "static" / name
    kept = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers=kept)


def _mark(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:12]
