"""Sections of Markdown and reStructuredText: a heading and what stands below it, up to the next heading."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HOLLOW = """
references, bibliography, notes, footnotes, external links, see also, further reading, table of contents,
einzelnachweise, weblinks, anmerkungen, siehe auch, références, bibliographie, voir aussi, liens externes,
referencias, bibliografía, enlaces externos, véase también, referências, bibliografia, referenties,
примечания, ссылки, см. также, примітки, посилання, przypisy, 참고문헌, 각주, 参考文献, 参考资料, 外部链接,
相关条目, 脚注, 関連項目, 外部リンク, المراجع, مراجع, منابع,
author, authors, copyright, reporting bugs, colophon, autor, autoren, autores, auteur, auteurs, autore,
autori, forfatter, forfattere, autorzy, автор, авторы, 作者, 著者, 저자, ver también, ver também,
vedere anche, zobacz także, viz také, se også, смотрите также, 另见, 另見, 参照, signaler des bogues,
fehler melden, informe de errores, zgłaszanie błędów, сообщения об ошибках, 報告臭蟲, バグの報告
"""
HOLLOW = frozenset(name.strip() for name in _HOLLOW.split(","))
"""Headings, in one case, of sections that every page has, in no page's words."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_HASHES = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??[ \t]*#*[ \t]*$")
# Both marks may underline a heading in Markdown, any of these in reStructuredText.
_UNDERLINES = {
    "markdown": re.compile(r" {0,3}(=+|-{2,})[ \t]*$"),
    "rst": re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}[ \t]*$"),
}


@dataclass(frozen=True, slots=True)
class Section:
    """`text[start:end]`; `title` is the path of headings, outermost first, joined by ` > `.

    `body` is where the text below the heading begins (`start` for text before the first heading).
    """

    title: str
    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class _Heading:
    level: int
    name: str
    start: int
    body: int


def sections(text: str, kind: str = "markdown") -> list[Section]:
    """Sections of a text of kind `markdown` or `rst`, in order, together the whole text.

    `#` lines inside fenced code and front matter between `---` lines are not headings.
    """
    found = _headings(text, kind)
    first = found[0].start if found else len(text)
    out = [Section("", 0, 0, first)] if first else []
    path: list[_Heading] = []
    for index, heading in enumerate(found):
        path = [*(h for h in path if h.level < heading.level), heading]
        end = found[index + 1].start if index + 1 < len(found) else len(text)
        out.append(Section(" > ".join(h.name for h in path if h.name), heading.start, heading.body, end))
    return out


def _headings(text: str, kind: str) -> list[_Heading]:
    found: list[_Heading] = []
    fence = ""
    styles: list[str] = []
    previous = before = ""
    start = after = _front_matter(text)
    for line in text[after:].splitlines(keepends=True):
        bare, here, start = line.rstrip("\r\n"), start, start + len(line)
        fence, inside = _fenced(bare, fence)
        if inside or (kind == "rst" and bare[:1].isspace()):
            previous = ""
            continue
        if kind == "markdown" and (match := _HASHES.match(bare)):
            found.append(_Heading(len(match[1]), (match[2] or "").strip(), here, start))
        elif (
            previous.strip()
            and (match := _UNDERLINES[kind].match(bare))
            and _long_enough(bare, previous, kind)
        ):
            level = _level(match[1][0], styles, kind)
            found.append(_Heading(level, previous.strip(), here - len(before), start))
        previous, before = ("" if _starts_no_heading(bare, kind) else bare), line
    return found


def _fenced(line: str, fence: str) -> tuple[str, bool]:
    """The fence that is open after this line, and whether the line belongs to fenced code."""
    match = _FENCE.match(line)
    if not fence:
        return (match[1], True) if match and "`" not in match[2] else ("", False)
    closes = match is not None and match[1].startswith(fence) and not match[2].strip()
    return ("" if closes else fence), True


def _front_matter(text: str) -> int:
    match = re.match(r"---[ \t]*\r?\n.*?^---[ \t]*\r?$\n?", text, re.S | re.M)
    return match.end() if match else 0


def _starts_no_heading(line: str, kind: str) -> bool:
    """A list item, quotation, table row, heading or rule: a line of dashes below it underlines nothing."""
    if kind == "rst":
        return _UNDERLINES["rst"].match(line) is not None
    return re.match(r" {0,3}(?:[-*+>|#]|\d+[.)])|\t| {4}", line) is not None


def _long_enough(underline: str, title: str, kind: str) -> bool:
    # reStructuredText asks for it; wide characters take two columns, so half is enough.
    return kind == "markdown" or len(underline.strip()) * 2 >= len(title.strip())


def _level(mark: str, styles: list[str], kind: str) -> int:
    """Markdown: `=` is 1 and `-` is 2. reStructuredText: marks nest in the order they first appear."""
    if kind == "markdown":
        return 1 if mark == "=" else 2
    if mark not in styles:
        styles.append(mark)
    return styles.index(mark) + 1
