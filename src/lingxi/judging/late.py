"""A late interaction: each text is read alone by the embedder, and a small head compares their tokens.

A query is read once, whatever the number of its documents, and a document once for all of its queries in a
call. Documents are compared a few at a time, so that no more than their states are held.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi import prompts
from lingxi.embedder import Embedder
from lingxi.errors import InputError, ModelError
from lingxi.inputs import Mixed
from lingxi.judging.contract import Done, Floats, Opening, Pair, Reading, too_long
from lingxi.model.files import hash_weights
from lingxi.model.late import FEATURES, LateConfig, Side, embedder_of, hash_late, own, read_late

# Documents whose token states are held at a time.
_AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class PairIds:
    """The ids of a query, of which those from `first` to the last but `after` are its text's, and a document.

    Its length is what it costs: the tokens of both.
    """

    query: tuple[int, ...]
    first: int
    document: tuple[int, ...]
    after: int

    def __len__(self) -> int:
        """Tokens of both sides."""
        return len(self.query) + len(self.document)


class Late:
    """Pairs judged by an embedder's states and the head of a directory."""

    vision = None

    def __init__(self, directory: Path, how: Opening, embedder: Embedder | None = None) -> None:
        self.directory = directory
        self.config, self.head = read_late(directory)
        self.embedder = embedder or _opened(directory, self.config, how)
        _check_alike(directory, self.config, self.embedder)
        self.network_directory = self.embedder.directory
        self.device, self.weights = self.embedder.device, self.embedder.weights
        self.computes_float32 = self.embedder.computes_float32
        self.tokenizer, self.lanes = self.embedder.tokenizer, self.embedder.lanes
        self.default_task = prompts.DEFAULT_TASK
        self.frame = self.tokenizer.frame
        self.stated_length = self.max_positions = self.embedder.max_seq_length
        self.hidden = FEATURES

    def fingerprint(self) -> dict[str, str | int]:
        """The hash of the head and its embedder, and what that computes in."""
        computed: dict[str, str | int] = {} if self.weights == "float32" else {"computed": self.weights}
        return {"weights": hash_late(self.directory), **computed}

    def sequences(self, pairs: Sequence[Pair], reading: Reading) -> tuple[list[Any], list[bool]]:
        """The ids of both sides of each pair, each cut at `max_length`, and whether either was."""
        texts = [(_text(query), _text(document)) for query, document in pairs]
        prompt = query_prompt(self.embedder, reading.task)
        asked = self._read(dict.fromkeys(query for query, _ in texts), prompt, reading)
        found = self._read(
            dict.fromkeys(document for _, document in texts), self.embedder.prompts["document"], reading
        )
        cut = [asked[query][2] or found[document][2] for query, document in texts]
        if reading.truncate == "none" and any(cut):
            raise too_long(cut.index(True), reading.max_length)
        after = len(reading.tokens.after)
        return [PairIds(*asked[q][:2], found[d][0], after) for q, d in texts], cut

    def _read(
        self, texts: dict[str, None], prompt: str, reading: Reading
    ) -> dict[str, tuple[tuple[int, ...], int, bool]]:
        """Of each text its ids, the first of them that is the text's own, and whether it was cut."""
        tokens, most = reading.tokens, reading.max_length
        out: dict[str, tuple[tuple[int, ...], int, bool]] = {}
        # One text at a time would cost ten times as much as the tokenizer's own batches.
        for text, ids in zip(texts, tokens.texts([prompt + text for text in texts]), strict=True):
            cut = len(ids) + tokens.frame > most
            if cut and reading.truncate == "start":
                kept = tokens.tail(tokens.lead + prompt, text, max(most - tokens.frame, 0))
                (ids,) = tokens.texts([prompt + kept])
            out[text] = tuple(tokens.framed(ids, most)), 0, cut
        first = len(tokens.before) + len(tokens.texts([prompt])[0])
        return {text: (ids, min(first, len(ids)), cut) for text, (ids, _, cut) in out.items()}

    def states(
        self, sequences: Sequence[Any], *, lane: int | None = None, done: Done | None = None
    ) -> Floats:
        """Features [n, 2] of pairs: cosine and MaxSim."""
        out = np.empty((len(sequences), FEATURES), np.float32)
        lane = lane or 0
        asked = list(dict.fromkeys((pair.query, pair.first, pair.after) for pair in sequences))
        queries = dict(zip(asked, self._queries(asked, lane), strict=True))
        of_document: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, pair in enumerate(sequences):
            of_document[pair.document].append(place)
        # Neighbours in length make full batches.
        order = iter(sorted(of_document, key=len))
        while some := list(islice(order, _AT_A_TIME)):
            sides = dict(zip(some, self._sides(some, lane), strict=True))
            for places in _by_query(sequences, [p for document in some for p in of_document[document]]):
                pair = sequences[places[0]]
                query = queries[pair.query, pair.first, pair.after]
                out[places] = self._compared(query, [sides[sequences[p].document] for p in places])
                if done:
                    done(len(places))
        return out

    @torch.inference_mode()
    def _compared(self, query: Side, documents: list[Side]) -> Floats:
        return np.asarray(self.head.features(query, documents).numpy(), np.float32)

    def finish(self, states: Floats) -> Floats:
        """Logits [n] of features [n, 2]."""
        with torch.inference_mode():
            return np.asarray(self.head(torch.from_numpy(states)).numpy(), np.float32)

    def _queries(self, asked: list[tuple[tuple[int, ...], int, int]], lane: int) -> Iterator[Side]:
        """The sides of queries, of which the tokens of the prompt and the frame are left out."""
        sides = self._sides([ids for ids, _, _ in asked], lane)
        for side, (ids, first, after) in zip(sides, asked, strict=True):
            yield Side(side.states[own(len(ids), first, after)], side.vector)

    def _sides(self, sequences: Sequence[tuple[int, ...]], lane: int) -> list[Side]:
        return sides_of(self.embedder, sequences, lane)


def sides_of(embedder: Embedder, sequences: Sequence[tuple[int, ...]], lane: int = 0) -> list[Side]:
    """Both the token states and the vector of sequences of ids, computed once."""
    if not sequences:
        return []
    found = embedder.token_states(sequences, lane=lane)
    vectors = pooled(embedder, sequences, found, lane)
    both = zip(found, vectors, strict=True)
    return [Side(torch.from_numpy(states), torch.from_numpy(vector)) for states, vector in both]


def pooled(
    embedder: Embedder, sequences: Sequence[tuple[int, ...]], states: Sequence[Floats], lane: int = 0
) -> Floats:
    """The unit vectors [n, dim] of sequences whose token states are known."""
    if embedder.pooling != "mean" or embedder.hidden != states[0].shape[1]:
        return np.asarray(embedder.finish(embedder.states(sequences, lane=lane)), np.float32)
    return np.asarray(embedder.finish(np.stack([each.mean(0) for each in states])), np.float32)


def query_prompt(embedder: Embedder, task: str) -> str:
    """What stands before a query: the embedder's own prompt, or, where that has the form of one, a task's."""
    own = embedder.prompts["query"]
    before, _, after = prompts.query_prefix("\0").partition("\0")
    if task == prompts.DEFAULT_TASK or not (own.startswith(before) and own.endswith(after)):
        return own
    return prompts.query_prefix(task)


def _opened(directory: Path, config: LateConfig, how: Opening) -> Embedder:
    """The embedder that a directory names."""
    return Embedder(
        embedder_of(directory, config), device=how.device, dtype=how.dtype, revision=how.revision,
        local_files_only=how.local_files_only, reference_specials=how.reference_specials,
        engine=how.engine, weights=how.weights, access=how.access,
    )  # fmt: skip


def _check_alike(directory: Path, config: LateConfig, embedder: Embedder) -> None:
    if hash_weights(embedder.directory) != config.embedder_hash:
        raise ModelError(
            f"{directory} was made for another {config.embedder} than {embedder.directory}",
            "use the embedder it was made for, or make it anew: lingxi late RECIPE",
        )


def _text(side: str | Mixed) -> str:
    if not isinstance(side, str):
        raise InputError("a late interaction reads text alone", "pass texts")
    return side


def _by_query(sequences: Sequence[Any], places: list[int]) -> Iterator[list[int]]:
    """Places of pairs, those of one query together."""
    found: dict[Any, list[int]] = defaultdict(list)
    for place in places:
        found[sequences[place].query].append(place)
    yield from found.values()
