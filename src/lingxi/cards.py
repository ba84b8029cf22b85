"""Model cards written from the run's manifest: what the data was, and under which licences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lingxi.manifest import Manifest

_TASKS = {"embedder": "feature-extraction", "reranker": "text-ranking"}


def card(kind: str, name: str, curated: Manifest, licences: Mapping[str, str]) -> str:
    """README.md of a model directory.

    `curated` is the manifest of its training pairs, `licences` what each source's rows state.
    """
    return f"{_head(kind)}\n# {name} {kind}\n\n{_USE[kind]}\n{_data(curated, licences)}"


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


def _data(curated: Manifest, licences: Mapping[str, str]) -> str:
    lines = [
        "## Training data",
        "",
        "| source | licence of the rows | pairs kept | of |",
        "|---|---|---|---|",
    ]
    sources: Mapping[str, Any] = curated.counts.get("by_source", {})
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
