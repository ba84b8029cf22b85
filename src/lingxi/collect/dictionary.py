"""Dictionaries as dictd keeps them (`NAME.index`, `NAME.dict.dz`): words with translations or definitions.

Debian's `dict-*` packages carry them. A line of the index is a headword, an offset and a length, both in
base 64; the entries are one gzip file. `bilingual` knows how FreeDict writes entries, `definitions` the
English dictionaries.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, cast

from lingxi.collect import bilingual, definitions
from lingxi.collect.bounded import files_below
from lingxi.collect.instructions import DEFINITION, NAMED, PARALLEL, SATIRE, TRANSLATION
from lingxi.collect.origin import Origin, code_of, pair, unless_refused
from lingxi.errors import InputError
from lingxi.languages import main_script, normalise, script
from lingxi.lines import numbered_lines
from lingxi.records import Pair, Task, digest, passage

Span = tuple[int, int]
Entries = Callable[[str], Iterator[definitions.Found]]

_DIGITS = {
    sign: value
    for value, sign in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
}
_PAIR = re.compile(r"(?:^|-)([a-z]{3})-([a-z]{3})$")
_ABOUT_ITSELF = re.compile(r"00-?database")
# Larger than any dictionary, and than any entry of one, when unpacked.
_MOST_BYTES, _MOST_ENTRY = 2**30, 2**18
# A dictionary is read in so many rounds, every such entry in one, so that a cap leaves words of all letters.
_ROUNDS = 16
# So many entries tell in which script a language is written.
_LOOKED_AT = 200
# Words and sentences are too short for more; WordNet gives some verbs fifty meanings.
_MOST_ANSWERS = 8
# Task, instruction, and which of the two languages query and answer are in.
_KINDS: dict[str, tuple[Task, str, tuple[int, int]]] = {
    # As parallel text, a word or two would be refused by `curate`.
    "translation": ("retrieval", TRANSLATION, (0, 1)),
    "sentence": ("bitext", PARALLEL, (0, 1)),
    "definition": ("retrieval", DEFINITION, (0, 0)),
    "satire": ("retrieval", SATIRE, (0, 0)),
    "name": ("retrieval", NAMED, (0, 0)),
}


def read_dictionary(folder: Path, origin: Origin) -> Iterator[Pair]:
    """Stream the pairs of every dictionary below a folder, or of the one whose `.index` is given itself.

    Raises InputError where a dictionary that is given itself cannot be read, or does not say its language.
    """
    if folder.is_file():
        yield from _dictionary(folder, origin)
        return
    for place, path in files_below(folder):
        if path.suffix == ".index":
            yield from unless_refused(_dictionary(path, origin), origin, place)


def _dictionary(index: Path, origin: Origin) -> Iterator[Pair]:
    places = spans(index)
    found, codes = _layout(index, places, origin)
    for text in _entries(index, places):
        for item in found(text):
            yield _pair(item, codes, origin)


def _layout(index: Path, places: list[Span], origin: Origin) -> tuple[Entries, tuple[str, str]]:
    """How the entries are written, and in which languages: by the name, `freedict-swh-eng` or `wn`."""
    if named := _PAIR.search(index.stem):
        entries = list(islice(_entries(index, places), _LOOKED_AT))
        sides = bilingual.sides(entries)
        codes = (_written(code, side) for code, side in zip(named.groups(), sides, strict=True))
        return bilingual.layout(about(index)), cast(tuple[str, str], tuple(codes))
    if index.stem in definitions.LAYOUTS:
        return definitions.LAYOUTS[index.stem], ("en", "en")
    known = ", ".join(definitions.LAYOUTS)
    raise InputError(
        f"{index} is no dictionary known here ({known}), nor one between two languages",
        "name it after its languages, as in `my-swh-eng.index`, if it is written as FreeDict's are",
    )


def _written(stated: str, text: str) -> str:
    """Our code of a language, with its script where that is not the usual one: Sorani in Latin letters."""
    code, seen = code_of(stated), main_script(text)
    # Kanji alone may be any language's that uses them.
    if script(code) in (None, seen, "Hani", "Jpan") or seen is None:
        return code
    return normalise(f"{code}-{seen.lower()}")


def spans(index: Path) -> list[Span]:
    """Offset and length of every entry, each once, in the order of the file; what says of itself is none.

    Raises InputError for an index with a line that is none.
    """
    found: set[Span] = set()
    for number, line in numbered_lines(index):
        word, *numbers = line.split("\t")
        # A fourth column holds the word as it was before it was folded.
        if len(numbers) not in (2, 3):
            raise InputError(f"{index}:{number} is no line of a dictd index", "check that it is whole")
        if not _ABOUT_ITSELF.match(word):
            found.add((_number(numbers[0], index, number), _number(numbers[1], index, number)))
    return sorted(found)


def _number(digits: str, index: Path, line: int) -> int:
    """A number in base 64, the largest digit first."""
    value = 0
    for sign in digits[:8]:
        if sign not in _DIGITS:
            raise InputError(
                f"{index}:{line} has no number in base 64 ({digits!r})", "check that it is whole"
            )
        value = value * 64 + _DIGITS[sign]
    return value


def about(index: Path) -> str:
    """What a dictionary says of itself where it begins: title, makers, sources."""
    with _opened(index) as file:
        return file.read(2**14).decode("utf-8", "replace")


def _entries(index: Path, places: list[Span]) -> Iterator[str]:
    """The texts of the entries, in rounds through the file; those that are cut, or no UTF-8, are left out."""
    try:
        for start in range(_ROUNDS):
            with _opened(index) as file:
                yield from _round(file, places[start::_ROUNDS])
    except (OSError, EOFError, zlib.error) as problem:
        raise InputError(
            f"the entries of {index} cannot be read ({problem})", "download it again"
        ) from problem


def _round(file: IO[bytes], places: list[Span]) -> Iterator[str]:
    for offset, length in places:
        # Going back would unpack all from the beginning.
        if length > _MOST_ENTRY or offset + length > _MOST_BYTES or offset < file.tell():
            continue
        file.seek(offset)
        data = file.read(length)
        if len(data) == length and (text := _decoded(data)):
            yield text


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _opened(index: Path) -> IO[bytes]:
    """The entries beside an index, packed or plain; raises InputError where there are none."""
    packed, plain = index.with_suffix(".dict.dz"), index.with_suffix(".dict")
    if packed.is_file() and not packed.is_symlink():
        return cast(IO[bytes], gzip.open(packed))
    if plain.is_file() and not plain.is_symlink():
        return plain.open("rb")
    raise InputError(f"no {packed.name} or {plain.name} beside {index}", "put the entries beside the index")


def _pair(found: definitions.Found, codes: tuple[str, str], origin: Origin) -> Pair:
    task, instruction, sides = _KINDS[found.kind]
    both = (codes[sides[0]], codes[sides[1]])
    # A sentence may stand under several words, and a word is one group in all its meanings.
    group = f"{origin.source}:{digest(found.query) if found.kind == 'sentence' else found.word}"
    key = digest(group, found.kind, found.query, *found.answers)
    row = pair(
        origin, key, group, found.query, found.answers[0], task=task, instruction=instruction, languages=both
    )
    return replace(row, positives=tuple(map(passage, found.answers[:_MOST_ANSWERS])))
