"""The page in a real browser: Python's vectors on WebAssembly and WebGPU, and nothing leaves the machine."""

import functools
import shutil
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from lingxi import Embedder
from lingxi.errors import InputError
from listening import listening
from toys import SENTENCES, TEXTS, toy_size, write_toy

playwright = pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright")
pytest.importorskip("onnx", reason="needs the extra onnx")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    # One text is long, to be cut in both.
    pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning"),
    # The browser's driver and the server leave sockets to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
HARD = (
    "don’t I'LL IT'S", "\u00a0x\u2003y\u3000z", "a\u0085b", "１２３ ²³ ½", "e\u0301 ﬁ Å", "\r\n\r\n  \tq\r",
    "👩‍👩‍👧",
    "<|im_end|> </think>", "   ", "\ufeffbom", "ภาษาไทย", "اللغة العربية",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    from lingxi.compress.web import write_page

    folder = tmp_path_factory.mktemp("web")
    toy = write_toy(folder / "toy", size=toy_size(max_positions=2048), max_seq_length=64)
    (folder / "docs").mkdir()
    for number, (_, text) in enumerate(SENTENCES):
        (folder / "docs" / f"{number}.md").write_text(f"# Text {number}\n\n{text}\n")
    try:
        made = write_page(toy, folder / "docs", folder / "page", precision="float32")
    except InputError as error:
        pytest.skip(f"npm cannot install here: {error.reason}")
    handler = functools.partial(_Quiet, directory=str(made.path))
    with listening(handler) as server:
        yield f"http://127.0.0.1:{server.server_port}/", toy


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("backend", ["wasm", "webgpu"])
def test_the_browser_computes_what_python_computes(page: tuple[str, Path], backend: str) -> None:
    address, toy = page
    texts = [*TEXTS, *HARD]
    ours = Embedder(toy)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *_GPU])
        tab = browser.new_page()
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(f"{address}?backend={backend}")
        _wait(tab)
        found = np.array(tab.evaluate("async t => (await lingxi.embed(t)).map(v => Array.from(v))", texts))
        ids = tab.evaluate("t => t.map(lingxi.model.ids)", texts)
        tab.fill("#query", SENTENCES[0][1])
        tab.click("button")
        tab.wait_for_selector("#results li")
        first = tab.inner_text("#results li p")
        browser.close()
    assert ids == ours.token_ids(texts)
    assert np.abs(found - ours.encode(texts)).max() < 1e-4
    assert SENTENCES[0][1][:20] in first
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)


def _wait(tab: object) -> None:
    # Not by wait_for_function: the page's policy forbids what it does.
    for _ in range(600):
        error = tab.evaluate("window.lingxi?.error")  # type: ignore[attr-defined]
        assert error is None, error
        if tab.evaluate("!!window.lingxi?.ready"):  # type: ignore[attr-defined]
            return
        time.sleep(0.2)
    raise AssertionError("the page did not get ready in two minutes")
