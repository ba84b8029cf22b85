"""The shapes of others: each module has a `router` over the service and a `refusal` in its own words."""

from __future__ import annotations

from typing import Protocol

from fastapi import APIRouter
from starlette.responses import Response

from lingxi.serve.attend import Attend
from lingxi.serve.dialects import cohere, openai, own, rerank, tei, vllm
from lingxi.serve.refusal import Refusal
from lingxi.serve.service import Service


class Dialect(Protocol):
    """A module of this folder."""

    def router(self, service: Service, attend: Attend) -> APIRouter:
        """The dialect's routes."""

    def refusal(self, error: Refusal) -> Response:
        """A refusal in the dialect's shape."""


# The first that has a path answers it; the last one's shape is that of unknown paths.
DIALECTS: tuple[Dialect, ...] = (own, cohere, rerank, vllm, tei, openai)
