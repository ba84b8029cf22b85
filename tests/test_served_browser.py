"""The applications' pages in a browser: keyboard, desk and phone, light and dark, no script, axe."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gullible import serving
from lingxi import Embedder, Index, Reranker
from lingxi.apps.served import Offered, read_apps
from lingxi.serve.service import Service
from test_serve_browser import CHROMIUM, DESK, PHONE, browser, fits, focused, page, served

pytest.importorskip("sklearn", reason="aligning needs the extra: graphs")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    # The browser's driver and the server leave sockets to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
__all__ = ["browser", "page"]
LEFT = "id\tname\nQ148\t中国\nQ956\t北京\nQ8686\t上海\nQ11266\t深圳 <script>document.title='owned'</script>\n"
RIGHT = "id\tname\nc\tChina\nb\tBeijing\ns\tShanghai\nl\tLondon\n"
QUESTION = "At how many degrees is green tea steeped?"
SAID = "Green tea is steeped at eighty degrees [1]. A cup holds two decilitres [1]."
FILES = {
    "notes/tea.md": "# Tea\n\nGreen tea is steeped at eighty degrees, black tea at a hundred. Use a lid.\n\n"
    "A cup holds two decilitres. Warm it first.\n",
    "notes/train.md": "# Trains\n\nTrains leave on the hour. <script>document.title='owned'</script>\n",
    "repo/brew.py": 'def brew(leaves, degrees):\n    """Steep tea leaves in hot water."""\n\n'
    "    warm = leaves * degrees\n    for leaf in warm:\n        leaf.turn()\n    cups = pour(warm)\n"
    "    for cup in cups:\n        cup.rest()\n    return cups\n",
    "repo/src/clock.ts": "export function minutes(hours: number): number {\n  return hours * 60;\n}\n",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> tuple[Callable[[], Service], Path]:
    """What makes a service (a server closes its own), and the folder of the files."""
    folder = tmp_path_factory.mktemp("apps")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    embedder, reranker = Embedder("lingxi-pico"), Reranker("lingxi-pico-reranker")
    index = Index.open(folder / "i", embedder)
    index.add([folder / "notes"])
    models = {"lingxi-pico": embedder}, {"lingxi-pico-reranker": reranker}
    return lambda: Service(*models, index=index), folder


@pytest.fixture(scope="module")
def address(service: tuple[Callable[[], Service], Path]) -> Iterator[str]:
    make, folder = service
    keys = [
        "ask",
        "ask.answers.threshold=0.1",
        f"code.repository={folder / 'repo'}",
        f"code.index={folder / 'code'}",
        "align",
    ]
    with served(make(), Offered(read_apps(None, keys))) as found:
        yield found


def test_a_question_by_keyboard_and_one_that_goes_on(page: object, tmp_path: Path) -> None:
    page.goto("/ui/ask")
    assert focused(page) == "q"
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector(".reply .how")
    page.screenshot(path=tmp_path / "ask.png", full_page=True)
    assert "eighty degrees" in page.locator("#said").text_content() and "/ui/ask?q=At" in page.url
    page.locator("#said .cite").first.click()
    assert page.url.endswith("#cite-1") and page.locator("#cite-1").is_visible()
    page.keyboard.press("j")
    assert focused(page) == "cite-1"
    page.locator("#further").fill("And how long, with a lid?")
    page.locator("#further").press("Enter")
    page.wait_for_selector(".turn")
    assert QUESTION in page.locator(".turn .question").text_content()
    page.screenshot(path=tmp_path / "conversation.png", full_page=True)
    page.goto("/ui/ask?q=Who+discovered+radium+in+1898%3F")
    assert "Not in these documents." in page.content()
    page.screenshot(path=tmp_path / "refused.png", full_page=True)
    assert fits(page) and "owned" not in page.title()


def test_an_answer_comes_in_pieces(
    service: tuple[Callable[[], Service], Path], browser: object, tmp_path: Path
) -> None:
    with serving(lambda messages: SAID) as url:
        keys = ["ask.answers.threshold=0.1", f"ask.llm.url={url}", "ask.llm.model=m"]
        with served(service[0](), Offered(read_apps(None, keys))) as address:
            page = browser.new_page(base_url=address, java_script_enabled=False)
            page.goto("/ui/ask?q=At+how+many+degrees+is+green+tea+steeped%3F")
            page.screenshot(path=tmp_path / "written.png", full_page=True)
            assert page.locator("#said .cite").count() >= 1 and "was verified" in page.content()
            assert page.locator("html").count() == 1 and page.locator("#cite-1 mark").first.is_visible()
            page.close()


def test_code_by_keyboard(page: object, tmp_path: Path) -> None:
    page.goto("/ui/code")
    page.keyboard.type("steep leaves")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("in hot water")
    page.keyboard.press("Enter")
    page.wait_for_selector(".hit")
    assert page.locator("#hit-1").get_attribute("data-place") == "brew.py:1"
    assert page.locator("#q").input_value() == "steep leaves\nin hot water"
    page.keyboard.press("j")
    page.keyboard.press("o")
    assert page.locator("#hit-1 .whole").evaluate("part => part.open")
    page.screenshot(path=tmp_path / "code.png", full_page=True)
    page.locator(".options summary").click()
    page.locator("[name=language]").select_option("typescript")
    page.locator(".ask button").click()
    page.wait_for_url("**language=typescript**")
    assert page.locator(".hit").count() == 1 and "src/clock.ts" in page.locator(".place").text_content()
    assert fits(page)


def test_tables_are_pasted_sent_and_kept(page: object, tmp_path: Path) -> None:
    (tmp_path / "right.tsv").write_text(RIGHT, encoding="utf-8")
    page.goto("/ui/align")
    page.screenshot(path=tmp_path / "tables.png", full_page=True)
    page.locator("[name=left]").fill(LEFT)
    page.locator("[name=right_file]").set_input_files(tmp_path / "right.tsv")
    page.get_by_role("button", name="Align").click()
    page.wait_for_selector(".pairs")
    rows = page.locator(".pairs tbody tr").all_text_contents()
    assert any("北京" in row and "Beijing" in row for row in rows) and "owned" not in page.title()
    assert page.locator("[name=right]").input_value() == RIGHT
    page.screenshot(path=tmp_path / "pairs.png", full_page=True)
    with page.expect_download() as kept:
        page.get_by_role("button", name="owl:sameAs").click()
    lines = Path(kept.value.path()).read_text("utf-8").splitlines()
    assert kept.value.suggested_filename == "same.nt" and len(lines) == len(rows)
    assert "owl#sameAs> <urn:lingxi:right:" in lines[0]
    assert page.locator("#ask[aria-busy]").count() == 0 and fits(page)


def test_everything_works_without_a_script(browser: object, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, base_url=address, locale="zh-CN")
    page = context.new_page()
    page.goto("/ui/ask")
    page.fill("#q", "泡绿茶的水要多热？")
    page.press("#q", "Enter")
    page.wait_for_selector(".reply")
    page.get_by_role("link", name="代码").click()
    page.fill("#q", "把小时换算成分钟")
    page.get_by_role("button", name="搜索").click()
    page.wait_for_selector(".hit")
    page.get_by_role("link", name="对齐").click()
    page.fill("[name=left]", LEFT)
    page.fill("[name=right]", RIGHT)
    page.get_by_role("button", name="对齐").click()
    page.wait_for_selector(".pairs")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: object, address: str, scheme: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="accessibility is judged by axe"
    ).Axe()
    for size, language in ((DESK, "en"), (PHONE, "zh")):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, base_url=address
        )
        page = context.new_page()
        asking = ("ask?", f"ask?q={QUESTION}&rerank=1", "ask?q=Who+discovered+radium%3F", "ask?q=a&n=1")
        for path in (*asking, "code?q=tea", "code?q=tea&n=0", "align?"):
            page.goto(f"/ui/{path}&lang={language}")
            _judged(axe, page, f"{path} {size}")
        page.fill("[name=left]", LEFT)
        page.fill("[name=right]", RIGHT)
        page.locator(".go button").first.click()
        page.wait_for_selector(".pairs")
        _judged(axe, page, f"pairs {size}")
        page.goto(f"/ui/ask?q={QUESTION}&lang={language}")
        page.fill("#further", "And how long?")
        page.press("#further", "Enter")
        page.wait_for_selector(".turn")
        _judged(axe, page, f"turns {size}")
        context.close()


def _judged(axe: object, page: object, name: str) -> None:
    for part in page.locator("details").all():
        part.evaluate("part => { part.open = true }")
    found = axe.run(page)
    assert found.violations_count == 0, f"{name}: {found.generate_report()}"
    assert fits(page), name
