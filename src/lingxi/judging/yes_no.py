"""A Qwen3-Reranker: the published prompt around query and document, logit(yes) − logit(no) at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi import prompts
from lingxi.engine.devices import choose_devices, choose_dtype
from lingxi.engine.opening import computed_weights, open_networks
from lingxi.engine.seen import open_seeing, states_of
from lingxi.inputs import Mixed
from lingxi.judging.contract import Done, Floats, Opening, Pair, Reading, too_long
from lingxi.model.files import hash_weights, read_answer_rows
from lingxi.model.layout import read_max_length
from lingxi.model.messages import Looked, Messages, read_messages
from lingxi.model.network import read_decoder_size
from lingxi.model.tokens import read_tokens

_MAX_LENGTH, _VL_MAX_LENGTH = 8192, 10240


class YesNo:
    """Pairs judged by one decoder; documents of one query share what is computed before them."""

    def __init__(self, directory: Path, how: Opening) -> None:
        self.directory = self.network_directory = directory
        devices = choose_devices(how.device)
        self.device = devices[0]
        number_type = choose_dtype(how.dtype, self.device)
        self.computes_float32 = number_type == torch.float32
        self.networks = open_networks(directory, devices, number_type, engine=how.engine, weights=how.weights)
        self.weights = computed_weights(self.networks[0])
        size = read_decoder_size(directory)
        self.tokenizer = read_tokens(
            directory / "tokenizer.json", size.vocab, reference_specials=how.reference_specials
        )
        yes, no = self.tokenizer.answer("yes"), self.tokenizer.answer("no")
        self.row = read_answer_rows(directory, size, yes, no)
        self.vision: Messages | None = read_messages(directory, how.access)
        self.seeing = open_seeing(directory, self.networks, devices, number_type, self.tokenizer)
        self.default_task = prompts.VL_RERANK_TASK if self.vision else prompts.DEFAULT_TASK
        self.prefix = self.tokenizer.prompt(prompts.RERANK_PREFIX)
        self.suffix = self.tokenizer.prompt(prompts.RERANK_SUFFIX)
        if self.vision:
            self.prefix = self.tokenizer.laid(prompts.vl_rerank_opening())
            self.suffix = self.tokenizer.laid(prompts.VL_TAIL)
        self.max_positions = size.max_positions
        stated = read_max_length(directory) or (_VL_MAX_LENGTH if self.vision else _MAX_LENGTH)
        self.stated_length = min(stated, size.max_positions)

    @property
    def frame(self) -> int:
        """Tokens of the prompt before and after the pair."""
        return len(self.prefix) + len(self.suffix)

    @property
    def hidden(self) -> int:
        """Width of the states."""
        return self.networks[0].hidden

    @property
    def lanes(self) -> int:
        """How many devices compute."""
        return len(self.networks)

    def fingerprint(self) -> dict[str, str | int]:
        """The weights' hash, and what they are computed in."""
        computed: dict[str, str | int] = {} if self.weights == "float32" else {"computed": self.weights}
        return {"weights": hash_weights(self.directory), **computed}

    def states(
        self, sequences: Sequence[Any], *, lane: int | None = None, done: Done | None = None
    ) -> Floats:
        """Last states [n, hidden] of ids, or ids with pictures."""
        found = states_of(self.seeing, sequences, lane=lane, share=True, done=done)
        return np.asarray(found.numpy(), np.float32)

    def finish(self, states: Floats) -> Floats:
        """logit(yes) − logit(no) [n] of states [n, hidden]."""
        return np.asarray((torch.from_numpy(states) @ self.row).numpy(), np.float32)

    def sequences(self, pairs: Sequence[Pair], reading: Reading) -> tuple[list[Any], list[bool]]:
        """The ids of each pair, its document cut to fit; raises InputError where it must not be cut."""
        sequences, cut = self._laid(pairs, reading)
        if reading.truncate == "none" and any(cut):
            raise too_long(cut.index(True), reading.max_length)
        for i in (i for i, is_cut in enumerate(cut) if is_cut and reading.truncate == "start"):
            query, document = pairs[i]
            if isinstance(query, str) and isinstance(document, str):
                sequences[i] = self._ended(query, document, reading)
        return sequences, cut

    def _laid(self, pairs: Sequence[Pair], reading: Reading) -> tuple[list[Any], list[bool]]:
        """What the network reads of each pair, the end of a text cut to fit, and whether it was."""
        texts = [(q, d) for q, d in pairs if isinstance(q, str) and isinstance(d, str)]
        bodies = iter(reading.tokens.texts([_body(query, d, reading) for query, d in texts]))
        room = reading.max_length - self.frame
        sequences: list[Any] = []
        cut: list[bool] = []
        asked: dict[int, Looked] = {}  # a query's pictures are opened once for all of its documents
        for query, document in pairs:
            if isinstance(query, str) and isinstance(document, str):
                body = next(bodies)
                sequences.append([*self.prefix, *body[:room], *self.suffix])
                cut.append(len(body) > room)
            elif reading.vision is not None:
                looked = asked.get(id(query)) or asked.setdefault(id(query), reading.vision.looked(query))
                found = self._looked(looked, document, reading)
                sequences.append(found[0])
                cut.append(found[1])
        return sequences, cut

    def _looked(self, looked: Looked, document: str | Mixed, reading: Reading) -> tuple[Any, bool]:
        assert reading.vision is not None
        return reading.vision.pair(
            reading.tokens, looked, document, reading.task, reading.max_length, reading.truncate
        )

    def _ended(self, query: str, document: str, reading: Reading) -> list[int]:
        """The ids of a pair that keeps the end of its document."""
        room = reading.max_length - self.frame
        kept = reading.tokens.tail(_body(query, "", reading), document, room)
        (body,) = reading.tokens.texts([_body(query, kept, reading)])
        return [*self.prefix, *body[:room], *self.suffix]


def _body(query: str, document: str, reading: Reading) -> str:
    """The user's turn of a pair of texts."""
    return (prompts.vl_rerank_body if reading.vision else prompts.rerank_body)(query, document, reading.task)
