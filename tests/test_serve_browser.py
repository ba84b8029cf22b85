"""The pages in a real browser: by keyboard, on a desk and a phone, light and dark, without a script."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lingxi import Embedder, Index, Reranker
from lingxi.serve import pages
from lingxi.serve.app import Extra, create_app
from lingxi.serve.operations import Operations
from lingxi.serve.service import Service

playwright = pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright")
uvicorn = pytest.importorskip("uvicorn", reason="the server needs the extra: serve")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    # The browser's driver and the server leave sockets to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
HOSTILE = (
    "# <script>document.title='owned'</script>\n\n<img src=x onerror=\"document.title='owned'\"> tea "
    "\x1b[31mred\x1b[0m and \u202egnp.exe\u202c tea leaves.\n\n" + "tea" * 4000 + "\n"
)
DESK, PHONE = (1280, 900), (360, 740)
TEXTS = "\n".join(
    ["Green tea is steeped at eighty degrees.", "Coffee is roasted.", "The kettle boils water.",
     "A cat sleeps.", "Oolong is half oxidised.",
     "Trains leave on the hour.", "Mint leaves make an infusion."]
)  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "tea.md").write_text(
        "# Tea\n\nGreen tea is steeped at eighty degrees, black tea at a hundred. Use a lid.\n\n"
        "## Cups\n\nA cup holds two decilitres. Warm it first.\n"
    )
    (folder / "hostile.md").write_text(HOSTILE)
    (folder / "brew.py").write_text(
        'def brew(leaves, degrees):\n    """Steep tea leaves."""\n    return leaves * degrees\n'
    )
    (folder / "茶.md").write_text("绿茶用八十度的水冲泡，红茶用沸水。杯子要先温热。\n")
    embedder, reranker = Embedder("lingxi-pico"), Reranker("lingxi-pico-reranker")
    index = Index.open(tmp_path_factory.mktemp("index") / "i", embedder, reranker)
    index.add([folder])
    with served(Service({"lingxi-pico": embedder}, {"lingxi-pico-reranker": reranker}, index=index)) as found:
        yield found


@contextmanager
def served(service: Service, *more: Extra) -> Iterator[str]:
    """The address of a server, with extras behind the pages, that ends with the test."""

    around = Operations(service.settings)
    app = create_app(service, service.settings, extras=[pages.install, *more, around.install])
    place = socket.socket()
    place.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        place.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(params=[(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, browser: object, address: str) -> Iterator[object]:
    """A page of its own context; what its console, policy or scripts complain of fails the test."""
    (width, height), scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, base_url=address, locale="en-GB"
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    made = context.new_page()
    wrong: list[str] = []
    made.on(
        "console",
        lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None,
    )
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.add_init_script(
        "addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective))"
    )
    elsewhere = []
    made.on("request", lambda asked: None if asked.url.startswith(address) else elsewhere.append(asked.url))
    yield made
    context.close()
    assert not wrong and not elsewhere


def fits(page: object) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def focused(page: object) -> str:
    return page.evaluate("document.activeElement.id")


def test_a_search_by_keyboard(page: object, tmp_path: Path) -> None:
    page.goto("/")
    # axe wants a title, and a person wants to type at once.
    assert focused(page) == "q" and "lingxi" in page.title()
    page.keyboard.type("how hot should water for green tea be")
    page.keyboard.press("Enter")
    page.wait_for_selector(".hit")
    assert "/ui/search?q=how+hot" in page.url and page.locator("mark").first.is_visible()
    for key, expected in (("j", "hit-1"), ("j", "hit-2"), ("k", "hit-1")):
        page.keyboard.press(key)
        assert focused(page) == expected
    whole = page.locator("#hit-1 .whole")
    for key, is_open in (("o", True), ("o", False), ("Enter", True)):
        page.keyboard.press(key)
        assert whole.evaluate("part => part.open") is is_open
    page.screenshot(path=tmp_path / "search.png", full_page=True)
    page.keyboard.press("y")
    page.locator("#toast:not(:empty)").wait_for(state="attached")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#hit-1").get_attribute(
        "data-place"
    )
    page.keyboard.press("/")
    assert focused(page) == "q"
    page.keyboard.type("j/o")
    assert page.locator("#q").input_value() == "j/o" and fits(page)


def test_hostile_files_do_nothing(page: object, tmp_path: Path) -> None:
    page.goto("/ui/search?q=tea leaves red exe&n=50")
    assert page.locator(".hit").count() > 2 and page.get_by_text("\u241b[31m").first.is_visible()
    for part in page.locator(".whole").all():
        part.evaluate("part => { part.open = true }")
    page.wait_for_timeout(200)
    assert "owned" not in page.title() and page.locator("main img, main script").count() == 0
    assert "\u202e" not in page.content() and "[U+202E]" in page.content()
    page.screenshot(path=tmp_path / "hostile.png", full_page=True)
    assert fits(page)


def test_a_comparison_by_keyboard(page: object, tmp_path: Path) -> None:
    page.goto("/ui/compare")
    page.keyboard.type("how is tea made")
    page.locator("textarea").fill(TEXTS)
    page.locator("[name=b_dim]").fill("32")
    page.locator("[name=b_precision]").select_option("binary")
    page.locator("#q").press("Enter")
    page.wait_for_selector(".orders")
    assert page.locator(".side-a .place-row").count() == page.locator(".side-b .place-row").count() == 7
    page.keyboard.press("j")
    text = page.evaluate("document.activeElement.dataset.text")
    assert page.locator(f".place-row.same[data-text='{text}']").count() == 2
    assert page.locator("textarea").input_value() == TEXTS
    page.screenshot(path=tmp_path / "compare.png", full_page=True)
    assert fits(page)


def test_the_status_is_kept_up_to_date(page: object, tmp_path: Path) -> None:
    page.goto("/ui/status")
    before = page.locator("[data-show=uptime]").text_content()
    page.wait_for_selector(".pulse:not([hidden])", timeout=20_000)
    assert page.locator("[data-show=uptime]").text_content() != before
    assert page.locator(".spark .edge").get_attribute("d").startswith("M")
    page.screenshot(path=tmp_path / "status.png", full_page=True)
    assert fits(page)


def test_the_status_says_when_the_server_is_gone(browser: object, address: str) -> None:
    page = browser.new_page(base_url=address)
    page.goto("/ui/status")
    page.route("**/status.json", lambda route: route.abort())
    page.wait_for_selector(".state-gone", timeout=20_000)
    assert "No answer" in page.locator("#state").text_content()
    page.unroute("**/status.json")
    page.wait_for_selector(".state-ready", timeout=20_000)
    page.close()


def test_everything_works_without_a_script(browser: object, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, base_url=address, locale="zh-CN")
    page = context.new_page()
    page.goto("/")
    page.fill("#q", "绿茶要多少度的水")
    page.press("#q", "Enter")
    page.wait_for_selector(".hit")
    assert "茶.md" in page.locator(".place").all_text_contents()[0] and "条结果" in page.content()
    page.locator("#hit-1 summary").click()
    assert page.locator("#hit-1 .lines").is_visible()
    page.get_by_role("link", name="English").click()
    assert "passages in" in page.content() and page.input_value("#q") == "绿茶要多少度的水"
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_axe_finds_nothing(browser: object, address: str, scheme: str, language: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="accessibility is judged by axe"
    ).Axe()
    for size in (DESK, PHONE):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, base_url=address
        )
        page = context.new_page()
        for path in ("search?q=tea&rerank=1", "search?q=tea&n=0", "compare?q=tea&source=index", "status?"):
            page.goto(f"/ui/{path}&lang={language}")
            for part in page.locator("details").all():
                part.evaluate("part => { part.open = true }")
            found = axe.run(page)
            assert found.violations_count == 0, f"{path} {size}: {found.generate_report()}"
        context.close()
