"""Review: a sample of every stratum, verdicts that survive, figures by formula, the page by keyboard."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lingxi.cli import run
from lingxi.curate import CurateSettings, curate_pairs
from lingxi.curate.review.figures import kappa, precisions, wilson
from lingxi.curate.review.page import make_app
from lingxi.curate.review.sample import Shown, draw_sample
from lingxi.curate.review.verdicts import Said, Verdicts, export_verdicts, import_verdicts
from lingxi.errors import InputError
from lingxi.records import write_pairs
from test_curate import pair

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NUMBERS = ("eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf")


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    rows = [
        pair(
            f"Der {name} Hund schläft tief und fest",
            f"The {name} dog is fast asleep {source}",
            source=source,
            id=f"{source}{i}",
        )
        for source in ("one", "two", "three")
        for i, name in enumerate(f"{a} {b}" for a in NUMBERS for b in NUMBERS[:4])
    ]
    rows += [pair(f"{i}", "short", source="one", id=f"short{i}") for i in range(9)]
    write_pairs(rows, tmp_path / "pairs.parquet")
    curate_pairs(CurateSettings(), tmp_path / "pairs.parquet", tmp_path / "run" / "3-curate")
    return tmp_path / "run" / "3-curate"


def test_a_sample_has_every_stratum(curated: Path, tmp_path: Path) -> None:
    sample = draw_sample(curated, tmp_path / "review", 20, 0)
    strata = [shown.stratum for shown in sample]
    assert len(sample) == 20 and {strata.count(name) for name in set(strata)} <= {5}
    assert any(name.startswith("dropped: too short") for name in strata)
    assert draw_sample(curated, tmp_path / "review", 99, 1) == sample
    assert draw_sample(curated, tmp_path / "other", 20, 1) != sample


def test_verdicts_stay_replace_and_go_back(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path)
    verdicts.say(Said("r1", "ann", "accept"))
    verdicts.say(Said("r2", "ann", "reject", "untranslated"))
    verdicts.say(Said("r1", "ann", "fix", fixed="better"))
    verdicts.say(Said("r1", "bob", "accept"))
    found = Verdicts(tmp_path).all()
    assert [(s.row, s.reviewer, s.verdict) for s in found] == [
        ("r2", "ann", "reject"), ("r1", "ann", "fix"), ("r1", "bob", "accept"),
    ]  # fmt: skip
    assert verdicts.undo("ann") == "r1" and verdicts.undo("carol") is None
    assert len(verdicts.all()) == 2
    assert export_verdicts(verdicts, tmp_path / "v.jsonl") == 2
    other = Verdicts(tmp_path / "other")
    assert import_verdicts(other, tmp_path / "v.jsonl") == 2 and len(other.all()) == 2
    (tmp_path / "bad.jsonl").write_text('{"row": "r1", "reviewer": "ann", "verdict": "maybe"}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:1 is no verdict"):
        import_verdicts(other, tmp_path / "bad.jsonl")


def test_figures_by_their_formulas() -> None:
    sample = [
        Shown(f"r{i}", "s", "", "q", "a", "de", "en", "one", None if i < 8 else "too short")
        for i in range(10)
    ]
    said = [Said(f"r{i}", "ann", "accept" if i < 6 else "reject") for i in range(10)]
    found = {item.stratum: item for item in precisions(sample, said)}
    assert (found["all kept"].accepted, found["all kept"].judged) == (6, 8)
    assert found["all dropped"].value == 0
    assert wilson(6, 8) == pytest.approx((0.4093, 0.9285), abs=1e-4)
    assert kappa(said) is None
    both = [*said, *(Said(f"r{i}", "bob", "accept" if i in (0, 1, 2, 3, 6) else "reject") for i in range(10))]
    # Seen 0.7; by chance 0.6 · 0.5 + 0.4 · 0.5 = 0.5.
    assert kappa(both) == pytest.approx(0.4)


def test_the_page_s_requests(curated: Path, tmp_path: Path) -> None:
    sample, verdicts = draw_sample(curated, tmp_path / "review", 4, 0), Verdicts(tmp_path / "review")
    client = TestClient(make_app(sample, verdicts))
    assert "not the same meaning" in client.get("/").text
    assert client.get("/").headers["content-security-policy"].startswith("default-src 'none'")
    first = client.get("/rows/ann").json()
    assert (first["row"]["id"], first["done"], first["total"]) == (sample[0].id, 0, 4)
    body = {"row": sample[0].id, "reviewer": "ann", "verdict": "accept"}
    assert client.post("/verdicts", json=body).json()["row"]["id"] == sample[1].id
    assert client.post("/undo", json={"reviewer": "ann"}).json()["row"]["id"] == sample[0].id
    assert client.post("/verdicts", json={**body, "row": "nope"}).status_code == 404
    assert client.post("/verdicts", json={**body, "verdict": "fix"}).status_code == 422
    assert client.post("/verdicts", data=body).status_code == 422


def test_the_verb(curated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(curated.parent)
    assert run(["review", folder, "--rows", "6", "--figures"]) == 0
    assert "kappa of two reviewers: none yet" in capsys.readouterr().out
    Verdicts(curated.parent / "review").say(Said("x", "ann", "accept"))
    assert run(["review", folder, "--export", str(tmp_path / "v.jsonl")]) == 0
    assert json.loads((tmp_path / "v.jsonl").read_text())["reviewer"] == "ann"
    assert run(["review", str(tmp_path / "nothing")]) == 2
    assert "no such run" in capsys.readouterr().err


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_fifty_verdicts_by_keyboard_and_none_lost(curated: Path) -> None:
    from playwright.sync_api import sync_playwright

    port = free_port()
    code = "from lingxi.cli import main; main()"
    command = [sys.executable, "-c", code, "review", str(curated.parent), "--rows", "60", "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).read()
                break
            except OSError:
                time.sleep(0.2)
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            page.fill("#name", "ann")
            page.keyboard.press("Enter")
            for i in range(50):
                page.get_by_text(f"{i} of 60", exact=True).wait_for()
                if i % 5 == 3:
                    page.keyboard.press("r")
                    page.keyboard.press("1")
                elif i % 5 == 4:
                    page.keyboard.press("f")
                    page.keyboard.type("mended ")
                    page.keyboard.press("Control+Enter")
                else:
                    page.keyboard.press("a")
            page.get_by_text("50 of 60", exact=True).wait_for()
            page.screenshot(path=str(curated.parent / "review.png"))
            browser.close()
        server.send_signal(signal.SIGKILL)
        said = Verdicts(curated.parent / "review").all()
        assert len(said) == 50
        verdicts = [one.verdict for one in said]
        assert (verdicts.count("accept"), verdicts.count("reject"), verdicts.count("fix")) == (30, 10, 10)
        assert all("mended" in (one.fixed or "") for one in said if one.verdict == "fix")
    finally:
        server.kill()
        server.wait()
