"""Where training starts that does not start from scratch: any Qwen3 checkpoint.

An embedding model, a reranker, a base or an instruct model: bf16, sharded or int8, with a tied or an
untied head. Weights come in fp32, since optimizers need the digits that half precision lacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lingxi import prompts
from lingxi.errors import ModelError
from lingxi.model.decoder import Decoder
from lingxi.model.files import locate, read_config, read_decoder, read_output_head
from lingxi.model.layout import Kind, ModelFiles, read_kind, read_max_length
from lingxi.model.tokens import Tokens, read_tokens


@dataclass(frozen=True, slots=True)
class Start:
    """A checkpoint opened for training.

    `head` [vocab, hidden] is there where the checkpoint has a head of its own; it is trained beside the
    decoder, so give it to the optimizer. `kind` is what the directory says of itself; None for a base or
    instruct model, which may become either. `tokenizer` is the text of `tokenizer.json`.
    """

    decoder: Decoder
    head: nn.Parameter | None
    tokens: Tokens
    tokenizer: str
    kind: Kind | None
    max_seq_length: int

    def output_rows(self) -> torch.Tensor:
        """The output head [vocab, hidden]: its own, or the token vectors where it is tied to them.

        Raises ModelError where config.json unties the head and no file holds it (the largest embedder).
        """
        if self.decoder.size.tied_head:
            return self.decoder.embed_tokens.weight
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
        lacking = [name for name in prompts.SPECIAL_TOKENS if name not in self.tokens.specials]
        if lacking:
            raise ModelError(
                f"the network has no row for {lacking[0]!r}, which the reranker's template holds",
                "start from a base, an instruct model or a reranker",
            )
        self.output_rows()
        return self.tokens.answer("yes"), self.tokens.answer("no")

    def files(self, kind: Kind, card: str) -> ModelFiles:
        """What a directory of the weights as they now are is written from; `card` is its README.md."""
        state = {name: tensor.detach() for name, tensor in self.decoder.state_dict().items()}
        if kind == "reranker" and not self.decoder.size.tied_head:
            state["lm_head.weight"] = self.output_rows().detach()
        return ModelFiles(kind, self.decoder.size, state, self.tokenizer, card, self.max_seq_length)


def open_for_training(model: str | Path) -> Start:
    """Open a directory, hub id or shipped name for training: fp32, every parameter requiring its gradient.

    Raises ModelError for what is no Qwen3 checkpoint, an adapter, or a classifier.
    """
    directory = locate(model)
    _refuse_adapter(directory)
    _refuse_classifier(directory)
    decoder = read_decoder(directory, torch.float32)
    size = decoder.size
    tokens = read_tokens(directory / "tokenizer.json", size.vocab)
    head = read_output_head(directory, size)
    return Start(
        decoder=decoder.train().requires_grad_(True),
        head=None if head is None else nn.Parameter(head),
        tokens=tokens,
        tokenizer=(directory / "tokenizer.json").read_text(encoding="utf-8"),
        kind=read_kind(directory),
        max_seq_length=read_max_length(directory) or size.max_positions,
    )


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
