"""Every figure of docs/nano-vl.md again: what lingxi-nano-vl finds, how fast it is, how much memory it takes.

    lingxi media make recipes/nano-vl.toml
    python benchmarks/media.py runs/nano-vl [--only quality|speed|captions] [--reports FILE]

`quality` measures the held-out rows of the run, beside words of file names, colours and chance. `speed` opens
pictures and recordings of the run in turns, each kind in a process of its own, one thread: pictures and
seconds of sound for a CPU second (with opening the files), and the most memory it held. `captions` swaps
one caption in twenty and says how well cross-fitted heads tell the swapped from the others (area under the
ROC curve). `--reports` adds findings and impressions of radiology reports, as texts.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from lingxi.records import Document, read_documents

ROUNDS, ITEMS = 3, 160


def first_of(rows: list[Document], modality: str) -> list[str]:
    """Media of one modality, each once, shuffled the same way always."""
    media = sorted({row.media or "" for row in rows if row.modality == modality})
    random.Random(0).shuffle(media)
    return media


def timed(model: Path, kind: str, weights: str, media: list[str]) -> dict[str, float]:
    """CPU and wall seconds of embedding `media` and the process's most megabytes; prints what it returns."""
    import warnings

    import torch

    from lingxi.media import MediaEmbedder, open_sound

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    embedder = MediaEmbedder(model, weights=None if weights == "float32" else weights)
    paths = [Path(one) for one in media]
    encode = embedder.encode_pictures if kind == "image" else embedder.encode_sounds
    encode(paths[:8])
    opened = most_megabytes()
    cpu, wall = time.process_time(), time.perf_counter()
    encode(paths)
    found = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    amount = len(paths) if kind == "image" else sum(min(30.0, open_sound(path).seconds) for path in paths)
    return {**found, "amount": amount, "opened_mb": opened, "peak_mb": most_megabytes()}


def most_megabytes() -> float:
    """The most memory this process held (Linux); what its parent held is not counted, as in getrusage."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def speed(model: Path, rows: list[Document]) -> list[dict[str, Any]]:
    """Rates of both kinds, measured in turns: the median of three rounds."""
    ways = [("image", "float32"), ("audio", "float32"), ("audio", "int8")]
    media = {kind: first_of(rows, kind)[:ITEMS] for kind, _ in ways}
    seen: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(ROUNDS):
        for kind, weights in [way for way in ways if media[way[0]]]:
            asked = json.dumps([str(model), kind, weights, media[kind]])
            command = [sys.executable, __file__, str(model), "--timed"]
            done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
            seen.setdefault((kind, weights), []).append(json.loads(done.stdout.splitlines()[-1]))
    found = []
    for (kind, weights), times in seen.items():
        middle = {name: float(np.median([one[name] for one in times])) for name in times[0]}
        found.append(
            {
                "kind": kind,
                "weights": weights,
                "per_cpu_second": round(middle["amount"] / middle["cpu"], 1),
                "per_second": round(middle["amount"] / middle["wall"], 1),
                "opened_mb": round(middle["opened_mb"]),
                "peak_mb": round(middle["peak_mb"]),
            }
        )
    return found


def captions(run: Path, model: Path) -> dict[str, float]:
    """Swapped captions told from the others by `curate.fitting`."""
    from lingxi.curate.fitting import disagreement
    from lingxi.media import MediaEmbedder
    from lingxi.train.media import Matched, MediaSettings, fit_head
    from lingxi.train.media_features import picture_features
    from lingxi.train.media_items import captions_of, pictures_towards
    from lingxi.vectors import cut

    rows = [row for row in read_documents(run / "2-curate" / "train.parquet") if row.modality == "image"]
    embedder = MediaEmbedder(model)
    items = pictures_towards(rows, captions_of(rows, lambda texts: np.asarray(embedder.encode(texts))), {})
    features = picture_features(embedder._pictures, items.media, run / "3-train" / "parts", 0)  # type: ignore[arg-type]
    means, draw = cut(items.means, items.means.shape[1]), np.random.default_rng(0)
    swapped = draw.choice(len(means), len(means) // 20, replace=False)
    told = means.copy()
    told[swapped] = means[np.roll(swapped, 1)]

    def fit(x: Any, y: Any) -> Any:
        """A head of the features and captions given."""
        settings = MediaSettings(ridge=0.3, whiten=0.03)
        matrix, bias = fit_head(Matched(x, y, np.ones(len(x), np.float32)), y, settings)
        return lambda given: cut(given @ matrix.T + bias, matrix.shape[0])

    found = disagreement(features, told, items.keys, fit)
    wrong = np.zeros(len(means), bool)
    wrong[swapped] = True
    area = float((found[wrong][:, None] > found[~wrong][None]).mean())
    far = found > 0.95
    return {
        "pictures": len(means),
        "area": area,
        "beyond_0.95": float(far.mean()),
        "swapped_of_these": float(wrong[far].mean()) if far.any() else 0.0,
        "found_of_swapped": float(far[wrong].mean()),
    }


def reports(path: Path) -> str:
    """Findings of radiology reports and impressions found by one another: lines of `q` and `p`."""
    from lingxi import Embedder
    from lingxi.evaluate.lexical import Bm25
    from lingxi.evaluate.media import measured, table
    from lingxi.evaluate.systems import Texts

    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    impressions = list(dict.fromkeys(row["q"] for row in rows))
    findings = [row["p"] for row in rows]
    right = np.array([[row["q"] == one for one in impressions] for row in rows])
    embedder, found = Embedder("lingxi-pico"), []
    for asked, told, answers, task in (
        (findings, impressions, right, "Given the findings of a radiology report, retrieve its impression"),
        (
            impressions,
            findings,
            right.T.copy(),
            "Given the impression of a radiology report, retrieve its findings",
        ),
    ):
        scores = np.asarray(embedder.encode(asked, instruction=task) @ embedder.encode_document(told).T)
        words = np.concatenate(list(Bm25().blocks(Texts(asked), Texts(told))))
        name = "findings→impression" if asked is findings else "impression→findings"
        found += [measured(name, scores, answers), measured(f"{name}, BM25", words, answers)]
    return table(found)


def quality(run: Path, model: Path, recipe: Path, out: Path) -> None:
    """All directions of the held-out rows, printed and written into `out`."""
    from lingxi import config
    from lingxi.evaluate.media_run import evaluate_files
    from lingxi.evaluate.media_settings import MediaEvaluateSettings
    from lingxi.media_life import MediaRecipe

    settings = config.load(recipe, MediaRecipe).evaluate or MediaEvaluateSettings()
    sides = (run / "2-curate" / "train.parquet", run / "2-curate" / "held-out.parquet")
    report = evaluate_files(settings, model, sides, out)
    print(report.summary, *report.examples, f"{report.cpu_seconds} CPU seconds", sep="\n")


def main() -> None:
    """Read the command line and print the figures that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of a run of `lingxi media make`")
    parser.add_argument("--only", choices=("quality", "speed", "captions"))
    parser.add_argument("--model", type=Path, help="another directory than the run's")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/nano-vl.toml"))
    parser.add_argument("--out", type=Path, default=Path("media-figures"))
    parser.add_argument("--reports", type=Path, help="med_indiana_reports_eval.jsonl of the benchmark's data")
    parser.add_argument("--timed", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.timed:
        model, kind, weights, media = json.loads(sys.stdin.read())
        print(json.dumps(timed(Path(model), kind, weights, media)))
        return
    model = given.model or given.run / "3-train" / "lingxi-nano-vl"
    given.out.mkdir(parents=True, exist_ok=True)
    if given.only in (None, "quality"):
        quality(given.run, model, given.recipe, given.out)
    if given.only in (None, "captions"):
        print(json.dumps({"captions": captions(given.run, model)}))
    if given.reports is not None:
        print(reports(given.reports))
    if given.only in (None, "speed"):
        for line in speed(model, list(read_documents(given.run / "2-curate" / "held-out.parquet"))):
            print(json.dumps(line))


if __name__ == "__main__":
    main()
