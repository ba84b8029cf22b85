"""What docs/ask.md tells a reader to type works, and the two plain forms agree."""

import subprocess
import sys
from pathlib import Path

import pytest

from lingxi.cli import run
from test_readme import ROOT, blocks

PAGE = (ROOT / "docs/ask.md").read_text("utf-8")


def printed(block: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_answers_with_its_place(tmp_path):
    pytest.importorskip("bm25s", reason="passages in memory need the extra evaluate")
    said = printed(blocks(PAGE, "python")[0], tmp_path)
    assert said == (
        "The footbridge was designed by Ada Kempton. [1] ['passage-1.txt:1']\nnot in these documents\n"
    )


@pytest.mark.slow
def test_the_plain_form_finds_the_same_through_both_libraries(tmp_path):
    pytest.importorskip("faiss", reason="the plain form is written with faiss")
    pytest.importorskip("sentence_transformers", reason="half of the plain form is sentence-transformers")
    for name in ("pico", "pico-reranker"):
        assert run(["models", "export", f"lingxi-{name}", str(tmp_path / name)]) == 0
    ours, theirs = (printed(block, tmp_path) for block in blocks(PAGE, "python")[1:])
    assert ours == theirs
    assert ours.startswith("[0, ")
