"""Recordings with what is said in them: rows of modality "audio", `media` the address of the recording.

Read are Tux Paint's spoken captions, KTuberling's words, the acted dialogues of Fish Fillets (speech in
Czech and Dutch, text in eleven languages) and any folder of sound with texts beside it. `title` names the
speaker as far as the package tells one from another: splits by speaker go by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lingxi.collect.origin import Origin, code_of
from lingxi.collect.pictures import stamp_captions
from lingxi.records import Document, digest

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
_STAMP = re.compile(r"^(.+)_desc(?:_([A-Za-z@_]+))?$")
_SOUND = re.compile(r'<sound\s+name="([^"]+)"\s+file="([^"]+)"')
_SAID = re.compile(
    r'dialogId\("([^"]+)",\s*"([^"]+)",\s*"((?:[^"\\]|\\.)*)"\)(?:\s*dialogStr\("((?:[^"\\]|\\.)*)"\))?'
)


def spoken(
    origin: Origin, recording: Path, root: Path, text: str, *, language: str, speaker: str, group: str
) -> Document:
    """One recording and a text of what it says; `language` is the text's, `group` what splits never cut."""
    return Document(
        id=digest(origin.source, recording.relative_to(root).as_posix(), language, text),
        text=text,
        title=speaker,
        language=language,
        source=origin.source,
        licence=origin.licence,
        uri=group,
        modality="audio",
        media=str(recording),
    )


def read_stamp_speech(root: Path, origin: Origin) -> Iterator[Document]:
    """Spoken captions of Tux Paint's stamps: one speaker a language, as far as the package tells."""
    for path in sorted(root.rglob("*_desc*.ogg")):
        named = _STAMP.match(path.stem)
        text = path.with_name(f"{named[1]}.txt") if named else None
        if named is None or text is None or not text.is_file():
            origin.left_out.append(f"{path}: no text beside it")
            continue
        language = code_of(named[2] or "en")
        caption = stamp_captions(text).get(language)
        if caption is None:
            origin.left_out.append(f"{path}: no caption in {language}")
            continue
        group = text.with_suffix("").relative_to(root).as_posix()
        yield spoken(
            origin, path, root, caption, language=language, speaker=f"stamps-{language}", group=group
        )


def read_words(root: Path, origin: Origin) -> Iterator[Document]:
    """KTuberling's words: each recording with the English name of the thing it says."""
    for theme in sorted(root.rglob("*.soundtheme")):
        for name, file in _SOUND.findall(theme.read_text("utf-8", "replace")):
            path = theme.parent / file
            if not path.is_file():
                origin.left_out.append(f"{theme.name}: {file} is missing")
                continue
            # The first part is the theme's: `egypt_camel`, `potato_ear`; a name alone is the thing.
            words = re.sub(r"\d+$", "", name).replace("_", " ").replace("-", " ").strip()
            speaker = f"ktuberling-{theme.stem}"
            yield spoken(origin, path, root, words, language="en", speaker=speaker, group=name)


def read_dialogues(roots: dict[str, Path], scripts: Path, origin: Origin) -> Iterator[Document]:
    """Fish Fillets' lines: each recording of language `xx` below `roots[xx]`, its text in all languages."""
    texts: dict[str, dict[str, tuple[str, str]]] = {}
    for path in sorted(scripts.rglob("dialogs_*.lua")):
        language = code_of(path.stem.removeprefix("dialogs_"))
        for key, voice, english, own in _SAID.findall(path.read_text("utf-8", "replace")):
            told = own if language != "en" else english
            if told.strip():
                texts.setdefault(key, {}).setdefault(language, (voice, told.replace('\\"', '"')))
    for language, root in roots.items():
        for path in sorted(root.rglob(f"{language}/*.ogg")):
            for other, (voice, told) in texts.get(path.stem, {}).items():
                speaker = f"fillets-{language}-{voice}"
                yield spoken(origin, path, root, told, language=other, speaker=speaker, group=path.stem)


def read_folder(root: Path, origin: Origin) -> Iterator[Document]:
    """Every recording below a folder, with the text file of its name, else that name, as its text."""
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            beside = path.with_suffix(".txt")
            said = beside.read_text("utf-8", "replace").strip() if beside.is_file() else ""
            text = said or re.sub(r"[_\-\s]+", " ", path.stem).strip()
            place = path.relative_to(root).as_posix()
            yield spoken(origin, path, root, text, language=origin.language or "und", speaker="", group=place)
