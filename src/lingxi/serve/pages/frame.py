"""What every page does: read what was asked, choose the language, say what is wrong, put it in the frame."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import Response

from lingxi.errors import InputError
from lingxi.serve.pages import render
from lingxi.serve.pages.forms import Fields, FormError, told
from lingxi.serve.pages.front import BELOW
from lingxi.serve.pages.words import Pair, Phrases, choose_language
from lingxi.serve.refusal import Refusal

T = TypeVar("T")
_LARGEST_FORM = 300_000
_FORM = "application/x-www-form-urlencoded"
# Fields that no address can hold.
_LONG = ("lang", "texts", "left", "right", "seeds", "turn")


class Asked:
    """A request of a page: its fields, the language, and what the frame of the page needs.

    `words` are the phrases that the page has beside those of all, `folder` where its own templates lie.
    """

    def __init__(
        self,
        request: Request,
        fields: Fields,
        here: str,
        words: Mapping[str, Pair] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.fields = fields
        self.given = dict(fields)
        self.folder = folder
        self.problem, self.status, self.headers = "", 200, dict[str, str]()
        lang = self.given.get("lang")
        accepted = request.headers.get("accept-language", "")
        try:
            self.say = Phrases(choose_language(lang, accepted), words)
        except InputError:
            self.say, lang = Phrases(choose_language(None, accepted), words), None
            self.refuse(FormError("bad_choice", "language"))
        root = request.scope.get("root_path", "")
        other = "en" if self.say.language == "zh" else "zh"
        kept = [(k, v) for k, v in fields if k not in _LONG and v]
        self.frame = {
            "root": root,
            "here": here,
            "pages": {name: self.say.of(pair) for name, pair in request.app.state.pages.items()},
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
        answer = render.page(
            template, self.say, status=self.status, folder=self.folder, **self.values(**values)
        )
        answer.headers.update(self.headers)
        return answer

    def values(self, **values: Any) -> dict[str, Any]:
        """What a template is given: some values, what was asked, what is wrong, and the frame."""
        given = dict.fromkeys(("q", "instruction", "path", "kind", "n", "texts", "source"), "")
        given |= {name: render.AsTyped(value) for name, value in self.given.items()}
        return {**values, "given": given, "problem": self.problem, **self.frame}


def _reason(error: Refusal) -> Mapping[str, str]:
    return {"reason": f"{error.reason}; {error.remedy}"} if error.kind == "invalid_input" else {}


async def result(asked: Asked, make: Callable[[], Awaitable[T]]) -> T | None:
    """What `make` gives, or None with the reason kept."""
    if asked.problem:
        return None
    try:
        return await make()
    except (FormError, Refusal) as error:
        asked.refuse(error)
        return None


def read(asked: Asked, form: Callable[[Fields], T], otherwise: T) -> T:
    """What a form reads out of the fields, or `otherwise` with the reason kept."""
    try:
        return form(asked.fields)
    except FormError as error:
        asked.refuse(error)
        return otherwise


async def posted(
    request: Request, most: int = _LARGEST_FORM, fields: int = 20
) -> list[tuple[str, str]] | None:
    """The fields of a form, None for one that is too large or no form."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return None
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most:
            return None
    try:
        return parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=fields)
    except ValueError:
        return None
