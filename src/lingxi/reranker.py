"""The reranker users hold: how likely a document meets a query and an instruction, 0 to 1."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.embedder import Embedder
from lingxi.errors import InputError, LingxiWarning
from lingxi.inputs import OPEN, Access, Mixed, taken, weight
from lingxi.judging.contract import Judge, Opening, Pair, Reading, probabilities
from lingxi.judging.late import Late
from lingxi.judging.yes_no import YesNo
from lingxi.model.files import locate
from lingxi.model.late import is_late
from lingxi.model.layout import require_kind
from lingxi.model.messages import Messages
from lingxi.texts import Rows, Truncate, checked_pairs, checked_sides, progress, windows

DEFAULT_RERANKER = "lingxi-nano-reranker"


class Reranker:
    """Query–document pairs to probabilities: a Qwen3-Reranker, a late interaction, or the shipped model.

    A Qwen3-Reranker or Qwen3-VL-Reranker scores sigmoid(logit(yes) − logit(no)) at the end of the published
    prompt; documents of one query share the computation of everything before them. A late interaction
    (`model.late`) compares the token states of an embedder, which its directory names: a query is read
    once, whatever the number of its documents. `embedder` is one that is open already, by which a late
    interaction reads instead of opening its own. `device` may name several, which take batches in turn;
    `weights`, `engine` and `access` as the embedder's. Raises ModelError where the model cannot be loaded.
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
        embedder: Embedder | None = None,
    ) -> None:
        self.name = str(path or DEFAULT_RERANKER)
        self.directory = locate(self.name, revision=revision, local_files_only=local_files_only)
        require_kind(self.directory, "reranker")
        how = Opening(device, dtype, revision, local_files_only, reference_specials, engine, weights, access)
        late = is_late(self.directory)
        judge: Judge = Late(self.directory, how, embedder) if late else YesNo(self.directory, how)
        self.judge = judge
        self.network_directory = judge.network_directory
        self.device, self.computes_float32, self.weights = judge.device, judge.computes_float32, judge.weights
        self.tokenizer = judge.tokenizer
        self.vision: Messages | None = judge.vision
        self.default_task = judge.default_task
        self.max_length = _length(max_length, judge.stated_length, judge.frame, judge.max_positions)

    def fingerprint(self) -> dict[str, str | int]:
        """What a score depends on: weights and tokenizer, and where long pairs are cut."""
        told = self.judge.fingerprint()
        return {
            "name": Path(self.name).name, "weights": told["weights"], "max_length": self.max_length, **told
        }  # fmt: skip

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
        return self._sequences(known, task, truncate)[0]

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
        return self.judge.hidden

    @property
    def lanes(self) -> int:
        """How many devices compute; `states` names one by its number."""
        return self.judge.lanes

    def states(
        self,
        sequences: Sequence[Any],
        *,
        lane: int | None = None,
        done: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """States [n, hidden] of what `token_ids` makes of pairs, on one device (None: on all)."""
        return self.judge.states(sequences, lane=lane, done=done)

    def finish(self, states: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What `predict` makes of states [n, hidden]: probabilities [n], and their logits [n]."""
        logits = self.judge.finish(states)
        return probabilities(logits), logits

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
        reading = Reading(task, self.tokenizer, self.vision, self.max_length, truncate)
        return self.judge.sequences(pairs, reading)

    def _say_cut(self, cut: NDArray[np.bool_]) -> None:
        if not cut.any():
            return
        warnings.warn(
            f"{int(cut.sum())} of {len(cut)} query–document pairs are longer than {self.max_length} tokens; "
            "the end of the document was cut; split documents into segments to judge all of them",
            LingxiWarning,
            stacklevel=3,
        )


def _length(asked: int | None, stated: int, frame: int, positions: int) -> int:
    if asked is None:
        return stated
    if isinstance(asked, bool) or not isinstance(asked, int) or not frame < asked <= positions:
        raise InputError(
            f"max_length is {asked!r}", f"choose from {frame + 1} (the prompt alone) to {positions}"
        )
    return asked
