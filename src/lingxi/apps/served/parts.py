"""Forms with files as the pages of the applications take them: files as their text."""

from __future__ import annotations

from starlette.requests import Request

from lingxi.serve.pages import uploads
from lingxi.serve.pages.frame import posted


async def parts_of(request: Request, most: int) -> list[tuple[str, str]] | None:
    """The fields of a form, files as their text; None for one that is too large or no form.

    Bytes that are not UTF-8 become U+FFFD: whoever reads the text sees where.
    """
    if not uploads.is_upload(request):
        return await posted(request, most)
    found = await uploads.parts_of(request, most)
    return None if found is None else [(part.name, part.data.decode("utf-8", "replace")) for part in found]


def read_parts(stated: str, body: bytes) -> list[tuple[str, str]] | None:
    """The fields of a body of that content type, None where it is none."""
    found = uploads.read_parts(stated, body)
    return None if found is None else [(part.name, part.data.decode("utf-8", "replace")) for part in found]
