"""The stream: queues that are read once, feedback that no client rules, drift, and turns that promote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lingxi.evaluate.suite import read_suite
from lingxi.index.store import LanceStore
from lingxi.records import write_pairs
from lingxi.train.held_out import write_suite
from lingxi.update import drift, inbox, moving, releases
from lingxi.update.clicks import Click, ClickSettings, by_place, propose, read_click, worse_since
from lingxi.update.gate import Keep
from lingxi.update.known import texts_of
from lingxi.update.watch import INDEX, Watch, WatchSettings, read_state, turn, write_state
from lingxi.vectors import cut
from test_update import OLD, QUICK
from toys import write_toy

DAY = 86_400.0
SHOWN = [f"d{number}" for number in range(10)]


def row(
    query: str, client: str, chosen: int, time: float = 0.0, shown: list[str] = SHOWN
) -> dict[str, object]:
    return {"query": query, "shown": shown, "chosen": chosen, "client": client, "time": time}


def right(number: int) -> int:
    return 1 + number % 9


def honest(queries: int = 36, clients: int = 80) -> list[dict[str, object]]:
    """Many choose what stands first; on each query five clients look on and choose the right document."""
    rng, rows = np.random.default_rng(0), []
    for number in range(queries):
        asked = rng.permutation(clients)
        rows += [row(f"q{number}", f"c{c}", right(number)) for c in asked[:5]]
        rows += [row(f"q{number}", f"c{c}", 0) for c in asked[5:9]]
    return rows


def text_of(name: str) -> str | None:
    return f"text of {name}" if name in SHOWN else None


def test_what_many_choose_far_down_is_learnt_and_what_stands_first_is_not() -> None:
    proposed = propose(honest(), text_of, ClickSettings())
    assert len(proposed.pairs) == 36
    for pair in proposed.pairs:
        place = right(int(pair.query[1:]))
        assert [item.id for item in pair.positives] == [f"d{place}"]
        # Between the first place, which some chose, and the right one everybody skipped: those are negatives.
        assert [item.id for item in pair.negatives] == [f"d{n}" for n in range(1, place)]
    assert proposed.dropped["explained by its place"] == 36


def test_one_client_with_ten_thousand_wrong_clicks_changes_nothing() -> None:
    plain = propose(honest(), text_of, ClickSettings())
    wrong = [row(f"q{n % 36}", "mallory", 9, time=n * 8.0) for n in range(10_000)]
    wrong += [row(f"own {n}", "mallory", 9, time=n * 8.0) for n in range(10_000)]
    for rows in (honest() + wrong, wrong + honest()):
        attacked = propose(rows, text_of, ClickSettings())
        assert attacked.pairs == plain.pairs
        assert attacked.dropped["beyond the client's limit of the day"] >= 19_000


def test_a_client_cannot_bring_in_texts_or_rule_by_voices() -> None:
    strange = [row("q", f"c{n}", 9, shown=[f"x{i}" for i in range(10)]) for n in range(5)]
    proposed = propose(honest() + strange, text_of, ClickSettings())
    assert proposed.dropped["unknown document"] == 1
    # Three clients that agree on everything have a share of the pairs, and no more.
    ring = [row(f"ring {n}", f"r{c}", 8, time=n * 2000.0) for n in range(200) for c in range(3)]
    ruled = propose(honest() + ring, text_of, ClickSettings())
    told = [pair for pair in ruled.pairs if pair.query.startswith("ring")]
    assert 0 < len(told) < 0.15 * len(ruled.pairs)
    assert ruled.dropped["a client has more than its share"] > 100


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"query": " "}, "no query"),
        ({"shown": []}, "nothing shown"),
        ({"client": ""}, "no client"),
        ({"chosen": 10}, "not among"),
        ({"chosen": True}, "not among"),
        ({"time": None}, "no time"),
        ({"time": float("nan")}, "no time"),
    ],
)
def test_rows_that_are_no_feedback_are_dropped_with_a_reason(change: dict[str, object], why: str) -> None:
    found = read_click(row("q", "c", 1) | change)
    assert isinstance(found, str)
    assert why in found
    assert isinstance(read_click(row("q", "c", 1) | {"chosen": "d3"}), Click)


def test_places_weigh_clients_alike() -> None:
    rows = [row("q", "loud", 9, time=n) for n in range(50)] + [row("q", f"c{n}", 0) for n in range(9)]
    clicks = [click for r in rows if isinstance(click := read_click(r), Click)]
    rates = by_place(clicks)
    assert rates[0] == pytest.approx(0.9)
    assert rates[9] == pytest.approx(0.1)


def test_lower_choices_since_a_promotion_are_seen_and_one_client_is_not_enough() -> None:
    def clicks(client: str, chosen: int, time: float, count: int = 1) -> list[Click]:
        return [Click("q", tuple(SHOWN), chosen, client, time, "") for _ in range(count)]

    before = [c for n in range(40) for c in clicks(f"c{n}", n % 2, 0.0)]
    same = [c for n in range(40) for c in clicks(f"c{n}", n % 2, 2.0)]
    worse = [c for n in range(40) for c in clicks(f"c{n}", 5, 2.0)]
    assert worse_since(before + worse, 1.0)
    assert not worse_since(before + same, 1.0)
    assert not worse_since(before + same + clicks("mallory", 9, 2.0, 5_000), 1.0)
    assert not worse_since(before + clicks("mallory", 9, 2.0, 5_000), 1.0)


def units(rows: int, seed: int, mean: float = 0.0) -> np.ndarray:
    return cut(np.random.default_rng(seed).normal(mean, 1, (rows, 16)).astype(np.float32), 16)


def test_drift_is_seen_where_texts_moved_and_not_where_they_did_not(tmp_path: Path) -> None:
    same = drift.measure("queries", units(200, 0), units(200, 1), 0.0, 0)
    moved = drift.measure("queries", units(200, 0), units(200, 2, 0.3), 3600.0, 0)
    assert same.p > 0.05 > 0.01 > moved.p
    assert moved.discrepancy > 0.02 > same.discrepancy
    for found in (same, moved):
        drift.remember(tmp_path / "d.jsonl", found)
    with (tmp_path / "d.jsonl").open("a") as file:
        file.write('{"what": "quer')
    assert drift.history(tmp_path / "d.jsonl") == [same, moved]
    svg = drift.plot([same, moved], [1800.0])
    assert svg.startswith("<svg") and "drift" in svg


def test_a_queue_is_read_once_and_twice_is_no_harm(tmp_path: Path) -> None:
    queue, home = tmp_path / "queue.jsonl", tmp_path / "home"
    home.mkdir()
    lines = [{"id": "../../a", "title": "T", "text": "one"}, {"text": "two"}, row("q", "c", 0), {"other": 1}]
    queue.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"text": "half')
    taken = inbox.take(home, queue, 5.0)
    assert (taken.documents, taken.clicks, taken.refused) == (2, 1, 1)
    assert inbox.take(home, queue, 6.0) == inbox.Taken()
    assert len(list((home / "spool").iterdir())) == 2
    assert not (tmp_path / "a.md").exists()
    with queue.open("a") as file:
        file.write('"}\n' + json.dumps({"deleted": "../../a"}) + "\nnot json\n")
    again = inbox.take(home, queue, 7.0)
    assert (again.documents, again.deleted, again.refused) == (1, 1, 1)
    # A kill before the place was kept: the same rows once more.
    (home / "queue.place").unlink()
    inbox.take(home, queue, 8.0)
    assert sorted(p.read_text() for p in (home / "spool").iterdir()) == ["half", "two"]


def section(number: int) -> str:
    said = (
        f"The gear {number} lies in box {number * 7 % 101} of the red shelf, and nobody moves it at night. "
        * 2
    )
    return (
        f"# Where gear {number} lies\n\n{said}\n\n## Who keeps gear {number}\n\nKeeper {number * 3}: {said}\n"
    )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watch:
    from lingxi.check import make_golden

    place = tmp_path_factory.mktemp("watched")
    model = write_toy(place / "model")
    make_golden(model)
    write_pairs(OLD[:30], place / "held.parquet")
    suite = write_suite(place / "held.parquet", place / "suite")
    assert suite is not None
    home = place / "home"
    home.mkdir()
    releases.begin(home, str(model))
    folder = place / "docs"
    folder.mkdir()
    for number in range(20):
        (folder / f"gear{number}.md").write_text(section(number))
    keep = Keep(read_suite(suite), None, place / "cache")
    hours = WatchSettings(every=DAY, least_pairs=30, measured_every=60.0, drift=9.0)
    # Which rows a search holds out hangs on where the folder lies, and a toy might ask for none of the new.
    given = QUICK.model_copy(update={"share": 0.9})
    return Watch(home, (folder,), (place / "queue.jsonl",), tuple(OLD[30:]), keep, hours, given)


def test_documents_are_searchable_at_once_and_an_update_comes_when_it_is_due(watched: Watch) -> None:
    watched.queues[0].write_text(
        json.dumps({"id": "n1", "title": "News", "text": "The pump stands still."}) + "\n"
    )
    drifting = WatchSettings(every=DAY, least_pairs=10_000, measured_every=60.0)
    calm = read_state(watched.home)
    first = turn(replace(watched, settings=drifting), 1000.0)
    # These documents are nothing like the old ones: an update would begin now, were there enough to learn.
    assert first.drifts[0].discrepancy > 0.02
    assert read_state(watched.home).drifted and not calm.drifted
    write_state(watched.home, replace(read_state(watched.home), drifted=False))
    assert (first.added, first.outcome) == (21, None)
    index, served = moving.opened(watched.home, watched.home / INDEX)
    assert any("pump" in hit.text for hit in index.search("pump", top_k=5))
    assert texts_of(watched.home, watched.home / INDEX)("n1") is not None
    before = LanceStore(watched.home / INDEX, None)
    old_vectors = before.vectors(list(before.files()))
    due = turn(watched, 1000.0 + DAY)
    assert due.outcome is not None and due.outcome.promoted
    assert releases.serving(watched.home).number == 1
    # What was learnt from is embedded again, the news is not; both are found by the new queries.
    now = LanceStore(watched.home / INDEX, None)
    new_vectors = now.vectors(list(now.files()))
    moved = {
        title for (title, text), v in new_vectors.items() if not np.allclose(v, old_vectors[title, text])
    }
    assert any("gear" in title for title in moved)
    index, served = moving.opened(watched.home, watched.home / INDEX)
    assert served.release.number == 1
    assert any("pump" in hit.text for hit in index.search("pump", top_k=5))
    assert turn(watched, 1000.0 + DAY + 5).outcome is None
    assert read_state(watched.home).promoted == 1000.0 + DAY


def test_an_index_is_moved_to_the_new_space_and_back(watched: Watch) -> None:
    index = watched.home / INDEX
    release = moving.reindex(watched.home, index)
    assert release.space == release.model
    assert moving.opened(watched.home, index)[0].search("gear 3", top_k=1)
    # Killed between the index's switch and the pointer's: the next opening ends it.
    releases.point(watched.home, release.number - 1, None)
    assert moving.opened(watched.home, index)[1].release.space == release.model
    gone = moving.back(watched.home, index)
    assert gone.space != gone.model
    assert moving.opened(watched.home, index)[0].search("gear 3", top_k=1)


def test_people_choosing_lower_places_since_the_last_promotion_bring_the_release_before_back(
    watched: Watch,
) -> None:
    number = releases.serving(watched.home).number
    moment = read_state(watched.home).promoted
    rows = [row("q", f"c{n}", 0, moment - 5) for n in range(40)] + [
        row("q", f"c{n}", 7, moment + 5) for n in range(40)
    ]
    with (watched.home / inbox.CLICKS).open("a") as file:
        file.writelines(json.dumps(each) + "\n" for each in rows)
    assert turn(watched, moment + 10).went_back
    assert releases.serving(watched.home).number < number
    assert not turn(watched, moment + 20).went_back
