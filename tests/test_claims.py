"""Claims as experiments: each measures what it says and writes a small report."""

import dataclasses
from pathlib import Path

import pytest

from lingxi.errors import InputError
from lingxi.evaluate import claims
from lingxi.evaluate.claims import CLAIMS, Asked, try_claim
from lingxi.evaluate.suite import read_suite

BENCHMARK = Path(__file__).parent / "data" / "benchmark"


@pytest.fixture
def asked(embedder_directory: Path, reranker_directory: Path, tmp_path: Path) -> Asked:
    out, cache = tmp_path / "out", tmp_path / "cache"
    return Asked(str(embedder_directory), str(reranker_directory), BENCHMARK, out, cache, quick=False)


def on(name: str, *sets: str, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """The claim on sets that lie in the tests."""
    changed = dataclasses.replace(CLAIMS[name], sets=sets, **changes)  # type: ignore[arg-type]
    monkeypatch.setattr(claims, "CLAIMS", {**CLAIMS, name: changed})


def table(path: Path) -> list[list[str]]:
    lines = [line for line in path.read_text("utf-8").splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|-")
    ]


@pytest.mark.filterwarnings("ignore:.*longer than 256 tokens")
def test_widths_are_compared_with_the_widest(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    on("widths", "xquad", "tatoeba", monkeypatch=monkeypatch)
    monkeypatch.setattr(claims, "WIDTHS", (1024, 64, 32))
    head, *rows = table(try_claim("widths", asked))
    assert head[:3] == ["width", "precision", "bytes"]
    assert [(row[0], row[1], row[2]) for row in rows] == [
        (width, precision, size)
        for precision, sizes in (("float32", ("256", "128")), ("int8", ("64", "32")), ("binary", ("8", "4")))
        for width, size in zip(("64", "32"), sizes, strict=True)
    ]
    assert rows[0][-1] == "100.0 %"


def test_languages_are_marked_and_pooled(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    on("languages", "tatoeba", monkeypatch=monkeypatch, systems=lambda asked: [asked.model, "bm25"])
    path = try_claim("languages", asked)
    pooled = [row for row in table(path) if row[0] == "tatoeba" and len(row) == 6]
    assert pooled[0][1:3] == ["all", "2"]
    assert "| swh ● |" in path.read_text("utf-8") or "| deu |" in path.read_text("utf-8")


def test_reranking_says_what_it_costs(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    on("reranking", "xquad", monkeypatch=monkeypatch)
    text = try_claim("reranking", asked).read_text("utf-8")
    assert "reranking, ms a query" in text
    costs = [row for row in table(asked.out / claims.REPORT) if len(row) == 3][1:]
    assert costs and all(float(cost) > 0 for row in costs for cost in row[1:])


def test_words_are_compared_with_their_average(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    on("segments", "xquad", monkeypatch=monkeypatch)
    head = table(try_claim("segments", asked))[0]
    assert head[3] == "toy-embedder" and "averaged toy-embedder" in head


def test_every_claim_names_sets_that_ship() -> None:
    for claim in CLAIMS.values():
        assert set(claim.sets) <= {item.name for item in read_suite(claim.suite).sets}


def test_an_unknown_claim_is_named(asked: Asked) -> None:
    with pytest.raises(InputError, match="choose one of: widths, code"):
        try_claim("bigger", asked)
