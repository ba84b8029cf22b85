"""Translation pairs from CLDR: names of emoji, languages and territories, in as many languages as there are.

They are words, not sentences: a glossary for languages that have little else. The npm packages
`cldr-annotations-full` and `cldr-localenames-full` are the source, their licence is Unicode's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lingxi import languages
from lingxi.collect.origin import Origin, code_of, translation
from lingxi.records import Pair

# CLDR's way to say that a name is its parent's, and the key of the code itself.
_INHERITED = "↑↑↑"
_REGION = re.compile(r"-[A-Z]{2}\b|-\d{3}")


def read_names(folder: Path, origin: Origin) -> Iterator[Pair]:
    """Stream X → English pairs of every table of names below a folder, in path order."""
    for english_file in sorted(folder.rglob("en/*.json")):
        english = dict(names(english_file))
        for path in sorted(english_file.parent.parent.glob(f"*/{english_file.name}")):
            code = code_of(path.parent.name)
            # A region's table is mostly a copy of its language's.
            if _REGION.search(path.parent.name) or code.split("-")[0] in {"en", *languages.CONSTRUCTED}:
                continue
            for key, name in names(path):
                # A name that equals the key or the English one is a gap that was filled by machine.
                if key in english and name not in (english[key], key.split("/")[-1]):
                    yield translation(origin, f"{origin.source}:{path.stem}#{key}", code, name, english[key])


def names(path: Path) -> Iterator[tuple[str, str]]:
    """Key and name of each entry of a table; of annotations, the short names."""
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError):
        return
    for key, value in _leaves(loaded, "", path.parent.name):
        if value and value != _INHERITED:
            yield key, value


def _leaves(node: Any, key: str, locale: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        if "tts" in node:
            yield key, str(node["tts"][0])
            return
        for name, inner in node.items():
            if name != "identity":
                # The locale's own name stands in the path of every table: it is no part of a key.
                yield from _leaves(inner, key if name == locale else f"{key}/{name}", locale)
    elif isinstance(node, str):
        yield key, node
