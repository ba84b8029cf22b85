"""A release as an embedder: new queries and new documents, comparable with what is stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.embedder import Embedder
from lingxi.update import bridge
from lingxi.update.releases import BRIDGE, Release, folder_of

Open = Callable[[str], Any]


class Served:
    """What an `Index` is opened with while its vectors are those of an earlier release.

    Its fingerprint is that of the stored vectors' model, the release's space. New vectors are comparable with
    old ones (`objective`), over a map where that was needed (`bridge`), so what comes in is embedded by the
    new model, and what is there may stay.
    """

    def __init__(self, home: Path, release: Release, open_model: Open = Embedder) -> None:
        self.release = release
        self._model = open_model(release.model)
        same = release.space == release.model
        self._stored: dict[str, str | int] = (
            self._model if same else open_model(release.space)
        ).fingerprint()
        path = folder_of(home, release.number) / BRIDGE
        self._bridge = bridge.load(path) if release.bridged else None
        self.name = f"{Path(home).name} release {release.number}"

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._model.dim)

    def encode_document(
        self, inputs: list[str], *, show_progress_bar: bool | None = None
    ) -> NDArray[np.float32]:
        """Unit vectors [n, dim] of documents, to stand among stored ones."""
        found = np.asarray(self._model.encode_document(inputs, show_progress_bar=show_progress_bar))
        return found if self._bridge is None else self._bridge.documents(found)

    def encode_query(self, inputs: Any, *, instruction: str | None = None) -> NDArray[Any]:
        """Unit vectors [n, dim] of queries (or [dim] of one string), to be compared with stored documents."""
        found = np.asarray(self._model.encode_query(inputs, instruction=instruction))
        if self._bridge is None:
            return found
        return self._bridge.queries(np.atleast_2d(found)).reshape(found.shape)

    def fingerprint(self) -> dict[str, str | int]:
        """What the stored vectors depend on."""
        return self._stored
