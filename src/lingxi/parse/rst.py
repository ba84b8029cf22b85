"""reStructuredText as Markdown: headings with `#`, code in fences, roles and directives taken off."""

from __future__ import annotations

import re

from lingxi.parse.headings import sections

_OVERLINE = re.compile(r"(?:\A|\n)([=\-~^\"'`#*+.:_])\1{2,}[ \t]*\n?\Z")
# A title between two lines may stand in from them.
_INSET = re.compile(r"^(([=\-~^\"'`#*+.:_])\2{2,}[ \t]*\n)[ \t]+(\S[^\n]*\n)(?=\2{3,}[ \t]*$)", re.M)
_CODE = re.compile(
    r"^\.\. (?:code-block|code|sourcecode|parsed-literal)::[ \t]*(\S*)[^\n]*\n"
    r"(?:[ \t]+:[\w-]+:[^\n]*\n)*\s*\n((?:[ \t]+[^\n]*\n?|[ \t]*\n)+)",
    re.M,
)
_DIRECTIVE = re.compile(
    r"^[ \t]*\.\. (?:_[^\n]*:|\|[^\n]*|\[[^\n]*|[\w-]+(?::[\w-]+)?::)(?:[ \t][^\n]*)?"
    r"(?:\n[ \t]+:[\w-]+:[^\n]*)*$",
    re.M,
)
# Bounded, so that marks without an end cost no more than their number.
_ROLE = re.compile(r":[\w:+.-]{1,80}:`[~!]?([^`<]{0,400}?)\s{0,20}(?:<[^`]{0,400}>)?`")
_LINK = re.compile(r"`([^`<]{1,400}?)\s{0,20}<([^`>\s]{1,2000})>`__?")
_NAMED_LINK = re.compile(r"`([^`]+)`__?(?!\w)")
_LITERAL = re.compile(r"``([^`]+)``")
_COLONS = re.compile(r"::[ \t]*$", re.M)


def rst_as_markdown(text: str) -> str:
    """The text with Markdown's headings, fences and links."""
    parts = []
    text = _INSET.sub(r"\1\3", text)
    for section in sections(text, "rst"):
        path = section.title.split(" > ")
        if section.title:
            parts.append(f"{'#' * min(len(path), 6)} {_inline(path[-1])}")
        parts.append(_blocks(_OVERLINE.sub("\n", text[section.body : section.end])))
    return re.sub(r"\n{3,}", "\n\n", "\n\n".join(part for part in parts if part.strip())).strip()


def _blocks(body: str) -> str:
    """The blocks of a section; what stands in a fence is left as it is."""
    fences: list[str] = []

    def fence(found: re.Match[str]) -> str:
        lines = found[2].rstrip().splitlines()
        margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        fences.append("\n".join([f"```{found[1]}", *(line[margin:] for line in lines), "```"]))
        return f"\0{len(fences) - 1}\0\n\n"

    said = _inline(_COLONS.sub(":", _DIRECTIVE.sub("", _CODE.sub(fence, body.replace("\0", " ")))))
    return re.sub(r"\0(\d+)\0", lambda found: fences[int(found[1])], said).strip("\n")


def _inline(text: str) -> str:
    text = _LINK.sub(r"[\1](\2)", _ROLE.sub(r"\1", text))
    return _LITERAL.sub(r"`\1`", re.sub(r"(?<!`)" + _NAMED_LINK.pattern, r"\1", text))
