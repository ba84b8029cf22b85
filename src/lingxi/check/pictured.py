"""Golden texts of a VL model: the usual ones, and some with pictures drawn here, kept as `data:` URLs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lingxi import prompts
from lingxi.errors import MissingExtraError
from lingxi.model.golden import GoldenText

# Width and height: smaller than a token, an odd size, three times as tall as wide, and a larger one.
_SIZES = ((9, 7), (70, 45), (64, 192), (210, 150))


def pictured(texts: Sequence[GoldenText]) -> tuple[GoldenText, ...]:
    """The texts, the VL reranker's under its own task, and the first of them once more with pictures."""
    texts = [replace(t, task=prompts.VL_RERANK_TASK) if t.query is not None else t for t in texts]
    shown = [replace(text, image=_drawn(*size)) for text, size in zip(texts, _SIZES, strict=False)]
    return (*texts[:1], *shown, *texts[1:])


def _drawn(width: int, height: int) -> str:
    """Waves of three colours: every pixel differs from its neighbours, as in photographs."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("pillow", "vision", "the golden file of a VL model") from None
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (3 + c) + columns / (5 - c)) for c in range(3)]
    pixels = ((np.stack(waves, axis=-1) + 1) * 127.5).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
