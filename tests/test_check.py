"""`lingxi check --against`: other runtimes pass, and a runtime with a fault is told what it does wrong."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from answering import Scores, Vectors, served, slow
from lingxi import Embedder, Reranker
from lingxi.check import EXACT, LOSSY, Asking, Report, check_against, check_model, make_golden
from lingxi.check.padded import padded_forward, plain_forward, pooled
from lingxi.check.report import ROUNDED
from lingxi.check.subject import open_subject
from lingxi.check.variants import variants
from lingxi.cli import run
from lingxi.engine.native.library import library
from lingxi.engine.quantizing import quantize_directory
from lingxi.errors import InputError, LingxiError
from lingxi.model.files import locate, read_decoder
from lingxi.model.golden import embedding_texts
from lingxi.model.layout import read_directory, write_directory
from test_families import GROUPED, TINY, heads, ids_without_padding, write_sentence_transformer
from toys import assert_mendable, gap, toy_size, write_toy


@pytest.fixture(scope="module")
def toy_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = write_toy(
        tmp_path_factory.mktemp("check") / "toy", size=toy_size(max_positions=2048), max_seq_length=1200
    )
    make_golden(out)
    return out


@pytest.fixture(scope="module")
def toy_reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = toy_size(max_positions=4096)
    out = write_toy(
        tmp_path_factory.mktemp("check") / "toy", "reranker", size=size, seed=1, max_seq_length=2048
    )
    make_golden(out)
    return out


def said(report: Report) -> str:
    return "; ".join(report.causes)


def off(report: Report) -> list[str]:
    return [row.check for row in report.rows if not row.ok]


# --- libraries and directories -------------------------------------------------------------------


@pytest.mark.parametrize("library", ["transformers", "sentence-transformers"])
@pytest.mark.parametrize("kind", ["toy_embedder", "toy_reranker"])
def test_the_libraries_agree(library: str, kind: str, request: pytest.FixtureRequest) -> None:
    report = check_against(request.getfixturevalue(kind), library)
    assert report.ok and not report.causes, off(report)
    assert report.rows[0].tolerance == EXACT and report.against == library
    checks = [row.check for row in report.rows]
    wanted = "queries, alone" if kind == "toy_embedder" else "pairs, alone"
    assert wanted in checks and "another instruction" in checks and "long text" in checks
    if kind == "toy_embedder":
        assert "special tokens" in checks
        assert ("32 dimensions" in checks) == (library == "sentence-transformers")


@pytest.mark.slow
@pytest.mark.parametrize("library", ["transformers", "sentence-transformers"])
@pytest.mark.parametrize("name", ["lingxi-pico", "lingxi-pico-reranker"])
def test_the_libraries_agree_about_what_ships(library: str, name: str) -> None:
    report = check_against(name, library)
    assert report.ok, off(report)


def test_another_directory(toy_embedder: Path, toy_reranker: Path, tmp_path: Path) -> None:
    report = check_against(toy_embedder, str(toy_embedder))
    assert report.ok and report.rows[0].tolerance == EXACT
    with pytest.raises(InputError) as caught:
        check_against(toy_embedder, str(toy_reranker))
    assert_mendable(caught.value, "reranker")
    int8 = write_directory(read_directory(toy_embedder), tmp_path / "int8", "int8")
    report = check_against(int8, str(toy_embedder))
    assert report.rows[0].tolerance != EXACT and report.rows[1].check == "unit length"
    assert all(row.ok for row in report.rows if row.check in ("width", "unit length"))


def test_one_changed_weight_is_found_out(toy_embedder: Path, tmp_path: Path) -> None:
    other = write_directory(read_directory(toy_embedder), tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    weights["layers.1.mlp.down_proj.weight"][3, 5] += 0.05
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    report = check_against(toy_embedder, str(other))
    assert not report.ok and {"documents", "queries"} <= set(off(report))
    assert not {"this model here", "width", "unit length"} & set(off(report))


def test_an_onnx_file(toy_embedder: Path, tmp_path: Path) -> None:
    if find_spec("onnxruntime") is None or find_spec("onnxscript") is None:
        pytest.skip("needs onnxruntime and onnxscript")
    decoder = read_decoder(toy_embedder, torch.float32)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = decoder

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return plain_forward(self.decoder, input_ids, attention_mask)

    ids = torch.ones(2, 7, dtype=torch.long)
    size = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    out = tmp_path / "toy.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Network(),
            (ids, torch.ones_like(ids)),  # one tensor given twice would be one input
            out,
            input_names=["input_ids", "attention_mask"],
            dynamic_shapes=(size, size),
            dynamo=True,
            verbose=False,
        )
    report = check_against(toy_embedder, f"onnx:{out}")
    assert report.ok, off(report)


def test_a_missing_onnx_file_is_named(toy_embedder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        check_against(toy_embedder, "onnxruntime")
    assert_mendable(caught.value, "model.onnx")


# --- other families, other arithmetic ------------------------------------------------------------


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "cls"), ("llama", "mean")])
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::lingxi.LingxiWarning"
)
def test_every_family_is_checked(kind: str, pooling: str, tmp_path: Path) -> None:
    fields = GROUPED if kind == "llama" else TINY
    write_sentence_transformer(tmp_path / "st", kind, fields, heads(pooling, dense=True, normalize=False))
    make_golden(tmp_path / "st")
    report = check_model(tmp_path / "st", longest=48)
    assert report.ok, off(report)
    padded = {row.check for row in report.rows if row.check.startswith("padded")}
    assert padded == ({"padded left", "padded right"} if kind == "llama" else {"padded right"})
    assert [s.check for s in report.skipped] == ([] if kind == "llama" else ["padded left"])
    for name in ("sentence-transformers", "transformers"):
        report = check_against(tmp_path / "st", name, longest=48)
        assert report.ok and not report.causes, (name, off(report))
    other = shutil.copytree(tmp_path / "st", tmp_path / "other")
    said_there = {"word_embedding_dimension": 32, "pooling_mode": "lasttoken"}
    (other / "1_Pooling" / "config.json").write_text(json.dumps(said_there), encoding="utf-8")
    assert not check_against(tmp_path / "st", str(other), longest=48).ok
    texts = embedding_texts()[2:6]
    known = {v.cause: v.compute(texts) for v in variants(open_subject(tmp_path / "st"))}
    (cause,) = (c for c in known if c.startswith("other pooling: the last token"))
    assert gap(known[cause], Embedder(other).encode([t.text for t in texts])) < 1e-5


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::lingxi.LingxiWarning"
)
def test_mpnet_is_padded_under_its_published_names(tmp_path: Path) -> None:
    """Ids here are none of its padding id, which real tokenizers never give a text."""
    write_sentence_transformer(tmp_path / "st", "mpnet", TINY, heads("cls", dense=True, normalize=False))
    subject = open_subject(tmp_path / "st")
    name, forward = padded_forward(subject) or ("nobody", None)
    assert name == "transformers" and forward is not None
    ids = ids_without_padding([1, 7, 7, 40])
    padded = subject.finished(pooled(subject, forward, ids, "right"))
    assert gap(padded, subject.by_plain(ids)) < 1e-5


needs_kernels = pytest.mark.skipif(library() is None, reason="the native kernels are not built")


@needs_kernels
def test_int8_is_near_the_network_and_equal_to_itself(toy_embedder: Path) -> None:
    report = check_model(toy_embedder, weights="int8", longest=64)
    rows = {row.check: row for row in report.rows}
    cost = rows["what int8 costs"]
    assert cost.tolerance == LOSSY and 1e-7 < (cost.cosine or 0) < 1e-2
    assert rows["together"].tolerance == LOSSY and rows["padded left"].tolerance == LOSSY
    for check in ("longest first", "shortest first", "another order"):
        assert rows[check].ok and rows[check].tolerance == EXACT and rows[check].compared == "together"
    for check in ("alone", "equal lengths", "8 threads at once", "shared instruction"):
        assert rows[check].ok and rows[check].tolerance == ROUNDED


@needs_kernels
@pytest.mark.slow
@pytest.mark.parametrize("name", ["lingxi-pico", "lingxi-pico-reranker"])
def test_an_int8_copy_of_what_ships_passes(name: str, tmp_path: Path) -> None:
    copy = quantize_directory(locate(name), tmp_path / "int8", packed=False)
    make_golden(copy)
    report = check_model(copy, longest=256)
    assert report.ok, off(report)
    assert next(row for row in report.rows if row.check == "what int8 costs").difference > 1e-5
    again = check_model(copy, weights="float32", longest=256)
    assert again.ok and "what int8 costs" not in {row.check for row in again.rows}


def test_who_computes_is_said(toy_embedder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["check", str(toy_embedder), "--longest", "64"]
    assert run([*asked, "--engine", "torch"]) == 0
    assert run([*asked, "--engine", "torch", "--weights", "int8"]) == 2
    assert run([*asked, "--weights", "int4"]) == 2
    assert run([*asked, "--engine", "torch", "--against", str(toy_embedder)]) == 0
    capsys.readouterr()


# --- servers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["openai", "tei"])
@pytest.mark.parametrize("instructions", [None, "text", "server"])
def test_a_server_of_ours_passes(toy_embedder: Path, dialect: str, instructions: str | None) -> None:
    server = Vectors(Embedder(toy_embedder), dialect)
    with served(server) as url:
        report = check_against(toy_embedder, url, asking=Asking(instructions=instructions))
    assert report.ok and not report.causes, (off(report), report.causes)
    assert dialect in str(report.against)
    fields = {key for body in server.seen for key in body}
    asks = {"openai": "instruction", "tei": "prompt_name"}[dialect]
    assert (asks in fields) == (instructions == "server" or (instructions is None and dialect == "tei"))
    assert {"32 dimensions", "four at once", "empty text"} <= {row.check for row in report.rows}


FAULTS = {
    "no instruction": "instruction not applied by the server",
    "end token dropped": "end token missing",
    "mean pooling": "mean pooling",
    "not normalised": "not normalised",
    "truncated": "cut at 32 tokens",
    "rows swapped": "rows swapped",
    "narrow": "dims cut",
    "padding": "wrong in a batch",
}


@pytest.mark.parametrize(
    ("dialect", "fault"), [("tei", fault) for fault in FAULTS] + [("openai", "no instruction")]
)
def test_a_servers_fault_is_named(toy_embedder: Path, dialect: str, fault: str) -> None:
    with served(Vectors(Embedder(toy_embedder), dialect, fault)) as url:
        report = check_against(toy_embedder, url, asking=Asking(instructions="server"))
    assert not report.ok
    assert FAULTS[fault] in said(report)
    if fault != "truncated":
        assert len(report.causes) <= 2 and "no known mistake" not in said(report), report.causes


def test_special_tokens_may_be_read_as_the_reference_does(toy_embedder: Path) -> None:
    with served(Vectors(Embedder(toy_embedder), "openai", "special tokens")) as url:
        report = check_against(toy_embedder, url)
    assert report.ok and "control tokens" in "".join(report.notes)


@pytest.mark.parametrize("dialect", ["cohere", "tei"])
def test_a_rerank_server_of_ours_passes(toy_reranker: Path, dialect: str) -> None:
    with served(Scores(Reranker(toy_reranker), dialect)) as url:
        report = check_against(toy_reranker, f"{url}/v1/")
    assert report.ok and not report.causes, (off(report), report.causes)
    assert dialect in str(report.against)
    assert [s.check for s in report.skipped] == (["another instruction"] if dialect == "tei" else [])


RERANK_FAULTS = {
    "no instruction": "instruction not applied by the server",
    "no template": "template not applied",
    "truncated": "cut at 32 tokens",
    "end lost": "cut at 64 tokens and loses its end",
    "rows swapped": "rows swapped",
    "raw scores": "log-odds",
    "sigmoid twice": "sigmoid applied twice",
}


@pytest.mark.parametrize("fault", list(RERANK_FAULTS))
def test_a_rerank_servers_fault_is_named(toy_reranker: Path, fault: str) -> None:
    with served(Scores(Reranker(toy_reranker), "cohere", fault)) as url:
        report = check_against(toy_reranker, url)
    assert not report.ok
    assert RERANK_FAULTS[fault] in said(report)


# --- what can go wrong on the way ----------------------------------------------------------------


def dead_url() -> str:
    with served(lambda path, body: None) as url:
        return url


def refused(model: Path, url: str, **asking: Any) -> str:
    with pytest.raises(LingxiError) as caught:
        check_against(model, url, asking=Asking(**{"timeout": 0.3, **asking}))
    assert_mendable(caught.value)
    return str(caught.value)


def test_a_server_that_cannot_be_asked_is_told_in_words(toy_embedder: Path) -> None:
    assert "start the server" in refused(toy_embedder, dead_url())
    assert "begin it with http" in refused(toy_embedder, "ftp://127.0.0.1/x")
    assert "choose text or server" in refused(toy_embedder, "http://127.0.0.1:9", instructions="maybe")
    answers: dict[str, Any] = {
        "dialect": None,
        "no vectors": b"<html>Welcome</html>",
        "more than": b"[" + b" " * 65_000_000,
        "indices": {"data": [{"index": 3, "embedding": [1.0]}]},
        "shape": {"data": [{"index": 0, "embedding": []}]},
    }
    for word, answer in answers.items():
        with served(lambda path, body, a=answer: a) as url:
            assert word in refused(toy_embedder, url, timeout=5.0)
    with served(slow) as url:
        assert "timed out" in refused(toy_embedder, url)
    with served(Vectors(Embedder(toy_embedder), "openai")) as url:
        assert "cohere" in refused(toy_embedder, url, dialect="cohere")
        assert "404" in refused(toy_embedder, url, dialect="tei")


def test_a_token_is_asked_for_and_sent(toy_embedder: Path) -> None:
    with served(Vectors(Embedder(toy_embedder), "openai"), token="secret") as url:
        assert "--token-file" in refused(toy_embedder, url, timeout=5.0)
        assert check_against(toy_embedder, url, asking=Asking(token="secret")).ok


def test_the_command(toy_embedder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n", encoding="utf-8")

    def asked(url: str, *more: str) -> tuple[int, str]:
        code = run(["check", str(toy_embedder), "--against", url, "--token-file", str(token), *more])
        return code, "".join(capsys.readouterr())

    with served(Vectors(Embedder(toy_embedder), "tei", "end token dropped"), token="secret") as url:
        code, table = asked(url)
        again, dumped = asked(url, "--json")
    values = json.loads(dumped)
    assert code == again == 1 and values["ok"] is False
    assert "cause: end token missing" in table and values["causes"][0].startswith("end token missing")
    for row in values["rows"]:
        line = next(x for x in table.splitlines() if x[5:].startswith(f"{row['check']} "))
        assert line.startswith("ok" if row["ok"] else "FAIL") and f"{row['score']:8.1e}" in line
    assert asked(dead_url())[0] == 2
    assert asked(dead_url(), "--token-file", str(tmp_path / "none"))[0] == 2
    assert run(["check", str(toy_embedder), "--score-tolerance", "1"]) == 2


def test_write_makes_the_golden_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = toy_size(max_positions=2048)
    out = write_toy(tmp_path / "new", size=size, max_seq_length=1200)
    assert run(["check", str(out)]) == 2
    assert run(["check", str(out), "--write", "--longest", "64"]) == 0
    assert (out / "golden" / "golden.json").exists()
    capsys.readouterr()


def test_not_a_number_is_null_in_json(toy_embedder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Vectors):
        def _encoded(self, texts: Sequence[str]) -> np.ndarray:
            return super()._encoded(texts) * np.nan

    with served(Broken(Embedder(toy_embedder), "tei")) as url, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(["check", str(toy_embedder), "--against", url, "--json"]) == 1
    values = json.loads(capsys.readouterr().out, parse_constant=lambda _: pytest.fail("not JSON"))
    assert not values["ok"] and "not numbers" in values["causes"][0]
