"""Review: a sample of every stratum, verdicts that survive, figures by formula, the page by keyboard."""

import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from lingxi.cli import run
from lingxi.curate import CurateSettings, curate_pairs
from lingxi.curate.review.exchange import export_as, import_as
from lingxi.curate.review.feedback import feedback
from lingxi.curate.review.figures import kappa, precisions, stratified, wilson
from lingxi.curate.review.page import make_app
from lingxi.curate.review.sample import draw_sample
from lingxi.curate.review.shown import Shown
from lingxi.curate.review.survey import Stock, choose
from lingxi.curate.review.verdicts import Said, Verdicts, export_verdicts, import_verdicts
from lingxi.errors import InputError
from lingxi.records import Pair, read_pairs, write_pairs
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
    sample = draw_sample(curated, tmp_path / "review", 20, 0, dropped=True)
    strata = [shown.stratum for shown in sample]
    assert len(sample) == 20 and {strata.count(name) for name in set(strata)} <= {5}
    assert any(name.startswith("dropped: too short") for name in strata)
    assert {shown.rows for shown in sample if not shown.dropped} == {48}
    assert draw_sample(curated, tmp_path / "review") == sample
    assert draw_sample(curated, tmp_path / "other", 20, 1) != sample


def test_dropped_rows_are_sampled_on_request(curated: Path, tmp_path: Path) -> None:
    kept = draw_sample(curated, tmp_path / "review", 12, 0)
    assert len(kept) == 12 and not any(shown.dropped for shown in kept)
    both = draw_sample(curated, tmp_path / "review", 12, 0, dropped=True, judged=[kept[0].id])
    assert kept[0] in both and any(shown.dropped for shown in both)
    assert len({shown.id for shown in both}) == 12


def again(curated: Path, rows: list[Pair]) -> None:
    write_pairs(rows, curated.parent / "again.parquet")
    curate_pairs(CurateSettings(), curated.parent / "again.parquet", curated)


def test_a_new_curate_draws_anew_and_keeps_what_was_judged(curated: Path, tmp_path: Path) -> None:
    out = tmp_path / "review"
    first = draw_sample(curated, out, 9, 0)
    rows = list(read_pairs(curated / "pairs.parquet"))
    gone, stays = first[0].id, [first[1].id, first[2].id]
    again(curated, [row for row in rows if row.id != gone][::-1])
    second = draw_sample(curated, out, 9, 0, judged=[gone, *stays])
    assert second != first and [shown.id for shown in second][9:] == sorted(
        stays, key=[row.id for row in rows[::-1]].index
    )
    assert [shown.again for shown in second] == [False] * 9 + [True] * 2
    assert gone not in {shown.id for shown in second}
    assert sum(shown.rows for shown in {shown.stratum: shown for shown in second}.values()) == len(rows) - 1
    assert draw_sample(curated, out, 9, 0) == second


def test_another_size_or_seed_draws_anew_with_what_was_judged(curated: Path, tmp_path: Path) -> None:
    out = tmp_path / "review"
    first = draw_sample(curated, out, 9, 0, dropped=True)
    judged = [first[0].id, first[4].id]
    larger = draw_sample(curated, out, 12, judged=judged)
    assert len(larger) == 12 and {shown.id for shown in larger} >= set(judged)
    assert not any(shown.again for shown in larger), "these very rows were sampled: the verdicts hold"
    assert any(shown.dropped for shown in larger)
    other = draw_sample(curated, out, seed=1, judged=judged)
    assert len(other) == 12 and other != larger and {shown.id for shown in other} >= set(judged)
    assert draw_sample(curated, out, judged=judged) == draw_sample(curated, out, 12, 1) == other
    # A verdict of elsewhere, on a row that this sample did not draw, is no evidence.
    strange = next(row.id for row in read_pairs(curated / "pairs.parquet") if row.id not in
                   {shown.id for shown in other})  # fmt: skip
    assert [shown.id for shown in draw_sample(curated, out, 5, judged=[strange]) if shown.again] == [strange]


def test_what_feedback_left_is_no_evidence(curated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, folder = curated.parent / "review", str(curated.parent)
    verdicts = Verdicts(out)
    for place, shown in enumerate(draw_sample(curated, out, 30, 0)):
        verdicts.say(Said(shown.id, "ann", "reject" if place % 2 else "accept", seen=shown.seen))
    assert run(["review", folder, "--figures", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"][0]["value"] == pytest.approx(0.5)
    assert run(["review", folder, "--feedback", str(curated.parent / "f.json"), "--precision", "0.1"]) == 0
    settings = CurateSettings(feedback=curated.parent / "f.json")
    report = curate_pairs(settings, curated.parents[1] / "pairs.parquet", curated)
    assert report.total.dropped["rejected by a person"] == 15
    capsys.readouterr()
    assert run(["review", folder, "--figures", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"precision": [], "kappa": None}
    sample = draw_sample(curated, out)
    assert sum(shown.again for shown in sample) == 15 and sum(not shown.again for shown in sample) == 30
    for place, shown in enumerate(shown for shown in sample if not shown.again):
        verdicts.say(Said(shown.id, "ann", "reject" if place < 3 else "accept", seen=shown.seen))
    assert run(["review", folder, "--figures", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"][0]["value"] == pytest.approx(0.9)
    # Earlier rejects are drops still.
    assert len(feedback(sample, verdicts.all(), 0.1).drops) == 18


OLD = """CREATE TABLE said (number INTEGER PRIMARY KEY, row TEXT NOT NULL, reviewer TEXT NOT NULL,
verdict TEXT NOT NULL, reason TEXT, fixed TEXT, at REAL NOT NULL, UNIQUE (row, reviewer))"""


def test_verdicts_of_before_they_knew_their_text(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "verdicts.sqlite")) as db, db:
        db.execute(OLD)
        db.execute("INSERT INTO said VALUES (4, 'r1', 'ann', 'fix', NULL, 'better', 1e9)")
        db.execute("INSERT INTO said VALUES (7, 'r2', 'bob', 'reject', 'other', NULL, 2e9)")
    old = [Said("r1", "ann", "fix", None, "better", 1e9), Said("r2", "bob", "reject", "other", None, 2e9)]
    assert Verdicts(tmp_path).all() == old and Verdicts(tmp_path).all() == old
    verdicts = Verdicts(tmp_path)
    verdicts.say(Said("r1", "ann", "accept", seen="another text"))
    assert [one.verdict for one in verdicts.all()] == ["fix", "reject", "accept"]
    assert verdicts.undo("ann") == "r1" and verdicts.all() == old


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
    strata = [("s", None)] * 8 + [("dropped: too short", "too short")] * 2
    sample = [
        Shown(f"r{i}", name, "", "q", "a", "de", "en", "one", reason)
        for i, (name, reason) in enumerate(strata)
    ]
    said = [Said(f"r{i}", "ann", "accept" if i < 6 else "reject") for i in range(10)]
    found = {item.stratum: item for item in precisions(sample, said)}
    assert (found["all kept"].accepted, found["all kept"].judged) == (6, 8)
    assert found["all dropped"].value == 0
    assert wilson(6, 8) == pytest.approx((0.4093, 0.9285), abs=1e-4)
    assert kappa(said) is None
    # The same verdicts by who saw other texts agree on nothing.
    assert kappa([Said("r", "ann", "fix", None, "b", 0, "a"), Said("r", "bob", "accept", seen="b")]) is None
    both = [*said, *(Said(f"r{i}", "bob", "accept" if i in (0, 1, 2, 3, 6) else "reject") for i in range(10))]
    # Seen 0.7; by chance 0.6 · 0.5 + 0.4 · 0.5 = 0.5.
    assert kappa(both) == pytest.approx(0.4)


@pytest.mark.parametrize("count", range(1, 60))
def test_where_all_are_good_the_interval_ends_at_one(count: int) -> None:
    low, high = wilson(count, count)
    assert 0 < low < high == 1
    assert wilson(0, count)[0] == 0 and 0 < wilson(0, count)[1] < 1


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 999)), min_size=1, max_size=9))
def test_strata_without_a_reject_are_exactly_one(sizes: list[tuple[int, int]]) -> None:
    strata = {str(i): [True] * judged for i, (judged, _) in enumerate(sizes)}
    found = stratified("all", strata, {str(i): rows for i, (_, rows) in enumerate(sizes)})
    assert found.value == found.high == 1 and 0 < found.low < 1


def sample_of(*strata: tuple[str, int, int, str | None]) -> list[Shown]:
    """Rows of strata given as (name, judged rows, rows of the run, reason)."""
    return [
        Shown(f"{name}{i}", name, "", f"q{i}", f"a{i}", "de", "en", "one", reason, None, rows)
        for name, judged, rows, reason in strata
        for i in range(judged)
    ]


def test_totals_weigh_strata_by_their_rows() -> None:
    sample = sample_of(
        ("big", 10, 900, None), ("small", 10, 100, None), ("dropped: too short", 10, 50, "too short")
    )
    said = [
        Said(shown.id, "ann", "accept" if shown.stratum == "big" or shown.id == "small0" else "reject")
        for shown in sample
    ]
    found = precisions(sample, said)
    assert [item.stratum for item in found] == [
        "all kept",
        "all dropped",
        "dropped: too short",
        "big",
        "small",
    ]
    kept = found[0]
    assert kept.value == pytest.approx(0.9 * 1 + 0.1 * 0.1) and kept.rows == 1000 and kept.judged == 20
    # By hand: q = 0.9 · 11/12 + 0.1 · 2/12, variance Σ W² q (1 − q) / 10.
    middle = 0.9 * 11 / 12 + 0.1 * 2 / 12
    variance = (0.81 * 11 / 144 + 0.01 * 20 / 144) / 10
    effective = middle * (1 - middle) / variance
    assert (kept.low, kept.high) == pytest.approx(wilson(kept.value * effective, effective))
    assert (found[1].low, found[1].high) == pytest.approx(wilson(0, 10))
    assert kept.low < kept.value < kept.high


def test_a_row_that_reads_as_it_was_mended_is_good() -> None:
    sample = sample_of(("s", 2, 2, None))
    said = [Said("s0", "ann", "fix", fixed="a0"), Said("s1", "ann", "fix", fixed="other")]
    assert precisions(sample, said)[0].accepted == 1


FORMS = ("jsonl", "argilla", "label-studio")


def spoken(verdicts: Verdicts, times: bool = False) -> list[tuple[object, ...]]:
    found = [
        (s.row, s.reviewer, s.verdict, s.reason, s.fixed, s.seen, round(s.at, 3) if times else 0)
        for s in verdicts.all()
    ]
    return sorted(found, key=str)


@pytest.mark.parametrize("form", FORMS)
def test_verdicts_come_back_from_other_tools(form: str, curated: Path, tmp_path: Path) -> None:
    sample, verdicts = draw_sample(curated, tmp_path / "review", 8, 0), Verdicts(tmp_path / "review")
    seen = [shown.seen for shown in sample]
    verdicts.say(Said(sample[0].id, "ann", "accept", at=1e9, seen=seen[0]))
    verdicts.say(Said(sample[0].id, "bob@example.org", "reject", "wrong language", at=1e9 + 1, seen=seen[0]))
    verdicts.say(Said(sample[1].id, "ann", "fix", fixed="Über <alles> & “mehr”", at=1e9 + 2, seen=seen[1]))
    path = tmp_path / "out.json"
    assert export_as(form, sample, verdicts, path) == (3 if form == "jsonl" else 8)  # type: ignore[arg-type]
    other = Verdicts(tmp_path / "other")
    assert import_as(form, other, path) == 3  # type: ignore[arg-type]
    assert spoken(other, form != "argilla") == spoken(verdicts, form != "argilla")
    # What was said here since stands, where the file has times.
    verdicts.say(Said(sample[1].id, "ann", "accept", at=2e9, seen=seen[1]))
    if form != "argilla":
        import_as(form, verdicts, path)  # type: ignore[arg-type]
        assert next(s.verdict for s in verdicts.all() if s.row == sample[1].id) == "accept"


@pytest.mark.parametrize("form", FORMS)
def test_what_comes_back_unchanged_changes_nothing(form: str, curated: Path, tmp_path: Path) -> None:
    sample, verdicts = draw_sample(curated, tmp_path / "review", 8, 0), Verdicts(tmp_path / "review")
    # On a text of before, and of before verdicts knew their text.
    verdicts.say(Said(sample[0].id, "ann", "fix", fixed=sample[0].answer, seen="as it read before"))
    verdicts.say(Said(sample[1].id, "ann", "fix", fixed="better"))
    verdicts.say(Said(sample[1].id, "bob", "accept", at=2e9))
    before = verdicts.all()
    export_as(form, sample, verdicts, tmp_path / "out.json")  # type: ignore[arg-type]
    import_as(form, verdicts, tmp_path / "out.json")  # type: ignore[arg-type]
    assert verdicts.all() == before
    # A verdict without a time is one of now, whatever the form.
    text = (tmp_path / "out.json").read_text().replace('"reject"', '"accept"')
    for name in ("at", "created_at"):
        text = re.sub(rf'"{name}": [^,}}\n]+', f'"{name}": null', text)
    (tmp_path / "out.json").write_text(text.replace('"better"', '"best"'))
    import_as(form, verdicts, tmp_path / "out.json")  # type: ignore[arg-type]
    assert any(one.fixed == "best" for one in verdicts.all())


def test_the_shapes_of_other_tools(curated: Path, tmp_path: Path) -> None:
    from xml.etree import ElementTree

    sample, verdicts = draw_sample(curated, tmp_path / "review", 4, 0), Verdicts(tmp_path / "review")
    verdicts.say(Said(sample[0].id, "ann", "reject", "untranslated", at=1e9))
    export_as("argilla", sample, verdicts, tmp_path / "a.json")
    record = json.loads((tmp_path / "a.json").read_text())[0]
    assert set(record) == {"id", "fields", "metadata", "suggestions", "responses", "vectors"}
    assert record["fields"]["query"] == sample[0].query
    user = record["responses"]["verdict"][0]["user_id"]
    assert str(uuid.UUID(user)) == user and record["responses"]["reason"][0]["user_id"] == user
    export_as("label-studio", sample, verdicts, tmp_path / "l.json")
    task = json.loads((tmp_path / "l.json").read_text())[0]
    (annotation,) = task["annotations"]
    tags = {tag.get("name"): tag for tag in ElementTree.parse(tmp_path / "l.xml").iter()}
    for item in annotation["result"]:
        assert tags[item["from_name"]].get("toName") == item["to_name"] and item["to_name"] in tags
        assert tags[item["from_name"]].tag.lower() == item["type"]
        choices = {choice.get("value") for choice in tags[item["from_name"]]}
        assert set(item["value"]["choices"]) <= choices
    shown = {tag.get("value", "").lstrip("$") for tag in tags.values() if tag.tag == "Text"}
    assert shown <= set(task["data"])


def test_other_tools_files_as_they_write_them(tmp_path: Path) -> None:
    task = {
        "id": 7, "project": 1, "data": {"row": "r1", "query": "q"},
        "annotations": [
            {"id": 3, "completed_by": 5, "was_cancelled": False, "updated_at": "2024-03-09T22:16:08.728353Z",
             "result": [{"id": "x", "origin": "manual", "from_name": "verdict", "to_name": "answer",
                         "type": "choices", "value": {"choices": ["accept"]}}]},
            {"id": 4, "completed_by": {"id": 6}, "was_cancelled": True, "result": []},
        ],
    }  # fmt: skip
    (tmp_path / "l.json").write_text(json.dumps([task]))
    verdicts = Verdicts(tmp_path)
    assert import_as("label-studio", verdicts, tmp_path / "l.json") == 1
    assert [(s.row, s.reviewer, s.verdict) for s in verdicts.all()] == [("r1", "5", "accept")]
    user = "0f5cf4b6-0000-4000-8000-000000000001"
    record = {
        "id": "r2", "fields": {}, "metadata": {}, "_server_id": "s", "status": "completed", "suggestions": {},
        "responses": {"verdict": [{"value": "accept", "user_id": user}],
                      "fixed": [{"value": "filled in unasked", "user_id": user}]},
    }  # fmt: skip
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    assert import_as("argilla", verdicts, tmp_path / "a.jsonl") == 1
    assert verdicts.all()[-1] == Said("r2", user, "accept", None, None, verdicts.all()[-1].at)
    (tmp_path / "bad.json").write_text('[{"id": "r1"}]')
    with pytest.raises(InputError, match="record 1 is none of argilla"):
        import_as("argilla", verdicts, tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text("[1, 2")
    with pytest.raises(InputError, match="is no JSON"):
        import_as("label-studio", verdicts, tmp_path / "bad.json")


def test_the_page_s_requests(curated: Path, tmp_path: Path) -> None:
    sample, verdicts = draw_sample(curated, tmp_path / "review", 4, 0), Verdicts(tmp_path / "review")
    client = TestClient(make_app(sample, verdicts))
    assert "not the same meaning" in client.get("/").text
    assert client.get("/").headers["content-security-policy"].startswith("default-src 'none'")
    first = client.get("/rows/ann").json()
    assert (first["row"]["id"], first["done"], first["total"]) == (sample[0].id, 0, 4)
    body = {"row": sample[0].id, "reviewer": "ann", "verdict": "accept"}
    assert client.post("/verdicts", json=body).json()["row"]["id"] == sample[1].id
    assert verdicts.all()[0].seen == sample[0].seen == first["row"]["seen"]
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
    for form in ("argilla", "label-studio"):
        path = str(tmp_path / f"{form}.json")
        assert run(["review", folder, "--export", path, "--format", form]) == 0
        assert run(["review", folder, "--import", path, "--format", form]) == 0
    assert run(["review", folder, "--export", "x", "--format", "csv"]) == 2
    assert run(["review", folder, "--dropped", "--rows", "8", "--figures"]) == 0
    capsys.readouterr()
    for form, what in (("jsonl", {"verdicts": 1}), ("argilla", {"rows": 8})):
        path = str(tmp_path / "j.json")
        assert run(["review", folder, "--export", path, "--format", form, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"out": path, **what}
        assert run(["review", folder, "--import", path, "--format", form, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"verdicts": 1 if form == "jsonl" else 0}
    assert run(["review", str(tmp_path / "nothing")]) == 2
    assert "no such run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--feedback", "f", "--figures"], "--feedback and --figures are two jobs"),
        (["--export", "e", "--import", "i"], "--export and --import are two jobs"),
        (["--figures", "--precision", "0.8"], "--precision changes nothing of --figures"),
        (["--precision", "0.8"], "--precision changes nothing of the page"),
        (["--json"], "--json changes nothing of the page"),
        (["--figures", "--format", "argilla"], "--format changes nothing of --figures"),
        (["--figures", "--port", "1"], "--port changes nothing of --figures"),
        (["--rows", "0", "--figures"], "--rows"),
    ],
)
def test_what_would_be_ignored_is_refused(
    asked: list[str], said: str, curated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["review", str(curated.parent), *asked]) == 2
    assert said in capsys.readouterr().err
    assert not (curated.parent / "review").exists()


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


def test_the_ledger_says_what_people_judged(curated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = curated.parent / "review"
    sample = draw_sample(curated, folder, 6, 0)
    verdicts = Verdicts(folder)
    for place, shown in enumerate(sample[:3]):
        verdicts.say(Said(shown.id, "ann", "accept" if place else "reject"))
    assert run(["ledger", str(curated.parent), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["reviewed"]
    assert sum(count for count, _ in told.values()) == 3
    assert sum(accepted for _, accepted in told.values()) == 2
    assert run(["ledger", str(curated.parent)]) == 0
    assert "| language | reviewed of kept | accepted |" in capsys.readouterr().out


def test_a_sample_by_stage_has_tasks_and_reasons(curated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = draw_sample(curated, curated.parent / "review", 30, 0, dropped=True, by="stage")
    rows = {shown.stratum: shown.rows for shown in sample}
    assert {name.split(":")[0] for name in rows} == {"kept", "dropped"} and "kept: bitext" in rows
    kept = list(read_pairs(curated / "pairs.parquet"))
    assert sum(count for name, count in rows.items() if name.startswith("kept")) == len(kept)
    assert run(["review", str(curated.parent), "--by", "nothing", "--figures"]) == 2
    assert "no strata by 'nothing'" in capsys.readouterr().err


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=80),
    st.integers(1, 30),
    st.sets(st.integers(0, 79), max_size=10),
)
def test_strata_take_turns(strata: list[int], size: int, marked: set[int]) -> None:
    ids = [f"r{place}" for place in range(len(strata))]
    names = [f"s{number}" for number in range(max(strata) + 1)]
    stock = Stock("pairs.parquet", names, np.array(strata, np.int64), pa.array(ids))
    judged = {f"r{place}" for place in marked if place < len(ids)}
    chosen = choose([stock], size, 0, judged, judged)
    assert len(chosen.places) == len(set(chosen.places)) == min(len(ids), max(size, len(judged)))
    taken = Counter(chosen.stratum[place] for place in chosen.places)
    if not judged:
        # No stratum has two rows more than another that still has some.
        left = {name for name in taken if taken[name] < chosen.rows[name]}
        assert all(taken[name] <= taken[other] + 1 for other in left for name in taken)
