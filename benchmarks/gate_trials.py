"""Try the gate on a real model: copies with tiny noise must pass by, a broken language must be stopped.

    python benchmarks/gate_trials.py --root benchmark.tar.zst [--model lingxi-pico] [--trials 200]

Every copy adds Gaussian noise of `--noise` of a vector's length to each vector of the model, from its own
seed, and goes through the same `evaluate` and `decide` as a real candidate. Then one copy has the vectors of
one language's sentences shuffled.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from lingxi.evaluate.dense import Dense, Encoder
from lingxi.evaluate.gate import Decision, decide
from lingxi.evaluate.named import encoder
from lingxi.evaluate.readers import read_set
from lingxi.evaluate.results import groups_to_compare
from lingxi.evaluate.run import evaluate
from lingxi.evaluate.suite import SuiteSettings, quick_suite, resolve
from lingxi.evaluate.systems import Candidates, Matrix, Texts
from lingxi.evaluate.tasks import Bitext

CACHE = Path("~/.cache/lingxi").expanduser()


class Perturbed(Dense):
    """A model whose vectors have noise, or some of whose texts have each other's vectors."""

    def __init__(
        self, of: Encoder, cache: Path, seed: int, noise: float, shuffled: Collection[str] = ()
    ) -> None:
        super().__init__(of, cache)
        self.name = self.fingerprint = f"{of.name}~{seed}{'~shuffled' if shuffled else ''}"
        self._seed, self._noise, self._shuffled = seed, noise, frozenset(shuffled)

    def vectors(self, texts: Texts) -> Matrix:
        found = super().vectors(texts)
        rng = np.random.default_rng([self._seed, len(texts)])
        rows = [i for i, text in enumerate(texts.texts) if text in self._shuffled]
        found[rows] = found[rng.permutation(rows)] if rows else found[rows]
        noisy = found + self._noise * rng.standard_normal(found.shape) / found.shape[1] ** 0.5
        return np.asarray(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), np.float32)

    def blocks(
        self, queries: Texts, documents: Texts, candidates: Candidates | None = None
    ) -> Iterator[Matrix]:
        yield self.vectors(queries) @ self.vectors(documents).T


def main() -> None:
    options = read_options()
    suite = quick_suite(resolve("benchmark", (), tuple(options.sets.split(","))))
    model = encoder(options.model)
    with tempfile.TemporaryDirectory() as scratch:
        before = Path(scratch) / "before"
        evaluate(suite, options.root, [Dense(model, CACHE / "vectors")], before, CACHE)
        began = time.perf_counter()
        verdicts: Counter[str] = Counter()
        for seed in range(options.trials):
            copy = Perturbed(model, CACHE / "vectors", seed, options.noise)
            verdicts[tried(copy, suite, options.root, before).verdict] += 1
            if seed % 20 == 19:
                print(f"{seed + 1} copies, {time.perf_counter() - began:.0f} s: {dict(verdicts)}", flush=True)
        broken = Perturbed(
            model, CACHE / "vectors", 0, options.noise, sentences(suite, options.root, options.language)
        )
        decision = tried(broken, suite, options.root, before)
    print(
        json.dumps(
            {
                "model": model.name,
                "copies": options.trials,
                "noise": options.noise,
                "verdicts": verdicts,
                "shuffled": options.language,
                "decision": decision.verdict,
                "reasons": decision.reasons,
            },
            indent=2,
        )
    )


def tried(copy: Perturbed, suite: SuiteSettings, root: Path, before: Path) -> Decision:
    after = before.with_name("after")
    # The intervals of single scores are not looked at here.
    evaluate(suite, root, [copy], after, CACHE, resamples=100)
    pair = groups_to_compare(before, after, None, None)
    shutil.rmtree(after)
    return decide(pair.new, pair.old, pair.lengths)


def sentences(suite: SuiteSettings, root: Path, language: str) -> list[str]:
    """The sentences of a language in the suite's translations."""
    from lingxi.collect.archives import opened_tar

    folder = opened_tar(root, CACHE / "sources")
    tasks = [task for settings in suite.sets for task in read_set(settings, suite, folder)]
    found = [
        t for task in tasks if isinstance(task, Bitext) and task.head.language == language for t in task.left
    ]
    if not found:
        raise SystemExit(f"no translations of {language!r} in the suite")
    return found


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--model", default="lingxi-pico")
    parser.add_argument("--sets", default="xquad,tatoeba,cosqa")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--language", default="swh")
    return parser.parse_args()


if __name__ == "__main__":
    main()
