"""What is computed: each workload's network, inputs and necessary operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lingxi.model.files import SHIPPED
from lingxi.model.sizes import SIZES
from speed import networks
from speed.jobs import Family, Inputs, Task
from speed.systems import REFERENCE
from speed.texts import QUERY, library_texts

PUBLISHED_VOCABULARY = 151669
DOCUMENT_TOKENS = 135


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything: `layers` of 28, rows of the vocabulary, texts in bulk, documents to rerank."""

    layers: int = 4
    vocab: int = networks.SHIPPED_VOCABULARY
    texts: int = 32
    documents: int = 50
    small_texts: int = 256
    rounds: int = 3


QUICK = Scale(texts=8, documents=12, small_texts=48, rounds=2)


@dataclass(frozen=True, slots=True)
class Part:
    """One network with the inputs given to it."""

    task: Task
    family: Family
    directory: Path
    inputs: Inputs
    operations: float


@dataclass(frozen=True, slots=True)
class Workload:
    """A question to the machine.

    `part` is what all systems compute; `special` gives a system by name another network to answer
    the same texts with. `systems` None means all. `alone` runs one process at a time, for memory.
    """

    name: str
    title: str
    unit: str
    part: Part
    special: Mapping[str, Part]
    systems: tuple[str, ...] | None = None
    threads: tuple[int, ...] = (1,)
    alone: bool = False

    def part_of(self, system: str) -> Part:
        """The network `system` runs."""
        return self.special.get(system, self.part)


def bulk(folder: Path, scale: Scale) -> Workload:
    """Documents of real lengths."""
    part = _decoder_part(folder, scale, library_texts(scale.texts, seed=0))
    return Workload("bulk", f"{scale.texts} documents, {_shape(scale)}", "tokens", part, {})


def query(folder: Path, scale: Scale) -> Workload:
    """One query of 16 tokens, end token included."""
    text = networks.cut_to_tokens([QUERY + " " + QUERY], 15)
    part = _decoder_part(folder, scale, text)
    return Workload(
        "query", f"one query of {len(part.inputs.ids[0])} tokens, {_shape(scale)}", "texts", part, {}
    )


def rerank(folder: Path, scale: Scale) -> Workload:
    """One query with documents of 135 tokens each: equal lengths, so that nobody pays for padding."""
    size = networks.qwen3_size(scale.layers, scale.vocab)
    directory = networks.write_random(folder, "reranker", size)
    documents = networks.cut_to_tokens(library_texts(scale.documents * 8, seed=1), DOCUMENT_TOKENS)
    inputs = networks.rerank_inputs(directory, size.vocab, QUERY, documents[: scale.documents])
    operations = networks.decoder_operations(size, inputs.ids)
    part = Part("rerank", "qwen3", directory, inputs, operations)
    title = f"one query with {len(inputs)} documents of {DOCUMENT_TOKENS} tokens, {_shape(scale)}"
    return Workload("rerank", title, "documents", part, {})


def minilm(folder: Path, scale: Scale) -> Workload:
    """all-MiniLM-L6-v2 on documents."""
    part = _minilm_part(library_texts(scale.small_texts, seed=2))
    return Workload("minilm", f"all-MiniLM-L6-v2, {len(part.inputs)} documents", "documents", part, {})


def minilm_query(folder: Path, scale: Scale) -> Workload:
    """all-MiniLM-L6-v2 on one query."""
    part = _minilm_part([QUERY])
    return Workload("minilm-query", "all-MiniLM-L6-v2, one query", "texts", part, {})


def pico(folder: Path, scale: Scale) -> Workload:
    """lingxi-pico against MiniLM under sentence-transformers, on the same texts."""
    texts = library_texts(scale.small_texts, seed=2)
    size, directory = SIZES["pico"], SHIPPED / "lingxi-pico"
    inputs = networks.decoder_inputs(directory, size.vocab, texts)
    part = Part("embed", "qwen3", directory, inputs, networks.decoder_operations(size, inputs.ids))
    title = f"lingxi-pico, {len(texts)} documents; sentence-transformers runs all-MiniLM-L6-v2"
    names = (REFERENCE, *_OURS)
    return Workload("pico", title, "documents", part, {REFERENCE: _minilm_part(texts)}, names)


def threads(folder: Path, scale: Scale) -> Workload:
    """The bulk workload on one thread and on two."""
    part = _decoder_part(folder, scale, library_texts(scale.texts, seed=0))
    names = (REFERENCE, "CTranslate2 int8", *_OURS)
    title = f"two threads against one: {scale.texts} documents, {_shape(scale)}"
    return Workload("threads", title, "tokens", part, {}, names, threads=(1, 2))


def memory(folder: Path, scale: Scale) -> Workload:
    """All 28 layers and the whole vocabulary, one process at a time."""
    whole = Scale(layers=28, vocab=PUBLISHED_VOCABULARY)
    part = _decoder_part(folder, whole, library_texts(2, seed=0))
    names = (REFERENCE, "CTranslate2 int8", "llama.cpp Q8_0", *_OURS)
    return Workload("memory", f"memory, {_shape(whole)}", "texts", part, {}, names, alone=True)


_OURS = ("lingxi fp32 torch", "lingxi fp32 native", "lingxi int8 native")

WORKLOADS: Mapping[str, Callable[[Path, Scale], Workload]] = {
    "bulk": bulk,
    "query": query,
    "rerank": rerank,
    "minilm": minilm,
    "minilm-query": minilm_query,
    "pico": pico,
    "threads": threads,
    "memory": memory,
}


def _decoder_part(folder: Path, scale: Scale, texts: list[str]) -> Part:
    size = networks.qwen3_size(scale.layers, scale.vocab)
    directory = networks.write_random(folder, "embedder", size)
    inputs = networks.decoder_inputs(directory, size.vocab, texts)
    return Part("embed", "qwen3", directory, inputs, networks.decoder_operations(size, inputs.ids))


def _minilm_part(texts: list[str]) -> Part:
    directory = networks.minilm_directory()
    inputs = networks.encoder_inputs(directory, texts)
    operations = networks.encoder_operations(networks.MINILM, inputs.ids)
    return Part("embed", "bert", directory, inputs, operations)


def _shape(scale: Scale) -> str:
    return f"Qwen3-0.6B shape, {scale.layers} of 28 layers"
