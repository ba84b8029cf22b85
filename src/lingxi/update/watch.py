"""Stream mode: documents and feedback come in, the index follows at once, updates go out by themselves.

One turn: take the queue; bring the index to what the folders hold; measure drift; where an update is due (by
schedule, or by drift) and there is enough to learn, run it, and the gate promotes it or not; where what
people choose stands lower since the last promotion, go back. A turn that is killed anywhere is made up for by
the next one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from lingxi.config import Settings
from lingxi.embedder import Embedder
from lingxi.errors import GuardError, InputError, LingxiError, TrainingError
from lingxi.index import Index
from lingxi.index.lock import writing
from lingxi.index.store import LanceStore
from lingxi.records import Pair, drawn
from lingxi.update import drift, inbox, moving
from lingxi.update.clicks import Click, ClickSettings, propose, read_click, worse_since
from lingxi.update.gate import Keep
from lingxi.update.known import texts_of
from lingxi.update.material import read_rows
from lingxi.update.run import Outcome, update
from lingxi.update.served import Open, Served
from lingxi.update.settings import UpdateSettings

INDEX, DRIFTS, PLOT, STATE, LOCK = "index", "drift.jsonl", "drift.svg", "watch.json", "update.lock"
_SAMPLE = 400

Say = Callable[[str], None]


class WatchSettings(Settings):
    """When the stream updates its model."""

    every: float = 86_400.0
    """Seconds between updates by schedule."""
    least_pairs: int = 200
    """New pairs without which no update is begun."""
    drift: float = 0.02
    """Discrepancy (MMD²) from which on texts have drifted, where it is also no chance."""
    p: float = 0.01
    measured_every: float = 3_600.0
    """Seconds between measurements of drift."""
    language: str = "en"
    """Language of documents that do not say theirs."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What is watched, and how: folders of documents, queues, old pairs, old slices, settings."""

    home: Path
    folders: tuple[Path, ...]
    queues: tuple[Path, ...]
    replay: tuple[Pair, ...]
    keep: Keep
    settings: WatchSettings = field(default_factory=WatchSettings)
    update: UpdateSettings = field(default_factory=UpdateSettings)
    clicks: ClickSettings = field(default_factory=ClickSettings)
    open_model: Open = Embedder


@dataclass(frozen=True, slots=True)
class State:
    """What the next turn must know: when what was done, and which pairs were learnt."""

    updated: float = 0.0
    measured: float = 0.0
    promoted: float = 0.0
    learnt: tuple[str, ...] = ()
    drifted: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn did."""

    taken: inbox.Taken
    added: int
    removed: int
    drifts: tuple[drift.Drift, ...]
    outcome: Outcome | None
    went_back: bool


def turn(watch: Watch, now: float, say: Say = lambda line: None) -> Turn:
    """One turn at a time `now` (seconds); raises StoreError where another process is at it."""
    with writing(watch.home, LOCK):
        state = read_state(watch.home)
        if not state.updated:
            state = replace(state, updated=now)
        taken = _taken(watch, now)
        index, served = moving.opened(watch.home, watch.home / INDEX, watch.open_model)
        moving.refresh(watch.home, watch.home / INDEX, watch.open_model)
        report = _added(watch, index)
        clicks = [c for row in inbox.clicks(watch.home) if isinstance(c := read_click(row), Click)]
        drifts: tuple[drift.Drift, ...] = ()
        if now - state.measured >= watch.settings.measured_every:
            drifts = _drifts(watch, served, clicks, now)
            found = any(d.discrepancy >= watch.settings.drift and d.p <= watch.settings.p for d in drifts)
            state = replace(state, measured=now, drifted=state.drifted or found)
        went_back = _went_back(watch, clicks, state, say)
        if went_back:
            state = replace(state, promoted=0.0)
        write_state(watch.home, state)
        outcome = None if went_back else _updated(watch, state, now, say)
        return Turn(taken, *report, drifts, outcome, went_back)


def run(watch: Watch, pause: float, say: Say, turns: int | None = None) -> None:
    """Turn after turn, `pause` seconds apart, until Ctrl-C or `turns` are done.

    An update that cannot be made is said, and tried again when it is due again; what serves, serves on.
    """
    done = 0
    while turns is None or done < turns:
        try:
            _say(turn(watch, time.time(), say), say)
        except LingxiError as error:
            say(f"error: {error}")
        done += 1
        if turns is None or done < turns:
            time.sleep(pause)


def read_state(home: Path) -> State:
    """What was known at the end of the last turn; nothing where that cannot be read."""
    try:
        table = json.loads((home / STATE).read_text("utf-8"))
        return State(**{**table, "learnt": tuple(table["learnt"])})
    except (OSError, ValueError, TypeError, KeyError):
        return State()


def write_state(home: Path, state: State) -> None:
    """Keep it, in one step."""
    partial = home / f"{STATE}.partial"
    partial.write_text(json.dumps(asdict(state)), "utf-8")
    partial.replace(home / STATE)


def _taken(watch: Watch, now: float) -> inbox.Taken:
    parts = [asdict(inbox.take(watch.home, queue, now)) for queue in watch.queues]
    return inbox.Taken(**{name: sum(part[name] for part in parts) for name in asdict(inbox.Taken())})


def _sources(watch: Watch) -> list[Path]:
    spool = watch.home / inbox.SPOOL
    there = [spool] if spool.is_dir() and any(spool.iterdir()) else []
    return [*(f for f in watch.folders if f.is_dir() and any(f.iterdir())), *there]


def _added(watch: Watch, index: Index) -> tuple[int, int]:
    sources = _sources(watch)
    if not sources:
        return 0, 0
    report = index.add(sources)
    return report.added + report.changed, report.removed


def _drifts(watch: Watch, served: Served, clicks: Sequence[Click], now: float) -> tuple[drift.Drift, ...]:
    """Recent queries and documents against the old ones; also kept, and plotted."""
    sides = {
        "queries": ([row.query for row in watch.replay], [c.query for c in clicks]),
        "documents": ([row.positives[0].text for row in watch.replay], _texts(watch)),
    }
    found = []
    for what, (before, recent) in sides.items():
        if min(len(before), len(recent)) < 20:
            continue
        encode = served.encode_query if what == "queries" else served.encode_document
        vectors = [np.asarray(encode(_some(texts)), np.float32) for texts in (before, recent[-_SAMPLE:])]
        found.append(drift.measure(what, vectors[0], vectors[1], now, watch.update.seed))
        drift.remember(watch.home / DRIFTS, found[-1])
    history = drift.history(watch.home / DRIFTS)
    if history:
        promoted = [read_state(watch.home).promoted]
        (watch.home / PLOT).write_text(drift.plot(history, [m for m in promoted if m]), "utf-8")
    return tuple(found)


def _texts(watch: Watch) -> list[str]:
    """Documents' passages, those that came last at the end."""
    return [row.positives[0].text for row in _own_pairs(watch)]


def _some(texts: Sequence[str]) -> list[str]:
    return sorted(set(texts), key=lambda text: drawn(0, text))[:_SAMPLE]


def _own_pairs(watch: Watch) -> list[Pair]:
    """Pairs that the structure of the watched documents makes."""
    rows = []
    for source in _sources(watch):
        try:
            rows += read_rows(source, watch.settings.language)
        except InputError:
            continue  # Documents without structure make no pairs, and are searched all the same.
    return rows


def _went_back(watch: Watch, clicks: Sequence[Click], state: State, say: Say) -> bool:
    """Whether people choose lower places since the last promotion; then the release before serves again."""
    if not state.promoted or not worse_since(clicks, state.promoted):
        return False
    release = moving.back(watch.home, watch.home / INDEX)
    say(f"what is chosen stands lower since the last release: release {release.number} serves again")
    return True


def _updated(watch: Watch, state: State, now: float, say: Say) -> Outcome | None:
    is_due = now - state.updated >= watch.settings.every or state.drifted
    if not is_due:
        return None
    proposed = propose(inbox.clicks(watch.home), texts_of(watch.home, watch.home / INDEX), watch.clicks)
    known = set(state.learnt)
    new = [row for row in (*_own_pairs(watch), *proposed.pairs) if row.id not in known]
    if len(new) < watch.settings.least_pairs:
        say(f"{len(new)} new pairs, {watch.settings.least_pairs} are waited for")
        return None
    files = sorted({row.source for row in new} & set(LanceStore(watch.home / INDEX, None).files()))
    try:
        outcome = update(watch.home, new, watch.replay, watch.keep, watch.update, files=files, say=say)
    except (GuardError, TrainingError) as error:
        say(f"no update: {error}")
        outcome = None
    learnt = tuple(sorted(known | {row.id for row in new})) if outcome else state.learnt
    promoted = now if outcome and outcome.promoted else state.promoted
    write_state(watch.home, State(now, state.measured, promoted, learnt))
    if outcome and outcome.promoted:
        moving.refresh(watch.home, watch.home / INDEX, watch.open_model)
    return outcome


def _say(done: Turn, say: Say) -> None:
    taken = done.taken
    if taken.documents or taken.deleted or taken.clicks or done.added or done.removed:
        say(
            f"{taken.documents} documents and {taken.clicks} rows of feedback came; "
            f"{done.added} files indexed, {done.removed} taken out"
        )
    for found in done.drifts:
        say(f"drift of {found.what}: {found.discrepancy:.4f} (p {found.p:.3f})")
    for line in done.outcome.lines if done.outcome else ():
        say(line)
