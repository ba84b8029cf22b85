"""Translation pairs from gettext catalogs (`…/LC_MESSAGES/*.mo`, `*.po`): what programs say, in many tongues.

Accelerators (`_File`, `~File`, `&File`) and markup are taken off both sides; a message with a placeholder
keeps it, and `curate` drops it with that reason. One message in all languages is one group.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from lingxi import languages
from lingxi.collect.origin import Origin, code_of, translation, unless_refused
from lingxi.errors import InputError, MissingExtraError
from lingxi.records import Pair, digest

LEFT_OUT = languages.CONSTRUCTED
CATALOGS = (".mo", ".po")
# Larger catalogs than any program has; a file that claims more is no catalog.
_MOST_BYTES = 64 * 2**20

_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_ACCELERATOR = re.compile(r"\([_&~]\w\)|(?<![\w&])[_~&](?=\w)")
# Inside a word only where the message has one of them: `Sa_ve`, not `snake_case_name`.
_INNER = re.compile(r"\A([^_]*\w)_(\w[^_]*)\Z|\A([^~]*\w)~(\w[^~]*)\Z", re.S)
_CONTEXT = re.compile(r"\A[\w ]+\|(?=\S)|\A\?:")
_SPACE = re.compile(r"\s+")


def read_catalogs(folder: Path, origin: Origin) -> Iterator[Pair]:
    """Stream X → English pairs of every catalog below a folder, in path order, without unreadable ones.

    Raises InputError for a catalog that is given itself and names no language, or is too large.
    """
    given = folder.is_file()
    for path in [folder] if given else sorted(p for p in folder.rglob("*") if p.suffix in CATALOGS):
        code = language_of(path)
        if code is None or path.is_symlink() or path.stat().st_size > _MOST_BYTES:
            if given:
                raise InputError(f"{path} names no language, or is too large", "name it so, as sw.po")
            continue
        rows = _catalog(path, f"{origin.source}:{_domain(path, folder)}", code, origin)
        yield from rows if given else unless_refused(rows, origin, path)


def _catalog(path: Path, domain: str, code: str, origin: Origin) -> Iterator[Pair]:
    for context, english, text in messages(path):
        yield translation(origin, f"{domain}#{digest(context, english)}", code, text, english)


def _domain(path: Path, folder: Path) -> str:
    """What the catalogs of all languages share: a program's name, or the folder of `de.po` and `sw.po`."""
    if path.parent.name == "LC_MESSAGES":
        return path.stem
    return "" if path == folder else path.parent.relative_to(folder).as_posix()


def language_of(path: Path) -> str | None:
    """Our code of a catalog's language: the folder above LC_MESSAGES, or a `.po` file's own name."""
    named = path.parent.parent.name if path.parent.name == "LC_MESSAGES" else path.stem
    if not re.fullmatch(r"[A-Za-z]{2,3}([_@.-]\w+)*", named):
        return None
    code = code_of(named)
    return None if code.split("-")[0] in {"en", *LEFT_OUT} else code


def messages(path: Path) -> Iterator[tuple[str, str, str]]:
    """Context, English and translation of each translated message of a catalog, cleaned."""
    try:
        import polib
    except ImportError:
        raise MissingExtraError("polib", "collect", "reading gettext catalogs") from None
    try:
        catalog = polib.mofile(str(path)) if path.suffix == ".mo" else polib.pofile(str(path))
    except (OSError, ValueError, UnicodeError):
        return
    for entry in catalog:
        if not entry.msgid or entry.obsolete or "fuzzy" in entry.flags:
            continue
        text = entry.msgstr or (entry.msgstr_plural or {}).get(0, "")
        english, said = clean(entry.msgid), clean(text)
        if english and said:
            yield entry.msgctxt or "", english, said


def clean(text: str) -> str:
    """One line of plain text from a message: markup and accelerators removed."""
    text = html.unescape(_TAG.sub(" ", _CONTEXT.sub("", text)))
    text = _INNER.sub(lambda found: "".join(part or "" for part in found.groups()), text)
    return _SPACE.sub(" ", _ACCELERATOR.sub("", text)).strip()
