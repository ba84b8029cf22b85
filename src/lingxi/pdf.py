"""Pages of PDF files as pictures, by pdfium: bounded in number and size, without scripts, nothing fetched.

A PDF of a stranger is opened as any picture of one: its JavaScript is not run (the library is built without
it), forms are not filled in, files within it are not opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from lingxi.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a PDF is drawn: bytes of the file, pages, and the longer side of a page in pixels."""

    most_bytes: int = 100_000_000
    most_pages: int = 1000
    side: int = 1280


LIMITS = Limits()
# pdfium is not made for several threads.
_ALONE = Lock()


def pages_in(path: str | Path, limits: Limits = LIMITS) -> int:
    """How many pages a PDF has; raises InputError for a damaged or locked one, or more than may be drawn."""
    with _opened(Path(path), limits) as document:
        return len(document)


def page_picture(path: str | Path, number: int, limits: Limits = LIMITS) -> Image:
    """Page `number`, from 1, as an RGB picture on white whose longer side has `limits.side` pixels.

    Raises InputError as `pages_in`, and for a page that there is not or that cannot be drawn;
    MissingExtraError without pypdfium2.
    """
    with _opened(Path(path), limits) as document:
        if not 1 <= number <= len(document):
            raise InputError(f"{path}: no page {number}", f"it has {len(document)} pages")
        try:
            return _drawn(document[number - 1], limits.side).convert("RGB")
        except Exception as error:  # a damaged page fails anywhere in the renderer
            reason = f"{path} page {number}: cannot be drawn ({error})"
            raise InputError(reason, "save the PDF anew") from None


def _drawn(page: Any, side: int) -> Image:
    width, height = page.get_size()
    # A page of no size, or one as long as a wall, is drawn all the same, but not larger than others.
    scale = side / max(width, height, 1.0)
    picture: Image = page.render(scale=scale, may_draw_forms=False).to_pil()
    return picture


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[Any]:
    library = _pdfium()
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    if size > limits.most_bytes:
        raise InputError(f"{path}: more than {limits.most_bytes:,} bytes", "send a smaller file")
    with _ALONE:
        document = _document(library, path)
        try:
            if not 1 <= len(document) <= limits.most_pages:
                most = f"split it: 1 to {limits.most_pages:,} are drawn"
                raise InputError(f"{path}: {len(document):,} pages", most)
            yield document
        finally:
            document.close()


def _document(library: Any, path: Path) -> Any:
    try:
        return library.PdfDocument(path)
    except library.PdfiumError as error:
        locked = "password" in str(error).lower()
        why = "it asks for a password" if locked else f"the PDF is damaged ({error})"
        raise InputError(f"{path}: {why}", "save it anew, without a password") from None


def _pdfium() -> Any:
    try:
        import pypdfium2  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError("pypdfium2", "pages", "drawing pages of a PDF") from None
    return pypdfium2
