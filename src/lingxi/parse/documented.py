"""Functions with what their authors say of them: the summary of a doc comment, and the code without it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from lingxi.parse.code import Definition, definitions, parser_of

# How comments begin: a `#` is one in some languages, and in others an attribute, a directive or a heading.
_SLASHES = r"/\*.*?\*/|//[^\n]*"
_COMMENTS = {"python": "", "ruby": r"#[^\n]*|=begin\b.*?^=end\b", "bash": r"#(?!!)[^\n]*",
             "sql": r"--[^\n]*|/\*.*?\*/", "php": rf"{_SLASHES}|#(?!\[)[^\n]*"}  # fmt: skip
_SHEBANG = re.compile(r"\A#![^\n]*\n")
_STARRED = r"^[ \t]*(?:/\*\*?!?|\*/|\*)[ \t]?|\*/[ \t]*$"
_MARKS = {
    "python": re.compile(r"(?!)"),
    "ruby": re.compile(r"^[ \t]*#+[ \t]?|^=(?:begin|end)\b[^\n]*", re.M),
    "bash": re.compile(r"^[ \t]*#+[ \t]?", re.M),
    "sql": re.compile(rf"^[ \t]*--+[ \t]?|{_STARRED}", re.M),
    "php": re.compile(rf"^[ \t]*(?:#+|///?!?)[ \t]?|{_STARRED}", re.M),
}
_OTHER_MARKS = re.compile(rf"^[ \t]*///?!?[ \t]?|{_STARRED}", re.M)
# Where a summary ends: a blank line, a tag, a heading of a section, a doctest.
_END = re.compile(
    r"\n[ \t]*\n|^[ \t]*(?:@\w|:\w+[^:\n]*:|\\\w+|#+ |>>>|-{3,}|={3,}"
    r"|(?:Args|Arguments|Parameters|Params|Returns?|Raises|Throws|Yields|Examples?|Notes?|Usage)\b"
    r"[ \t]*:?[ \t]*$)",
    re.M,
)
_WITH_DOCSTRING = ("function_definition", "class_definition")
_INLINE_TAG = re.compile(r"\{@\w+\s+([^{}]*)\}")
_REFERENCE = re.compile(r":\w+:`~?([^`]*)`")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_LINK = re.compile(r"\[`?([^\[\]`]+)`?\](?:\([^()]*\))?")


# What stands for the name of a masked function.
MASK = "function_name"


@dataclass(frozen=True, slots=True)
class Documented:
    """A definition `name`: `summary` is one line of its doc comment, `code` the definition without it.

    `members` says that it is a class or type with definitions of its own inside.
    """

    name: str
    summary: str
    code: str
    members: bool = False


def documented(text: str, language: str, types: bool = False) -> Iterator[Documented]:
    """The innermost definitions of a source text that have a doc comment with a summary, in order.

    With `types`, classes and types with members too, each before its members.
    """
    for found in _each(definitions(text, language), types):
        comment, code = _split(text[found.start : found.end], language)
        summary = summary_of(comment, language)
        if summary and code.strip():
            yield Documented(found.name, summary, code, bool(found.members))


def summary_of(comment: str, language: str) -> str:
    """The first paragraph of a doc comment as one line, its marks, tags and markup taken off."""
    said = _MARKS.get(language, _OTHER_MARKS).sub("", comment).strip("\"' \t\n")
    end = _END.search(said)
    said = said[: end.start()] if end else said
    said = _INLINE_TAG.sub(_last_word, said)
    said = _LINK.sub(r"\1", _REFERENCE.sub(r"\1", html.unescape(_TAG.sub(" ", said))))
    return " ".join(said.replace("`", "").split())


def _last_word(tag: re.Match[str]) -> str:
    """What a tag such as `{@link List#add the add}` shows: its label, or the last part of its name."""
    words = tag[1].replace("#", " ").split()
    return words[-1] if words else ""


def masked(function: Documented) -> str:
    """The code with the function's own name masked wherever it stands as a word."""
    return re.sub(rf"(?<![\w$]){re.escape(function.name)}(?![\w$])", MASK, function.code)


def _each(found: tuple[Definition, ...], types: bool) -> Iterator[Definition]:
    for definition in found:
        if types or not definition.members:
            yield definition
        yield from _each(definition.members, types)


def _split(text: str, language: str) -> tuple[str, str]:
    """The doc comment of a definition, and the definition without it."""
    if language == "python":
        return _split_docstring(text)
    text = _SHEBANG.sub("", text) if language == "bash" else text
    found = _leading(language).match(text)
    return (found[0], text[found.end() :]) if found else ("", text)


@cache
def _leading(language: str) -> re.Pattern[str]:
    """The comments that a definition begins with."""
    return re.compile(rf"\A(?:\s*(?:{_COMMENTS.get(language, _SLASHES)})(?:\n|\Z)?)+", re.S | re.M)


def _split_docstring(text: str) -> tuple[str, str]:
    """The docstring of the outermost definition, where it has one."""
    data = text.encode("utf-8")
    stack = [parser_of("python").parse(data).root_node]
    while stack:
        node = stack.pop()
        body = node.child_by_field_name("body") if node.type in _WITH_DOCSTRING else None
        if body is None:
            stack += reversed(node.named_children)
            continue
        first = body.named_children[0] if body.named_children else None
        string = first.named_children[0] if first is not None and first.named_children else None
        if first is None or first.type != "expression_statement" or string is None or string.type != "string":
            return "", text
        before, after = data[: first.start_byte].decode(), data[first.end_byte :].decode()
        said = re.sub(r'\A[rRbBuUfF]*("""|\'\'\'|"|\')|("""|\'\'\'|"|\')\Z', "", string.text.decode())
        return said, before.rstrip(" \t").rstrip("\n") + "\n" + after.lstrip("\n")
    return "", text
