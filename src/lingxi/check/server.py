"""A server as a reference: found out what it speaks, asked in small batches, its refusals in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np

from lingxi import prompts
from lingxi.asking import NoAnswerError, asked
from lingxi.check.dialects import EMBEDDERS, PATHS, RERANKERS, Dialect
from lingxi.check.references import Reference
from lingxi.check.report import LOSSY, Values
from lingxi.check.subject import Subject, rendered
from lingxi.embedder import Embedder
from lingxi.errors import InputError
from lingxi.model.golden import GoldenText

Instructions = Literal["text", "server"]
_BATCH = 8
# A vector of 4,096 numbers takes 100 KB as text; nothing asked for here takes more.
_MOST = 64_000_000


@dataclass(frozen=True, slots=True)
class Asking:
    """How a server is asked. `dialect` None: found out. `instructions`: who puts them before a query, the
    `text` sent or the `server` (None: the dialect's custom). `served` is the model's name there.
    """

    dialect: str | None = None
    instructions: str | None = None
    served: str | None = None
    token: str | None = None
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server whose dialect is known."""

    url: str
    dialect: Dialect
    model: str
    asking: Asking

    def ask(self, body: Mapping[str, Any], count: int) -> Values:
        """Vectors [count, width] or scores [count]; raises NoAnswerError in words."""
        return _ask(self.url + self.dialect.path, body, self.dialect, count, self.asking)

    @property
    def instructs(self) -> bool:
        """Whether the server is to put the instruction before a query."""
        said = self.asking.instructions
        return self.dialect.own if said is None else said == "server"

    def vectors(self, texts: Sequence[GoldenText], fields: Mapping[str, Any] | None = None) -> Values:
        """Vectors of texts, neighbours of one kind together."""
        assert self.dialect.vectors is not None
        parts = []
        for task, group in groupby(texts, key=lambda t: t.task):
            same = list(group)
            # A named prompt is the model's own; another task is always said in the text.
            asks = self.instructs and task is not None and _says(self.dialect, task)
            extra = self.dialect.instructed(task) if asks and task and self.dialect.instructed else {}
            plain = [t.text if asks else rendered(t) for t in same]
            for i in range(0, len(plain), _BATCH):
                body = self.dialect.vectors(self.model, plain[i : i + _BATCH])
                parts.append(self.ask({**body, **extra, **(fields or {})}, len(plain[i : i + _BATCH])))
        if len({part.shape[1] for part in parts}) > 1:
            raise InputError(f"{self.url}: vectors of several widths", "ask a server of one model")
        return np.concatenate(parts)

    def scores(self, texts: Sequence[GoldenText]) -> Values:
        """Scores of pairs, the documents of one query in one request."""
        assert self.dialect.scores is not None
        parts = []
        for (query, task), group in groupby(texts, key=lambda t: (t.query or "", t.task)):
            documents = [t.text for t in group]
            other = task if task != prompts.DEFAULT_TASK else None
            extra = self.dialect.instructed(other) if other and self.dialect.instructed else {}
            body = self.dialect.scores(self.model, query, documents)
            parts.append(self.ask({**body, **extra}, len(documents)))
        return np.concatenate(parts)

    def narrow(self, texts: Sequence[GoldenText], width: int) -> Values:
        """Vectors of `width` dimensions, by the field `dimensions`."""
        return self.vectors(texts, {"dimensions": width})


def _says(dialect: Dialect, task: str) -> bool:
    """Whether the dialect has words for that instruction: TEI names the model's own prompt alone."""
    return dialect.name != "tei" or task == prompts.DEFAULT_TASK


def _prompted(subject: Subject) -> bool:
    """Whether a server that is asked for the model's own query prompt puts the one golden queries have."""
    model = subject.model
    return not isinstance(model, Embedder) or model.prompts["query"] == prompts.query_prefix()


def server_reference(subject: Subject, url: str, asking: Asking) -> Reference:
    """A server as a reference; raises InputError in words where it is not there or not understood."""
    if asking.instructions is None and not _prompted(subject):
        asking = replace(asking, instructions="text")
    server = _found(subject, url, asking)
    name = f"{server.url}{server.dialect.path} ({server.dialect.name})"
    if subject.kind == "reranker":
        return Reference(
            name, server.scores, LOSSY, threads=True, tasks=server.dialect.instructed is not None
        )
    return Reference(name, server.vectors, LOSSY, narrow=server.narrow, threads=True)


def _found(subject: Subject, url: str, asking: Asking) -> Server:
    """Ask in each dialect until one is understood; a server that is not there, or lets nobody in, ends it."""
    base = _base(url)
    model = asking.served or _served(base, asking) or subject.directory.resolve().name
    refused: list[str] = []
    for dialect in _dialects(subject.kind, asking.dialect):
        server = Server(base, dialect, model, asking)
        try:
            _try(server)
        except NoAnswerError as error:
            if error.status in (401, 403) or not error.said:
                raise
            refused.append(error.reason)
        else:
            return server
    raise InputError("; ".join(refused), "name the server's address and its dialect with --dialect")


def _try(server: Server) -> None:
    text = "The capital of China is Beijing."
    dialect = server.dialect
    if dialect.vectors is not None:
        server.ask(dialect.vectors(server.model, [text]), 1)
    elif dialect.scores is not None:
        server.ask(dialect.scores(server.model, "capital of China", [text, "Gravity"]), 2)


def _dialects(kind: str, name: str | None) -> list[Dialect]:
    known = EMBEDDERS if kind == "embedder" else RERANKERS
    found = [d for d in known if name in (None, d.name)]
    if not found:
        names = ", ".join(dict.fromkeys(d.name for d in known))
        raise InputError(f"no {kind} is asked in the dialect {name!r}", f"choose one of: {names}")
    return found


def _base(url: str) -> str:
    bare = url.rstrip("/")
    for path in PATHS:
        if bare.endswith(path):
            return bare.removesuffix(path)
    return bare


def _served(base: str, asking: Asking) -> str | None:
    """The first name of `/v1/models`, by which vLLM insists to be asked; None where there is no such list."""

    def first(answer: Any) -> str:
        """The id of the first model."""
        return str(answer["data"][0]["id"])

    try:
        return asked(
            f"{base}/v1/models",
            None,
            first,
            lacking="models",
            fix="",
            timeout=asking.timeout,
            key=asking.token,
            most=_MOST,
        )
    except NoAnswerError as error:
        if not error.said:
            raise NoAnswerError(error.reason, "start the server, or mend the address or --timeout") from None
        return None


def _ask(url: str, body: Mapping[str, Any], dialect: Dialect, count: int, asking: Asking) -> Values:
    lacking = "vectors" if dialect.vectors is not None else "scores"
    try:
        return asked(
            url,
            body,
            lambda answer: dialect.read(answer, count),
            lacking=lacking,
            fix="",
            timeout=asking.timeout,
            key=asking.token,
            most=_MOST,
        )
    except NoAnswerError as error:
        raise NoAnswerError(error.reason, _remedy(error), error.status, error.wait, error.said) from None


def _remedy(error: NoAnswerError) -> str:
    if error.status in (401, 403):
        return "give the server's token by --token-file FILE or in LINGXI_TOKEN"
    if not error.said:
        return "start the server, or mend the address or --timeout"
    return "see that the server speaks this dialect at this address, and serves the model"
