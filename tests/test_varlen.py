"""Attention over a whole batch in one call, and several devices; with a slow stand-in, on a CPU."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lingxi import Embedder, Reranker
from lingxi.engine.run import pooled_states
from lingxi.errors import InputError
from lingxi.model.packed import pack
from lingxi.model.pooling import Pooling
from lingxi.model.varlen import _of_torch, varlen_for
from lingxi.train.encoders import encode_by
from toys import TEXTS, gap, random_ids, toy_decoder, toy_encoder

PLAIN = toy_decoder(hidden=32, head_dim=16, intermediate=48, vocab=64)
CALLS: list[tuple[int, int]] = []


def slow(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    starts: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
    causal: bool,
) -> torch.Tensor:
    """One sequence after the other, as flash attention's documentation says."""
    CALLS.append(longest)
    assert all(s.dtype == torch.int32 and s[0] == 0 for s in starts)
    assert (starts[0][-1], starts[1][-1]) == (len(queries), len(keys))
    lengths = [s.diff().tolist() for s in starts]
    assert longest == (max(lengths[0]), max(lengths[1]))
    out = []
    for q, k, v in zip(
        queries.split(lengths[0]), keys.split(lengths[1]), values.split(lengths[1]), strict=True
    ):
        parts = (x.transpose(0, 1)[None] for x in (q, k, v))
        out.append(
            F.scaled_dot_product_attention(*parts, is_causal=causal, enable_gqa=True)[0].transpose(0, 1)
        )
    return torch.cat(out)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_one_call_a_batch_gives_the_same_states(lengths: list[int]) -> None:
    decoder = toy_decoder(hidden=32, head_dim=16, intermediate=48, vocab=64)
    decoder.use_varlen(slow)
    sequences = random_ids(lengths, 64)
    CALLS.clear()
    assert gap(pooled_states(decoder, sequences), pooled_states(PLAIN, sequences)) < 1e-5
    assert [(max(lengths), max(lengths)), (1, max(lengths))] == CALLS
    with torch.inference_mode():
        assert gap(decoder.states(pack(sequences)), PLAIN.states(pack(sequences))) < 1e-5


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_an_encoder_asks_once_a_layer(pooling: Pooling) -> None:
    plain, one = toy_encoder(), toy_encoder()
    plain.pooling = one.pooling = pooling
    one.use_varlen(slow)
    packed = pack(random_ids([7, 7, 3, 1], plain.size.vocab))
    CALLS.clear()
    with torch.inference_mode():
        assert gap(one(packed), plain(packed)) < 1e-5
    assert [(7, 7)] * (plain.size.layers - 1) + [(7, 7) if pooling == "mean" else (1, 7)] == CALLS


def test_distances_are_computed_run_by_run() -> None:
    one = toy_encoder(buckets=32)
    one.use_varlen(slow)
    CALLS.clear()
    with torch.inference_mode():
        one(pack(random_ids([7, 3], one.size.vocab)))
    assert CALLS == []


@pytest.mark.parametrize("known", [{"window_size", "enable_gqa"}, {"window_size"}, {"is_causal"}])
def test_older_kernels_get_what_they_know(known: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def kernel(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: object, **options: object) -> object:
        given.update(options, heads=k.shape[1])
        return slow(q, k, v, rest[:2], rest[2:], options.get("is_causal") or options["window_size"][1] == 0)

    written = inspect.signature(kernel)
    named = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in sorted(known)]
    kernel.__signature__ = written.replace(parameters=named)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    flash = _of_torch()
    assert flash is not None
    q, k = torch.randn(9, 4, 16), torch.randn(9, 2, 16)
    starts = torch.tensor([0, 5, 9], dtype=torch.int32)
    wanted = slow(q, k, k, (starts, starts), (5, 5), causal=True)
    assert gap(flash(q, k, k, (starts, starts), (5, 5), causal=True), wanted) < 1e-6
    assert set(given) == known | {"heads"}
    assert given["heads"] == (2 if "enable_gqa" in known else 4)


def test_in_training_the_kernel_gets_halves() -> None:
    kinds: list[torch.dtype] = []

    def told(*given: Any, **options: Any) -> torch.Tensor:
        kinds.extend(each.dtype for each in given[:3])
        return slow(*given, **options)

    decoder = toy_decoder(hidden=32, head_dim=16, intermediate=48, vocab=64).requires_grad_(True)
    decoder.use_varlen(told)
    sequences = random_ids([7, 3, 3], 64)
    states = [encode_by(each, torch.bfloat16)(sequences) for each in (decoder, PLAIN)]
    assert set(kinds) == {torch.bfloat16}
    assert gap(*(each.detach() for each in states)) < 0.05
    states[0].sum().backward()
    assert all(each.grad is not None for each in decoder.parameters())


def test_after_a_prefix_attention_goes_by_runs() -> None:
    decoder = toy_decoder(hidden=32, head_dim=16, intermediate=48, vocab=64)
    decoder.use_varlen(slow)
    start, *own = random_ids([80, 5, 9, 9], 64)
    sequences = [start + s for s in own]
    CALLS.clear()
    assert gap(pooled_states(decoder, sequences), pooled_states(PLAIN, sequences)) < 1e-5
    assert CALLS == [(80, 80)]  # the prefix itself, in the layers but the last


def test_without_a_card_there_is_no_kernel() -> None:
    assert varlen_for(torch.device("cpu"), torch.bfloat16) is None
    assert varlen_for(torch.device("cuda"), torch.float32) is None


def test_the_kernel_of_torch_is_called_as_it_is_written() -> None:
    """Traced without a card: names and kinds of arguments are right, and the shape that comes out."""
    kernel = _of_torch()
    if kernel is None:
        pytest.skip("this torch has no variable-length attention with grouped heads")
    with torch.device("meta"):
        q, k = torch.empty(12, 4, 16, dtype=torch.bfloat16), torch.empty(12, 2, 16, dtype=torch.bfloat16)
        starts = torch.empty(4, dtype=torch.int32)
    assert kernel(q, k, k, (starts, starts), (5, 5), causal=True).shape == (12, 4, 16)


def test_two_devices_give_what_one_gives(embedder_directory: Path, reranker_directory: Path) -> None:
    two = Embedder(embedder_directory, device=["cpu", "cpu"])
    assert gap(two.encode(TEXTS), Embedder(embedder_directory).encode(TEXTS)) < 1e-5
    pairs = [("q", text) for text in TEXTS]
    judges = Reranker(reranker_directory, device=["cpu", "cpu"]), Reranker(reranker_directory)
    assert gap(*(judge.predict(pairs) for judge in judges)) < 1e-5
    with pytest.raises(InputError):
        Embedder(embedder_directory, device=[])
