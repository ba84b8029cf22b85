"""The report as one page without scripts: a table with intervals, plots, the queries behind the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from lingxi.evaluate import plots
from lingxi.evaluate.dense import split_form
from lingxi.evaluate.evidence import MEANS, Difference, difference, pooled, worst
from lingxi.evaluate.measure import is_mean
from lingxi.evaluate.report import Score
from lingxi.evaluate.results import LENGTHS, Group

PAGE = "report.html"
_SHOWN = 12
_RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class Published:
    """A score that somebody else published for a model on the same rows."""

    model: str
    set: str
    language: str
    metric: str
    value: float


@dataclass(frozen=True, slots=True)
class Material:
    """What a page is made of."""

    title: str
    scores: Sequence[Score]
    groups: Sequence[Group]
    items: Mapping[tuple[str, str, str], Mapping[str, str]]
    published: Sequence[Published] = ()

    @property
    def systems(self) -> list[str]:
        """Names of the systems, in the order they were measured."""
        return list(dict.fromkeys(score.system for score in self.scores))

    def main(self) -> dict[str, str]:
        """The main metric of each set."""
        found: dict[str, str] = {}
        for score in self.scores:
            found.setdefault(score.set, score.metric)
        return found


def write_page(material: Material, out: Path) -> Path:
    """Write `report.html` to a folder: self-contained, the same bytes for the same numbers."""
    parts = [
        _section("Overview", _overview(material)),
        _section("Languages", *_languages(material)),
        _section("Width and bytes", *_forms(material)),
        _section("Length of the query", *_lengths(material)),
        _section("Query by query", *_pairs(material)),
        _section("Published scores on the same rows", *_published(material)),
        _section("What went worst", *_worst(material)),
    ]
    path = out / PAGE
    path.write_text(_html(material.title, "\n".join(part for part in parts if part)), "utf-8")
    return path


# --- sections ------------------------------------------------------------------------------------


def _overview(material: Material) -> str:
    rows = []
    for name, metric in material.main().items():
        own = [s for s in material.scores if (s.set, s.metric) == (name, metric)]
        means = [s for s in own if s.language.startswith(MEANS)]
        shown = {s.system: s for s in means or own}
        best = max(s.value for s in shown.values())
        cells = [_cell(shown.get(system), best) for system in material.systems]
        language = next(iter(shown.values())).language
        rows.append([escape(name), escape(language), escape(metric), *cells])
    head = ["set", "language", "metric × 100", *map(escape, material.systems)]
    note = "95 % bootstrap intervals below each number; the best of a row is bold."
    return f"<p>{note}</p>{_table(head, rows)}"


def _cell(score: Score | None, best: float) -> str:
    if score is None:
        return ""
    value = f"{100 * score.value:.1f}"
    bold = f"<b>{value}</b>" if score.value >= best - 1e-9 else value
    width = max(0.0, min(100.0, 100 * score.value))
    span = f"{100 * score.low:.1f} – {100 * score.high:.1f}"
    return f'<div class="bar" style="--w:{width:.1f}%">{bold}<small>{span}</small></div>'


def _languages(material: Material) -> Iterable[str]:
    for name, metric in material.main().items():
        own = [s for s in material.scores if (s.set, s.metric) == (name, metric)]
        own = [s for s in own if not s.language.startswith(MEANS)]
        languages = list(dict.fromkeys(s.language for s in own))
        if len(languages) < 2:
            continue
        systems = [s for s in material.systems if any(score.system == s for score in own)]
        first = {s.language: s.value for s in own if s.system == systems[0]}
        languages.sort(key=lambda language: -first.get(language, 0.0))
        value = {(s.system, s.language): 100 * s.value for s in own}
        grid = np.array([[value.get((s, lang), np.nan) for lang in languages] for s in systems])
        yield plots.heat(systems, languages, grid, f"{name}, {metric}")


def _forms(material: Material) -> Iterable[str]:
    """Quality against width and bytes, where a model was measured in several forms."""
    by_dim: dict[str, list[plots.Point]] = {}
    by_bytes: dict[str, list[plots.Point]] = {}
    widths = [form.dim for s in material.systems if (form := split_form(s)[1]).dim]
    for system in material.systems:
        model, form = split_form(system)
        if not widths or "+" in system or form.dim is None:
            continue
        found = pooled((g for g in material.groups if g.system == system), _RESAMPLES)
        if found is not None:
            value, low, high = (100 * part for part in found)
            point = (value, low, high)
            name = model if form.precision == "float32" else f"{model} {form.precision}"
            by_dim.setdefault(name, []).append((float(form.dim), *point))
            by_bytes.setdefault(model, []).append((form.bytes(form.dim), *point))
    if any(len(points) > 1 for points in by_dim.values()):
        yield plots.lines(by_dim, "width", "mean of sets × 100", log=True)
        yield plots.lines(by_bytes, "bytes a vector", "mean of sets × 100", log=True)


def _lengths(material: Material) -> Iterable[str]:
    main = material.main()
    names = [name for name, _ in LENGTHS]
    series: dict[str, list[plots.Point | None]] = {}
    for system in material.systems:
        values: dict[str, list[float]] = {name: [] for name in names}
        for group in material.groups:
            if group.system == system and group.metric == main[group.head.name] and is_mean(group.metric):
                for item, value in zip(group.items, group.values, strict=True):
                    values[_length(material, group, item)].append(float(value))
        series[system] = [_mean_point(values[name]) for name in names]
    if any(point for points in series.values() for point in points):
        yield "<p>All items pooled, by the length of the query in characters "
        yield "(short below 40, long from 160; an ideograph counts 2.5).</p>"
        yield plots.bars(names, series, "mean × 100")


def _length(material: Material, group: Group, item: str) -> str:
    return material.items[group.head.name, group.head.language, item]["length"]


def _mean_point(values: Sequence[float]) -> plots.Point | None:
    if not values:
        return None
    data = np.array(values)
    half = 1.96 * data.std() / len(data) ** 0.5
    return (0.0, 100 * data.mean(), 100 * (data.mean() - half), 100 * (data.mean() + half))


def _pairs(material: Material) -> Iterable[str]:
    """The first two systems against each other: set by set, item by item, and what changed most."""
    if len(material.systems) < 2:
        return
    new, old = material.systems[:2]
    main = material.main()
    before = {(g.head, g.metric): g for g in material.groups if g.system == old}
    pairs = [
        (group, before[group.head, group.metric])
        for group in material.groups
        if group.system == new
        and group.metric == main[group.head.name]
        and (group.head, group.metric) in before
    ]
    if not pairs:
        return
    yield f"<p>{escape(new)} minus {escape(old)}, on the same items; p is of a randomisation test.</p>"
    yield _table(
        ["set", "language", "difference × 100", "95 % interval", "p", "items"],
        [_difference_row(a, difference(a, b, _RESAMPLES)) for a, b in pairs[:60]],
    )
    means = [(a, b) for a, b in pairs if is_mean(a.metric)]
    if means:
        yield plots.scatter(
            np.concatenate([b.values for _, b in means]),
            np.concatenate([a.values for a, _ in means]),
            old,
            new,
        )
        yield _changed(material, means)


def _difference_row(group: Group, found: Difference) -> list[str]:
    sure = found.low > 0 or found.high < 0
    value = f"{100 * found.value:+.1f}"
    return [
        escape(group.head.name),
        escape(group.head.language),
        f"<b>{value}</b>" if sure else value,
        f"{100 * found.low:+.1f} – {100 * found.high:+.1f}",
        f"{found.p:.3f}",
        f"{found.n:,}",
    ]


def _changed(material: Material, pairs: Sequence[tuple[Group, Group]]) -> str:
    gaps = [
        (float(a.values[i] - b.values[i]), a, b, i)
        for a, b in pairs
        for i in np.argsort(-np.abs(a.values - b.values), kind="stable")[:_SHOWN]
    ]
    gaps.sort(key=lambda row: (-abs(row[0]), row[1].head.name, row[1].items[row[3]]))
    rows = []
    for gap, a, b, i in gaps[:_SHOWN]:
        known = material.items[a.head.name, a.head.language, a.items[i]]
        texts = (known["text"], a.top[i], b.top[i], known["expected"])
        rows.append([f"{gap:+.2f}", escape(f"{a.head.name} {a.head.language}"), *(_clip(t) for t in texts)])
    head = [
        "change",
        "set",
        "query",
        f"found by {pairs[0][0].system}",
        f"found by {pairs[0][1].system}",
        "expected",
    ]
    return "<h3>Queries that changed most</h3>" + _table([escape(h) for h in head], rows)


def _published(material: Material) -> Iterable[str]:
    ours = {(s.set, s.language, s.metric, s.system): s for s in material.scores}
    rows = []
    for item in material.published:
        own = [
            f"{100 * ours[key].value:.1f}"
            if (key := (item.set, item.language, item.metric, s)) in ours
            else ""
            for s in material.systems
        ]
        if any(own):
            rows.append([escape(item.set), escape(item.language), escape(item.metric), escape(item.model),
                         f"{100 * item.value:.1f}", *own])  # fmt: skip
    if rows:
        head = ["set", "language", "metric × 100", "model", "published", *material.systems]
        yield _table([escape(h) for h in head], rows)


def _worst(material: Material) -> Iterable[str]:
    first = material.systems[0]
    main = material.main()
    for group in material.groups:
        if group.system != first or group.metric != main[group.head.name]:
            continue
        misses = [m for m in worst(group, material.items, 5) if m.value < 1]
        if misses:
            rows = [[f"{m.value:.2f}", _clip(m.text), _clip(m.found), _clip(m.expected)] for m in misses]
            title = escape(f"{group.head.name} {group.head.language}, {group.metric}, {first}")
            table = _table(["value", "query", "found", "expected"], rows)
            yield f"<details><summary>{title}</summary>{table}</details>"


# --- pieces --------------------------------------------------------------------------------------


def _section(title: str, *parts: str) -> str:
    body = "\n".join(f'<figure class="scroll">{p}</figure>' if p.startswith("<svg") else p for p in parts)
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _clip(text: str, most: int = 160) -> str:
    short = " ".join(text.split())
    return f"<bdi>{escape(short if len(short) <= most else short[: most - 1] + '…')}</bdi>"


def _html(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; img-src data:\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1></header>\n<main>{body}</main></body></html>\n"
    )


_STYLE = """
:root { --ink: #1d2430; --soft: #5b6675; --line: #dde2e8; --paper: #ffffff; --bar: #cfe3f3; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; color: var(--ink);
  background: var(--paper); margin: 0 auto; max-width: 1280px; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; } p { color: var(--soft); max-width: 70ch; margin: .25rem 0 .75rem; }
.scroll { overflow-x: auto; margin: 0 0 1rem; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { position: sticky; top: 0; background: var(--paper); white-space: nowrap; }
td { max-width: 26rem; }
.bar { min-width: 7.5rem; padding: 0 .3rem;
  background: linear-gradient(90deg, var(--bar) var(--w), transparent var(--w)); }
.bar small { display: block; color: var(--soft); font-size: 11px; }
details { border-bottom: 1px solid var(--line); } summary { cursor: pointer; padding: .3rem 0; }
figure { display: inline-block; max-width: 100%; } svg { max-width: 100%; height: auto; }
@media print { details[open] summary { font-weight: 600; } }
"""
