"""Manual pages as Markdown: the macros of man(7), the common ones of mdoc(7); nothing is run or included."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field


def _table(text: str) -> dict[str, str]:
    """The pairs of `name:said name:said …`."""
    return dict(entry.split(":", 1) for entry in text.split())


_MARK = re.compile(r"\s*\.?\s*\.(TH|Dt|Dd|SH|Sh)\b|^\.\\\"|^'\\\"", re.M)
_SPECIAL = _table(
    """
    aq:' Aq:' dq:" oq:‘ cq:’ lq:“ rq:” em:— en:– hy:- bu:• co:© rg:® tm:™ ti:~ ha:^ ga:` rs:\\ bs:\\ mi:-
    ->:→ <-:← <=:≤ >=:≥ !=:≠ mu:× de:° lB:[ rB:] lC:{ rC:} at:@ sh:# Do:$ or:| Fo:« Fc:» ss:ß R:® Tm:™
    """
)
_ACCENTS = {"'": "\u0301", "`": "\u0300", ":": "\u0308", "^": "\u0302", "~": "\u0303", ",": "\u0327"}
# Fonts, sizes, colours, motions, widths and registers say nothing to a reader of plain text.
_SILENT = re.compile(
    r"""\\(?:f(?:\[[^\]]*\]|\(..|.)|s(?:\[[^\]]*\]|[-+]?\d{1,2})|[mMFnkYV](?:\[[^\]]*\]|\(..|.)"""
    r"""|[hvwDlLbxoNSHRZAX]'[^']*'|[&/,:%{}|^adruzc!?)])"""
)
_NAMED = re.compile(r"\\(?:\[([^\]\s]+)\]|\((..)|\*(?:\[([^\]]+)\]|\((..)|(.)))")
_COMMENT = re.compile(r"(?<!\\)(?:\\\\)*\\[\"#].*$")
_FONTS = frozenset(["B", "I", "BR", "RB", "IR", "RI", "BI", "IB", "SM", "SB"])
_BREAKS = frozenset(["PP", "P", "LP", "sp", "HP", "Pp", "El", "Lp"])
_SKIPPED = re.compile(r"\.\s*(de1?|am1?|ig|TS|PS|EQ)\b")
_ENDS = {"TS": ".TE", "PS": ".PE", "EQ": ".EN"}
# Macros of mdoc that stand around or before what follows on their line.
_BEFORE = _table(
    """
    Cd: Ar: Cm: Nm: Pa: Ev: Li: Sy: Em: Ic: Va: Dv: Er: Fn: Ft: Fa: Vt: Tn: No: An: Lk: Mt:
    Fl:- Ap:' Bx:BSD Ux:UNIX Nx:NetBSD Fx:FreeBSD Ox:OpenBSD
    """
)
_AROUND: Mapping[str, tuple[str, str]] = {
    name: (marks[0], marks[1])
    for name, marks in {"Op": "[]", "Dq": "“”", "Sq": "‘’", "Ql": "‘’", "Pq": "()", "Aq": "<>", "Bq": "[]",
                        "Qq": '""', "Brq": "{}"}.items()
}  # fmt: skip
_CLOSING = re.compile(r"[.,:;)\]?!]+")


def is_roff(text: str) -> bool:
    """Whether a text is the source of a manual page: it begins with a comment of roff, or has a title."""
    return _MARK.search(text[:4000]) is not None


def read_roff(text: str) -> tuple[str | None, str]:
    """The title of a page (its NAME section, as `ls - list files`) and the rest as Markdown.

    A page that only includes another (`.so`) has neither.
    """
    page = _Page()
    waiting = iter(text.splitlines())
    for line in waiting:
        if skipped := _SKIPPED.match(line):
            end = _ENDS.get(skipped[1], "..")
            while "".join(next(waiting, end).split()) != end:
                pass
            continue
        page.take(_COMMENT.sub("", line))
    return page.done()


@dataclass(slots=True)
class _Page:
    """What was read: finished blocks, words of the paragraph being read, the name a page gives itself."""

    blocks: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    name: str = ""
    verbatim: list[str] | None = None
    tag: bool = False

    def take(self, line: str) -> None:
        """Read the next line of the page."""
        if line[:1] in (".", "'"):
            name, _, rest = line[1:].strip().partition(" ")
            self._macro(name, _arguments(rest))
        elif self.verbatim is not None:
            self.verbatim.append(plain(line))
        elif not line.strip():
            self._end()
        else:
            self._say(plain(line))

    def done(self) -> tuple[str | None, str]:
        """The title and the text of the page, after its last line."""
        self._unfence()
        self._end()
        first = next((i for i, block in enumerate(self.blocks) if block.startswith("## ")), None)
        title = None
        if first is not None and first + 1 < len(self.blocks) and not self.blocks[first + 1].startswith("#"):
            # The first section is NAME, in whatever language: one line that says what the page is about.
            title = " ".join(self.blocks[first + 1].split())
            self.blocks = self.blocks[:first] + self.blocks[first + 2 :]
        return title, "\n\n".join(self.blocks)

    def _macro(self, name: str, words: list[str]) -> None:
        if name in ("SH", "Sh", "SS", "Ss"):
            self._unfence()
            self._end()
            if words:
                self.blocks.append(("## " if name[1] in "Hh" else "### ") + " ".join(words))
        elif name in ("nf", "EX", "Bd"):
            self._end()
            self.verbatim = self.verbatim if self.verbatim is not None else []
        elif name in ("fi", "EE", "Ed"):
            self._unfence()
        elif name in ("TP", "TQ", "IP", "It") or name in _BREAKS:
            self._end()
            self._item(name, words)
        else:
            self._inline(name, words)

    def _item(self, name: str, words: list[str]) -> None:
        if name == "TP":
            self.tag = True
        elif name == "IP" and words:
            self.words.append("-" if words[0] in "•-*o" else f"{words[0]}:")
        elif name == "It":
            self.words.append(f"- {_mdoc(words)}".rstrip())

    def _inline(self, name: str, words: list[str]) -> None:
        if name in _FONTS:
            self._say(("" if len(name) == 2 and "S" not in name else " ").join(words))
        elif name == "Nd":
            self._say(f"- {_mdoc(words)}")
        elif name == "Nm":
            self.name = self.name or " ".join(words[:1])
            self._say(_mdoc(words) or self.name)
        elif name in ("UR", "MT"):
            self._say(f"<{words[0]}>" if words else "")
        elif name == "Xr" or name in _BEFORE or name in _AROUND:
            self._say(_mdoc([name, *words]))

    def _say(self, text: str) -> None:
        if self.verbatim is not None:
            self.verbatim.append(text)
        elif text.strip():
            self.words.append(text.strip() + (":" if self.tag else ""))
            self.tag = False

    def _end(self) -> None:
        if self.words:
            self.blocks.append(" ".join(self.words))
            self.words.clear()
        self.tag = False

    def _unfence(self) -> None:
        if self.verbatim and any(line.strip() for line in self.verbatim):
            self.blocks.append("\n".join(["```", *self.verbatim, "```"]))
        self.verbatim = None


def plain(text: str) -> str:
    """A line without roff's escapes."""
    # A backslash that is meant stands aside, so that what follows it is not read as an escape.
    text = text.replace("\\\\", "\0").replace("\\e", "\0").replace("\\-", "-").replace("\\'", "'")
    text = text.replace("\\ ", " ").replace("\\~", " ").replace("\\0", " ").replace("\\`", "`")
    return _NAMED.sub(_special, _SILENT.sub("", text)).replace("\0", "\\").replace("\\.", ".")


def _special(found: re.Match[str]) -> str:
    name = next(part for part in found.groups() if part)
    if re.fullmatch(r"u[0-9A-F]{4,6}", name) and int(name[1:], 16) < 0x110000:
        return chr(int(name[1:], 16)).encode("utf-8", "replace").decode()
    if len(name) == 2 and name[0] in _ACCENTS and name[1].isalpha():
        return unicodedata.normalize("NFC", name[1] + _ACCENTS[name[0]])
    return _SPECIAL.get(name, "")


def _arguments(rest: str) -> list[str]:
    """The arguments of a macro: words, or what stands between quotes."""
    found = re.findall(r'"((?:[^"]|"")*)(?:"|$)|((?:\\ |\S)+)', rest)
    return [plain(quoted.replace('""', '"') or bare) for quoted, bare in found if quoted or bare]


def _mdoc(words: list[str]) -> str:
    """The words of a line of mdoc, macros in it written out."""
    out, opened = "", ""
    glue, place = True, 0
    while place < len(words):
        word, place = words[place], place + 1
        if word == "Xr" and place < len(words):
            section = words[place + 1 : place + 2]
            word = words[place] + (f"({section[0]})" if section and section[0][:1].isdigit() else "")
            place += 1 + ("(" in word)
        elif word == "Ns":
            glue = True
            continue
        elif word in _AROUND:
            out += ("" if glue else " ") + _AROUND[word][0]
            opened, glue = _AROUND[word][1] + opened, True
            continue
        elif word in _BEFORE:
            if _BEFORE[word]:
                out, glue = out + ("" if glue else " ") + _BEFORE[word], word in ("Fl", "Ap")
            continue
        closes = _CLOSING.fullmatch(word) is not None
        out += ("" if glue or closes else " ") + word
        glue = False
    return out + opened
