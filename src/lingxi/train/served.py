"""What is trained is what is served: the same ids in, and from the written directory the same numbers out.

Both are plain functions that return nothing, and raise GuardError saying what, where and how to mend it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.embedder import Embedder
from lingxi.engine.run import pooled_states
from lingxi.errors import GuardError, LingxiWarning
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.files import read_config
from lingxi.model.golden import GoldenText, embedding_texts, rerank_texts
from lingxi.model.layout import Kind
from lingxi.reranker import Reranker
from lingxi.train.guards import short

Feed = Callable[[GoldenText], Sequence[int]]
"""Training's own way from a text (with its task, and for a rerank pair its query) to token ids."""

# 1 − cosine of a vector, and difference of a score, that storing the weights may cost. Rounding random
# networks of 28 layers gave 5e-6 (float16), 6e-4 (bfloat16) and 6e-3 (int8); the trained pico models in
# int8 9e-3 (of the empty text) and 0.056 of a score.
_COSINE = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 1e-3, "int8": 2e-2, "int8-fine": 2e-2}
_SCORE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 2e-2, "int8": 1e-1, "int8-fine": 1e-1}

_TEXTS = (
    "",
    " a space first, a line break and a tab last\n\t",
    "北京是中华人民共和国的首都。人工智能正在改变搜索引擎。",
    "🙂👍🏽👩‍👩‍👧 emoji, combining e\u0301, ﬁ ligature, a no-break\u00a0space",
    "ภาษาไทยเขียนโดยไม่เว้นวรรค العربية من اليمين إلى اليسار",
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nyes<|endoftext|>",
    "Instruct: another task\nQuery:another query\n<Document>: another document",
)
_LONG = "Where is a text cut when it is too long? 北京是首都。 def double(x): return x + x\n" * 400
_TASKS = (prompts.DEFAULT_TASK, "给定一个问题，检索能够回答它的段落 <|im_end|>")


def prompts_match(directory: Path, kind: Kind, feed: Feed, max_tokens: int) -> None:
    """Raise GuardError where training feeds other ids than the serving face of `directory` does.

    Asked with texts in several scripts, emoji, look-alikes of special tokens, nothing and a very long
    text. Training may cut sooner than serving, to no fewer than `max_tokens` ids and only at a text's end.
    """
    serve, closing = _served(directory, kind)
    for probe in _probes(kind):
        trained, served = list(feed(probe)), serve(probe)
        cut = max_tokens <= len(trained) < len(served)
        expected = served[: len(trained) - closing] + served[-closing:] if cut else served
        if trained != expected:
            raise _other_ids(directory, probe, trained, expected)


def _probes(kind: Kind) -> Iterator[GoldenText]:
    texts = (*_TEXTS, _LONG)
    if kind == "embedder":
        yield from (GoldenText(text, task) for task in (None, *_TASKS) for text in texts)
    else:
        turned = (*_TEXTS[1:], _TEXTS[0], "a query")
        yield from (GoldenText(d, t, q) for t in _TASKS for d, q in zip(texts, turned, strict=True))


def _served(directory: Path, kind: Kind) -> tuple[Callable[[GoldenText], list[int]], int]:
    """What serving feeds of a text, and how many ids close every sequence."""
    # Only the tokenizer is asked, so the weights may be of few bits.
    if kind == "embedder":
        embedder = Embedder(directory, device="cpu", dtype="bfloat16")
        closing = len(embedder.tokenizer.after)
        return lambda t: embedder.token_ids([t.text], instruction=t.task)[0], closing
    reranker = Reranker(directory, device="cpu", dtype="bfloat16")
    closing = len(reranker.tokenizer.prompt(prompts.RERANK_SUFFIX))
    return lambda t: reranker.token_ids([(t.query or "", t.text)], instruction=t.task)[0], closing


def _other_ids(directory: Path, probe: GoldenText, trained: list[int], expected: list[int]) -> GuardError:
    pairs = zip(trained, expected, strict=False)
    shorter = min(len(trained), len(expected))
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    sides = [ids[place : place + 6] for ids in (trained, expected)]
    return GuardError(
        f"training feeds the network other ids than serving does ({directory}): for {short(probe.text)}"
        f"{' as a query' if probe.task and probe.query is None else ''}, from id {place} on "
        f"training has {sides[0]} ({len(trained)} ids), serving {sides[1]} ({len(expected)} ids)",
        "render texts with lingxi.prompts and tokenize them with the directory's tokenizer.json, "
        "user text by Tokens.texts",
    )


def exported_equals(
    network: Decoder | Encoder,
    directory: Path,
    kind: Kind,
    probes: Sequence[GoldenText] | None = None,
    tolerance: float | None = None,
    *,
    head: torch.Tensor | None = None,
) -> None:
    """Raise GuardError where the written `directory` does not compute what `network` does in memory.

    Compared on `probes` (the golden texts unless given): 1 − cosine of vectors, or the difference of a
    reranker's probabilities, is at most `tolerance`, by default what the stored precision allows.
    `head` [vocab, hidden] is the output head of a reranker that does not tie it.
    """
    weight = network.embed_tokens.weight
    computed = str(weight.dtype).removeprefix("torch.")
    bounds = _COSINE if kind == "embedder" else _SCORE
    bound = max(bounds[_stored(directory)], bounds[computed]) if tolerance is None else tolerance
    texts = probes or (embedding_texts() if kind == "embedder" else rerank_texts())
    with warnings.catch_warnings():
        # A text that is too long for the model is cut alike on both sides.
        warnings.simplefilter("ignore", LingxiWarning)
        if kind == "embedder":
            embedder = Embedder(directory, device=str(weight.device), dtype=computed)
            gaps = _vector_gaps(network, embedder, texts)
        else:
            reranker = Reranker(directory, device=str(weight.device), dtype=computed)
            gaps = _score_gaps(network, weight if head is None else head, reranker, texts)
    worst = int(np.argmax(np.where(np.isnan(gaps), np.inf, gaps)))
    if not gaps[worst] <= bound:
        what = "1 − cosine" if kind == "embedder" else "the difference of the scores"
        raise GuardError(
            f"{directory} does not compute what the model in memory does: {what} is {gaps[worst]:.3g} "
            f"for {short(texts[worst].text)}, at most {bound:g} is allowed",
            "write the directory again from the trained weights (adapters merged), or in a finer precision",
        )


def _stored(directory: Path) -> str:
    config = read_config(directory)
    own = config.get("lingxi_weights") or {}
    return str(own.get("dtype") or config.get("dtype") or config.get("torch_dtype") or "float32")


def _vector_gaps(
    network: Decoder | Encoder, embedder: Embedder, texts: Sequence[GoldenText]
) -> NDArray[np.float64]:
    rendered = [t.text if t.task is None else prompts.query(t.text, t.task) for t in texts]
    states = pooled_states(network, embedder.token_ids(rendered)).double()
    ours = torch.nn.functional.normalize(states, dim=-1).numpy()
    theirs = embedder.encode(rendered, show_progress_bar=False).astype(np.float64)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    return np.asarray(1 - (ours * theirs).sum(1), np.float64)


def _score_gaps(
    network: Decoder | Encoder, head: torch.Tensor, reranker: Reranker, texts: Sequence[GoldenText]
) -> NDArray[np.float64]:
    yes, no = (head[reranker.tokenizer.answer(word)].detach().float().cpu() for word in ("yes", "no"))
    gaps = np.empty(len(texts))
    for task in dict.fromkeys(text.task for text in texts):
        places = [i for i, text in enumerate(texts) if text.task == task]
        pairs = [(texts[i].query or "", texts[i].text) for i in places]
        states = pooled_states(network, reranker.token_ids(pairs, instruction=task))
        ours = torch.sigmoid(states @ (yes - no)).numpy()
        gaps[places] = np.abs(ours - reranker.predict(pairs, instruction=task, show_progress_bar=False))
    return gaps
