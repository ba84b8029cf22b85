"""Descriptions of Debian's packages: a synopsis asks for its description, a translation for the English one.

Read from the indices that apt fetches (`Translation-xx`), joined by the checksum of the English text;
paragraphs are paired where both sides have as many.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from lingxi.collect.instructions import PARALLEL, SYNOPSIS
from lingxi.collect.origin import Origin, code_of, pair
from lingxi.records import Pair, Task, digest

_STANZA = re.compile(
    r"^Package: (?P<package>\S+)\n(?:.*\n)*?Description-md5: (?P<md5>\w+)\n"
    r"Description-(?P<code>[\w@]+): ?(?P<synopsis>.*)\n(?P<body>(?: .*\n?)*)",
    re.M,
)
_LEAST_BODY = 120


def read_descriptions(folder: Path, origin: Origin) -> Iterator[Pair]:
    """Stream the pairs of the indices in a folder, languages in order of their files."""
    # A distribution has an index for each of its components.
    files: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.glob("*Translation-*")):
        files[unquote(path.name.rpartition("Translation-")[2])].append(path)
    english = {md5: texts for path in files.pop("en", []) for _, md5, texts in stanzas(path)}
    for md5, (synopsis, *paragraphs) in english.items():
        body = "\n\n".join(paragraphs)
        if len(body) >= _LEAST_BODY:
            yield _pair(md5, synopsis, body, "en", SYNOPSIS, origin)
    for name, paths in files.items():
        code = code_of(name)
        translated = {md5: texts for path in paths for _, md5, texts in stanzas(path)}
        for md5, texts in translated.items():
            own = english.get(md5, [])
            # Paragraphs stand for each other only where none was left out or added.
            for text, source in zip(texts, own, strict=False) if len(texts) == len(own) else ():
                yield _pair(md5, text, source, code, PARALLEL, origin)


def stanzas(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Package, checksum, and synopsis with paragraphs of each entry of an index."""
    for found in _STANZA.finditer(path.read_text("utf-8", "replace")):
        lines = [line[1:].rstrip() for line in found["body"].splitlines()]
        paragraphs = re.split(r"^\.$", "\n".join(lines), flags=re.M)
        texts = [" ".join(part.split()) for part in paragraphs]
        yield found["package"], found["md5"], [found["synopsis"].strip(), *(text for text in texts if text)]


def _pair(md5: str, query: str, text: str, code: str, instruction: str, origin: Origin) -> Pair:
    group = f"{origin.source}:{md5}"
    key = digest(group, code, query, text)
    task: Task = "retrieval" if instruction == SYNOPSIS else "bitext"
    return pair(origin, key, group, query, text, task=task, instruction=instruction, languages=(code, "en"))
