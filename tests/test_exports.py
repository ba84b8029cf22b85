"""Models in other forms compute what the model computes: ONNX, OpenVINO, GGUF, four bits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi import Embedder, Reranker
from lingxi.check import Tolerance, check_against, make_golden
from lingxi.cli import run
from lingxi.compress.int4 import compensated, eased
from lingxi.compress.int4_directory import quantize_int4
from lingxi.errors import InputError, ModelError
from lingxi.model.files import open_weights
from lingxi.model.int4 import nearest, packed4
from toys import SENTENCES, assert_mendable, toy_size, write_toy

TEXTS = [text for _, text in SENTENCES] * 8


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = write_toy(
        tmp_path_factory.mktemp("exports") / "toy", size=toy_size(max_positions=2048), max_seq_length=600
    )
    make_golden(out)
    return out


@pytest.fixture(scope="module")
def toy_reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = toy_size(max_positions=2048, tied_head=False)
    out = write_toy(
        tmp_path_factory.mktemp("exports") / "judge", "reranker", size=size, seed=1, max_seq_length=600
    )
    make_golden(out)
    return out


# --- four bits -----------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.sampled_from([16, 32, 48]), st.integers(0, 99))
def test_packed_codes_come_back(rows: int, group: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = torch.from_numpy(rng.integers(0, 16, (rows, 2 * group)))
    scales = torch.from_numpy(rng.normal(size=(rows, 2)).astype(np.float16))
    packed = packed4(codes, scales)
    wanted = (codes.view(rows, 2, group) - 8) * scales[:, :, None].float()
    assert packed.group == group and packed.codes.shape == (rows, group)
    assert torch.equal(packed.values(), wanted.view(rows, -1).float())


def test_the_nearest_step_is_at_most_half_a_step_away() -> None:
    matrix = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    rounded = nearest(matrix)
    inside = (rounded.values / rounded.packed.scales.float().repeat_interleave(32, 1)).abs() < 7
    step = rounded.packed.scales.float().abs().repeat_interleave(32, 1)
    assert ((rounded.values - matrix).abs() <= step * 0.5001)[inside].all()
    assert nearest(torch.zeros(2, 32)).values.abs().max() < 1e-5


def test_compensation_loses_less_of_the_outputs_than_rounding() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(500, 64, generator=generator) @ torch.randn(64, 64, generator=generator)
    matrix = torch.randn(32, 64, generator=generator)
    hessian = inputs.T @ inputs / len(inputs)

    def lost(values: torch.Tensor) -> float:
        return float((inputs @ (values - matrix).T).square().mean())

    assert lost(compensated(matrix, hessian).values) < 0.6 * lost(nearest(matrix).values)
    strong = torch.randn(500, 64, generator=generator)
    strong[:, ::16] *= 50  # four inputs that matter most
    factor = eased([matrix], strong.T @ strong / len(strong))
    eased_values = nearest(matrix * factor).values / factor
    plain = (strong @ (nearest(matrix).values - matrix).T).square().mean()
    assert (strong @ (eased_values - matrix).T).square().mean() < plain


@pytest.mark.parametrize("method", ["nearest", "gptq", "awq", "awq-gptq"])
def test_an_int4_directory_is_read_like_any_other(toy: Path, tmp_path: Path, method: str) -> None:
    texts = () if method == "nearest" else TEXTS
    found = quantize_int4(toy, tmp_path / "q", method=method, texts=texts)
    size = (toy / "model.safetensors").stat().st_size
    assert found.bytes < size / 5 and max(found.errors.values()) < 0.2
    vectors, wanted = (Embedder(d).encode([t for _, t in SENTENCES]) for d in (found.path, toy))
    cosines = (vectors * wanted).sum(axis=1)
    assert cosines.min() > 0.9 and cosines.max() < 0.9999999
    assert Embedder(found.path, weights="int8").encode("a").shape == (64,)


def test_an_int4_reranker_keeps_its_head(toy_reranker: Path, tmp_path: Path) -> None:
    quantize_int4(toy_reranker, tmp_path / "q", method="gptq", texts=TEXTS)
    pairs = [("Where is Beijing?", text) for _, text in SENTENCES]
    gap = np.abs(Reranker(tmp_path / "q").predict(pairs) - Reranker(toy_reranker).predict(pairs))
    assert 0 < gap.max() < 0.2


def test_what_cannot_be_rounded_is_said(toy: Path, tmp_path: Path) -> None:
    for options in ({"method": "best"}, {"method": "gptq"}, {"group": 40}):
        with pytest.raises(InputError) as caught:
            quantize_int4(toy, tmp_path / "no", **options)
        assert_mendable(caught.value)
    assert not (tmp_path / "no").exists()


# --- ONNX ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["onnx", "openvino"])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "int4"])
def test_an_exported_embedder_passes_the_check(
    toy: Path, tmp_path: Path, precision: str, library: str
) -> None:
    export_onnx = _exporter(library)
    source = toy
    if precision == "int4":
        source = quantize_int4(toy, tmp_path / "q", method="nearest").path
    export_onnx(source, tmp_path / "out", precision)
    # Random weights bear rounding less than trained ones do.
    allowed = Tolerance(2e-3, 3e-2) if precision == "int8" else None
    report = check_against(source, f"{library}:{tmp_path}/out/model.onnx", tolerance=allowed)
    assert report.ok, [r for r in report.rows if not r.ok]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_an_exported_reranker_passes_the_check(toy_reranker: Path, tmp_path: Path, precision: str) -> None:
    _exporter("onnx")(toy_reranker, tmp_path / "out", precision)
    report = check_against(toy_reranker, f"onnx:{tmp_path}/out/model.onnx")
    assert report.ok, [r for r in report.rows if not r.ok]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_vector_depends_on_neither_batch_nor_side_of_padding(
    toy: Path, tmp_path: Path, precision: str
) -> None:
    _exporter("onnx")(toy, tmp_path / "out", precision)
    from lingxi.check.onnx import open_runtime

    runtime = open_runtime(tmp_path / "out" / "model.onnx")
    alone = runtime.run({"input_ids": np.array([[5, 6, 7]]), "attention_mask": np.ones((1, 3), np.int64)})
    ids = np.array([[5, 6, 7, 99, 98], [97, 96, 5, 6, 7], [9, 8, 7, 6, 5]])
    mask = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    found = runtime.run({"input_ids": ids, "attention_mask": mask})
    assert np.abs(found[:2] - alone).max() < 1e-6 and np.abs(found[2] - alone).max() > 1e-3


def test_narrow_outputs_are_cut_vectors(toy: Path, tmp_path: Path) -> None:
    _exporter("onnx")(toy, tmp_path / "out")
    session = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "out" / "model.onnx")
    ids = Embedder(toy).token_ids(["The capital of China"])
    given = {"input_ids": np.array(ids), "attention_mask": np.ones((1, len(ids[0])), np.int64)}
    names = [o.name for o in session.get_outputs()]
    assert names == ["sentence_embedding", "sentence_embedding_32"]
    narrow = session.run(["sentence_embedding_32"], given)[0]
    assert np.abs(narrow - Embedder(toy).encode(["The capital of China"], truncate_dim=32)).max() < 1e-6


def test_int4_is_exported_from_an_int4_directory_alone(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        _exporter("onnx")(toy, tmp_path / "out", "int4")
    assert_mendable(caught.value, "compress int4")
    with pytest.raises(InputError):
        _exporter("onnx")(toy, tmp_path / "out", "int3")


def test_an_exported_folder_embeds_text(toy: Path, tmp_path: Path) -> None:
    _exporter("onnx")(toy, tmp_path / "out")
    from lingxi.compress.onnx_embedder import OnnxEmbedder

    embedder, ours = OnnxEmbedder(tmp_path / "out"), Embedder(toy)
    texts = [text for _, text in SENTENCES]
    assert np.abs(embedder.encode(texts, None) - ours.encode_document(texts)).max() < 1e-5
    assert np.abs(embedder.encode(texts, "Find") - ours.encode_query(texts, instruction="Find")).max() < 1e-5


def _exporter(library: str):
    for name in ("onnx", "onnxruntime" if library == "onnx" else library):
        pytest.importorskip(name, reason="needs the extra onnx")
    from lingxi.compress.onnx_export import export_onnx

    return export_onnx


# --- GGUF ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "near"), [("float32", 1e-6), ("float16", 2e-3), ("q8_0", 3e-2), ("q4_0", 1e-6)]
)
def test_a_gguf_file_is_read_back(toy: Path, tmp_path: Path, dtype: str, near: float) -> None:
    pytest.importorskip("gguf", reason="needs the extra gguf")
    from lingxi.compress.gguf import write_gguf
    from lingxi.model.gguf import read_gguf

    source = quantize_int4(toy, tmp_path / "q", method="nearest").path if dtype == "q4_0" else toy
    found = read_gguf(write_gguf(source, tmp_path / "toy.gguf", dtype))
    state = found.decoder.state_dict()
    with open_weights(source) as tensors:
        assert max(float((state[name] - tensors[name]).abs().max()) for name in tensors) < near
    assert found.metadata["qwen3.pooling_type"] == 3
    ours = Embedder(source).tokenizer
    texts = [text for _, text in SENTENCES] + ["<|im_end|> is text"]
    assert found.tokens.texts(texts) == ours.texts(texts)


# --- the page's files, the verbs -----------------------------------------------------------------


def test_a_page_holds_all_it_needs(toy: Path, tmp_path: Path) -> None:
    _exporter("onnx")
    from lingxi.compress.web import PAGE, write_page

    modules = tmp_path / "node_modules"
    _stand_in(modules)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Tea\n\nGreen tea.\n\n## Cups\n\nA cup.\n")
    (tmp_path / "docs" / "b.png").write_bytes(b"\x89PNG")
    page = write_page(toy, tmp_path / "docs", tmp_path / "page", precision="float32", runtime=modules)
    assert {p.name for p in PAGE.iterdir()} <= {p.name for p in page.path.iterdir()}
    listed = json.loads((page.path / "documents.json").read_text())
    assert [d["place"] for d in listed] == ["a.md:1", "a.md:5"]
    assert not [p.name for p in PAGE.iterdir() if "://" in p.read_text("utf-8")]
    with pytest.raises(ModelError):
        write_page(toy, tmp_path / "docs", tmp_path / "other", precision="float32", runtime=tmp_path)


def _stand_in(modules: Path) -> None:
    from lingxi.compress.web import _VENDORED

    for folder, names in _VENDORED.items():
        (modules / folder).mkdir(parents=True)
        package = folder.removesuffix("/dist")
        (modules / package / "package.json").write_text(json.dumps({"name": package, "version": "1"}))
        for name in names:
            (modules / folder / name).write_text("")


def test_the_verbs(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _exporter("onnx")
    assert run(["compress", "int4", str(toy), str(tmp_path / "q"), "--method", "nearest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] > 0
    assert run(["compress", "onnx", str(tmp_path / "q"), str(tmp_path / "o"), "--precision", "int4"]) == 0
    assert "embedder in" in capsys.readouterr().out
    assert run(["compress", "int4", str(toy), str(tmp_path / "r")]) == 2
    assert "calibration" in capsys.readouterr().err
