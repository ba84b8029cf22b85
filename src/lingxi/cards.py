"""Model cards written from the run: what the data was and under which licences, what was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lingxi.evaluate.report import Score
from lingxi.manifest import Manifest

_TASKS = {"embedder": "feature-extraction", "reranker": "text-ranking"}


def card(kind: str, name: str, curated: Manifest) -> str:
    """README.md of a model directory; `curated` is the manifest of its training pairs."""
    return f"{_head(kind)}\n# {name} {kind}\n\n{_USE[kind]}\n{_data(curated)}"


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
        cells = [_cell(found[name]) if name in found else "" for name in systems]
        if any(cells):
            lines.append("| " + " | ".join((*row, *cells)) + " |")
    return f"{text}\n## Measured\n\n" + "\n".join(lines) + "\n"


def _cell(score: Score) -> str:
    return f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def _head(kind: str) -> str:
    names = ("sentence-transformers", "qwen3", "matryoshka", "multilingual")
    tags = "".join(f"- {name}\n" for name in names)
    return (
        f"---\nlicense: apache-2.0\nlibrary_name: sentence-transformers\npipeline_tag: {_TASKS[kind]}\n"
        f"tags:\n{tags}---\n"
    )


_USE = {
    "embedder": """A small text embedder of the Qwen3 architecture, trained from scratch on a CPU by lingxi.
Queries are written `Instruct: {task}\\nQuery:{text}`, documents raw; vectors may be cut to any width
from 32 up.

```python
from lingxi import Embedder

embedder = Embedder("this directory")
scores = embedder.similarity(embedder.encode_query(["…"]), embedder.encode_document(["…", "…"]))
```
""",
    "reranker": """A small yes/no reranker of the Qwen3 architecture, trained from scratch on a CPU by lingxi,
with the Qwen3-Reranker prompt.

```python
from lingxi import Reranker

Reranker("this directory").rank("query", ["document", "another"])
```
""",
}


def _data(curated: Manifest) -> str:
    lines = [
        "## Training data",
        "",
        "| source | licence of the rows | pairs kept | of |",
        "|---|---|---|---|",
    ]
    sources: Mapping[str, Any] = curated.counts["by_source"]
    licences: Mapping[str, str] = curated.counts["licences"]
    for source, counts in sorted(sources.items()):
        if counts["kept"]:
            lines.append(f"| {source} | {licences[source]} | {counts['kept']:,} | {counts['rows']:,} |")
    lines += [
        "",
        "Rows whose licence is not on the allow-list were dropped; the run keeps each with its reason.",
        "English texts, and the translations of English texts, were also drawn towards the vectors of the",
        "teacher named in the recipe (all-MiniLM-L6-v2, Apache-2.0); the teacher is not shipped.",
        "",
        "Most of the parallel text is software interface text: expect less of everyday language.",
    ]
    return "\n".join(lines) + "\n"
