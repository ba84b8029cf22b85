"""The embedder users hold: prompts + tokens + network, one unit vector a text."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi import prompts, vectors
from lingxi.engine.cache import VectorCache
from lingxi.engine.devices import choose_devices, choose_dtype
from lingxi.engine.opening import computed_weights, open_networks, token_vectors
from lingxi.engine.run import token_states
from lingxi.engine.seen import open_seeing, states_of
from lingxi.engine.segments import Laid, lay, segment_states
from lingxi.engine.tuning import Tuning, budgets_for, tune
from lingxi.errors import InputError, LingxiWarning
from lingxi.inputs import OPEN, Access, Mixed, all_taken, is_one, taken, weight
from lingxi.model.files import hash_weights, locate
from lingxi.model.golden import calibration_texts, read_golden_vectors
from lingxi.model.layout import read_prompts, require_kind
from lingxi.model.messages import Messages, framed, read_messages
from lingxi.model.network import read_limit, read_network_tokens, read_size
from lingxi.model.seen import Seen
from lingxi.model.tokens import Tokens
from lingxi.texts import Rows, Truncate, checked, checked_documents, digest, progress, windows

DEFAULT_EMBEDDER = "lingxi-nano"
Sequenced = list[int] | Seen
"""What a network computes one state of: ids, or ids with pictures in their seats."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """How a call's inputs are read: `before` each text, in the frame of `tokens`; a VL model's task."""

    tokens: Tokens
    before: str = ""
    task: str = ""


class Embedder:
    """Texts, and with a VL model pictures, to unit vectors: a directory, a hub id, or the shipped model.

    Read are Qwen3-Embedding, Qwen3-VL-Embedding, BERT, RoBERTa, XLM-R and MPNet encoders, and Qwen2,
    Llama and Gemma3 decoders, with the pooling, dense heads and prompts of their sentence-transformers
    directory; vectors are of unit length whether or not a directory has a Normalize module.

    `device` may name several (`["cuda:0", "cuda:1"]`), which take batches in turn.
    `truncate_dim` cuts every vector to that width before normalising; `dtype` is fp32 on a CPU and
    bf16 on CUDA unless named; `weights="int8"` computes with rounded matrices and `engine` names who
    computes (`engine.opening`); `reference_specials` reads special tokens inside user text as control
    tokens, as the reference implementation does; `cache` is a file that keeps vectors from one run to
    the next (`VectorCache` says how large it may grow); `access` says where pictures may lie.
    Raises ModelError where the model cannot be loaded, InputError where an argument is out of range.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        device: str | Sequence[str] | None = None,
        dtype: str | None = None,
        truncate_dim: int | None = None,
        max_seq_length: int | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        reference_specials: bool = False,
        cache: str | Path | VectorCache | None = None,
        engine: str | None = None,
        weights: str | None = None,
        access: Access = OPEN,
    ) -> None:
        self.name = str(path or DEFAULT_EMBEDDER)
        self.directory = locate(self.name, revision=revision, local_files_only=local_files_only)
        require_kind(self.directory, "embedder")
        devices = choose_devices(device)
        self.device = devices[0]
        number_type = choose_dtype(dtype, self.device)
        self.computes_float32 = number_type == torch.float32
        self._networks = open_networks(self.directory, devices, number_type, engine=engine, weights=weights)
        self._network = self._networks[0]
        self.weights = computed_weights(self._network)
        size = read_size(self.directory)
        self.hidden = self._network.hidden
        self.dim = vectors.check_dim(truncate_dim, self.hidden) if truncate_dim is not None else self.hidden
        self.max_seq_length = _length(max_seq_length, read_limit(self.directory), size.max_positions)
        self.tokenizer = read_network_tokens(
            self.directory, size.vocab, reference_specials=reference_specials
        )
        self.prompts = read_prompts(self.directory)
        self.vision: Messages | None = read_messages(self.directory, access)
        self._seeing = open_seeing(self.directory, self._networks, devices, number_type, self.tokenizer)
        if self.vision:
            self.tokenizer = framed(self.tokenizer, prompts.VL_TASK)
        self._budget: int | None = None
        # What a state depends on beside its text; the start of every key of the cache.
        self._computed_as = f"{number_type} {self.weights} {self.max_seq_length} {reference_specials}"
        self._cache = VectorCache(cache) if isinstance(cache, str | Path) else cache

    def encode(
        self,
        inputs: Any,
        *,
        instruction: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        truncate_dim: int | None = None,
        precision: str = "float32",
        show_progress_bar: bool | None = None,
    ) -> np.ndarray[Any, Any]:
        """Unit vectors [n, dim] of inputs, or [dim] of one; raw text unless a prompt is given.

        Inputs are strings; a VL model also takes PIL pictures, paths and dicts of text, image and video
        (`lingxi.inputs`), and reads its instruction or prompt in the system turn.

        `instruction` makes each text a query of that task; `prompt_name` picks one of the model's
        prompts; `prompt` is put before each text as it is. An empty text gets the vector of the end
        token. Equal texts are computed once. A text longer than `max_seq_length` tokens is cut, and
        said once as a warning. Integer precisions are described at `vectors.quantize`. Lists and
        generators of any length are read in windows. Raises InputError for a non-string, width or precision.
        """
        asked = self._asked(instruction, prompt_name, prompt)
        dim = self.dim if truncate_dim is None else vectors.check_dim(truncate_dim, self.hidden)
        vectors.check_precision(precision)
        single = is_one(inputs) if self.vision else isinstance(inputs, str)
        items: Iterable[Any] = [inputs] if single else inputs
        total = len(items) if isinstance(items, Sequence) else None
        parts: list[np.ndarray[Any, Any]] = []
        cut: list[bool] = []
        rows = Rows()
        with progress(total, show_progress_bar, "embedding") as done:
            for window in windows(self._items(items), weight):
                new = rows.fresh(window, str)
                states, long = self._states(new, asked, done)
                done(len(window) - len(new))
                parts.append(self._finished(states, dim, precision))
                cut += long
        self._say_cut(rows.all(np.array(cut, bool)))
        empty = np.empty((0, self.hidden), np.float32)
        out = rows.all(np.concatenate(parts)) if parts else self._finished(empty, dim, precision)
        return np.asarray(out[0]) if single else out

    def encode_segments(
        self,
        documents: Iterable[Sequence[str]],
        *,
        overlap: int = 2,
        truncate_dim: int | None = None,
        precision: str = "float32",
        show_progress_bar: bool | None = None,
    ) -> list[np.ndarray[Any, Any]]:
        """Unit vectors [segments, dim] of each document's segments, each embedded after all before it.

        One pass a document (late chunking, `engine.segments`). A document longer than `max_seq_length`
        tokens is read in parts, each after the `overlap` segments before it; a segment longer than
        that is cut, and said as a warning. Raises InputError as `encode` does.
        """
        dim = self.dim if truncate_dim is None else vectors.check_dim(truncate_dim, self.hidden)
        vectors.check_precision(precision)
        if overlap < 0:
            raise InputError(f"overlap is {overlap}", "choose 0 or more segments")
        asked = self._asked(None, "document", None)
        total = len(documents) if isinstance(documents, Sequence) else None
        out: list[np.ndarray[Any, Any]] = []
        cut: list[bool] = []
        with progress(total, show_progress_bar, "embedding documents") as done:
            for window in windows(checked_documents(documents), lambda texts: sum(map(len, texts))):
                sequences, long = self._text_sequences([t for texts in window for t in texts], asked)
                states = self._in_context(sequences, [len(texts) for texts in window], overlap)
                out += [self._finished(part, dim, precision) for part in states]
                cut += long
                done(len(window))
        self._say_cut(np.array(cut, bool))
        return out

    def _in_context(
        self, sequences: list[list[int]], counts: list[int], overlap: int
    ) -> list[vectors.Floats]:
        """States of segments, `counts[i]` of them document number i's."""
        bounds = [0, *accumulate(counts)]
        laid = [
            part
            for start, stop in pairwise(bounds)
            for part in lay(sequences[start:stop], self.max_seq_length, overlap)
        ]
        states = np.asarray(segment_states(self._network, laid, budget=self._budget).numpy(), np.float32)
        return [states[start:stop] for start, stop in pairwise(bounds)]

    def encode_query(
        self, inputs: Any, *, instruction: str | None = None, **options: Any
    ) -> np.ndarray[Any, Any]:
        """`encode` with the model's query prompt, or with `instruction` as the task."""
        name = "query" if instruction is None else None
        return self.encode(inputs, instruction=instruction, prompt_name=name, **options)

    def encode_document(self, inputs: Any, **options: Any) -> np.ndarray[Any, Any]:
        """`encode` with the model's document prompt (none, in Qwen3 models)."""
        return self.encode(inputs, prompt_name="document", **options)

    def tune(self, texts: Sequence[str] | None = None) -> Tuning:
        """Choose the tokens computed at a time by timing some on this machine, and keep to it from now on.

        `texts` are like those to come (default: short ones the package carries). Takes as long as ten
        of the largest batches: on a CPU about 80,000 tokens. Vectors stay the same but for rounding.
        """
        given = list(checked(texts)) if texts is not None else []
        sequences, _ = self._text_sequences(given or calibration_texts(), self._asked(None, None, None))
        budgets = budgets_for(self.device)
        times = 1 + max(budgets) // sum(map(len, sequences))
        found = tune(self._networks, sequences * times, budgets=budgets)
        self._budget = found.budget
        return found

    def similarity(self, a: vectors.Floats, b: vectors.Floats) -> vectors.Floats:
        """Cosine of every row of `a` with every row of `b`: [n, m]."""
        return vectors.similarity(a, b)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text, the tokens around it included, before any cut."""
        frame = self.tokenizer.frame
        return [max(len(ids) + frame, 1) for ids in self.tokenizer.texts(list(checked(texts)))]

    def token_ids(
        self,
        inputs: Iterable[str | Mixed],
        *,
        instruction: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        max_tokens: int | None = None,
        truncate: Truncate = "end",
    ) -> list[Any]:
        """The ids that `encode` gives the network for each text: prompt, text cut to fit, end token.

        A string is a text here, whatever it says; of a `Mixed` the pictures sit between the ids (`Seen`).

        A sequence has at most `max_tokens` (the model's `max_seq_length`, where that is less). `truncate`
        says what a text that is too long loses: its end, its start (never the prompt), or, with "none",
        that it is refused with InputError.
        """
        asked = self._asked(instruction, prompt_name, prompt)
        most = min(max_tokens or self.max_seq_length, self.max_seq_length)
        items = [self._said(item) for item in inputs] if self.vision else list(checked(inputs))
        sequences, cut = self._sequences(items, asked, most, truncate)
        for i in (i for i, is_cut in enumerate(cut) if is_cut and truncate != "end"):
            item, tokens = items[i], asked.tokens
            if truncate == "none":
                raise InputError(f"text {i} has more than {most} tokens", "shorten it, or let it be cut")
            if isinstance(item, str):
                text = tokens.tail(tokens.lead + asked.before, item, max(most - tokens.frame, 0))
                sequences[i] = self._sequences([text], asked, most)[0][0]
        return sequences

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
    ) -> vectors.Floats:
        """Pooled states [n, hidden] of ids as `token_ids` makes them, on one device (None: on all)."""
        found = states_of(self._seeing, sequences, lane=lane, budget=self._budget, done=done)
        return np.asarray(found.numpy(), np.float32)

    def token_states(self, sequences: Sequence[Sequence[int]], *, lane: int = 0) -> list[vectors.Floats]:
        """States [tokens, width] of all tokens of each sequence, before pooling and dense heads."""
        return token_states(self._networks[lane], sequences, budget=self._budget)

    def laid(self, segments: Sequence[str], *, overlap: int = 2) -> list[Laid]:
        """One document's segments as `encode_segments` lays them into sequences."""
        asked = self._asked(None, "document", None)
        return list(lay(self._text_sequences(segments, asked)[0], self.max_seq_length, overlap))

    def laid_states(self, laid: Sequence[Laid], *, lane: int = 0) -> vectors.Floats:
        """States [segments, hidden] of segments in their sequences, in order."""
        found = segment_states(self._networks[lane], laid, budget=self._budget)
        return np.asarray(found.numpy(), np.float32)

    def finish(
        self,
        states: vectors.Floats,
        *,
        truncate_dim: int | None = None,
        precision: str = "float32",
        normalize: bool = True,
    ) -> np.ndarray[Any, Any]:
        """What `encode` makes of pooled states [n, hidden]: vectors [n, dim].

        Without `normalize` they are cut alone. Raises InputError for a width or precision that is not
        offered, and for codes of vectors that are not of unit length.
        """
        dim = self.dim if truncate_dim is None else vectors.check_dim(truncate_dim, self.hidden)
        vectors.check_precision(precision)
        if normalize:
            return self._finished(states, dim, precision)
        if precision != "float32":
            raise InputError(f"precision {precision!r} is of unit vectors", "let them be normalised")
        return np.array(states[..., :dim], np.float32)

    def get_embedding_dimension(self) -> int:
        """Width of the vectors `encode` returns."""
        return self.dim

    @property
    def modalities(self) -> tuple[str, ...]:
        """What inputs may be: text, and with a VL model image and video."""
        return ("text",) if self.vision is None else ("text", "image", "video")

    @property
    def pooling(self) -> str:
        """How the states of a text's tokens become one: `lasttoken`, `mean`, `cls`."""
        return self._network.pooling

    @property
    def token_vectors(self) -> np.ndarray[Any, Any]:
        """The vectors of the vocabulary's tokens [vocab, hidden], as the network reads them."""
        return np.asarray(token_vectors(self._network).numpy())

    def fingerprint(self) -> dict[str, str | int]:
        """What a stored vector depends on: weights and tokenizer, query prompt, width, precision."""
        prompt = hashlib.sha256(self.prompts["query"].encode()).hexdigest()[:16]
        computed: dict[str, str | int] = {} if self.weights == "float32" else {"computed": self.weights}
        return {
            "name": Path(self.name).name,
            "weights": self._weights_hash,
            "prompt": prompt,
            "dim": self.dim,
            "precision": "float32",
            **computed,
        }

    @cached_property
    def _weights_hash(self) -> str:
        found = hash_weights(self.directory)
        # The same weights pooled otherwise give other vectors; old fingerprints mean the last token.
        how = self._network.pooling
        return found if how == "lasttoken" else hashlib.sha256(f"{found} {how}".encode()).hexdigest()[:16]

    @cached_property
    def _calibration(self) -> vectors.Floats:
        """Full-width vectors that int8 scales are read off: the model's golden ones, or made once."""
        stored = read_golden_vectors(self.directory)
        if stored is not None:
            return stored
        sequences, _ = self._text_sequences(calibration_texts(), self._asked(None, None, None))
        return self.states(sequences, lane=0)

    def _asked(self, instruction: str | None, prompt_name: str | None, prompt: str | None) -> _Asked:
        if self.vision is None:
            return _Asked(self.tokenizer, self._before(instruction, prompt_name, prompt))
        task = prompts.VL_TASK if prompt_name is prompt is None else self._before(None, prompt_name, prompt)
        if instruction is not None:
            self._before(instruction, prompt_name, prompt)
            task = instruction
        task = prompts.vl_instruction(task)
        return _Asked(framed(self.tokenizer, task), task=task)

    def _before(self, instruction: str | None, prompt_name: str | None, prompt: str | None) -> str:
        given = [x for x in (instruction, prompt_name, prompt) if x is not None]
        if len(given) > 1:
            raise InputError("instruction, prompt_name and prompt exclude each other", "give one of them")
        if instruction is not None:
            return prompts.query_prefix(instruction)
        if prompt is not None:
            return prompt
        if prompt_name is None:
            return ""
        if prompt_name not in self.prompts:
            known = ", ".join(self.prompts)
            raise InputError(f"the model has no prompt named {prompt_name!r}", f"choose one of: {known}")
        return self.prompts[prompt_name]

    def _items(self, items: Iterable[Any]) -> Iterator[str | Mixed]:
        """Inputs as what they are: texts, and what a VL model looks at."""
        return checked(items) if self.vision is None else all_taken(items, self.vision.access)

    def _said(self, item: Any) -> str | Mixed:
        """An input whose strings are texts, whatever they say."""
        return item if isinstance(item, str) else taken(item, 0)

    def _sequences(
        self,
        items: Sequence[str | Mixed],
        asked: _Asked | None = None,
        most: int | None = None,
        truncate: Truncate = "end",
    ) -> tuple[list[Sequenced], list[bool]]:
        """What the network reads of each item, and whether it was cut to fit."""
        most, asked = most or self.max_seq_length, asked or self._asked(None, None, None)
        texts = iter(
            zip(*self._text_sequences([t for t in items if isinstance(t, str)], asked, most), strict=True)
        )
        found: list[tuple[Sequenced, bool]] = []
        for item in items:
            if isinstance(item, str):
                found.append(next(texts))
            elif self.vision is not None:
                found.append(self.vision.embedding(self.tokenizer, item, asked.task, most, truncate))
        return [one for one, _ in found], [cut for _, cut in found]

    def _text_sequences(
        self, texts: Sequence[str], asked: _Asked, most: int | None = None
    ) -> tuple[list[list[int]], list[bool]]:
        """Ids of each text between the tokens around it, and whether it was cut to fit."""
        most, tokens = most or self.max_seq_length, asked.tokens
        empty = prompts.VL_EMPTY if self.vision else ""
        ids = tokens.texts([asked.before + (text or empty) for text in texts])
        return [tokens.framed(i, most) for i in ids], [len(i) + tokens.frame > most for i in ids]

    def _states(
        self, items: list[str | Mixed], asked: _Asked, done: Callable[[int], None]
    ) -> tuple[vectors.Floats, list[bool]]:
        """States [n, hidden] of items, of texts from the cache where it has them, and which were cut."""
        texts = [item for item in items if isinstance(item, str)]
        if self._cache is None or len(texts) < len(items):
            return self._computed(items, asked, done)
        key = f"{self._weights_hash} {self._computed_as} {asked.task}{asked.before}"
        keys = [digest(key + text) for text in texts]
        known = self._cache.read(keys, self.hidden)
        missing = [i for i, k in enumerate(keys) if k not in known]
        done(len(texts) - len(missing))
        fresh, _ = self._computed([texts[i] for i in missing], asked, done)
        made = dict(zip((keys[i] for i in missing), fresh, strict=True))
        self._cache.write(made)
        known |= made
        return np.stack([known[k] for k in keys]) if keys else fresh, self._cuts(texts, asked)

    def _computed(
        self, items: Sequence[str | Mixed], asked: _Asked, done: Callable[[int], None]
    ) -> tuple[vectors.Floats, list[bool]]:
        sequences, cut = self._sequences(items, asked)
        return self.states(sequences, done=done), cut

    def _cuts(self, texts: Sequence[str], asked: _Asked) -> list[bool]:
        """Whether each text is too long; only one of more bytes than there is room for tokens can be."""
        # One less: some tokenizers mark the beginning of a text by a token of its own.
        room = self.max_seq_length - asked.tokens.frame - 1
        led = asked.tokens.lead + asked.before
        doubtful = [i for i, text in enumerate(texts) if len((led + text).encode()) > room]
        cut = [False] * len(texts)
        found = self._text_sequences([texts[i] for i in doubtful], asked)[1]
        for i, is_cut in zip(doubtful, found, strict=True):
            cut[i] = is_cut
        return cut

    def _say_cut(self, cut: np.ndarray[Any, Any]) -> None:
        if not cut.any():
            return
        warnings.warn(
            f"{int(cut.sum())} of {len(cut)} texts are longer than {self.max_seq_length} tokens "
            "and were cut; split them into segments to keep all of their meaning",
            LingxiWarning,
            stacklevel=3,
        )

    def _finished(self, states: vectors.Floats, dim: int, precision: str) -> np.ndarray[Any, Any]:
        scale = vectors.int8_scale(self._calibration, dim) if precision in ("int8", "uint8") else None
        return vectors.quantize(vectors.cut(states, dim), precision, scale)


def _length(asked: int | None, stated: int | None, positions: int) -> int:
    if asked is None:
        return min(stated or positions, positions)
    if isinstance(asked, bool) or not isinstance(asked, int) or not 2 <= asked <= positions:
        raise InputError(f"max_seq_length is {asked!r}", f"choose a whole number from 2 to {positions}")
    return asked
