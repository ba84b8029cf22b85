"""The review page shows the picture of an answer and plays its sound, made anew; nothing is fetched."""

from __future__ import annotations

import io
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the review page needs fastapi: pip install 'lingxi[review]'")
pytest.importorskip("PIL", reason="pictures need Pillow (extra vision)")
from fastapi.testclient import TestClient
from PIL import Image

from lingxi.curate import CurateSettings, curate_pairs
from lingxi.curate.review.page import make_app
from lingxi.curate.review.sample import draw_sample
from lingxi.curate.review.shown import Shown
from lingxi.curate.review.verdicts import Verdicts
from lingxi.errors import InputError
from lingxi.media.preview import of_file
from lingxi.records import write_pairs
from listening import listening
from media_toys import BAD_PICTURES, BAD_SOUNDS, drawing, hour, tone, wav
from test_curate import pair

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def row(name: str, media: str | None) -> Shown:
    return Shown(name, "all", "", "a box", "a red box", "en", "en", "stamps", None, media=media)


@pytest.fixture
def sample(tmp_path: Path) -> list[Shown]:
    drawing("red", (1200, 600)).save(tmp_path / "red.png")
    (tmp_path / "tone.wav").write_bytes(wav(tone(300)))
    named = {"seen": "red.png", "heard": "tone.wav", "gone": "gone.png"}
    return [*(row(name, str(tmp_path / file)) for name, file in named.items()), row("plain", None)]


def test_a_picture_and_a_sound_are_made_anew(sample: list[Shown], tmp_path: Path) -> None:
    client = TestClient(make_app(sample, Verdicts(tmp_path / "review")))
    answer = client.get("/media/seen")
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (900, 450)
    answer = client.get("/media/heard")
    assert answer.headers["content-type"] == "audio/wav" and answer.content[:4] == b"RIFF"
    for name in ("gone", "plain", "nobody", "..%2Fred.png"):
        assert client.get(f"/media/{name}").status_code == 404
    told = client.get("/rows/me").json()["row"]
    assert told["media"] == "image" and str(tmp_path) not in str(told)
    assert "img-src 'self'; media-src 'self'" in client.get("/").headers["content-security-policy"]


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)


def test_what_a_row_names_is_neither_fetched_nor_given_out(tmp_path: Path) -> None:
    with listening(_Site) as site:
        site.asked = []  # type: ignore[attr-defined]
        for source in (
            f"http://127.0.0.1:{site.server_port}/cat.png",
            f"file://{tmp_path}/cat.png",
            "/etc/passwd",
            "/etc/passwd\0.png",
        ):
            client = TestClient(make_app([row("one", source)], Verdicts(tmp_path / "review")))
            assert client.get("/media/one").status_code == 404
        assert site.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [*BAD_PICTURES, *BAD_SOUNDS])
def test_a_bad_file_is_not_shown(tmp_path: Path, name: str) -> None:
    made, _ = {**BAD_PICTURES, **BAD_SOUNDS}[name]
    (tmp_path / name).write_bytes(made())
    client = TestClient(make_app([row("one", str(tmp_path / name))], Verdicts(tmp_path / "review")))
    answer = client.get("/media/one")
    assert (answer.status_code == 404 and "cannot" in answer.text) or "can be opened" in answer.text
    with pytest.raises(InputError):
        of_file(tmp_path / name)


def test_an_hour_is_played_by_its_first_half_a_minute(tmp_path: Path) -> None:
    (tmp_path / "hour.wav").write_bytes(hour())
    assert len(of_file(tmp_path / "hour.wav").data) == 44 + 2 * 30 * 16_000


def test_a_run_s_rows_keep_their_media(tmp_path: Path) -> None:
    drawing("red").save(tmp_path / "red.png")
    rows = [
        pair(f"Ein roter Kasten liegt auf dem {n} Tisch", f"A red box lies on the {n} table", id=f"r{n}")
        for n in ("ersten", "zweiten", "dritten", "vierten")
    ]
    media = [
        replace(one, positives=(replace(one.positives[0], media=str(tmp_path / "red.png")),)) for one in rows
    ]
    write_pairs(media, tmp_path / "pairs.parquet")
    curate_pairs(CurateSettings(), tmp_path / "pairs.parquet", tmp_path / "run" / "3-curate")
    found = draw_sample(tmp_path / "run" / "3-curate", tmp_path / "review", 4)
    assert found and {shown.media for shown in found} == {str(tmp_path / "red.png")}
    assert draw_sample(tmp_path / "run" / "3-curate", tmp_path / "review") == found


@pytest.fixture
def address(sample: list[Shown], tmp_path: Path) -> Iterator[str]:
    uvicorn: Any = pytest.importorskip("uvicorn")
    place = socket.socket()
    place.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(make_app(sample, Verdicts(tmp_path / "review")), log_level="warning")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{place.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    place.close()


def until(page: Any, said: str) -> None:
    """Wait for an expression to hold, without the eval that the page's policy forbids."""
    for _ in range(200):
        if page.evaluate(said):
            return
        page.wait_for_timeout(50)
    raise AssertionError(said)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_reviewer_sees_and_hears(address: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{address}/?reviewer=me")
        until(page, "document.getElementById('picture').naturalWidth === 900")
        assert page.locator("#sound").is_hidden()
        page.screenshot(path=tmp_path / "review.png")
        page.keyboard.press("a")
        until(page, "document.getElementById('sound').duration > 0.4")
        assert page.locator("#picture").is_hidden() and page.locator("#sound").is_visible()
        page.screenshot(path=tmp_path / "review-sound.png")
        page.keyboard.press("a")
        page.locator("#unopened").wait_for(state="visible")
        page.keyboard.press("a")
        until(page, "document.getElementById('count').textContent.startsWith('3')")
        assert page.locator("#picture").is_hidden() and page.locator("#sound").is_hidden()
        assert page.locator("#unopened").is_hidden() and not wrong
        browser.close()
