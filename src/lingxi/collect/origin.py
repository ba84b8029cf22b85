"""Where rows come from, and how a reader makes them: source and licence stand on every row."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from lingxi.collect.instructions import PARALLEL
from lingxi.records import Pair, Task, digest, passage

# Names of Debian's copyright files, as `curate` knows them.
_SPELLINGS = {
    "Expat": "MIT",
    "BSD-3-clause": "BSD-3-Clause",
    "BSD-2-clause": "BSD-2-Clause",
    "Apache-2": "Apache-2.0",
    "Apache": "Apache-2.0",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """The source and the licence that rows carry."""

    source: str
    licence: str


def pair(
    origin: Origin,
    key: str,
    group: str,
    query: str,
    answer: str,
    *,
    task: Task,
    instruction: str,
    languages: tuple[str, str],
) -> Pair:
    """A query with its one answer; `languages` are those of the query and of the answer."""
    return Pair(
        id=key,
        group=group,
        query=query,
        positives=(passage(answer),),
        negatives=(),
        instruction=instruction,
        task=task,
        query_language=languages[0],
        document_language=languages[1],
        source=origin.source,
        licence=origin.licence,
    )


def translation(
    origin: Origin, group: str, language: str, text: str, target: str, target_language: str = "en"
) -> Pair:
    """A text and what it says in another language; one message in all languages is one group."""
    key, both = digest(group, language, text), (language, target_language)
    return pair(origin, key, group, text, target, task="bitext", instruction=PARALLEL, languages=both)


def licence_of(folder: Path, default: str) -> str:
    """The licence a package states: Debian's copyright file, package.json or METADATA; else `default`."""
    for path in sorted(folder.glob("usr/share/doc/*/copyright")):
        if found := re.search(r"^Files:\s*\*.*?^License:\s*(\S[^\n]*)", _text(path), re.S | re.M):
            return _SPELLINGS.get(found[1].strip(), found[1].strip())
    manifests = [p for p in folder.glob("**/package.json") if "node_modules" not in p.parts]
    for path in sorted(manifests, key=lambda p: (len(p.parts), p))[:1]:
        return str(_json(path).get("license") or default)
    for path in sorted(folder.glob("*.dist-info/METADATA")):
        text = _text(path)
        if found := re.search(r"^License(?:-Expression)?: (\S[^\n]{0,60})$", text, re.M):
            return _SPELLINGS.get(found[1].strip(), found[1].strip())
        if found := re.search(r"^Classifier: License :: OSI Approved :: ([^\n]+)$", text, re.M):
            return found[1].replace(" License", "").replace("Software", "").strip()
    return default


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace")


def _json(path: Path) -> dict[str, object]:
    try:
        loaded = json.loads(_text(path))
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
