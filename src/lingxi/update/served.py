"""A release as an embedder: queries by its model, documents as the stored vectors were made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.embedder import Embedder
from lingxi.update import bridge
from lingxi.update.releases import BRIDGE, Release, folder_of

Open = Callable[[str], Embedder]


class Served:
    """What an `Index` is opened with: its fingerprint is that of the stored vectors' model.

    New queries stay comparable with old vectors (`objective`), over a map where that was needed, so documents
    keep going in as the stored ones did until the index is moved.
    """

    def __init__(self, home: Path, release: Release, open_model: Open = Embedder) -> None:
        self.release = release
        self._queries = open_model(release.model)
        self._documents = self._queries if release.space == release.model else open_model(release.space)
        path = folder_of(home, release.number) / BRIDGE
        self._bridge = bridge.load(path) if release.bridged else None
        self.name = f"{Path(home).name} release {release.number}"

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._documents.dim

    def encode_document(
        self, inputs: list[str], *, show_progress_bar: bool | None = None
    ) -> NDArray[np.float32]:
        """Unit vectors [n, dim] of documents, as the stored ones are."""
        return np.asarray(self._documents.encode_document(inputs, show_progress_bar=show_progress_bar))

    def encode_query(self, inputs: list[str], *, instruction: str | None = None) -> NDArray[Any]:
        """Unit vectors [n, dim] of queries, to be compared with stored documents."""
        found = self._queries.encode_query(inputs, instruction=instruction)
        if self._bridge is None:
            return found
        return self._bridge.queries(np.atleast_2d(found)).reshape(found.shape)

    def fingerprint(self) -> dict[str, str | int]:
        """What a stored vector depends on."""
        return self._documents.fingerprint()
