"""The reranker users hold: how likely a document meets a query and an instruction, 0 to 1."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.engine.devices import choose_devices, choose_dtype
from lingxi.engine.opening import computed_weights, open_networks
from lingxi.engine.seen import open_seeing, states_of
from lingxi.errors import InputError, LingxiWarning
from lingxi.inputs import OPEN, Access, Mixed, taken, weight
from lingxi.model.files import hash_weights, locate, read_answer_rows
from lingxi.model.layout import read_max_length, require_kind
from lingxi.model.messages import Looked, Messages, read_messages
from lingxi.model.network import read_decoder_size
from lingxi.model.seen import Seen
from lingxi.model.tokens import read_tokens
from lingxi.texts import Rows, Truncate, checked_pairs, checked_sides, progress, windows

DEFAULT_RERANKER = "lingxi-pico-reranker"
_MAX_LENGTH, _VL_MAX_LENGTH = 8192, 10240
Pair = tuple[str | Mixed, str | Mixed]


class Reranker:
    """Query–document pairs to probabilities: any Qwen3-Reranker or Qwen3-VL-Reranker, or the shipped model.

    The score is sigmoid(logit(yes) − logit(no)) at the end of the published prompt. Documents of
    one query share the computation of everything before them. `device` may name several, which take
    batches in turn; `weights`, `engine` and `access` as the embedder's. Raises ModelError where the model
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
        access: Access = OPEN,
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
        size = read_decoder_size(self.directory)
        self.tokenizer = read_tokens(
            self.directory / "tokenizer.json", size.vocab, reference_specials=reference_specials
        )
        yes, no = self.tokenizer.answer("yes"), self.tokenizer.answer("no")
        self._row = read_answer_rows(self.directory, size, yes, no)
        self.vision: Messages | None = read_messages(self.directory, access)
        self._seeing = open_seeing(self.directory, self._networks, devices, number_type, self.tokenizer)
        self.default_task = prompts.VL_RERANK_TASK if self.vision else prompts.DEFAULT_TASK
        self._prefix = self.tokenizer.prompt(prompts.RERANK_PREFIX)
        self._suffix = self.tokenizer.prompt(prompts.RERANK_SUFFIX)
        if self.vision:
            self._prefix = self.tokenizer.laid(prompts.vl_rerank_opening())
            self._suffix = self.tokenizer.laid(prompts.VL_TAIL)
        stated = read_max_length(self.directory) or (_VL_MAX_LENGTH if self.vision else _MAX_LENGTH)
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
        pairs: Iterable[tuple[Any, Any]],
        *,
        instruction: str | None = None,
        show_progress_bar: bool | None = None,
    ) -> NDArray[np.float32]:
        """Probability [n] that each (query, document) pair is a match, in the order given.

        Both are strings; with a VL model either may be what its embedder takes (`lingxi.inputs`).

        Pairs share what their prompts begin with, whatever their order; equal pairs are judged once.
        A pair longer than `max_length` tokens is cut at the document's end, never in the prompt,
        and said once as a warning. Raises InputError for an item that is not two strings.
        """
        task = self.default_task if instruction is None else instruction
        total = len(pairs) if isinstance(pairs, Sequence) else None
        parts: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
        cut: list[bool] = []
        rows = Rows()
        with progress(total, show_progress_bar, "reranking") as done:
            for window in windows(self._sides(pairs), lambda pair: weight(pair[0]) + weight(pair[1])):
                new = rows.fresh(window, lambda pair: f"{len(str(pair[0]))} {pair[0]}{pair[1]}")
                sequences, long = self._sequences(new, task)
                states = self.states(sequences, done=done)
                done(len(window) - len(new))
                parts.append(self.finish(states)[0])
                cut += long
        self._say_cut(rows.all(np.array(cut, bool)))
        return rows.all(np.concatenate(parts))

    def token_ids(
        self,
        pairs: Iterable[Pair],
        *,
        instruction: str | None = None,
        max_tokens_per_document: int | None = None,
        truncate: Truncate = "end",
    ) -> list[Any]:
        """The ids that `predict` gives the network for each (query, document) pair, cut to fit.

        A string is a text here, whatever it says; of a `Mixed` the pictures sit between the ids (`Seen`).

        `max_tokens_per_document` cuts documents before that. `truncate` says what a document that is too
        long loses: its end, its start, or, with "none", that it is refused with InputError.
        """
        task = self.default_task if instruction is None else instruction
        known: list[Pair] = list(checked_pairs(pairs)) if self.vision is None else list(checked_sides(pairs))
        if max_tokens_per_document is not None:
            known = [(query, self._shorter(d, max_tokens_per_document, truncate)) for query, d in known]
        sequences, cut = self._sequences(known, task, truncate)
        for i in (i for i, is_cut in enumerate(cut) if is_cut and truncate != "end"):
            if truncate == "none":
                raise InputError(
                    f"pair {i} has more than {self.max_length} tokens", "shorten it, or let it be cut"
                )
            query, document = known[i]
            if isinstance(query, str) and isinstance(document, str):
                document = self.tokenizer.tail(
                    self._body(query, "", task), document, self.max_length - self._frame
                )
                sequences[i] = self._sequences([(query, document)], task)[0][0]
        return sequences

    def _shorter(self, document: str | Mixed, most: int, truncate: Truncate) -> str | Mixed:
        if isinstance(document, str):
            return self._shortened(document, most, truncate)
        return replace(document, texts=(self._shortened(document.text, most, truncate),))

    def _shortened(self, document: str, most: int, truncate: Truncate) -> str:
        if truncate == "start":
            return self.tokenizer.tail("", document, most)
        found = self.tokenizer.head(document, most)
        if truncate == "none" and found != document:
            raise InputError(f"a document has more than {most} tokens", "shorten it, or let it be cut")
        return found

    @property
    def modalities(self) -> tuple[str, ...]:
        """What either side may be: text, and with a VL model image and video."""
        return ("text",) if self.vision is None else ("text", "image", "video")

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
        sequences: Sequence[Sequence[int] | Seen],
        *,
        lane: int | None = None,
        done: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Last states [n, hidden] of ids as `token_ids` makes them, on one device (None: on all)."""
        return np.asarray(
            states_of(self._seeing, sequences, lane=lane, share=True, done=done).numpy(), np.float32
        )

    def finish(self, states: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What `predict` makes of states [n, hidden]: probabilities [n], and logit(yes) − logit(no) [n]."""
        logits = (torch.from_numpy(states) @ self._row).numpy()
        return _sigmoid(logits), logits

    def rank(
        self,
        query: Any,
        documents: Sequence[Any],
        *,
        top_k: int | None = None,
        instruction: str | None = None,
        return_documents: bool = True,
    ) -> list[dict[str, Any]]:
        """The documents by falling score: `[{"corpus_id", "score", "text"}]`, at most `top_k`.

        `text` is the document as it was given, whatever it is.

        Equal scores keep the order given. Raises InputError for a non-string or a `top_k` below 1.
        """
        if top_k is not None and top_k < 1:
            raise InputError(f"top_k is {top_k}", "choose 1 or more, or leave it out for all")
        if isinstance(documents, str):
            raise InputError("documents is one string", "pass a list of strings")
        pairs = [(query, document) for document in documents]
        scores = self.predict(pairs, instruction=instruction)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [
            {"corpus_id": int(i), "score": float(scores[i])}
            | ({"text": documents[i]} if return_documents else {})
            for i in order
        ]

    def _sides(self, pairs: Iterable[Any]) -> Iterator[Pair]:
        """Pairs of texts, or of what a VL model looks at."""
        if self.vision is None:
            yield from checked_pairs(pairs)
            return
        access = self.vision.access
        last: Any = None
        said: str | Mixed = ""
        for place, (query, document) in enumerate(checked_sides(pairs)):
            # One object for all documents of a query, so that its pictures are opened once.
            if query is not last:
                last, said = query, taken(query, place, access)
            yield said, taken(document, place, access)

    def _sequences(
        self, pairs: Sequence[Pair], task: str, truncate: Truncate = "end"
    ) -> tuple[list[Any], list[bool]]:
        """What the network reads of each pair, and whether it was cut to fit."""
        texts = [(q, d) for q, d in pairs if isinstance(q, str) and isinstance(d, str)]
        bodies = iter(self.tokenizer.texts([self._body(query, d, task) for query, d in texts]))
        room = self.max_length - self._frame
        sequences: list[Any] = []
        cut: list[bool] = []
        asked: dict[int, Looked] = {}  # a query's pictures are opened once for all of its documents
        for query, document in pairs:
            if isinstance(query, str) and isinstance(document, str):
                body = next(bodies)
                sequences.append([*self._prefix, *body[:room], *self._suffix])
                cut.append(len(body) > room)
            elif self.vision is not None:
                looked = asked.get(id(query)) or asked.setdefault(id(query), self.vision.looked(query))
                found = self.vision.pair(self.tokenizer, looked, document, task, self.max_length, truncate)
                sequences.append(found[0])
                cut.append(found[1])
        return sequences, cut

    def _body(self, query: str, document: str, task: str) -> str:
        """The user's turn of a pair of texts."""
        return (prompts.vl_rerank_body if self.vision else prompts.rerank_body)(query, document, task)

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
