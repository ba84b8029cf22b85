"""Code of one repository that is served: its index brought up to date at the start, then only read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from lingxi.apps.code import CodeAnswer, CodeIndex
from lingxi.apps.served.settings import CodeApp
from lingxi.errors import StoreError
from lingxi.index.build import Embeds

LOG = logging.getLogger("lingxi.serve")


@dataclass(frozen=True, slots=True)
class Coder:
    """The application, opened; `languages` are those that the repository has."""

    index: CodeIndex
    languages: tuple[str, ...]

    def found(
        self,
        query: str,
        embedder: Embeds | None = None,
        *,
        top_k: int = 10,
        languages: Sequence[str] = (),
        paths: Sequence[str] = (),
    ) -> CodeAnswer:
        """`CodeIndex.search`, by another face of its model where one is given; raises as it does."""
        index = self.index.asked_by(embedder) if embedder else self.index
        return index.search(query, top_k, languages=languages, paths=paths)


def open_coder(app: CodeApp, embedder: Embeds) -> Coder:
    """The repository's index, brought up to date.

    Where another process brings it up to date at the same time, what it writes is seen as it comes. Raises
    InputError for a folder that is not there, StoreError for an index of another model.
    """
    index = CodeIndex.open(app.repository, app.index, embedder)
    try:
        report = index.update()
        LOG.info("code: %d files, %d units, %.1f s", report.added, report.units, report.seconds)
    except StoreError as error:
        if not index.is_indexed():
            raise
        LOG.warning("code: not brought up to date (%s)", error.reason)
    return Coder(index, index.languages())
