"""Encoders of every kind: our own models, sentence-transformers' directories, packages, servers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lingxi import prompts
from lingxi.asking import asked, endpoint
from lingxi.embedder import Embedder
from lingxi.errors import MissingExtraError
from lingxi.evaluate.systems import Matrix
from lingxi.manifest import hash_code, hash_file
from lingxi.vectors import cut

# Texts in one request to a server, within OpenAI's limit of 2,048.
_REQUEST = 256

Calls = Callable[[list[str]], Any]


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What a model wants before its texts. `instructed` models get the task in Qwen3's form as well."""

    query: str = ""
    document: str = ""
    instructed: bool = False

    def render(self, texts: Sequence[str], instruction: str | None) -> list[str]:
        """The texts as the model reads them; documents have no instruction."""
        if instruction is None:
            return [self.document + text for text in texts]
        if self.instructed:
            return [prompts.query(text, instruction) for text in texts]
        return [self.query + text for text in texts]


class Own:
    """One of our models; queries carry the instruction, as in the Qwen3 authors' protocol."""

    def __init__(self, embedder: Embedder, name: str | None = None) -> None:
        self._embedder = embedder
        self.name = name or Path(embedder.name).name
        computed = hash_code("model", "engine", "embedder", "prompts")
        self.fingerprint = _digest("own", embedder.fingerprint(), embedder.max_seq_length, computed)

    def encode(self, texts: Sequence[str], instruction: str | None) -> Matrix:
        """Unit vectors [n, dim]."""
        return np.asarray(self._embedder.encode(list(texts), instruction=instruction), np.float32)


class Averaged:
    """The mean of a model's token vectors, each of unit length: what was there before networks."""

    def __init__(self, embedder: Embedder) -> None:
        self._tokenizer = embedder.tokenizer
        self._vectors = cut(embedder.token_vectors, embedder.token_vectors.shape[1])
        self.name = f"averaged {Path(embedder.name).name}"
        self.fingerprint = _digest("averaged", embedder.fingerprint())

    def encode(self, texts: Sequence[str], instruction: str | None) -> Matrix:
        """Unit vectors [n, hidden]; an instruction is no part of them."""
        means = [
            self._vectors[ids].mean(axis=0) if ids else np.zeros(self._vectors.shape[1])
            for ids in self._tokenizer.texts(list(texts))
        ]
        return cut(np.asarray(means, np.float32), self._vectors.shape[1])


class SentenceTransformers:
    """A directory that sentence-transformers loads, with its prefixes and its own pooling, 512 tokens."""

    def __init__(self, path: Path, name: str, prefixes: Prefixes) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise MissingExtraError("sentence-transformers", "peers", f"measuring {path}") from None
        self._model = SentenceTransformer(str(path), device="cpu", local_files_only=True)
        self._model.max_seq_length = min(self._model.max_seq_length or 512, 512)
        self._prefixes = prefixes
        self.name = name
        self.fingerprint = _digest("st", prefixes, hash_file(path))

    def encode(self, texts: Sequence[str], instruction: str | None) -> Matrix:
        """Unit vectors [n, dim]."""
        rendered = self._prefixes.render(texts, instruction)
        found = self._model.encode(rendered, batch_size=64, show_progress_bar=False)
        return cut(np.asarray(found, np.float32), found.shape[1])


class Called:
    """Functions from texts to vectors, such as a package offers: one for queries, one for documents."""

    def __init__(self, name: str, version: str, queries: Calls, documents: Calls | None = None) -> None:
        self._queries, self._documents = queries, documents or queries
        self.name = name
        self.fingerprint = _digest("called", name, version)

    def encode(self, texts: Sequence[str], instruction: str | None) -> Matrix:
        """Unit vectors [n, dim]."""
        call = self._documents if instruction is None else self._queries
        found = np.asarray(call(list(texts)), np.float32)
        return cut(found, found.shape[1])


class Served:
    """A model behind an URL that speaks OpenAI's `/v1/embeddings`."""

    def __init__(self, url: str, model: str, prefixes: Prefixes, key: str | None = None) -> None:
        self._url = endpoint(url, "/embeddings")
        self._model = model
        self._prefixes = prefixes
        self._key = key
        self.name = model
        # A name says nothing of what a server runs today: the vector of one text does.
        probe = self._ask(["lingxi"])
        self.fingerprint = _digest("served", self._url, model, prefixes, probe.round(4).tolist())

    def encode(self, texts: Sequence[str], instruction: str | None) -> Matrix:
        """Unit vectors [n, dim]; raises InputError where the server cannot be reached or refuses."""
        rendered = self._prefixes.render(texts, instruction)
        parts = [self._ask(rendered[i : i + _REQUEST]) for i in range(0, len(rendered), _REQUEST)]
        found = np.concatenate(parts)
        return cut(found, found.shape[1])

    def _ask(self, texts: list[str]) -> Matrix:
        # An empty string is no input in this dialect.
        body = {"model": self._model, "input": [text or " " for text in texts], "encoding_format": "float"}
        return asked(
            self._url,
            body,
            lambda answer: _vectors_of(answer, len(texts)),
            lacking="embeddings",
            fix="check that the server runs and serves this model",
            timeout=600,
            key=self._key,
        )


def _vectors_of(answer: Any, count: int) -> Matrix:
    rows = sorted(answer["data"], key=lambda row: row["index"])
    found = np.array([row["embedding"] for row in rows], np.float32)
    if found.ndim != 2 or len(found) != count:
        raise ValueError(f"{count} texts were sent, {len(found)} vectors came")
    return found


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
