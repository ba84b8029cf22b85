"""Fixtures of the tests of dialects: import what a file uses, and name it in `__all__`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from dialect_server import app_of, models, serving
from lingxi import Embedder


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server of the models that ship."""
    with serving(app_of()) as address:
        yield address


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A client of such a server, without a socket."""
    with TestClient(app_of()) as client:
        yield client


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    """The embedder it serves."""
    return models()[0]
