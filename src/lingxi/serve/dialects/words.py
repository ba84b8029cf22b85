"""Voyage's and Jina's words of `/v1/embeddings`, said in those of that path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lingxi.serve.refusal import invalid

_TASKS = {"retrieval.query": "query", "retrieval.passage": "document"}
_KINDS = ("int8", "uint8", "binary", "ubinary")


def others_words(body: Any) -> Any:
    """A body of Voyage's or Jina's fields with the fields that say the same here.

    Voyage: `output_dimension`, `output_dtype`, `truncation`. Jina: `task`, `embedding_type`, `truncate`,
    `normalized`, `late_chunking`. Raises Refusal 400 for what has no equal here. A field that is said in
    both words stays, and is refused as not known.
    """
    if not isinstance(body, dict):
        return body
    out = dict(body)
    _renamed(out, "output_dimension", "dimensions")
    _renamed(out, "task", "input_type", _task)
    _renamed(out, "output_dtype", "embed_dtype", lambda kind: "float32" if kind == "float" else kind)
    _typed(out)
    _cut(out)
    _left_out(out, "normalized", True, "leave it out: vectors are of unit length")
    _left_out(out, "late_chunking", False, "leave it out, or ask /segment, which chunks late")
    return out


def _renamed(
    body: dict[str, Any], name: str, ours: str, said: Callable[[Any], Any] = lambda value: value
) -> None:
    if name in body and body.get(ours) is None:
        value = body.pop(name)
        if value is not None:
            body[ours] = said(value)


def _task(task: Any) -> Any:
    """Jina's task as an `input_type`; a symmetric task is an instruction, which has to be said."""
    if isinstance(task, str) and task not in _TASKS:
        known = ", ".join(_TASKS)
        raise invalid(
            f"task {task[:60]!r} is none that the model was taught", f"say {known} or instruction", "task"
        )
    return _TASKS.get(task, task) if isinstance(task, str) else task


def _typed(body: dict[str, Any]) -> None:
    kind = body.get("embedding_type")
    if "embedding_type" in body and kind in (None, "float", "base64", *_KINDS):
        del body["embedding_type"]
        if kind is not None:
            body.setdefault("embed_dtype" if kind in _KINDS else "encoding_format", kind)


def _cut(body: dict[str, Any]) -> None:
    """Both let a long text be cut or refuse it; refusing is the default of the path."""
    for name in ("truncation", "truncate"):
        if name in body and (body[name] is None or isinstance(body[name], bool)) and body.pop(name):
            body.setdefault("truncate_prompt_tokens", -1)


def _left_out(body: dict[str, Any], name: str, usual: bool, why: str) -> None:
    if name in body and body.pop(name) not in (None, usual):
        raise invalid(f"{name} is {not usual}".lower(), why, name)
