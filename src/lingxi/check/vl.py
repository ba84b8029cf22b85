"""What is checked of a VL model alone: its turns laid out anew, and its pictures by transformers' network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from lingxi import prompts
from lingxi.check.padded import bars_off
from lingxi.check.report import Row, Skipped, Tolerance, row
from lingxi.check.subject import Subject
from lingxi.embedder import Embedder
from lingxi.model.golden import Golden, GoldenText
from lingxi.model.messages import framed
from lingxi.model.seen import Seen, View, patches_of
from lingxi.model.tokens import Tokens


def turns_of(subject: Subject, text: GoldenText) -> tuple[Tokens, str]:
    """The tokenizer with the turns around what is said, and what is said, of a text without a picture."""
    tokens = subject.tokens
    if isinstance(subject.model, Embedder):
        return framed(tokens, prompts.vl_instruction(text.task or prompts.VL_TASK)), text.text
    before, after = tokens.laid(prompts.vl_rerank_opening()), tokens.laid(prompts.VL_TAIL)
    said = prompts.vl_rerank_body(text.query or "", text.text, text.task or prompts.VL_RERANK_TASK)
    return replace(tokens, before=tuple(before), after=tuple(after)), said


def picture_rows(subject: Subject, golden: Golden, tolerance: Tolerance) -> Iterator[Row | Skipped]:
    """Golden texts with pictures by transformers' whole network: the tower, the seats, the three axes."""
    at = [i for i, text in enumerate(golden.texts) if text.image is not None]
    if not at:
        return
    if find_spec("transformers") is None:
        yield Skipped("pictures", "transformers is not installed")
        return
    states = vl_forward(subject)
    sequences = subject.ids([golden.texts[i] for i in at])
    wanted = np.concatenate([subject.finished(states(ids)) for ids in sequences])
    yield row("pictures", "golden file, by transformers", wanted, golden.values[at], tolerance)


def vl_forward(subject: Subject) -> Callable[[Any], torch.Tensor]:
    """transformers' network of the directory in fp32: ids with pictures to the last state [1, hidden]."""
    from transformers import AutoModel

    with bars_off():
        network: Any = AutoModel.from_pretrained(subject.directory, dtype=torch.float32).eval()

    def forward(sequence: Any) -> torch.Tensor:
        """One input, alone."""
        seen = sequence if isinstance(sequence, Seen) else Seen(list(sequence), ())
        with torch.inference_mode():
            return network(**_asked(subject, network.config, seen))[0][:, -1]  # type: ignore[no-any-return]

    return forward


def _asked(subject: Subject, config: Any, seen: Seen) -> dict[str, Any]:
    assert subject.model.vision is not None
    ids = torch.tensor([seen.ids])
    kinds = torch.zeros_like(ids)
    kinds[ids == config.image_token_id], kinds[ids == config.video_token_id] = 1, 2
    asked: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    stills = [view for view in seen.views if len(view.pixels) == 1]
    clips = [view for view in seen.views if len(view.pixels) > 1]
    for name, grid, views in (
        ("pixel_values", "image_grid_thw", stills),
        ("pixel_values_videos", "video_grid_thw", clips),
    ):
        if views:
            asked |= {name: patches_of(views, subject.model.vision.size), grid: _grids(views)}
    return asked | {"mm_token_type_ids": kinds}


def _grids(views: list[View]) -> torch.Tensor:
    return torch.tensor([view.grid for view in views])
