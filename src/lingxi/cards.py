"""Model cards written from the run: what the data was and under which licences, what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from lingxi.evaluate.report import Score
from lingxi.manifest import Manifest
from lingxi.model.layout import Kind, card_head
from lingxi.train.phases import ContrastiveSettings, PhaseSettings, RerankerSettings
from lingxi.train.settings import SCRATCH, TrainSettings

# Sources that a card names; the rest are counted, and the run's ledger has them all.
_SHOWN = 40


def card(kind: Kind, name: str, curated: Sequence[Manifest], train: TrainSettings) -> str:
    """README.md of a model directory.

    `curated` are the manifests of its training pairs, `train` the recipe's table.
    """
    parts = (_head(kind, train), f"# {name} {kind}\n", _origin(kind, train), _use(kind, train))
    return "\n".join((*parts, _data(curated), _training(kind, train), _limits(kind, train)))


def measured(text: str, scores: Sequence[Score], languages: Collection[str]) -> str:
    """A card with what was measured: one line for each set, language and metric, one column a system.

    Values are times 100, with 95 % bootstrap intervals. Of a set in many languages the means and the
    `languages` named are shown.
    """
    many = {score.set for score in scores if score.language.startswith("mean")}
    shown = [s for s in scores if s.set not in many or s.language in languages or s.language[:4] == "mean"]
    systems = list(dict.fromkeys(score.system for score in scores))
    lines = [
        "| set | language | metric × 100 | " + " | ".join(systems) + " |",
        "|---|---|---|" + "---:|" * len(systems),
    ]
    for row in dict.fromkeys((score.set, score.language, score.metric) for score in shown):
        found = {s.system: s for s in scores if (s.set, s.language, s.metric) == row}
        cells = [cell(found[name]) if name in found else "" for name in systems]
        if any(cells):
            lines.append("| " + " | ".join((*row, *cells)) + " |")
    return f"{text}\n## Measured\n\n" + "\n".join(lines) + "\n"


def cell(score: Score) -> str:
    """A value and its interval, times 100."""
    return f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def _head(kind: Kind, train: TrainSettings) -> str:
    # Of a model that was tuned the family is its start's.
    family = ("qwen3",) if _start(kind, train) == SCRATCH else ()
    return card_head(
        kind, _licence(kind, train), ("sentence-transformers", *family, "matryoshka", "multilingual")
    )


def _licence(kind: Kind, train: TrainSettings) -> str:
    """A network from scratch is ours; of a model that was tuned we know the name and not the licence."""
    start = _start(kind, train)
    return "license: apache-2.0\n" if start == SCRATCH else f"base_model: {start}\n"


def _start(kind: Kind, train: TrainSettings) -> str:
    own = train.reranker.start if kind == "reranker" and train.reranker else None
    return own or train.start


def _origin(kind: Kind, train: TrainSettings) -> str:
    start = _start(kind, train)
    if start == SCRATCH:
        return f"A small text {kind} of the Qwen3 architecture, trained from scratch by lingxi.\n"
    how = "adapters, merged into its weights" if train.lora else "all its weights"
    return f"`{start}` tuned by lingxi as a text {kind} ({how}).\n"


def _use(kind: Kind, train: TrainSettings) -> str:
    widths = f"the trained widths {', '.join(map(str, train.dims))}" if train.dims else "any width from 32 up"
    return _USE[kind].replace("WIDTHS", widths)


_USE = {
    "embedder": """Queries are written `Instruct: {task}\\nQuery:{text}`, documents raw; vectors may be cut to
WIDTHS.

```python
from lingxi import Embedder

embedder = Embedder("this directory")
scores = embedder.similarity(embedder.encode_query(["…"]), embedder.encode_document(["…", "…"]))
```
""",
    "reranker": """It answers yes or no in the Qwen3-Reranker prompt.

```python
from lingxi import Reranker

Reranker("this directory").rank("query", ["document", "another"])
```
""",
}


def _data(curated: Sequence[Manifest]) -> str:
    """The ledger of all runs whose pairs were trained on: the largest sources, and all licences."""
    rows = [
        (counts["kept"], counts["rows"], source, manifest.counts["licences"][source])
        for manifest in curated
        for source, counts in manifest.counts["by_source"].items()
        if counts["kept"]
    ]
    rows.sort(key=lambda row: (-row[0], row[2]))
    lines = [
        "## Training data",
        "",
        "| source | licence of the rows | pairs kept | of |",
        "|---|---|---:|---:|",
        *(f"| {source} | {licence} | {kept:,} | {read:,} |" for kept, read, source, licence in rows[:_SHOWN]),
    ]
    if rest := rows[_SHOWN:]:
        kept, read = (sum(row[column] for row in rest) for column in (0, 1))
        lines.append(f"| {len(rest):,} other sources | as below | {kept:,} | {read:,} |")
    dropped = sum(m.counts.get("rows", 0) - m.counts.get("kept", 0) for m in curated)
    if dropped > 0:
        lines += ["", f"{dropped:,} rows were dropped; the runs keep each with its reason."]
    return "\n".join((*lines, "", *_licences(rows))) + "\n"


def _licences(rows: Sequence[tuple[int, int, str, str]]) -> list[str]:
    totals: Counter[str] = Counter()
    for kept, _, _, licence in rows:
        totals[licence] += kept
    told = ", ".join(f"{licence} {count:,}" for licence, count in totals.most_common())
    return [f"Pairs by licence: {told}."]


def _training(kind: Kind, train: TrainSettings) -> str:
    """What each phase was told, one row a phase, and who taught."""
    phases = ["lexicon", "language", "weak", "supervised"] if kind == "embedder" else ["reranker"]
    if kind == "reranker" and _start(kind, train) == SCRATCH:
        # Its network starts as the token vectors.
        phases.insert(0, "lexicon")
    named: dict[str, PhaseSettings | None] = {name: getattr(train, name) for name in phases}
    lines = [
        "## Training",
        "",
        "| phase | steps | batch | learning rate | longest text |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, phase in named.items():
        if phase is not None:
            rate, longest = phase.learning_rate, _longest(phase)
            lines.append(f"| {name} | {phase.steps:,} | {_batch(phase)} | {rate:g} | {longest} |")
    if train.teacher.package and any(_is_taught(phase, train) for phase in named.values()):
        lines += [
            "",
            f"{_WHAT_IS_TAUGHT[train.teacher.reads]}, were also drawn towards vectors",
            f"of the teacher `{train.teacher.package}`, which is not shipped.",
        ]
    return "\n".join(lines) + "\n"


_WHAT_IS_TAUGHT = {
    "english": "English texts and code, and the translations of English texts",
    "drawn": "The texts that training draws most, and their translations",
    "all": "Texts other than code, and the translations of English ones",
}


def _is_taught(phase: PhaseSettings | None, train: TrainSettings) -> bool:
    if isinstance(phase, RerankerSettings):
        return phase.agreement > 0
    return isinstance(phase, ContrastiveSettings) and train.teacher.weight * phase.teacher_weight > 0


def _batch(phase: PhaseSettings) -> str:
    sizes = {"batch_pairs": "pairs", "batch_queries": "queries", "batch_tokens": "tokens"}
    return next(f"{getattr(phase, name):,} {unit}" for name, unit in sizes.items() if hasattr(phase, name))


def _longest(phase: PhaseSettings) -> str:
    return f"{getattr(phase, 'max_tokens', 0)} tokens"


def _limits(kind: Kind, train: TrainSettings) -> str:
    phases = (train.weak, train.supervised) if kind == "embedder" else (train.reranker,)
    longest = max((phase.max_tokens for phase in phases if phase), default=0)
    lines = ["## Limits", ""]
    if longest:
        lines.append(f"- Texts were cut to {longest} tokens in training; of longer ones less is known.")
    if train.start == SCRATCH:
        lines.append("- It is small: where a large model can be run, a large model is better.")
    lines += [f"- {limit}" for limit in train.limits]
    lines.append("- Texts of the web carry the prejudices of their authors; nothing here takes them out.")
    return "\n".join(lines) + "\n"
