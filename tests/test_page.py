"""The page of an evaluation: everything on it, nothing fetched, hostile texts harmless, seen in a browser."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lingxi.errors import InputError
from lingxi.evaluate.dense import Dense, Form
from lingxi.evaluate.lexical import Bm25
from lingxi.evaluate.publish import publish, read_published
from lingxi.evaluate.run import evaluate
from lingxi.evaluate.suite import SuiteSettings
from test_evaluate import BENCHMARK, HashedWords, suite

MTEB = "model,revision,task,split,subset,languages,main_score\n"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def page(out: Path, sets: SuiteSettings | None = None, data: Path = BENCHMARK, **more: Path) -> str:
    sets = sets or suite()
    forms = [Form(), Form(128), Form(64), Form(64, "int8")]
    systems = [*(Dense(HashedWords(), None, form) for form in forms), Bm25()]
    report = evaluate(sets, data, systems, out, out.parent / "cache", resamples=100)
    return publish(sets, report.scores, out, **more).read_text("utf-8")


@pytest.mark.filterwarnings("ignore:.*longer than")
def test_a_page_holds_every_part_and_fetches_nothing(tmp_path: Path) -> None:
    text = page(tmp_path / "out")
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles[:5] == ["Overview", "Languages", "Width and bytes", "Length of the query", "Query by query"]
    assert "What went worst" in titles and "Queries that changed most" in text
    assert text.count("<svg") >= 5 and "<script" not in text
    links = re.findall(r"""(?:src|href)=["'](?!#)([^"']+)""", text)
    assert links and all(link.startswith("data:image/png;base64,") for link in links)
    assert text == page(tmp_path / "again")


def test_hostile_texts_are_shown_as_text(tmp_path: Path) -> None:
    data = shutil.copytree(BENCHMARK, tmp_path / "data")
    path = data / "cosqa_test" / "queries.jsonl"
    lines = path.read_text("utf-8").splitlines()
    lines[0] = re.sub(r'"text": ?"', '"text": "<script>alert(1)</script>&quot; ', lines[0])
    path.write_text("\n".join(lines) + "\n", "utf-8")
    text = page(tmp_path / "out", suite("cosqa"), data)
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_published_scores_stand_beside_ours(tmp_path: Path) -> None:
    table = tmp_path / "mteb.csv"
    rows = ["some__model,1,Tatoeba,test,spa-eng,spa,0.9", "some__model,1,Other,test,spa-eng,spa,0.1"]
    table.write_text(MTEB + "\n".join(rows) + "\n")
    found = suite("tatoeba")
    one = found.sets[0].model_copy(update={"published": "Tatoeba", "metrics": ("accuracy", "f1")})
    sets = found.model_copy(update={"sets": (one,)})
    assert [item.model for item in read_published(table, sets)] == ["some/model"]
    text = page(tmp_path / "out", sets, published=table)
    assert "Published scores on the same rows" in text and "some/model" in text and "90.0" in text


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="lacks the column"):
        list(read_published(tmp_path / "x.csv", suite()))
    with pytest.raises(InputError, match="no file at"):
        list(read_published(tmp_path / "none.csv", suite()))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("width", [1280, 480])
def test_a_browser_shows_the_page(width: int, tmp_path: Path) -> None:
    from matplotlib.image import imread

    page(tmp_path / "out")
    shot = tmp_path / "page.png"
    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--window-size={width},2400", f"--screenshot={shot}", (tmp_path / "out" / "report.html").as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    picture = np.asarray(imread(shot))[..., :3]
    assert picture.shape[1] == width
    ink = (picture < 0.9).any(axis=2)
    # The table on top and the plots below leave ink in every band of the first screens.
    assert all(band.mean() > 0.002 for band in np.array_split(ink[:1800], 6))
    # Nothing runs out of the window: tables and plots scroll inside their frames.
    assert ink[:, -3:].mean() < 0.02
