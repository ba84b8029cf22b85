"""The reranker users hold: how likely a document meets a query and an instruction, 0 to 1."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.engine.devices import choose_device, choose_dtype
from lingxi.engine.run import pooled_states
from lingxi.errors import InputError, LingxiWarning
from lingxi.model.files import locate, read_answer_rows, read_decoder
from lingxi.model.layout import read_max_length
from lingxi.model.tokens import read_tokens
from lingxi.texts import checked, progress

DEFAULT_RERANKER = "lingxi-nano-reranker"
_MAX_LENGTH = 8192


class Reranker:
    """Query–document pairs to probabilities, with any Qwen3-Reranker directory or the shipped model.

    The score is sigmoid(logit(yes) − logit(no)) at the end of the published prompt. Documents of
    one query share the computation of everything before them. Raises ModelError where the model
    cannot be loaded.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        device: str | None = None,
        dtype: str | None = None,
        max_length: int | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        reference_specials: bool = False,
    ) -> None:
        self.name = str(path or DEFAULT_RERANKER)
        self.directory = locate(self.name, revision=revision, local_files_only=local_files_only)
        self.device = choose_device(device)
        self._decoder = read_decoder(self.directory, choose_dtype(dtype, self.device), self.device)
        size = self._decoder.size
        self.tokenizer = read_tokens(
            self.directory / "tokenizer.json", size.vocab, reference_specials=reference_specials
        )
        yes, no = self.tokenizer.answer("yes"), self.tokenizer.answer("no")
        self._row = read_answer_rows(self.directory, size, yes, no)
        self._prefix = self.tokenizer.prompt(prompts.RERANK_PREFIX)
        self._suffix = self.tokenizer.prompt(prompts.RERANK_SUFFIX)
        stated = read_max_length(self.directory) or _MAX_LENGTH
        self.max_length = _length(max_length, min(stated, size.max_positions), self._frame, size.max_positions)

    @property
    def _frame(self) -> int:
        return len(self._prefix) + len(self._suffix)

    def predict(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        instruction: str | None = None,
        show_progress_bar: bool | None = None,
    ) -> NDArray[np.float32]:
        """Probability [n] that each (query, document) pair is a match, in the order given.

        A pair longer than `max_length` tokens is cut at the document's end, never in the prompt,
        and said once as a warning. Raises InputError for an item that is not two strings.
        """
        listed = [_pair(index, pair) for index, pair in enumerate(pairs)]
        parts: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
        with progress(len(listed), show_progress_bar, "reranking") as done:
            # Neighbours with the same query share its computation.
            for query, group in groupby(listed, key=lambda pair: pair[0]):
                documents = [document for _, document in group]
                parts.append(_sigmoid(self._logits(query, documents, instruction, done)))
        return np.concatenate(parts)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_k: int | None = None,
        instruction: str | None = None,
        return_documents: bool = True,
    ) -> list[dict[str, Any]]:
        """The documents by falling score: `[{"corpus_id", "score", "text"}]`, at most `top_k`.

        Equal scores keep the order given. Raises InputError for a non-string or a `top_k` below 1.
        """
        if top_k is not None and top_k < 1:
            raise InputError(f"top_k is {top_k}", "choose 1 or more, or leave it out for all")
        if isinstance(documents, str):
            raise InputError("documents is one string", "pass a list of strings")
        scores = self.predict([(query, d) for d in documents], instruction=instruction)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [
            {"corpus_id": int(i), "score": float(scores[i])} | ({"text": documents[i]} if return_documents else {})
            for i in order
        ]

    def _logits(
        self, query: str, documents: Sequence[str], instruction: str | None, done: Any = None
    ) -> NDArray[np.float32]:
        task = prompts.DEFAULT_TASK if instruction is None else instruction
        bodies = self.tokenizer.texts([prompts.rerank_body(query, d, task) for d in documents])
        room = self.max_length - self._frame
        long = sum(len(body) > room for body in bodies)
        if long:
            warnings.warn(
                f"{long} of {len(documents)} query–document pairs are longer than {self.max_length} tokens; "
                "the end of the document was cut; split documents into segments to judge all of them",
                LingxiWarning,
                stacklevel=3,
            )
        sequences = [[*self._prefix, *body[:room], *self._suffix] for body in bodies]
        states = pooled_states(self._decoder, sequences, done=done)
        return np.asarray((states @ self._row.to(torch.float32)).numpy(), dtype=np.float32)


def _pair(index: int, pair: Any) -> tuple[str, str]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise InputError(f"item {index} is not a (query, document) pair", "pass pairs of strings")
    query, document = checked(pair)
    return query, document


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), dtype=np.float32)


def _length(asked: int | None, stated: int, frame: int, positions: int) -> int:
    if asked is None:
        return stated
    if not frame < asked <= positions:
        raise InputError(f"max_length is {asked}", f"choose from {frame + 1} (the prompt alone) to {positions}")
    return asked
