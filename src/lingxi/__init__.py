"""lingxi (灵犀): the whole life of Qwen3-style embedding and reranking models.

The public names, listed once. They are loaded when first used, so `import lingxi` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lingxi.client import AsyncClient, Client
    from lingxi.embedder import Embedder
    from lingxi.errors import LingxiError, LingxiWarning
    from lingxi.index import Index
    from lingxi.reranker import Reranker

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "Client",
    "Embedder",
    "Index",
    "LingxiError",
    "LingxiWarning",
    "Reranker",
    "__version__",
]

_HOMES = {
    "AsyncClient": "lingxi.client",
    "Client": "lingxi.client",
    "Embedder": "lingxi.embedder",
    "Index": "lingxi.index",
    "LingxiError": "lingxi.errors",
    "LingxiWarning": "lingxi.errors",
    "Reranker": "lingxi.reranker",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lingxi' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
