"""Pictures, pages and sound in a browser: thumbnails, players, search by a file, and files that lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
pytest.importorskip("PIL", reason="pictures need Pillow (extra vision)")
pytest.importorskip("pypdfium2", reason="pages are drawn by pypdfium2 (extra pages)")

from lingxi import Embedder, Index
from lingxi.index.media import MediaIndex
from lingxi.index.seeing import add_all
from lingxi.serve.service import Service
from media_toys import drawing, saved, tone, toy_media, wav
from test_review_media import until
from test_serve_browser import CHROMIUM, DESK, PHONE, browser, fits, page, served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    # The browser's driver and the server leave sockets to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
__all__ = ["browser", "page"]
HOSTILE = "<img src=x onerror=\"document.title='owned'\">.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed") / "files"
    folder.mkdir()
    for colour in ("red", "green", "blue", "orange", "purple", "navy", "pink", "black"):
        drawing(colour, (240, 160)).save(folder / f"{colour}.png")
    drawing("gold").save(folder / HOSTILE)
    drawing("tan", (400, 560)).save(folder / "paper.pdf", "PDF")
    for hertz in (200, 2000):
        (folder / f"tone-{hertz}.wav").write_bytes(wav(tone(hertz, 1.0)))
    (folder / "tea.md").write_text("# Tea\n\nGreen tea is steeped at eighty degrees.\n")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("index")
    media = toy_media(place / "model", Embedder("lingxi-pico"))
    index, beside = Index.open(place / "i", media.text), MediaIndex(place / "i", media)
    add_all(index, beside, [folder], pages=True)
    with served(Service({"nano-vl": media}, index=index, media=beside)) as found:
        yield found


def test_a_mixed_search_shows_thumbnails_and_players(page: object, tmp_path: Path) -> None:
    page.goto("/ui/search?q=green tea&n=20")
    page.locator(".shelf.image").scroll_into_view_if_needed()
    for picture in page.locator(".shelf img").all():
        picture.scroll_into_view_if_needed()
    until(page, "[...document.querySelectorAll('.shelf img')].every(i => i.complete)")
    shown = page.locator(".shelf img").evaluate_all("all => all.map(i => [i.alt, i.naturalWidth])")
    assert len(shown) == 10 and all(width > 100 for _, width in shown)
    assert "owned" not in page.title() and page.locator("main script").count() == 0
    assert page.locator("audio").count() == 2 and page.locator(".hit").count() >= 1
    page.screenshot(path=tmp_path / "mixed.png", full_page=True)
    assert fits(page)


def test_a_sound_is_played(page: object) -> None:
    page.goto("/ui/search?q=tea&kind=audio")
    seconds = page.locator("audio").first.evaluate(
        "a => new Promise((done, no) => { a.onloadedmetadata = () => done(a.duration);"
        " a.onerror = () => no(a.error.message); a.load(); a.preload = 'auto' })"
    )
    assert seconds == pytest.approx(1.0, abs=0.05)


def test_a_picture_is_sent_and_one_found_is_followed(page: object, tmp_path: Path) -> None:
    page.goto("/ui/search")
    (tmp_path / "mine.png").write_bytes(saved(drawing("navy", (240, 160))))
    page.set_input_files("#example", tmp_path / "mine.png")
    page.click(".by-example button")
    page.wait_for_selector(".by")
    assert "mine.png" in page.locator(".by").text_content()
    first = page.locator(".shelf.image .thing").first
    assert first.locator(".file").text_content() == "navy.png"
    first.locator("a.look").click()
    page.wait_for_selector("img.like")
    assert page.locator(".shelf.image .value").first.text_content() == "1.000"
    assert page.locator("mark").count() == 0 and fits(page)


def test_axe_finds_nothing_among_pictures(browser: object, address: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="accessibility is judged by axe"
    ).Axe()
    for size, scheme in ((DESK, "light"), (PHONE, "dark")):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, base_url=address
        )
        page = context.new_page()
        for path in ("search?q=tea", "search?q=tea&kind=audio&lang=zh"):
            page.goto(f"/ui/{path}")
            found = axe.run(page)
            assert found.violations_count == 0, f"{path} {size}: {found.generate_report()}"
        context.close()
