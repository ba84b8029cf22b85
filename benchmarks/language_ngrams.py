"""Learn the tables of `lingxi.curate.ngrams` from SIB-200, and measure them on sentences they never saw.

    python benchmarks/language_ngrams.py --data train.tar.zst [--write] [--report ngrams.json]

Sentences are parallel, so they are split by their number: most teach, one part fits how sure the tables may
be (`slope`, `power`), one part is measured, whole and cut to short pieces. Measured are, for each language,
how often it is heard rightly, and how often `speech.mismatch` would drop its sentences (false alarms).
SIB-200 (Adelani et al. 2024) holds sentences of FLORES-200, CC BY-SA 4.0; the tables are under it too.
"""

from __future__ import annotations

import argparse
import io
import json
import timeit
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from lingxi import languages
from lingxi.collect.archives import opened_tar
from lingxi.curate import ngrams, speech
from lingxi.curate.ngrams import LEVELS, Table, grams
from lingxi.records import drawn, read_jsonl

Sentences = dict[str, list[tuple[int, str]]]
FILE = "sib200_flores_train.jsonl"
CACHE = Path("~/.cache/lingxi/sources").expanduser()
LOW, HIGH, WEIGHT = -4.0, 5.0, 0.05
HELD, SEED = 140, 0
PIECES = (30, 50, 80, 120, 1000)
BITS, MANY = 12, 14
# Kanuri's Arabic sentences are written in several ways; Manipuri is mostly written in a script of its own,
# of which the corpus has nothing.
# Han is left to the detector, which knows its languages.
HAN = ("yue", "zh-hant")
UNTAUGHT = ("kr-arab", "mni")


def sentences(data: Path) -> Sentences:
    """Each language's sentences with the place of their number in a seeded order: the first are held out."""
    folder = opened_tar(data, CACHE) if data.is_file() else data
    rows = list(read_jsonl(next(folder.rglob(FILE))))
    order = sorted({row["id"] for row in rows}, key=lambda key: drawn(SEED, key))
    place = {key: number for number, key in enumerate(order)}
    found: Sentences = defaultdict(list)
    for row in rows:
        found[languages.normalise(row["l"])].append((place[row["id"]], row["t"]))
    return found


def learn(codes: Sequence[str], found: Sentences, bits: int) -> NDArray[np.uint8]:
    """log p(n-gram | language) less that of the mean, smoothed by it, in steps of 0 to `LEVELS`."""
    counts = np.zeros((len(codes), 1 << bits))
    for row, code in zip(counts, codes, strict=True):
        for place, text in found[code]:
            if place >= HELD:
                row += np.bincount(grams(text, bits), minlength=1 << bits)
    mean = counts.sum(0) + 1
    mean /= mean.sum()
    added = WEIGHT * (1 << bits)
    shares = (counts + added * mean) / (counts.sum(1, keepdims=True) + added)
    steps = (np.log(shares / mean) - LOW) / (HIGH - LOW) * LEVELS
    return np.ascontiguousarray(np.clip(np.rint(steps), 0, LEVELS).astype(np.uint8).T)


def fit(rows: NDArray[np.uint8], codes: Sequence[str], found: Sentences, bits: int) -> tuple[float, float]:
    """The slope and power under which held-out pieces are likeliest, as Nelder and Mead find them."""
    pieces = [
        (i, piece) for i, code in enumerate(codes) for piece in _pieces(found[code], range(HELD // 2), code)
    ]
    wide = rows.astype(np.float32)
    sums = np.array([wide[grams(piece, bits)].sum(0) for _, piece in pieces])
    counts = np.array([len(grams(piece, bits)) for _, piece in pieces])
    true = np.array([i for i, _ in pieces])

    def loss(values: NDArray[np.float64]) -> float:
        odds = sums * (values[0] * counts ** values[1])[:, None]
        odds -= odds.max(1, keepdims=True)
        return float(np.mean(np.log(np.exp(odds).sum(1)) - odds[np.arange(len(true)), true]))

    slope, power = minimize(loss, [0.1, -0.4], method="Nelder-Mead").x
    return float(slope), float(power)


def _pieces(own: Sequence[tuple[int, str]], places: range, code: str) -> Iterator[str]:
    """Each sentence whole, and a piece of each length from a word's beginning that is drawn by its text."""
    for place, text in own:
        if place in places:
            for length in PIECES:
                piece = _piece(text, length, code)
                if languages.weighted_length(piece) >= speech.LEAST_LENGTH:
                    yield piece


def _piece(text: str, length: int, code: str) -> str:
    if len(text) <= length:
        return text
    start = drawn(length, code + text) % (len(text) - length)
    return text[text.find(" ", start, len(text) - length) + 1 :][:length]


def write(found: Sentences, out: Path) -> None:
    """Learn and write the tables of the scripts of languages that the detector never saw."""
    scripts: dict[str, list[str]] = defaultdict(list)
    for code in sorted(set(found) - {*UNTAUGHT}):
        scripts[str(languages.main_script(found[code][0][1]))].append(code)
    chosen = {name: own for name, own in scripts.items() if len(own) > 1 and any(map(_unseen, own))}
    arrays: dict[str, object] = {"scripts": " ".join(chosen)}
    for name, codes in chosen.items():
        bits = MANY if len(codes) > 50 else BITS
        rows = learn(codes, found, bits)
        arrays |= {f"{name}.codes": " ".join(codes), f"{name}.rows": rows}
        arrays[f"{name}.fit"] = np.array(fit(rows, codes, found, bits))
        print(name, len(codes), arrays[f"{name}.fit"], flush=True)
    held = io.BytesIO()
    np.savez_compressed(held, **arrays)
    out.write_bytes(held.getvalue())


def _unseen(code: str) -> bool:
    return code not in speech.VOTES and code not in HAN


def measured(found: Sentences) -> dict[str, object]:
    """Of the last held-out sentences: accuracy, false alarms of the tables, and of the detector's votes."""
    languages_found = {}
    for table in ngrams.tables().values():
        for code in table.codes:
            languages_found[code] = _language(code, table, found)
    taught = [own for own in languages_found.values() if not own["detector"]]
    return {
        "languages": len(languages_found),
        "accuracy": {n: _mean([own["accuracy"][n] for own in languages_found.values()]) for n in PIECES},
        "unseen by the detector": len(taught),
        "their false alarms": _mean([own["false alarms"] for own in taught]),
        "their worst": max(own["false alarms"] for own in taught),
        "by language": languages_found,
    }


def _language(code: str, table: Table, found: Sentences) -> dict[str, object]:
    base, own = code.split("-")[0], [(place, text) for place, text in found[code] if place >= HELD // 2]
    texts = [text for place, text in own if place < HELD]
    right = {
        n: [table.codes[table.shares(_piece(t, n, code)).argmax()] == code for t in texts] for n in PIECES
    }
    pieces = list(_pieces(own, range(HELD // 2, HELD), code))
    alarms = [speech._unlike(piece, base) for piece in pieces]
    votes = [speech.mismatch(piece, base) for piece in pieces] if base in speech.KNOWN else []
    return {
        "detector": base in speech.VOTES,
        "accuracy": {n: _mean(values) for n, values in right.items()},
        "pieces": len(pieces),
        "false alarms": _mean([alarm is not None for alarm in alarms]),
        "heard": dict(sorted(_counts(alarms).items())),
        "detector's false alarms": _mean([vote is not None for vote in votes]) if votes else None,
    }


def caught(found: Sentences, claimed: str) -> float:
    """Share of other languages' held-out sentences (80 characters, no kin) that a claim is refused for."""
    kin = speech._KIN.get(claimed, frozenset()) | {claimed}
    pieces = [
        _piece(text, 80, code)
        for code in found
        if code.split("-")[0] not in kin and languages.script(code) == languages.script(claimed)
        for place, text in found[code]
        if HELD // 2 <= place < HELD
    ]
    return _mean([speech._unlike(piece, claimed) is not None for piece in pieces])


def _counts(alarms: Sequence[str | None]) -> dict[str, int]:
    return {alarm: alarms.count(alarm) for alarm in {*alarms} - {None}}  # type: ignore[misc]


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the archive or folder with " + FILE)
    parser.add_argument("--write", action="store_true", help="write the tables into the package")
    parser.add_argument("--report", type=Path, help="a JSON file for the figures of every language")
    asked = parser.parse_args()
    found = sentences(asked.data)
    if asked.write:
        write(found, ngrams.TABLES)
    figures = measured(found)
    figures["caught"] = {
        code: caught(found, code) for code in ("zu", "ig", "ha", "rw", "yo", "om", "so", "ln")
    }
    text = (found["en"][0][1] * 2)[:100]
    runs = timeit.repeat(lambda: ngrams.heard(text), number=1000, repeat=5)
    figures["microseconds a text of 100 characters"] = round(min(runs) * 1000, 1)
    if asked.report:
        asked.report.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
    figures.pop("by language")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
