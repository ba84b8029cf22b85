"""Whether an SVG is a picture and no more: no script, no handler, nothing fetched from elsewhere.

For collectors that render drawings with a renderer of their own; what is refused is refused by name. The
check reads the file as a stream of elements, and knows no entities, so it cannot be made to grow.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from lingxi.errors import InputError

_ACTIVE = frozenset(
    {"script", "foreignobject", "iframe", "embed", "object", "audio", "video", "handler", "set"}
)
_REFERENCES = ("href", "src", "data", "action", "from", "to", "values")
# Within the file itself, or a picture held in the file.
_INSIDE = re.compile(r"\s*(#|data:image/(png|jpeg|gif|webp);base64,)", re.IGNORECASE)
_STYLE = re.compile(r"@import|expression\s*\(|javascript:|url\(\s*['\"]?\s*(?!['\"]?\s*#)", re.IGNORECASE)
_ANOTHER = "use a drawing without it"


def checked_drawing(data: bytes, where: str, most_bytes: int = 4 << 20) -> bytes:
    """An SVG's bytes, unchanged; raises InputError where it is none, is larger, or does more than draw."""
    if len(data) > most_bytes:
        raise InputError(f"{where}: more than {most_bytes:,} bytes", "send a smaller file")
    reader = _Reader(where)
    parser = expat.ParserCreate()
    parser.buffer_text = True  # a style in pieces would hide what it says
    parser.StartElementHandler = reader.element
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = reader.entity
    parser.ProcessingInstructionHandler = reader.instruction
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InputError(f"{where}: not an SVG ({error})", "send the file whole") from None
    return data


class _Reader:
    def __init__(self, where: str) -> None:
        self._where = where
        self._root = True

    def element(self, name: str, attributes: dict[str, str]) -> None:
        kind = name.rpartition(":")[2].lower()
        if self._root and kind != "svg":
            raise InputError(f"{self._where}: the root is <{name}>, not <svg>", "send an SVG")
        self._root = False
        if kind in _ACTIVE:
            raise self._refused(f"a <{kind}>")
        for key, value in attributes.items():
            self._attribute(key.rpartition(":")[2].lower(), value)

    def _attribute(self, key: str, value: str) -> None:
        if key.startswith("on"):
            raise self._refused(f"the handler {key}")
        if key in ("href", "src") and value.strip() and not _INSIDE.match(value):
            raise self._refused(f"a reference to {value[:40]!r}")
        if key in _REFERENCES and "javascript:" in value.lower():
            raise self._refused("javascript:")
        self.text(value)

    def text(self, value: str) -> None:
        if _STYLE.search(value):
            raise self._refused("a style that refers elsewhere")

    def entity(self, name: str, *_: object) -> None:
        raise self._refused(f"the entity {name}")

    def instruction(self, target: str, _: str) -> None:
        raise self._refused(f"the instruction {target}")

    def _refused(self, what: str) -> InputError:
        return InputError(f"{self._where}: the SVG holds {what}", _ANOTHER)
