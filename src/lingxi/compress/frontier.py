"""Every form of a model beside every other: quality, bytes, milliseconds, memory, and which to take.

`frontier.json` holds the numbers, `frontier.md` the table, two SVG files draw quality against bytes and
against milliseconds with the line of those that nothing beats in both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lingxi.compress.cost import Cost, cost
from lingxi.compress.variants import Variant
from lingxi.errors import InputError
from lingxi.evaluate import plots
from lingxi.evaluate.evidence import pooled
from lingxi.evaluate.gate import decide
from lingxi.evaluate.results import groups_to_compare, main_of, read_groups
from lingxi.evaluate.run import evaluate
from lingxi.evaluate.suite import SuiteSettings

Say = Callable[[str], None]
_RESAMPLES = 1000
_UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9}


@dataclass(frozen=True, slots=True)
class Entry:
    """A variant's figures. Quality is the mean of the sets × 100 with its 95 % interval; `loss` is the paired
    difference to the first variant over all items, in points, with the gate's bounds and verdict.
    """

    name: str
    quality: float
    low: float
    high: float
    loss: float
    loss_low: float
    loss_high: float
    items: int
    gate: str
    bytes: int
    vector: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class Limits:
    """What a choice must keep to; None where nothing is asked."""

    bytes: float | None = None
    milliseconds: float | None = None
    memory: float | None = None

    def admits(self, entry: Entry) -> bool:
        """Whether a variant keeps to all of them."""
        found = (entry.bytes, entry.cost.query, entry.cost.memory)
        limits = (self.bytes, self.milliseconds, self.memory)
        return all(limit is None or value <= limit for value, limit in zip(found, limits, strict=True))


def measure(
    variants: Sequence[Variant],
    suite: SuiteSettings,
    root: Path | None,
    out: Path,
    cache: Path,
    *,
    max_drop: float = 0.5,
    say: Say = lambda line: None,
) -> list[Entry]:
    """Measure variants, the first as what others are compared with; write tables and drawings to `out`."""
    systems = [variant.system(cache / "vectors") for variant in variants]
    folder = out / "evaluation"
    evaluate(suite, root, systems, folder, cache, say=say)
    entries = []
    for number, variant in enumerate(variants, 1):
        entries.append(_entry(variant, variants[0], folder, max_drop))
        say(f"[{number}/{len(variants)}] {variant.name}: {entries[-1].cost.query} ms a query")
    write(entries, out)
    return entries


def _entry(variant: Variant, first: Variant, folder: Path, max_drop: float) -> Entry:
    groups = main_of(read_groups(folder))
    found = pooled((group for group in groups if group.system == variant.name), _RESAMPLES)
    if found is None:
        raise InputError(f"{variant.name}: no set of the suite has a mean", "name a set of retrieval")
    pair = groups_to_compare(folder, folder, first.name, variant.name)
    said = decide(pair.new, pair.old, pair.lengths, max_drop=max_drop)
    whole = said.slices[0]
    quality, low, high = (round(100 * value, 2) for value in found)
    width = variant.form.bytes(_width(variant))
    own = variant is first
    return Entry(
        variant.name,
        quality,
        low,
        high,
        *((0.0, 0.0, 0.0) if own else (whole.difference, whole.low, whole.high)),
        items=whole.n,
        gate="measure of all" if own else said.verdict,
        bytes=variant.bytes,
        vector=int(width),
        cost=cost(variant),
    )


def _width(variant: Variant) -> int:
    config = variant.path / "config.json"
    about = config if config.exists() else variant.path / "lingxi.json"
    said = json.loads(about.read_text(encoding="utf-8"))
    return int(said.get("hidden_size") or said["hidden"])


def best(entries: Sequence[Entry], limits: Limits) -> Entry:
    """The variant of highest quality within limits, the smaller of equals; raises InputError if none is."""
    within = [entry for entry in entries if limits.admits(entry)]
    if not within:
        small = min(entries, key=lambda e: e.bytes)
        fast = min(entries, key=lambda e: e.cost.query)
        raise InputError(
            "no variant keeps to these limits",
            f"the smallest is {small.name}, {small.bytes / 1e6:.1f} MB; "
            f"the fastest {fast.name}, {fast.cost.query} ms",
        )
    return max(within, key=lambda e: (e.quality, -e.bytes))


def size(text: str) -> float:
    """`20MB` in bytes; raises InputError for what is no size."""
    found = re.fullmatch(r"([\d.]+)\s*(KB|MB|GB)", text.strip(), re.IGNORECASE)
    if found is None:
        raise InputError(f"{text!r} is no size", "write 20MB")
    return float(found[1]) * _UNITS[found[2].upper()]


def milliseconds(text: str) -> float:
    """`5ms` in milliseconds; raises InputError for what is no time."""
    found = re.fullmatch(r"([\d.]+)\s*(ms|s)", text.strip())
    if found is None:
        raise InputError(f"{text!r} is no time", "write 5ms")
    return float(found[1]) * (1000 if found[2] == "s" else 1)


def write(entries: Sequence[Entry], out: Path) -> None:
    """Write `frontier.json`, `frontier.md` and the drawings."""
    out.mkdir(parents=True, exist_ok=True)
    values = [asdict(entry) for entry in entries]
    (out / "frontier.json").write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (out / "frontier.md").write_text("\n".join(table(entries)) + "\n", "utf-8")
    (out / "bytes.svg").write_text(draw(entries, lambda e: e.bytes / 1e6, "megabytes to ship"), "utf-8")
    (out / "milliseconds.svg").write_text(draw(entries, lambda e: e.cost.query, "CPU ms a query"), "utf-8")


def table(entries: Sequence[Entry]) -> list[str]:
    """A Markdown table, one row a variant."""
    lines = [
        "| variant | quality × 100 | loss, points | gate | MB | bytes a vector "
        "| ms a query | documents/s | memory MB |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for e in entries:
        loss = f"{e.loss:+.2f} [{e.loss_low:+.2f}, {e.loss_high:+.2f}]" if e.gate != "measure of all" else ""
        lines.append(
            f"| {e.name} | {e.quality:.1f} [{e.low:.1f}, {e.high:.1f}] | {loss} | {e.gate} "
            f"| {e.bytes / 1e6:.1f} | "
            f"{e.vector:,} | {e.cost.query:.1f} | {e.cost.documents:.0f} | {e.cost.memory / 1e6:.0f} |"
        )
    return lines


def unbeaten(entries: Sequence[Entry], price: Callable[[Entry], float]) -> list[Entry]:
    """Those that no other beats in quality at the same price or less, by rising price."""
    found: list[Entry] = []
    for entry in sorted(entries, key=lambda e: (price(e), -e.quality)):
        if not found or entry.quality > found[-1].quality:
            found.append(entry)
    return found


def draw(entries: Sequence[Entry], price: Callable[[Entry], float], label: str) -> str:
    """Quality against a price, with intervals and the line of the unbeaten, as SVG."""
    with plots.figure(7.2, 4.2) as (_, axes, svg):
        line = unbeaten(entries, price)
        axes.plot([price(e) for e in line], [e.quality for e in line], color="#999999", linewidth=1)
        for colour, entry in zip(plots.COLOURS * 4, entries, strict=False):
            spread = [[entry.quality - entry.low], [entry.high - entry.quality]]
            axes.errorbar(price(entry), entry.quality, yerr=spread, fmt="o", markersize=5, color=colour,
                          elinewidth=0.8, capsize=2, label=entry.name)  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.set_xlabel(label)
        axes.set_ylabel("quality × 100")
        axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return svg[0]
