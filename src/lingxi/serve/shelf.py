"""Pictures, sound and pages beside the passages of a served index, and what a browser gets to see of them.

Nothing of a file is given out as it is (`lingxi.media.preview`), and one that is not the file that was
indexed is not opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache

from lingxi.errors import InputError, MissingExtraError
from lingxi.index.media import MediaFile, MediaHit, MediaIndex
from lingxi.index.media_files import check_unchanged, picture_in
from lingxi.media.preview import SIDE, Preview, of_file, of_picture
from lingxi.parse.walk import is_below
from lingxi.serve.refusal import Refusal
from lingxi.vectors import Floats

# Pixels of a page's longer side (it is to be read a little), and how many pictures are kept made.
_PAGE, _KEPT = 720, 256


class Shelf:
    """The second half of an index for people who do not see the disk; `told` says a path as they see it."""

    def __init__(self, media: MediaIndex, told: Callable[[str], str]) -> None:
        self._media, self._told = media, told
        # One at a time, and no thread of texts: a large picture takes memory and time while it is decoded.
        self._pool = ThreadPoolExecutor(1, "lingxi-shown")
        self._picture = lru_cache(_KEPT)(_picture)

    def nearest(
        self, vector: Floats, *, top_k: int, kinds: Sequence[str] = (), below: Sequence[str] = ()
    ) -> list[MediaHit]:
        """Of each of some kinds the `top_k` nearest to a vector, `below` paths as hits show them."""
        self._media.refresh()

        def among(file: MediaFile) -> bool:
            return not below or any(is_below(self._told(file.path), place.rstrip("/")) for place in below)

        found = self._media.nearest(vector, top_k=top_k, kinds=kinds, among=among)
        return [replace(hit, path=self._told(hit.path)) for hit in found]

    def vector(self, key: str) -> Floats:
        """The vector [dim] of a hit's key; raises Refusal 404."""
        return self._of(key)[1]

    async def shown(self, key: str) -> Preview:
        """What a browser gets of a hit's key; raises Refusal 404 where it is gone, changed or damaged."""
        file = self._of(key)[0]
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._made, file)

    def close(self) -> None:
        """End the thread after what it is at."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _made(self, file: MediaFile) -> Preview:
        try:
            check_unchanged(file)
            # Sounds are large, and made in no time: they are not kept.
            return of_file(file.path) if file.kind == "audio" else self._picture(file)
        except (InputError, MissingExtraError):
            raise _gone("it is gone, has changed since, or cannot be opened") from None

    def _of(self, key: str) -> tuple[MediaFile, Floats]:
        try:
            return self._media.of_key(key)
        except InputError as error:
            raise _gone(error.reason) from None


def _gone(why: str) -> Refusal:
    return Refusal(404, "not_found", f"nothing to show: {why}", "search again", param="key")


def _picture(file: MediaFile) -> Preview:
    return of_picture(picture_in(file), _PAGE if file.kind == "page" else SIDE)
