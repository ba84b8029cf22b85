"""The reranker users hold: how likely a document meets a query and an instruction, 0 to 1."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.engine.devices import choose_devices, choose_dtype
from lingxi.engine.opening import computed_weights, open_networks
from lingxi.engine.run import pooled_states
from lingxi.errors import InputError, LingxiWarning
from lingxi.model.files import hash_weights, locate, read_answer_rows, read_config
from lingxi.model.layout import read_max_length, require_kind
from lingxi.model.sizes import size_from_config
from lingxi.model.tokens import read_tokens
from lingxi.texts import Rows, Truncate, checked_pairs, progress, windows

DEFAULT_RERANKER = "lingxi-nano-reranker"
_MAX_LENGTH = 8192


class Reranker:
    """Query–document pairs to probabilities, with any Qwen3-Reranker directory or the shipped model.

    The score is sigmoid(logit(yes) − logit(no)) at the end of the published prompt. Documents of
    one query share the computation of everything before them. `device` may name several, which take
    batches in turn; `weights` and `engine` as the embedder's. Raises ModelError where the model
    cannot be loaded.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        device: str | Sequence[str] | None = None,
        dtype: str | None = None,
        max_length: int | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        reference_specials: bool = False,
        engine: str | None = None,
        weights: str | None = None,
    ) -> None:
        self.name = str(path or DEFAULT_RERANKER)
        self.directory = locate(self.name, revision=revision, local_files_only=local_files_only)
        require_kind(self.directory, "reranker")
        devices = choose_devices(device)
        self.device = devices[0]
        number_type = choose_dtype(dtype, self.device)
        self.computes_float32 = number_type == torch.float32
        self._networks = open_networks(self.directory, devices, number_type, engine=engine, weights=weights)
        self._network = self._networks[0]
        self.weights = computed_weights(self._network)
        size = size_from_config(read_config(self.directory), str(self.directory))
        self.tokenizer = read_tokens(
            self.directory / "tokenizer.json", size.vocab, reference_specials=reference_specials
        )
        yes, no = self.tokenizer.answer("yes"), self.tokenizer.answer("no")
        self._row = read_answer_rows(self.directory, size, yes, no)
        self._prefix = self.tokenizer.prompt(prompts.RERANK_PREFIX)
        self._suffix = self.tokenizer.prompt(prompts.RERANK_SUFFIX)
        stated = read_max_length(self.directory) or _MAX_LENGTH
        self.max_length = _length(
            max_length, min(stated, size.max_positions), self._frame, size.max_positions
        )

    def fingerprint(self) -> dict[str, str | int]:
        """What a score depends on: weights and tokenizer, and where long pairs are cut."""
        computed: dict[str, str | int] = {} if self.weights == "float32" else {"computed": self.weights}
        return {
            "name": Path(self.name).name,
            "weights": hash_weights(self.directory),
            "max_length": self.max_length,
            **computed,
        }

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

        Pairs share what their prompts begin with, whatever their order; equal pairs are judged once.
        A pair longer than `max_length` tokens is cut at the document's end, never in the prompt,
        and said once as a warning. Raises InputError for an item that is not two strings.
        """
        task = prompts.DEFAULT_TASK if instruction is None else instruction
        total = len(pairs) if isinstance(pairs, Sequence) else None
        parts: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
        cut: list[bool] = []
        rows = Rows()
        with progress(total, show_progress_bar, "reranking") as done:
            for window in windows(checked_pairs(pairs), lambda pair: len(pair[0]) + len(pair[1])):
                new = rows.fresh(window, lambda pair: f"{len(pair[0])} {pair[0]}{pair[1]}")
                sequences, long = self._sequences(new, task)
                states = self.states(sequences, done=done)
                done(len(window) - len(new))
                parts.append(self.finish(states)[0])
                cut += long
        self._say_cut(rows.all(np.array(cut, bool)))
        return rows.all(np.concatenate(parts))

    def token_ids(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        instruction: str | None = None,
        max_tokens_per_document: int | None = None,
        truncate: Truncate = "end",
    ) -> list[list[int]]:
        """The ids that `predict` gives the network for each (query, document) pair, cut to fit.

        `max_tokens_per_document` cuts documents before that. `truncate` says what a document that is too
        long loses: its end, its start, or, with "none", that it is refused with InputError.
        """
        task = prompts.DEFAULT_TASK if instruction is None else instruction
        known = list(checked_pairs(pairs))
        if max_tokens_per_document is not None:
            known = [(query, self._shortened(d, max_tokens_per_document, truncate)) for query, d in known]
        sequences, cut = self._sequences(known, task)
        for i in (i for i, is_cut in enumerate(cut) if is_cut and truncate != "end"):
            if truncate == "none":
                raise InputError(
                    f"pair {i} has more than {self.max_length} tokens", "shorten it, or let it be cut"
                )
            query, document = known[i]
            before = prompts.rerank_body(query, "", task)
            document = self.tokenizer.tail(before, document, self.max_length - self._frame)
            sequences[i] = self._sequences([(query, document)], task)[0][0]
        return sequences

    def _shortened(self, document: str, most: int, truncate: Truncate) -> str:
        if truncate == "start":
            return self.tokenizer.tail("", document, most)
        found = self.tokenizer.head(document, most)
        if truncate == "none" and found != document:
            raise InputError(f"a document has more than {most} tokens", "shorten it, or let it be cut")
        return found

    @property
    def hidden(self) -> int:
        """Width of the states."""
        return self._network.hidden

    @property
    def lanes(self) -> int:
        """How many devices compute; `states` names one by its number."""
        return len(self._networks)

    def states(
        self,
        sequences: Sequence[Sequence[int]],
        *,
        lane: int | None = None,
        done: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Last states [n, hidden] of ids as `token_ids` makes them, on one device (None: on all)."""
        networks = self._networks if lane is None else self._networks[lane : lane + 1]
        return np.asarray(pooled_states(networks, sequences, done=done).numpy(), np.float32)

    def finish(self, states: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What `predict` makes of states [n, hidden]: probabilities [n], and logit(yes) − logit(no) [n]."""
        logits = (torch.from_numpy(states) @ self._row).numpy()
        return _sigmoid(logits), logits

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
        pairs = list(checked_pairs((query, document) for document in documents))
        scores = self.predict(pairs, instruction=instruction)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [
            {"corpus_id": int(i), "score": float(scores[i])}
            | ({"text": documents[i]} if return_documents else {})
            for i in order
        ]

    def _sequences(self, pairs: Sequence[tuple[str, str]], task: str) -> tuple[list[list[int]], list[bool]]:
        """Ids of each pair's prompt, and whether it was cut to fit."""
        bodies = self.tokenizer.texts([prompts.rerank_body(query, d, task) for query, d in pairs])
        room = self.max_length - self._frame
        sequences = [[*self._prefix, *body[:room], *self._suffix] for body in bodies]
        return sequences, [len(body) > room for body in bodies]

    def _say_cut(self, cut: NDArray[np.bool_]) -> None:
        if not cut.any():
            return
        warnings.warn(
            f"{int(cut.sum())} of {len(cut)} query–document pairs are longer than {self.max_length} tokens; "
            "the end of the document was cut; split documents into segments to judge all of them",
            LingxiWarning,
            stacklevel=3,
        )


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), dtype=np.float32)


def _length(asked: int | None, stated: int, frame: int, positions: int) -> int:
    if asked is None:
        return stated
    if isinstance(asked, bool) or not isinstance(asked, int) or not frame < asked <= positions:
        raise InputError(
            f"max_length is {asked!r}", f"choose from {frame + 1} (the prompt alone) to {positions}"
        )
    return asked
