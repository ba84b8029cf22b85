"""The scale of `lingxi ask` that ships for a model: when passages answer, when a sentence carries a claim.

    python benchmarks/ask_scale.py TRAIN --model M --out FILE [--questions 150] [--pairs 600]

TRAIN is the folder (unpacked) of the training archive. Questions are SQuAD's, each asked with and without its
sentence among 1,500; pairs of sentences are STS-B's, so many of each of its seven languages. What is written
goes into `lingxi.apps.ask.calibration`.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from lingxi import Embedder
from lingxi.apps.ask.calibrate import Alike, Group, calibrate
from rag import Remembering
from refusals import squad

LANGUAGES = ("en", "zh", "fr", "de", "es", "ja", "ru")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=150)
    parser.add_argument("--pairs", type=int, default=600)
    given = parser.parse_args()
    asked = squad(given.train / "qa_squad_nqg_test.jsonl", given.questions)
    questions, own, _ = zip(*asked.questions, strict=True)
    group = Group(questions, tuple(asked.passages), own)
    alike = [pair for language in LANGUAGES for pair in similar(given.train, language, given.pairs)]
    source = (
        f"{given.questions} questions of SQuAD, training part, each asked with and without its passage among "
        f"{len(asked.passages):,}, a tenth of the first refused; {len(alike):,} pairs of STS-B in "
        f"{len(LANGUAGES)} languages"
    )
    found = calibrate(Remembering(Embedder(given.model)), [group], alike, source=source)
    given.out.write_text(found.model_dump_json(indent=1) + "\n", "utf-8")
    print(given.out.read_text("utf-8"))


def similar(train: Path, language: str, count: int) -> list[Alike]:
    """Pairs of one language, drawn by lot."""
    lines = (train / f"sts_stsb_{language}_train.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in random.Random(0).sample(lines, count)]
    return [Alike(row["a"], row["b"], float(row["s"])) for row in rows]


if __name__ == "__main__":
    main()
