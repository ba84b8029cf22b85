"""Updates measured: five domains one after another, beside naive fine-tuning and retraining; all figures.

    python benchmarks/update.py WORK --root BENCHMARK.tar.zst --replay RUN/3-curate/pairs.parquet \\
        --django django-5.2.8.tar.gz --sphinx sphinx-8.2.3.tar.gz --part all
    python benchmarks/update.py WORK2 --part ours --domains sorbian
    python benchmarks/update.py WORK --report docs

Domains: docstrings of Python's library (question → function), Django's documentation (heading → section),
Upper Sorbian (Django's messages → English), Django's release notes (dated facts), Sphinx's documentation.
The packages: `pip download --no-deps --no-binary :all: django==5.2.8 sphinx==8.2.3`. Parts may run side by
side: `ours`, `naive`, `retrain`; each goes on where it was stopped. The row of docs/update.md: `--part ours
--domains docstrings`, then all five with `--set steps=60`, then `--part test`.
"""

from __future__ import annotations

import argparse
import ast
import gettext
import io
import json
import shutil
import sysconfig
import tarfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi.evaluate.plots import COLOURS, figure
from lingxi.evaluate.suite import resolve
from lingxi.generate.settings import StructureSettings
from lingxi.generate.structure import structured_pairs
from lingxi.metrics import bootstrap_interval
from lingxi.model.files import locate, read_decoder
from lingxi.model.tokens import read_tokens
from lingxi.parse.rst import rst_as_markdown
from lingxi.records import Document, Pair, digest, drawn, passage, read_pairs, write_pairs
from lingxi.update import releases
from lingxi.update.anchors import new_rows, vectors_of
from lingxi.update.gate import Keep
from lingxi.update.learn import learn
from lingxi.update.material import sample_file, sampled
from lingxi.update.run import update
from lingxi.update.settings import UpdateSettings

DOMAINS = ("docstrings", "django", "sorbian", "releases", "sphinx")
MODEL = "lingxi-pico"
TRAIN, TEST, BESIDE, REPLAY = 1000, 150, 150, 600
# Tokens that texts are cut at when they are tested; training cuts them sooner.
LONGEST = 128
SETS = ("squad", "cmrc2018", "nq-open", "cosqa")
SUITE = ("queries=150", "documents=200")
SETTINGS = UpdateSettings(threads=1)
# Naive fine-tuning is fewer steps without what keeps the old; retraining has old pairs among the new, and
# nothing that holds it back.
NAIVE = SETTINGS.model_copy(update={"stored": 0.0, "anchor": 0.0, "steps": 30})
RETRAIN = NAIVE.model_copy(update={"steps": 90})
CODE = "Given a code comment, retrieve the code snippet corresponding to that comment."
SORBIAN = "Given a text in Upper Sorbian, retrieve its translation into English"


def docstrings() -> Iterator[Pair]:
    """The tutorial's pairs (docs/finetune.md): a docstring's first paragraph, its function without it."""
    library = Path(sysconfig.get_paths()["stdlib"])
    apart = {"test", "tests", "idlelib", "site-packages", "dist-packages"}
    for path in sorted(library.rglob("*.py")):
        if apart & set(path.relative_to(library).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and len(node.body) > 1 and (told := ast.get_docstring(node)):
                node.body = node.body[1:]
                question = " ".join(told.split("\n\n")[0].split())
                if len(question) > 20:
                    yield _pair(question, ast.unparse(node), CODE, "code", "python")


def documents(archive: Path, inside: str, without: str | None = None) -> Iterator[Pair]:
    """Titles and headings of reStructuredText pages, and what they speak of."""
    settings = StructureSettings(kinds=("title", "heading", "question"), most_text=1200)
    with tarfile.open(archive) as tar:
        for entry in sorted(tar.getmembers(), key=lambda entry: entry.name):
            place = entry.name.partition("/")[2]
            if not place.startswith(inside) or not place.endswith((".txt", ".rst")):
                continue
            if without and place.startswith(without):
                continue
            file = tar.extractfile(entry)
            text = rst_as_markdown(file.read().decode()) if file else ""
            document = Document(digest(place), text, None, "en", archive.name, "BSD-3-Clause", place)
            yield from (row for _, row in structured_pairs(document, settings))


def sorbian(archive: Path) -> Iterator[Pair]:
    """Messages of Django in Upper Sorbian and in English, without what stands for numbers and names."""
    with tarfile.open(archive) as tar:
        for entry in sorted(tar.getmembers(), key=lambda entry: entry.name):
            if entry.name.endswith("locale/hsb/LC_MESSAGES/django.mo") and (file := tar.extractfile(entry)):
                catalog: Any = gettext.GNUTranslations(io.BytesIO(file.read()))
                for english, text in catalog._catalog.items():
                    if isinstance(english, str) and "%" not in english and len(english) > 3 and text:
                        yield _pair(text, english.rpartition("\4")[2], SORBIAN, "retrieval", "en")


def _pair(query: str, answer: str, instruction: str, task: Any, language: str) -> Pair:
    key = digest(query, answer)
    return Pair(
        key,
        digest(answer),
        query,
        (passage(answer),),
        (),
        instruction,
        task,
        "und",
        language,
        "update",
        "own",
    )


def make(work: Path, django: Path, sphinx: Path, replay: Path) -> None:
    """Write each domain's rows, to learn from and to test on, and the old pairs."""
    made = {
        "docstrings": docstrings,
        "django": lambda: documents(django, "docs/", without="docs/releases"),
        "sorbian": lambda: sorbian(django),
        "releases": lambda: documents(django, "docs/releases/"),
        "sphinx": lambda: documents(sphinx, "doc/"),
    }
    for name, rows in made.items():
        if (work / f"{name}-test.parquet").exists():
            continue
        unique = list({row.query: row for row in rows()}.values())
        groups = sorted({row.group for row in unique}, key=lambda group: drawn(0, group))
        held = set(groups[: max(1, len(groups) // 5)])
        sides = [[row for row in unique if (row.group in held) is side] for side in (False, True)]
        for side, rows_of, most in zip(("train", "test"), sides, (TRAIN, TEST), strict=True):
            few = sorted(rows_of, key=lambda row: drawn(1, row.id))[:most]
            print(name, side, len(rows_of), write_pairs(few, work / f"{name}-{side}.parquet"), flush=True)
    if not (work / "replay.parquet").exists():
        write_pairs(sample_file(replay, REPLAY, 0), work / "replay.parquet")


class Test:
    """A domain's test: its queries among its documents and some of those that were learnt."""

    def __init__(self, work: Path, name: str) -> None:
        directory = locate(MODEL)
        decoder = read_decoder(directory, torch.float32)
        tokens = read_tokens(directory / "tokenizer.json", decoder.size.vocab)
        asked = list(read_pairs(work / f"{name}-test.parquet"))
        beside = sampled(read_pairs(work / f"{name}-train.parquet"), BESIDE, 0)
        self.rows = new_rows([*asked, *beside], decoder, tokens, LONGEST)
        self.count = sum(len(row.positives) for row in asked)
        self.stored = self.rows.vectors.numpy()

    def values(self, model: Path) -> dict[str, list[float]]:
        """nDCG@10 of each query with documents as the first model stored them, and embedded again."""
        decoder = read_decoder(model, torch.float32)
        queries = vectors_of(decoder, self.rows.queries[: self.count]).numpy()
        again = vectors_of(decoder, self.rows.documents).numpy()
        return {"stored": self._ndcg(queries, self.stored), "again": self._ndcg(queries, again)}

    def _ndcg(self, queries: np.ndarray, documents: np.ndarray) -> list[float]:
        scores, right = queries @ documents.T, self.rows.right[: self.count]
        own = scores[np.arange(len(scores)), right]
        same = self.rows.groups[None, :] == self.rows.alike[: self.count, None]
        rank = (np.where(same, -np.inf, scores) > own[:, None]).sum(1)
        return [round(float(v), 4) for v in np.where(rank < 10, 1 / np.log2(rank + 2), 0.0)]


def ours(work: Path, root: Path, domains: Sequence[str], settings: UpdateSettings = SETTINGS) -> None:
    """Updates one after another, each from the release that serves."""
    home = work / "home"
    home.mkdir(exist_ok=True)
    releases.begin(home, MODEL)
    keep, old = _keep(root), list(read_pairs(work / "replay.parquet"))
    for number, name in enumerate(domains):
        path = work / f"ours-{number}-{name}.json"
        if path.exists():
            continue
        new = list(read_pairs(work / f"{name}-train.parquet"))
        outcome = update(home, new, old, keep, settings, say=print)
        print(*outcome.lines, sep="\n", flush=True)
        found = {"promoted": outcome.promoted, "seconds": outcome.seconds, "cpu": outcome.cpu_seconds,
                 "said": outcome.release.said, "lines": outcome.lines}  # fmt: skip
        # What is tested later is what serves after this update, promoted or not.
        shutil.copytree(releases.serving(home).model, work / f"ours-{number}-{name}")
        path.write_text(json.dumps(found, default=str), encoding="utf-8")


def _keep(root: Path) -> Keep:
    return Keep(resolve("benchmark", SUITE, SETS), root, Path("~/.cache/lingxi").expanduser())


def test(work: Path, root: Path, domains: Sequence[str]) -> None:
    """What served after each update of `ours`, on every domain that came so far."""
    for number, name in enumerate(domains):
        path = work / f"tested-{number}-{name}.json"
        if (work / f"ours-{number}-{name}.json").exists() and not path.exists():
            _write(path, _tested(work, work / f"ours-{number}-{name}", domains[: number + 1]))


def naive(work: Path, root: Path, domains: Sequence[str]) -> None:
    """The same steps one after another with nothing that keeps the old."""
    model = locate(MODEL)
    for number, name in enumerate(domains):
        folder, path = work / f"naive-{number}-{name}", work / f"naive-{number}-{name}.json"
        if not path.exists():
            began = time.process_time()
            learn(model, list(read_pairs(work / f"{name}-train.parquet")), [], NAIVE, folder, "# naive\n")
            cpu = time.process_time() - began
            _write(path, {"cpu": cpu} | _tested(work, folder / "tuned", domains[: number + 1]))
        model = folder / "tuned"


def retrain(work: Path, root: Path, domains: Sequence[str]) -> None:
    """From the first model: all weights, old and new pairs together, nothing that holds them, each alone."""
    old = [row for row in read_pairs(work / "replay.parquet") if row.task in ("retrieval", "code", "bitext")]
    for name in domains:
        path = work / f"retrain-{name}.json"
        if path.exists():
            continue
        new = [*read_pairs(work / f"{name}-train.parquet"), *old]
        began = time.process_time()
        learn(locate(MODEL), new, [], RETRAIN, work / f"retrain-{name}", "# retrained\n")
        cpu = time.process_time() - began
        _write(path, {"cpu": cpu} | _tested(work, work / f"retrain-{name}" / "tuned", (name,)))


def base(work: Path, root: Path, domains: Sequence[str]) -> None:
    """The model as it ships, on every domain."""
    if not (work / "base.json").exists():
        _write(work / "base.json", _tested(work, locate(MODEL), DOMAINS))


def _tested(work: Path, model: Path, domains: Sequence[str]) -> dict[str, Any]:
    return {"tests": {name: Test(work, name).values(model) for name in domains}, "model": str(model)}


def _write(path: Path, found: dict[str, Any]) -> None:
    path.write_text(json.dumps(found, default=str), encoding="utf-8")
    means = {
        name: {k: round(float(np.mean(v)), 4) for k, v in t.items()} for name, t in found["tests"].items()
    }
    print(path.name, means, flush=True)


def report(work: Path, out: Path) -> None:
    """Print the table of single updates and of the chain, and draw what naive tuning forgets."""
    begun = json.loads((work / "base.json").read_text("utf-8"))["tests"]
    print("| domain | before | update | naive | retrained | share of retraining's gain | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for name in DOMAINS:
        made = {how: _found(work, how, name) for how in ("tested", "naive", "retrain")}
        if made["tested"] is None:
            continue
        before = np.array(begun[name]["again"])
        cells = [_mean(before), *(_mean(found) for found in made.values())]
        told = _gain(before, made["tested"], made["retrain"])
        cpu = sum(json.loads(_at(work, "ours", name).read_text("utf-8"))["cpu"].values())
        print(f"| {name} | " + " | ".join(cells) + f" | {told} | {cpu:.0f} |")
    print("| update | merged | since the one before | since the first | old vectors | the gate | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for path in sorted(work.glob("ours-*.json")):
        print(f"| {path.stem} | " + " | ".join(_update(json.loads(path.read_text("utf-8")))) + " |")
    (out / "update.svg").write_text(_forgetting(work, begun), encoding="utf-8")


def _update(found: dict[str, Any]) -> list[str]:
    """One update's cells: what it cost old slices, what old vectors are worth, what the gate did."""
    said, cpu = found["said"], f"{sum(found['cpu'].values()):.0f}"
    if not found["promoted"] and "nothing was learnt" in found["lines"][0]:
        return ["0", "", "", "", "nothing learnt", cpu]
    weighed = said["cost"]
    sums = [weighed["decision"], weighed["since"] or weighed["decision"]]
    slices = [decision["slices"][0] for decision in sums]
    spans = [f"{s['difference']:+.2f} [{s['low']:+.2f}, {s['high']:+.2f}]" for s in slices]
    kept = weighed[weighed["served"]]
    share = f"{100 * kept['value']:.1f} % [{100 * kept['low']:.1f}, {100 * kept['high']:.1f}]"
    verdicts = ", ".join(decision["verdict"] for decision in sums)
    return [
        f"{said['share']:.3f}",
        *spans,
        share,
        f"{verdicts}: {'serves' if found['promoted'] else 'stopped'}",
        cpu,
    ]


def _at(work: Path, how: str, name: str) -> Path:
    return next(iter(sorted(work.glob(f"{how}*-{name}.json"))), work / "none")


def _found(work: Path, how: str, name: str) -> np.ndarray | None:
    path = _at(work, how, name)
    return np.array(json.loads(path.read_text("utf-8"))["tests"][name]["again"]) if path.exists() else None


def _mean(values: np.ndarray | None) -> str:
    if values is None:
        return ""
    low, high = bootstrap_interval(values)
    return f"{100 * values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _gain(before: np.ndarray, ours: np.ndarray | None, again: np.ndarray | None) -> str:
    """Our gain as a share of retraining's, with a paired bootstrap interval."""
    if ours is None or again is None:
        return ""
    drawn = np.random.default_rng(0).integers(0, len(before), (4000, len(before)))
    shares = (ours - before)[drawn].mean(1) / np.maximum((again - before)[drawn].mean(1), 1e-6)
    low, high = np.quantile(shares, (0.025, 0.975))
    return (
        f"{100 * (ours - before).mean() / (again - before).mean():.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
    )


def _forgetting(work: Path, begun: dict[str, Any]) -> str:
    """Each domain's nDCG@10 after every update of the chain: updates as lines, naive tuning dashed."""
    with figure(6.4, 3.4) as (_, axes, svg):
        for how, style in (("tested", "o-"), ("naive", "s--")):
            steps = [json.loads(p.read_text("utf-8"))["tests"] for p in sorted(work.glob(f"{how}-*.json"))]
            for colour, name in zip(COLOURS, DOMAINS, strict=False):
                places = [i for i, tests in enumerate(steps) if name in tests]
                values = [100 * float(np.mean(steps[i][name]["again"])) for i in places]
                start = [100 * float(np.mean(begun[name]["again"]))] if places else []
                label = f"{name}, {'update' if how == 'tested' else 'naive'}"
                axes.plot([i + 1 for i in places[:1] and [places[0] - 1, *places]], start + values, style,
                          color=colour, ms=4, label=label if places else None)  # fmt: skip
        axes.set_xlabel("updates, one after another")
        axes.set_ylabel("nDCG@10 × 100")
        axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return svg[0]


PARTS = {"base": base, "ours": ours, "test": test, "naive": naive, "retrain": retrain}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    for name in ("root", "replay", "django", "sphinx"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--part", choices=[*PARTS, "make", "all"], default="all")
    parser.add_argument("--report", type=Path, help="folder that the plot is written to")
    parser.add_argument(
        "--set", action="append", default=[], help="KEY=VALUE of the [update] table, for `ours`"
    )
    parser.add_argument("--domains", default=",".join(DOMAINS))
    asked = parser.parse_args()
    if asked.report:
        report(asked.work, asked.report)
        return
    torch.set_num_threads(1)
    asked.work.mkdir(parents=True, exist_ok=True)
    if asked.part in ("make", "all"):
        make(asked.work, asked.django, asked.sphinx, asked.replay)
    told = SETTINGS.model_dump() | {k: json.loads(v) for k, _, v in (p.partition("=") for p in asked.set)}
    parts = PARTS | {"ours": partial(ours, settings=UpdateSettings.model_validate(told))}
    for name, part in parts.items():
        if asked.part in (name, "all"):
            part(asked.work, asked.root, asked.domains.split(","))


if __name__ == "__main__":
    main()
