"""Where training starts that does not start from scratch: any Qwen3 checkpoint, or a BERT-type embedder.

An embedding model, a reranker, a base or an instruct model: bf16, sharded or int8, with a tied or an
untied head. Weights come in fp32, since optimizers need the digits that half precision lacks. Encoders
(BERT, RoBERTa, XLM-R, MPNet) become embedders that read Qwen3's prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lingxi import prompts
from lingxi.engine.quantizing import write_copy
from lingxi.errors import ModelError
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.encoder_size import ENCODERS
from lingxi.model.files import (
    locate,
    read_config,
    read_decoder,
    read_output_head,
    write_json,
)
from lingxi.model.layout import Kind, ModelFiles, read_kind, read_max_length, write_directory
from lingxi.model.network import published_state, read_limit, read_network, read_network_tokens
from lingxi.model.tokens import Tokens, read_tokens


@dataclass(frozen=True, slots=True)
class Start:
    """A checkpoint opened for training.

    `head` [vocab, hidden] is there where the checkpoint has a head of its own; it is trained beside the
    network, so give it to the optimizer. `kind` is what the directory says of itself; None for a base or
    instruct model, which may become either. `tokenizer` is the text of `tokenizer.json`. An encoder has a
    `source`, the directory whose other files it is written with.
    """

    network: Decoder | Encoder
    head: nn.Parameter | None
    tokens: Tokens
    tokenizer: str
    kind: Kind | None
    max_seq_length: int
    source: Path | None = None

    @property
    def decoder(self) -> Decoder:
        """The network of a Qwen3 checkpoint; raises ModelError for an encoder."""
        if isinstance(self.network, Encoder):
            raise ModelError(
                f"{self.source}: a BERT-type encoder, and this is for Qwen3 networks",
                "start from a Qwen3 checkpoint; encoders are trained as embedders, with all weights",
            )
        return self.network

    def output_rows(self) -> torch.Tensor:
        """The output head [vocab, hidden]: its own, or the token vectors where it is tied to them.

        Raises ModelError where config.json unties the head and no file holds it (the largest embedder).
        """
        decoder = self.decoder
        if decoder.size.tied_head:
            return decoder.embed_tokens.weight
        if self.head is None:
            raise ModelError(
                "the checkpoint has no 'lm_head.weight', although its config.json unties the head",
                "start a reranker or a language model from a base, an instruct model or a reranker",
            )
        return self.head

    def answers(self) -> tuple[int, int]:
        """Ids of `yes` and `no`, whose rows of the head a reranker answers with.

        Raises ModelError where the checkpoint cannot answer: no head, an answer of several tokens, or a
        template's control token that has no row.
        """
        self.output_rows()
        lacking = [name for name in prompts.SPECIAL_TOKENS if name not in self.tokens.specials]
        if lacking:
            raise ModelError(
                f"the network has no row for {lacking[0]!r}, which the reranker's template holds",
                "start from a base, an instruct model or a reranker",
            )
        return self.tokens.answer("yes"), self.tokens.answer("no")

    def files(self, kind: Kind, card: str) -> ModelFiles:
        """What a directory of the weights as they now are is written from; `card` is its README.md."""
        decoder = self.decoder
        state = {name: tensor.detach() for name, tensor in decoder.state_dict().items()}
        if kind == "reranker" and not decoder.size.tied_head:
            state["lm_head.weight"] = self.output_rows().detach()
        return ModelFiles(kind, decoder.size, state, self.tokenizer, card, self.max_seq_length)

    def write(self, kind: Kind, card: str, out: Path, dtype: str) -> None:
        """Write a directory of the weights as they now are, all but its golden file."""
        if self.source is None:
            write_directory(self.files(kind, card), out, dtype)
        else:
            state = {name: tensor.detach() for name, tensor in self.network.state_dict().items()}
            write_like(self.source, state, out, dtype, card)


def open_for_training(model: str | Path) -> Start:
    """Open a directory, hub id or shipped name for training: fp32, every parameter requiring its gradient.

    Raises ModelError for another network than Qwen3's or an encoder's, an adapter, or a classifier.
    """
    directory = locate(model)
    _refuse_adapter(directory)
    _refuse_classifier(directory)
    if read_config(directory).get("model_type") in ENCODERS:
        return _open_encoder(directory)
    decoder = read_decoder(directory, torch.float32)
    size = decoder.size
    tokens = read_tokens(directory / "tokenizer.json", size.vocab)
    head = read_output_head(directory, size)
    return Start(
        network=decoder.train().requires_grad_(True),
        head=None if head is None else nn.Parameter(head),
        tokens=tokens,
        tokenizer=(directory / "tokenizer.json").read_text(encoding="utf-8"),
        kind=read_kind(directory),
        max_seq_length=read_max_length(directory) or size.max_positions,
    )


def _open_encoder(directory: Path) -> Start:
    network = read_network(directory, torch.float32)
    if not isinstance(network, Encoder):
        raise ModelError(
            f"{directory}: dense heads after the encoder, which are not trained",
            "start from the encoder alone: take the Dense modules out of modules.json",
        )
    return Start(
        network=network.train().requires_grad_(True),
        head=None,
        tokens=read_network_tokens(directory, network.size.vocab),
        tokenizer=(directory / "tokenizer.json").read_text(encoding="utf-8"),
        kind="embedder",
        max_seq_length=read_limit(directory) or network.size.max_positions,
        source=directory,
    )


def write_like(source: Path, state: Mapping[str, torch.Tensor], out: Path, dtype: str, card: str) -> None:
    """Write an encoder's weights with the other files of `source`, and the prompts that training renders."""
    write_copy(source, published_state(source, state), out, dtype)
    _write_prompts(out)
    (out / "README.md").write_text(card, encoding="utf-8")


def _write_prompts(out: Path) -> None:
    path = out / "config_sentence_transformers.json"
    stated = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(path, {**stated, "prompts": {"query": prompts.query_prefix(), "document": ""}})


def _refuse_adapter(directory: Path) -> None:
    if (directory / "adapter_config.json").exists() and not (directory / "config.json").exists():
        raise ModelError(
            f"{directory}: an adapter, not a model",
            "merge it into its base first: lingxi models adapt BASE ADAPTER OUT",
        )


def _refuse_classifier(directory: Path) -> None:
    found = [a for a in read_config(directory).get("architectures") or [] if "Classification" in a]
    if found:
        raise ModelError(
            f"{directory}: a {found[0]}, whose head gives classes and no tokens",
            "start from the causal original that it was made from",
        )
