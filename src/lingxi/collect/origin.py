"""Where rows come from, and how a reader makes them: source and licence stand on every row."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from lingxi.collect.instructions import PARALLEL
from lingxi.errors import InputError, MissingExtraError
from lingxi.languages import normalise, of_locale
from lingxi.parse.code import LANGUAGES
from lingxi.records import Document, Pair, Task, digest, passage

Row = TypeVar("Row", Pair, Document)
_FULL = (errno.ENOSPC, errno.EDQUOT)

# Names of Debian's copyright files, as `curate` knows them.
_SPELLINGS = {
    "Expat": "MIT",
    "BSD-3-clause": "BSD-3-Clause",
    "BSD-2-clause": "BSD-2-Clause",
    "Apache-2": "Apache-2.0",
    "Apache": "Apache-2.0",
    "public_domain": "public-domain",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """The source and the licence that rows carry, and the language of those that do not say theirs.

    A reader writes into `left_out` which files or rows it could not take, and why: the rest goes on.
    """

    source: str
    licence: str
    language: str | None = None
    left_out: list[str] = field(default_factory=list, compare=False)


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


def document(
    origin: Origin,
    place: str,
    text: str,
    *,
    title: str | None = None,
    language: str | None = None,
    licence: str | None = None,
) -> Document:
    """A text, Markdown where it has structure, and its `place` in the package."""
    return Document(
        id=digest(origin.source, place, text),
        text=text,
        title=title or None,
        language=code_of(language) if language else origin.language,
        source=origin.source,
        licence=licence or origin.licence,
        uri=place,
    )


def translation(
    origin: Origin, group: str, language: str, text: str, target: str, target_language: str = "en"
) -> Pair:
    """A text and what it says in another language; one message in all languages is one group."""
    key, both = digest(group, language, text), (language, target_language)
    return pair(origin, key, group, text, target, task="bitext", instruction=PARALLEL, languages=both)


def code_of(stated: str) -> str:
    """Our code of a language of people or of programs as it is stated: `ja-JP`, `zh_Hans`, `c_sharp`."""
    # The script that a region stood behind may be the usual one.
    return stated if stated in LANGUAGES else normalise(of_locale(stated))


def unless_refused(rows: Iterator[Row], origin: Origin, path: Path | str) -> Iterator[Row]:
    """Pass the rows of one file of many through; where it is refused, that is noted and the others go on.

    Raises MissingExtraError, and where the machine itself is at its end.
    """
    try:
        yield from rows
    except MissingExtraError:
        raise
    except Exception as problem:
        # Files of strangers break libraries in ways of their own.
        if is_of_the_machine(problem):
            raise
        origin.left_out.append(str(problem) if isinstance(problem, InputError) else f"{path}: {problem!r}")


def is_of_the_machine(problem: BaseException) -> bool:
    """Whether the disk is full or the memory, which is the fault of no file: what follows would fail too."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        cause = cause.__cause__ or cause.__context__
    return isinstance(problem, MemoryError)


def name_of(folder: Path) -> str | None:
    """The name that an unpacked package of npm states; None for anything else."""
    for path in _manifests(folder):
        if isinstance(name := _json(path).get("name"), str):
            return name
    return None


def _manifests(folder: Path) -> list[Path]:
    """The package.json of a folder, or of the folder `package` in which npm packs."""
    named = (folder / "package.json", folder / "package" / "package.json")
    return [path for path in named if path.is_file()]


def licence_of(folder: Path, default: str) -> str:
    """The licence a package states for all of itself; else `default`.

    Debian's copyright file, the package.json of npm's archive, or a wheel's METADATA: those of packages that
    lie deeper speak for themselves alone.
    """
    for path in sorted(folder.glob("usr/share/doc/*/copyright")):
        text = _text(path)
        for files in (*_own_folders(path.parent.name), r"\*"):
            if found := re.search(rf"^Files:\s*{files}.*?^License:[ \t]*(\S[^\n]*)", text, re.S | re.M):
                return _SPELLINGS.get(found[1].strip(), found[1].strip())
    for path in _manifests(folder):
        said = _json(path).get("license")
        # As npm wrote it at first.
        said = said.get("type") if isinstance(said, dict) else said
        if isinstance(said, str) and said:
            return said
    for path in sorted(folder.glob("*.dist-info/METADATA")):
        text = _text(path)
        if found := re.search(r"^License(?:-Expression)?: (\S[^\n]{0,60})$", text, re.M):
            return _SPELLINGS.get(found[1].strip(), found[1].strip())
        if found := re.search(r"^Classifier: License :: OSI Approved :: ([^\n]+)$", text, re.M):
            return found[1].replace(" License", "").replace("Software", "").strip()
    return default


def _own_folders(package: str) -> list[str]:
    """Folders of a source package, as patterns, that a binary package is named after, the longest name first.

    `dict-freedict-swh-eng` may be of `swh-eng/*`, while other files of its source have other licences.
    """
    parts = package.split("-")
    return [re.escape("-".join(parts[start:])) + r"/\*" for start in range(1, len(parts) - 1)]


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace")


def _json(path: Path) -> dict[str, object]:
    try:
        loaded = json.loads(_text(path))
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
