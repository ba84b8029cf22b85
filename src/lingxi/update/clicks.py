"""What people chose of what they were shown, as pairs: so that no one client decides, and no place alone.

A row says `query`, `shown` (documents in their order, ids or {id, text}), `chosen` (the id, or the place from
0), `client` and `time` (seconds). Rows count only within a client's limits; a client has one voice a query.

Place: what stands first is chosen more often whatever it is. So a choice counts by how far it exceeds what
its place gets on the average of clients (click-through by place; Joachims et al. 2017, arXiv 1608.04468,
weigh by its inverse). Documents above the chosen one that nobody chose are negatives (skip-above, Joachims
2002).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lingxi.config import Settings
from lingxi.prompts import DEFAULT_TASK
from lingxi.records import Pair, Passage, digest

_DAY = 86_400.0


class ClickSettings(Settings):
    """What feedback must be like to be learnt from."""

    per_client: int = 50
    """Rows of a client that count in a day; the others are dropped."""
    least_clients: int = 3
    """Clients that chose a document for a query before it makes a pair."""
    least_lift: float = 2.0
    """Standard deviations by which choices exceed what the places alone explain."""
    most_share: float = 0.1
    """Largest share of the pairs that a client may be needed for; pairs beyond it are dropped."""


@dataclass(frozen=True, slots=True)
class Click:
    """One row, checked."""

    query: str
    shown: tuple[str, ...]
    chosen: int
    client: str
    time: float
    instruction: str


@dataclass(frozen=True, slots=True)
class Proposed:
    """Pairs to learn from, and how many rows (or pairs) were dropped, by reason."""

    pairs: tuple[Pair, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Voices:
    """Who was shown a document for a query, at which place, and who chose it."""

    places: dict[str, int] = field(default_factory=dict)
    chose: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)


def propose(
    rows: Iterable[Mapping[str, Any]], text_of: Callable[[str], str | None], settings: ClickSettings
) -> Proposed:
    """Pairs that rows of feedback speak for.

    `text_of` gives the text of a document by its id, None where it is unknown: a client cannot bring in texts
    of its own.
    """
    dropped: Counter[str] = Counter()
    clicks = _limited(rows, settings, dropped)
    chance = by_place(clicks)
    voices = _voices(clicks)
    pairs = [
        pair
        for (query, instruction), documents in voices.items()
        if (pair := _pair(query, instruction, documents, chance, text_of, settings, dropped))
    ]
    kept = _without_rulers(pairs, voices, settings, dropped)
    return Proposed(tuple(kept), dict(dropped))


def read_click(row: Mapping[str, Any]) -> Click | str:
    """A row as a click, or what is wrong with it."""
    query, shown, client = row.get("query"), row.get("shown"), row.get("client")
    if not isinstance(query, str) or not query.strip() or not isinstance(shown, list) or not shown:
        return "no query, or nothing shown"
    if not isinstance(client, str) or not client:
        return "no client"
    ids = tuple(str(item["id"] if isinstance(item, dict) and "id" in item else item) for item in shown)
    chosen = row.get("chosen")
    if isinstance(chosen, str) and chosen in ids:
        chosen = ids.index(chosen)
    if isinstance(chosen, bool) or not isinstance(chosen, int) or not 0 <= chosen < len(ids):
        return "chosen is not among what was shown"
    time = row.get("time")
    if isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time):
        return "no time"
    instruction = row.get("instruction")
    told = instruction if isinstance(instruction, str) and instruction else DEFAULT_TASK
    return Click(" ".join(query.split()), ids, chosen, client, float(time), told)


def by_place(clicks: Sequence[Click]) -> list[float]:
    """How often what stands at a place is chosen: the mean over clients, so that no client makes it."""
    shown: dict[str, Counter[int]] = defaultdict(Counter)
    chosen: dict[str, Counter[int]] = defaultdict(Counter)
    for click in clicks:
        shown[click.client].update(range(len(click.shown)))
        chosen[click.client][click.chosen] += 1
    deepest = max((len(click.shown) for click in clicks), default=0)
    out = []
    for place in range(deepest):
        rates = [chosen[c][place] / n[place] for c, n in shown.items() if n[place]]
        out.append(float(np.mean(rates)) if rates else 0.0)
    return out


def _limited(
    rows: Iterable[Mapping[str, Any]], settings: ClickSettings, dropped: Counter[str]
) -> list[Click]:
    counted: Counter[tuple[str, int]] = Counter()
    out = []
    for row in rows:
        click = read_click(row)
        if isinstance(click, str):
            dropped[click] += 1
            continue
        day = click.client, int(click.time // _DAY)
        counted[day] += 1
        if counted[day] > settings.per_client:
            dropped["beyond the client's limit of the day"] += 1
            continue
        out.append(click)
    return out


def _voices(clicks: Sequence[Click]) -> dict[tuple[str, str], dict[str, _Voices]]:
    """By query and document; of a client's clicks on one query the last counts."""
    last = {(c.query, c.instruction, c.client): c for c in clicks}
    out: dict[tuple[str, str], dict[str, _Voices]] = defaultdict(lambda: defaultdict(_Voices))
    for click in last.values():
        documents = out[click.query, click.instruction]
        for place, document in enumerate(click.shown):
            documents[document].places[click.client] = place
            if place < click.chosen:
                documents[document].skipped.add(click.client)
        documents[click.shown[click.chosen]].chose.add(click.client)
    return out


def _pair(
    query: str,
    instruction: str,
    documents: Mapping[str, _Voices],
    chance: Sequence[float],
    text_of: Callable[[str], str | None],
    settings: ClickSettings,
    dropped: Counter[str],
) -> Pair | None:
    right = []
    for document, voices in documents.items():
        if len(voices.chose) < settings.least_clients:
            dropped["chosen by too few clients"] += bool(voices.chose)
        elif lift(voices.places.values(), len(voices.chose), chance) < settings.least_lift:
            dropped["explained by its place"] += 1
        elif (text := text_of(document)) is None:
            dropped["unknown document"] += 1
        else:
            right.append(Passage(document, text))
    if not right:
        return None
    wrong = [
        Passage(document, text)
        for document, voices in documents.items()
        if not voices.chose and len(voices.skipped) >= settings.least_clients
        if (text := text_of(document)) is not None
    ]
    key = digest("click", query, instruction)
    return Pair(
        key, key, query, tuple(right), tuple(wrong), instruction, "retrieval", "und", "und", "clicks", "own"
    )


def lift(places: Iterable[int], chose: int, chance: Sequence[float]) -> float:
    """Standard deviations by which choices exceed what the places of a document alone would bring."""
    rates = [chance[place] for place in places]
    spread = math.sqrt(sum(rate * (1 - rate) for rate in rates))
    return (chose - sum(rates)) / max(spread, 0.1)


def _without_rulers(
    pairs: Sequence[Pair],
    voices: Mapping[tuple[str, str], Mapping[str, _Voices]],
    settings: ClickSettings,
    dropped: Counter[str],
) -> list[Pair]:
    """Pairs left where no client has more than its share of them, and each may always speak for a few."""
    of_pair: list[set[str]] = [
        set().union(*(voices[p.query, p.instruction][item.id].chose for item in p.positives)) for p in pairs
    ]
    alone = Counter(client for clients in of_pair for client in clients)
    odds = settings.most_share / (1 - settings.most_share)

    def room(client: str) -> float:
        """Pairs a client may speak for: a share of those it has no part in, so that it cannot make room."""
        return max(settings.least_clients, odds * (len(pairs) - alone[client]))

    spoke: Counter[str] = Counter()
    out = []
    for pair, clients in zip(pairs, of_pair, strict=True):
        if sum(spoke[client] < room(client) for client in clients) < settings.least_clients:
            dropped["a client has more than its share"] += 1
            continue
        spoke.update(clients)
        out.append(pair)
    return out


def worse_since(clicks: Sequence[Click], moment: float, *, least_clients: int = 20, seed: int = 0) -> bool:
    """Whether what is chosen stands lower since a moment: the 95 % interval of the change lies below 0.

    By the mean over clients of the reciprocal place; False where either side has fewer clients.
    """
    sides = [_by_client([c for c in clicks if (c.time >= moment) is after]) for after in (False, True)]
    if min(map(len, sides)) < least_clients:
        return False
    rng = np.random.default_rng(seed)
    drawn = [side[rng.integers(0, len(side), (2000, len(side)))].mean(1) for side in sides]
    return bool(np.quantile(drawn[1] - drawn[0], 0.975) < 0)


def _by_client(clicks: Sequence[Click]) -> np.ndarray:
    places: dict[str, list[float]] = defaultdict(list)
    for click in clicks:
        places[click.client].append(1 / (click.chosen + 1))
    return np.array([np.mean(own) for own in places.values()])
