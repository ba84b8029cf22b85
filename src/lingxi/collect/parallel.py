"""Parallel text of one's own: TMX, gettext catalogs, and tables whose columns are languages."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

from lingxi.collect import gettext
from lingxi.collect.bounded import files_below, refuse_entities_of
from lingxi.collect.origin import Origin, code_of, translation, unless_refused
from lingxi.errors import InputError
from lingxi.lines import MOST_LINE, numbered_lines
from lingxi.records import Pair

_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_CODE = re.compile(r"[a-z]{2,3}(-[a-z]+)*")


def read_parallel(path: Path, origin: Origin) -> Iterator[Pair]:
    """Stream the pairs of a file, or of every file of a folder, by its kind: .tmx, .tsv or .csv, .po or .mo.

    Raises InputError for a file that is not what it says, declares XML entities, or names no languages.
    """
    if path.is_dir():
        for place, inner in files_below(path):
            if inner.suffix in _READ:
                yield from unless_refused(_units(inner, place, origin), origin, inner)
        yield from gettext.read_catalogs(path, origin)
    elif path.suffix in gettext.CATALOGS:
        yield from gettext.read_catalogs(path, origin)
    elif path.suffix in _READ:
        yield from _units(path, path.name, origin)
    else:
        raise InputError(f"{path} is no .tmx, .tsv, .csv, .po, .mo or folder", "convert it, or leave it out")


def _units(path: Path, place: str, origin: Origin) -> Iterator[Pair]:
    for number, texts in enumerate(_READ[path.suffix](path)):
        yield from _pairs(f"{origin.source}:{place}#{number}", texts, origin)


def _tmx(path: Path) -> Iterator[dict[str, str]]:
    refuse_entities_of(path)
    try:
        body = None
        for event, element in ElementTree.iterparse(path, events=("start", "end")):
            if event == "start":
                body = element if element.tag == "body" else body
            elif element.tag == "tu":
                yield dict(_variant(unit) for unit in element.iter("tuv"))
                if body is not None:
                    # The units that were read: without this the whole file would stay in memory.
                    body.clear()
    except ElementTree.ParseError as problem:
        raise InputError(f"{path} is no well-formed TMX ({problem})", "export it again") from problem


def _variant(unit: ElementTree.Element) -> tuple[str, str]:
    segment = unit.find("seg")
    text = "" if segment is None else "".join(segment.itertext())
    return code_of(unit.get(_LANG) or unit.get("lang") or ""), " ".join(text.split())


def _table(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a table whose first line names the languages of its columns."""
    csv.field_size_limit(MOST_LINE)
    lines = (f"{line}\n" for _, line in numbered_lines(path))
    tabs = path.suffix == ".tsv"
    rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines)
    try:
        codes = [code_of(name) for name in next(rows, [])]
        if len(codes) < 2 or not all(_CODE.fullmatch(code) for code in codes):
            raise InputError(
                f"{path}: the first line names no languages", "begin with a line such as `sw<TAB>en`"
            )
        for row in rows:
            yield {code: text.strip() for code, text in zip(codes, row, strict=False)}
    except csv.Error as problem:
        raise InputError(f"{path}:{rows.line_num} is no table ({problem})", "write it again") from problem


_READ: Mapping[str, Callable[[Path], Iterator[dict[str, str]]]] = {
    ".tmx": _tmx,
    ".tsv": _table,
    ".csv": _table,
}


def _pairs(group: str, texts: dict[str, str], origin: Origin) -> Iterator[Pair]:
    """Every other language against English where there is English, else against the first language."""
    known = {code: text for code, text in texts.items() if code and text}
    target = "en" if "en" in known else next(iter(known), "")
    for code, text in known.items():
        if code != target:
            yield translation(origin, group, code, text, known[target], target)
