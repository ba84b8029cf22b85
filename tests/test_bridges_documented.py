"""What docs/bridges.md and docs/mcp.md tell people to type runs, where its libraries are installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

import lingxi
from lingxi import Embedder, Reranker

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"<!-- needs: (.*?) -->\n```python\n(.*?)```", re.S)
BLOCKS = [
    pytest.param(needs.split(", "), code, id=f"{page}-{needs}")
    for page in ("bridges", "mcp")
    for needs, code in BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
]
ADDRESS = "http://127.0.0.1:8080"
pytestmark = pytest.mark.filterwarnings("ignore")


@contextmanager
def server() -> Iterator[str]:
    """The address of what `lingxi serve` serves."""
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    from dialect_server import serving
    from lingxi.serve.app import create_app
    from lingxi.serve.service import Service
    from lingxi.serve.settings import Settings

    service = Service(
        {"lingxi-pico": Embedder("lingxi-pico")}, {"lingxi-pico-reranker": Reranker("lingxi-pico-reranker")}
    )

    with serving(create_app(service, Settings())) as url:
        yield url


@pytest.mark.parametrize(("needs", "code"), BLOCKS)
def test_the_examples_run(
    needs: list[str],
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for library in needs:
        if library != "server":
            pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.chdir(tmp_path)
    if "notes.index" in code:
        (tmp_path / "notes.md").write_text("Scores are compared pair by pair, with an interval.\n")
        lingxi.Index.open("notes.index", Embedder()).add(["notes.md"])
        # The SDK starts a server without the variables of this process.
        sources = str(Path(lingxi.__file__).parent.parent)
        code = code.replace("args=command)", f"args=command, env={{'PYTHONPATH': {sources!r}}})")
    with server() if "server" in needs else nullcontext(ADDRESS) as url:
        exec(compile(code.replace(ADDRESS, url), "example", "exec"), {})
    assert capfd.readouterr().out.strip()


def test_every_block_of_python_is_run() -> None:
    pages = [(ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in ("bridges", "mcp")]
    assert sum(page.count("```python") for page in pages) == len(BLOCKS) >= 6
    assert all(len(case.values[1].strip().splitlines()) <= 12 for case in BLOCKS)
