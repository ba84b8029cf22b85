"""The native kernels against plain torch: every instruction set here, every family, both precisions."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lingxi import Embedder, Reranker
from lingxi.engine import opening
from lingxi.engine.native import library, matrices, steps
from lingxi.engine.native.decoder import NativeDecoder
from lingxi.engine.native.encoder import NativeEncoder
from lingxi.engine.native.packing import Fresh
from lingxi.engine.native.stored import packed_file
from lingxi.engine.opening import native_network, open_networks
from lingxi.engine.quantizing import quantize_directory
from lingxi.errors import InputError, LingxiError, ModelError
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.files import SHIPPED
from lingxi.model.int8 import quantized
from lingxi.model.packed import pack
from lingxi.model.sizes import Size
from lingxi.model.styles import GEMMA3, LLAMA, QWEN2, Scaling
from toys import assert_mendable, gap, toy_size

pytestmark = pytest.mark.skipif(library.library() is None, reason="built without a C++ compiler")
PICO = SHIPPED / "lingxi-pico"


def _sets() -> list[str]:
    found = library.library()
    names = ["generic", "avx2", "avx512-vnni"]
    if found is None:
        return names
    best = found.lingxi_kernels()
    runs = [name for name in names if found.lingxi_choose(name.encode())]
    found.lingxi_choose(best)
    return runs


@pytest.fixture(params=_sets())
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    """The tests that use it run once for every instruction set that this machine has."""
    best = library.instruction_set()
    library.choose(request.param)
    yield request.param
    library.choose(best or "generic")


def raised(
    kind: type[LingxiError], call: Callable[..., object], *args: object, **options: object
) -> LingxiError:
    with pytest.raises(kind) as found:
        call(*args, **options)
    return found.value


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _product(
    x: torch.Tensor, matrix: matrices.Matrix, epilogue: steps.Epilogue, out: torch.Tensor
) -> torch.Tensor:
    rows = steps.ready(x, None, matrix, matrices.Room(), 2)
    return steps.product(rows, matrix, out, epilogue, 2)


SHAPES = [(1, 16, 16), (5, 48, 64), (7, 20, 33), (13, 96, 176), (100, 64, 24), (6, 4, 1)]


@pytest.mark.parametrize(("rows", "width", "columns"), SHAPES)
def test_fp32_products(kernels: str, rows: int, width: int, columns: int) -> None:
    x, weight, bias = _random(rows, width), _random(columns, width, seed=1), _random(columns, seed=2)
    out = torch.empty(rows, columns)
    found = _product(x, matrices.pack(weight, bias, "float32"), steps.Epilogue.STORE, out)
    assert gap(found, F.linear(x, weight, bias)) < 1e-4


@pytest.mark.parametrize(("rows", "width", "columns"), SHAPES)
def test_int8_products_are_the_products_of_the_codes(
    kernels: str, rows: int, width: int, columns: int
) -> None:
    x, weight, bias = _random(rows, width), _random(columns, width, seed=1), _random(columns, seed=2)
    matrix = matrices.pack(weight, bias, "int8")
    room = matrices.Room()
    ready = steps.ready(x, None, matrix, room, 1)
    assert ready.codes is not None and ready.scale is not None and ready.low is not None
    stands_for = ready.codes[:, :width].float() * ready.scale[:, None] + ready.low[:, None]
    codes, scale = matrices.rounded(matrices.mixed(weight / weight.norm(dim=0).sqrt()))
    wanted = F.linear(stands_for, codes.float() * scale[:, None], bias)
    out = torch.empty(rows, columns)
    assert gap(steps.product(ready, matrix, out, steps.Epilogue.STORE, 2), wanted) < 2e-3
    # And they are near the product that was meant.
    meant = F.linear(x, weight, bias)
    assert (out - meant).norm() < 0.03 * meant.norm()


EPILOGUES = {
    steps.Epilogue.ADD: lambda y, before: before + y,
    steps.Epilogue.GELU: lambda y, _: F.gelu(y),
    steps.Epilogue.GELU_TANH: lambda y, _: F.gelu(y, approximate="tanh"),
}


@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_epilogues(kernels: str, epilogue: steps.Epilogue) -> None:
    x, weight, before = _random(9, 32) * 2, _random(40, 32, seed=1), _random(9, 40, seed=2)
    found = _product(x, matrices.pack(weight, None, "float32"), epilogue, before.clone())
    assert gap(found, EPILOGUES[epilogue](F.linear(x, weight), before)) < 2e-5


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("inner", [16, 40, 96])
def test_gates(kernels: str, precision: str, inner: int) -> None:
    x, gate, up = _random(11, 32), _random(inner, 32, seed=1), _random(inner, 32, seed=2)
    matrix = matrices.pack(matrices.gated(gate, up), None, precision)
    wanted = F.silu(F.linear(x, gate)) * F.linear(x, up)
    found = _product(x, matrix, steps.Epilogue.GATE_SILU, torch.empty(11, inner))
    assert (found - wanted).norm() < (1e-5 if precision == "float32" else 0.05) * wanted.norm()


@pytest.mark.parametrize(("rows", "width", "columns"), SHAPES)
def test_bf16_products(kernels: str, rows: int, width: int, columns: int) -> None:
    x, weight = _random(rows, width), _random(columns, width, seed=1)
    found = _product(
        x, matrices.pack(weight, None, "bfloat16"), steps.Epilogue.STORE, torch.empty(rows, columns)
    )
    wanted = F.linear(x, weight)
    assert (found - wanted).norm() < 0.006 * wanted.norm()


def test_part_of_a_matrix(kernels: str) -> None:
    x, weight = _random(3, 20), _random(64, 20, seed=1)
    whole = matrices.pack(weight, _random(64, seed=2), "int8")
    both = _product(x, whole, steps.Epilogue.STORE, torch.empty(3, 64))
    assert torch.equal(
        _product(x, whole.part(16, 48), steps.Epilogue.STORE, torch.empty(3, 32)), both[:, 16:48]
    )


@pytest.mark.parametrize("width", [16, 48, 64, 100, 1536])
def test_mixing_keeps_products(kernels: str, width: int) -> None:
    """Mixed weights times mixed inputs are the product; one large number does not spoil the small ones."""
    x, weight = _random(4, width), _random(8, width, seed=1)
    x[:, 3] *= 100
    matrix = matrices.pack(weight, None, "int8")
    found = _product(x, matrix, steps.Epilogue.STORE, torch.empty(4, 8))
    assert F.cosine_similarity(found, F.linear(x, weight)).min() > 0.999
    assert matrices.mixing(width) == {16: 16, 48: 16, 64: 64, 100: 1, 1536: 512}[width]


def test_codes_of_equal_and_empty_rows(kernels: str) -> None:
    x = torch.stack((torch.zeros(20), torch.full((20,), 3.0), torch.full((20,), -2.0), torch.arange(20.0)))
    matrix = matrices.pack(torch.eye(20), None, "int8")
    found = _product(x, matrix, steps.Epilogue.STORE, torch.empty(4, 20))
    assert gap(found, x) < 0.05


@pytest.mark.parametrize("width", [16, 20, 130, 384])
def test_norms(kernels: str, width: int) -> None:
    x, gain, shift = _random(19, width) * 3 + 1, _random(width, seed=1), _random(width, seed=2)
    rms = steps.ready(x, steps.Norm(gain, None, 1e-6), None, matrices.Room(), 2).floats
    layer = steps.ready(x, steps.Norm(gain, shift, 1e-6), None, matrices.Room(), 2).floats
    assert gap(rms, F.rms_norm(x, (width,), gain, 1e-6)) < 1e-5
    assert gap(layer, F.layer_norm(x, (width,), gain, shift, 1e-6)) < 2e-5


@pytest.mark.parametrize("width", [20, 48])
@pytest.mark.parametrize("place", [0, 3, 19])
def test_what_is_no_number_stays_none(kernels: str, width: int, place: int) -> None:
    """Codes can only be numbers: a row that holds none is not made one by rounding; its neighbours stay."""
    x, weight = _random(3, width), _random(8, width, seed=1)
    x[1, place] = float("nan")
    found = _product(x, matrices.pack(weight, None, "int8"), steps.Epilogue.STORE, torch.empty(3, 8))
    assert found[1].isnan().all() and found[[0, 2]].isfinite().all()


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(
    LENGTHS, st.booleans(), st.integers(0, 20), st.sampled_from([0, 3, 17]), st.sampled_from([(4, 2), (3, 3)])
)
def test_attention(lengths: list[int], causal: bool, seen: int, window: int, heads: tuple[int, int]) -> None:
    """Every sequence alone, masked in full, gives the same."""
    asked, kept, dim = *heads, 16
    seen, window = (seen, window) if causal else (0, 0)
    tokens = sum(lengths)
    q, k, v = (
        _random(tokens, asked * dim),
        _random(tokens, kept * dim, seed=1),
        _random(tokens, kept * dim, seed=2),
    )
    before = (_random(seen, kept, dim, seed=3), _random(seen, kept, dim, seed=4)) if seen else None
    shape = steps.Heads(asked, kept, dim, 0.3, causal, window)
    starts = np.cumsum([0, *lengths])
    spans = steps.spans(pack([[0] * length for length in lengths]))
    found = steps.attend(q, k, v, shape, spans, before, torch.empty(tokens, asked * dim), 2)
    for start, length in zip(starts, lengths, strict=False):
        own = slice(int(start), int(start) + length)
        keys, values = (x[own].view(length, kept, dim) for x in (k, v))
        if before:
            keys, values = torch.cat((before[0], keys)), torch.cat((before[1], values))
        distance = (torch.arange(length) + seen)[:, None] - torch.arange(length + seen)
        mask = (distance >= 0) if causal else torch.ones_like(distance, dtype=torch.bool)
        mask &= (distance < window) if window else True
        ask = q[own].view(length, asked, dim).transpose(0, 1)
        keys, values = (x.transpose(0, 1).repeat_interleave(asked // kept, 0) for x in (keys, values))
        wanted = F.scaled_dot_product_attention(ask, keys, values, attn_mask=mask, scale=0.3)
        assert gap(found[own], wanted.transpose(0, 1).flatten(1)) < 1e-5


def test_attention_over_many_blocks_of_keys(kernels: str) -> None:
    """The softmax of a block goes on from the one before, also where all scores of the first were tiny."""
    length, dim = 700, 32
    q, k, v = _random(length, dim), _random(length, dim, seed=1), _random(length, dim, seed=2)
    k[300:] *= 6
    shape = steps.Heads(1, 1, dim, 1.0, causal=True)
    found = steps.attend(
        q, k, v, shape, torch.tensor([[0, length, 0, length]]), None, torch.empty(length, dim), 1
    )
    wanted = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=1.0)[0]
    assert gap(found, wanted) < 3e-5


FAMILIES = {
    "qwen3": toy_size(hidden=48, head_dim=16),
    "qwen2": replace(toy_size(hidden=48, head_dim=16), style=QWEN2),
    "llama": replace(toy_size(hidden=48, head_dim=32), style=LLAMA, scaling=Scaling("llama3", 8.0)),
    "gemma3": replace(
        toy_size(hidden=48, head_dim=16, layers=3),
        style=GEMMA3,
        window=6,
        windowed=(True, False, True),
        local_theta=1e4,
    ),
}
SEQUENCES = [
    [5, 6, 7, 8, 9, 10, 11, 3],
    [5, 6, 9],
    [12],
    [5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 30],
]


def _decoder(size: Size) -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(size).eval().requires_grad_(False)
    for name, tensor in decoder.named_parameters():
        tensor.normal_(0, 0.3 if "norm" in name else 0.15)
    return decoder


@pytest.mark.parametrize("family", FAMILIES)
def test_decoders(kernels: str, family: str) -> None:
    decoder = _decoder(FAMILIES[family])
    native = NativeDecoder(decoder.size, Fresh(decoder.state_dict(), "float32"), "float32")
    packed = pack(SEQUENCES)
    with torch.inference_mode():
        assert gap(native(packed), decoder(packed)) < 2e-5
        assert gap(native.states(packed), decoder.states(packed)) < 2e-5
        ours, theirs = (n.prefix([7], n.prefix([5, 6])) for n in (native, decoder))
        assert gap(native(packed, ours), decoder(packed, theirs)) < 2e-5


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_encoders(kernels: str, pooling: str, approximate: str) -> None:
    size = EncoderSize(48, 2, 3, 80, 64, 40, offset=2, approximate=approximate)
    torch.manual_seed(0)
    encoder = Encoder(size, pooling).eval().requires_grad_(False)
    native = NativeEncoder(size, Fresh(encoder.state_dict(), "float32"), "float32", pooling)
    with torch.inference_mode():
        packed = pack(SEQUENCES)
        assert gap(native(packed), encoder(packed)) < 1e-5
        assert gap(native.states(packed), encoder.states(packed)) < 1e-5


def test_an_encoder_computes_in_and_out_of_inference_mode() -> None:
    size = EncoderSize(32, 1, 2, 48, 64, 40)
    native = NativeEncoder(size, Fresh(Encoder(size).state_dict(), "float32"), "float32")
    with torch.inference_mode():
        inside = native(pack(SEQUENCES))
    assert gap(native(pack(SEQUENCES)), inside) == 0


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("ids", [[1, 64], [-1], [1] * 41])
def test_ids_and_positions_without_a_row_are_said(precision: str, ids: list[int]) -> None:
    size = EncoderSize(32, 1, 2, 48, 64, 40)
    native = NativeEncoder(size, Fresh(Encoder(size).state_dict(), precision), precision)
    with pytest.raises(IndexError):
        native(pack([ids]))


def test_networks_are_copied_and_sent() -> None:
    native = native_network(PICO, "int8")
    wanted = native(pack(SEQUENCES))
    for copied in (copy.deepcopy(native), pickle.loads(pickle.dumps(native))):
        assert torch.equal(copied(pack(SEQUENCES)), wanted)


def test_int8_is_near_on_real_weights() -> None:
    ids = [
        [i % 40_000 for i in range(start, start + length, 7)]
        for start, length in ((100, 400), (9, 90), (5_000, 999))
    ]
    packed = pack(sorted(ids, key=len, reverse=True))
    (torch_network,) = open_networks(PICO, [torch.device("cpu")], torch.float32, engine="torch")
    with torch.inference_mode():
        wanted = torch_network(packed)
    assert F.cosine_similarity(native_network(PICO, "int8")(packed), wanted).min() > 0.999
    assert gap(F.normalize(native_network(PICO, "float32")(packed)), F.normalize(wanted)) < 1e-5


@pytest.mark.parametrize("channels", [[3], [7, 40]])
def test_int8_with_outlier_channels(channels: list[int]) -> None:
    """Channels a hundred times as large as others (real decoders have some) do not spoil the rest."""
    size = Size(256, 4, 4, 2, 64, 512, 200)
    torch.manual_seed(1)
    decoder = Decoder(size).eval().requires_grad_(False)
    for name, tensor in decoder.named_parameters():
        tensor.fill_(1.0) if "norm" in name else tensor.normal_(0, 0.05)
    decoder.embed_tokens.weight[:, channels] *= 100
    native = NativeDecoder(size, Fresh(decoder.state_dict(), "int8"), "int8")
    packed = pack([np.random.default_rng(i).integers(0, 200, 30).tolist() for i in range(8)])
    with torch.inference_mode():
        found, wanted = native.states(packed), decoder.states(packed)
    assert F.cosine_similarity(found, wanted).mean() > 0.999
    rest = [c for c in range(256) if c not in channels]
    assert F.cosine_similarity(found[:, rest], wanted[:, rest]).mean() > 0.99


def test_a_vector_does_not_depend_on_its_batch_or_threads() -> None:
    native = native_network(PICO, "int8")
    alone = torch.cat([native(pack([ids])) for ids in SEQUENCES])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = native(pack(SEQUENCES))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(alone, together)


def test_threads_share_a_network() -> None:
    native = native_network(PICO, "int8")
    batches = [pack([[*range(10 + i, 60 + 3 * i)], [i + 1]]) for i in range(16)]
    wanted = [native(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for found, right in zip(pool.map(native, batches * 3), wanted * 3, strict=True):
            assert torch.equal(found, right)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_kernels_compute_in_a_forked_process() -> None:
    """Threads do not live through a fork: the child makes its own."""
    x, matrix = _random(300, 32), matrices.pack(_random(96, 32, seed=1), None, "float32")
    wanted, out = (
        _product(x, matrix, steps.Epilogue.STORE, torch.empty(300, 96)).numpy(),
        torch.empty(300, 96),
    )
    if not (child := os.fork()):
        same = np.array_equal(_product(x, matrix, steps.Epilogue.STORE, out).numpy(), wanted)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_packed_directory_gives_the_same_vectors(tmp_path: Path) -> None:
    packed = quantize_directory(PICO, tmp_path / "packed", packed=True)
    fresh = native_network(PICO, "int8")
    mapped = native_network(packed, "int8")
    assert torch.equal(mapped(pack(SEQUENCES)), fresh(pack(SEQUENCES)))
    assert Embedder(packed).weights == "int8"
    assert packed_file(packed, "int8").stat().st_size < 1.2 * (packed / "model.safetensors").stat().st_size


def test_a_packed_file_of_other_weights_is_left_alone(tmp_path: Path) -> None:
    mine = quantize_directory(PICO, tmp_path / "mine", packed=False)
    other = quantize_directory(SHIPPED / "lingxi-pico-reranker", tmp_path / "other", packed=True)
    packed_file(other, "int8").rename(packed_file(mine, "int8"))
    assert torch.equal(
        native_network(mine, "int8")(pack(SEQUENCES)), native_network(mine, "int8")(pack(SEQUENCES))
    )
    found = native_network(mine, "int8")(pack(SEQUENCES))
    assert F.cosine_similarity(found, native_network(PICO, "float32")(pack(SEQUENCES))).min() > 0.99


def test_a_damaged_packed_file_is_said(tmp_path: Path) -> None:
    packed = quantize_directory(PICO, tmp_path / "packed", packed=True)
    file = packed_file(packed, "int8")
    whole = file.read_bytes()
    assert (8 + int.from_bytes(whole[:8], "little")) % 64 == 0
    file.write_bytes(whole[:1000])
    assert_mendable(raised(ModelError, native_network, packed, "int8"), "packed-int8")


def test_quantized_copies_keep_what_a_model_is(tmp_path: Path) -> None:
    copy = quantize_directory(PICO, tmp_path / "copy", packed=False)
    text = "how is a text cut?"
    a, b = Embedder(PICO).encode_query(text), Embedder(copy).encode_query(text)
    assert a @ b > 0.999
    reranker = quantize_directory(SHIPPED / "lingxi-pico-reranker", tmp_path / "reranker", packed=False)
    pairs = [(text, "Texts are cut at 512 tokens."), (text, "Bananas are yellow.")]
    assert (
        np.abs(Reranker(reranker).predict(pairs) - Reranker("lingxi-pico-reranker").predict(pairs)).max()
        < 0.02
    )
    assert_mendable(raised(InputError, quantize_directory, PICO, copy, packed=False), "exists")


def test_a_damaged_directory_leaves_no_half_copy(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_bytes((PICO / "config.json").read_bytes())
    (source / "model.safetensors").write_bytes(b"cut short")
    raised(ModelError, quantize_directory, source, tmp_path / "copy", packed=False)
    assert not (tmp_path / "copy").exists()


def test_numbers_of_positions_are_not_rounded(tmp_path: Path) -> None:
    """Only weights are matrices: BERT's checkpoints also hold a table of position numbers."""
    state = {"a.weight": _random(4, 16), "position_ids": torch.arange(512)[None].float()}
    found = dict(quantized(state))
    assert set(found) == {"a.weight", "a.scale", "position_ids"}
    assert torch.equal(found["position_ids"], state["position_ids"])


def test_wrong_choices_are_said() -> None:
    assert_mendable(raised(InputError, Embedder, engine="fast"), "fast")
    assert_mendable(raised(InputError, Embedder, weights="int4"), "int4")
    assert_mendable(raised(InputError, Embedder, weights="int8", engine="torch"), "torch")
    assert_mendable(raised(InputError, Embedder, dtype="bfloat16", weights="int8"), "float32")


def test_without_kernels_torch_computes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = quantize_directory(PICO, tmp_path / "copy", packed=False)
    with_kernels = Embedder(copy).encode("a text")
    monkeypatch.setattr(opening, "library", lambda: None)
    without = Embedder(copy)
    assert without.weights == "float32"
    assert without.encode("a text") @ with_kernels > 0.999
    assert_mendable(raised(InputError, Embedder, engine="native"), "built without")
    assert_mendable(raised(InputError, Embedder, weights="int8"), "built without")
