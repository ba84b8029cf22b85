"""Sources by name: which packages or files, which reader; a package is a piece of work and a part file."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from lingxi.collect import (
    archives,
    articles,
    cldr,
    code,
    dataset,
    descriptions,
    dictionary,
    gettext,
    history,
    mediawiki,
    own,
    pages,
    parallel,
    registries,
    wiki,
)
from lingxi.collect.held_out import refuse_held_out
from lingxi.collect.origin import Origin, code_of, is_of_the_machine, licence_of, name_of
from lingxi.config import Settings
from lingxi.errors import InputError, MissingExtraError
from lingxi.manifest import hash_code, state_of
from lingxi.records import Document, Pair, digest, write_documents, write_pairs

Reader = Literal[
    "gettext", "names", "code", "descriptions", "mediawiki", "parallel", "wiki", "dataset", "history",
    "dictionary", "articles", "pages", "rows",
]  # fmt: skip
READERS: Mapping[str, Callable[[Path, Origin], Iterator[Pair]]] = {
    "gettext": gettext.read_catalogs,
    "names": cldr.read_names,
    "code": code.read_code,
    "descriptions": descriptions.read_descriptions,
    "mediawiki": mediawiki.read_pairs,
    "parallel": parallel.read_parallel,
    "wiki": wiki.read_dump,
    "dataset": dataset.read_dataset,
    "history": history.read_history,
    "dictionary": dictionary.read_dictionary,
}
DOCUMENT_READERS: Mapping[str, Callable[[Path, Origin], Iterator[Document]]] = {
    "articles": articles.read_articles,
    "pages": pages.read_pages,
    "rows": own.read_rows,
}
NOT_STATED = "not stated"
# As many reasons of one piece are reported; the rest is counted.
_MOST_REASONS = 20


# Downloads at a time.
_AT_ONCE = 4


class SourceSettings(Settings):
    """One source: packages of a registry or files of one's own, and the reader that knows them."""

    reader: Reader
    deb: tuple[str, ...] = ()
    """Debian packages by name or shell pattern."""
    source: tuple[str, ...] = ()
    """Debian source packages; their upstream archive is read."""
    npm: tuple[str, ...] = ()
    """Packages of the npm registry, `name` or `name@version`."""
    pypi: tuple[str, ...] = ()
    """Packages of PyPI, `name` or `name==version`."""
    git: tuple[str, ...] = ()
    """Addresses of repositories; their newest commit is read, as it was when they were first fetched."""
    depth: int = Field(default=1, ge=1, le=10_000)
    """How many commits of a repository are fetched: more than one for `history`."""
    paths: tuple[Path, ...] = ()
    """Folders, archives or files of one's own."""
    licence: str = NOT_STATED
    """The licence of packages that do not state one; for one's own (`paths`, `git`) the last word."""
    language: str | None = None
    """The language of texts that do not state theirs; `dataset` asks for it, `wiki` takes it first."""
    languages: tuple[str, ...] = ()
    """For `descriptions`: the languages of the indices."""
    without: tuple[str, ...] = ()
    """Packages that are left out."""
    cap: int | None = Field(default=None, ge=1)
    """Most pairs, or documents, of one package."""
    most_megabytes: float = Field(default=6.0, gt=0)
    """Packages that match a pattern and are larger are left out."""

    @model_validator(mode="after")
    def _checked(self) -> SourceSettings:
        named = sum(
            map(bool, (self.deb, self.source, self.npm, self.pypi, self.git, self.paths, self.languages))
        )
        if named != 1:
            raise ValueError("a source has one of deb, source, npm, pypi, git, paths and languages")
        if self.reader == "history" and self.git and self.depth == 1:
            raise ValueError("the reader history needs more than one commit: set depth, for example to 1000")
        return self


@dataclass(frozen=True, slots=True)
class Piece:
    """One package or file to read, as plain data that travels to another process: its paths are absolute.

    `licensed` says that the licence is the user's word and not the package's.
    """

    reader: str
    source: str
    licence: str
    place: str
    cap: int | None
    out: str
    cache: str
    language: str | None = None
    licensed: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """What came of a piece: its file, how many pairs or documents, or why there is none.

    `left_out` names files or rows of the piece that were refused while the others were read.
    """

    source: str
    path: str
    pairs: int
    refused: str | None = None
    documents: int = 0
    left_out: Sequence[str] = ()


def pieces(
    sources: Sequence[SourceSettings], out: Path, cache: Path, barred: Sequence[str] = ()
) -> Iterator[Piece | Part]:
    """Fetch what the sources name and yield one piece a package, or why it did not come; barred ones never.

    Several sources are fetched at a time; pieces come in the order of the sources.
    Raises InputError where a source as a whole cannot be read, as where apt-get is missing.
    """
    # Workers of a cluster stand in other folders.
    out, cache = out.resolve(), cache.resolve()
    code_hash = hash_code("collect", "parse", "languages", "lines", "tables", "records")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        fetched = pool.map(lambda source: _fetched(source, cache, barred), sources)
    for source, places in zip(sources, fetched, strict=True):
        for name, place in places:
            if isinstance(place, InputError):
                yield Part(name, "", 0, str(place))
                continue
            if not place.exists():
                yield Part(name, "", 0, f"no file or folder at {place}")
                continue
            # A link keeps its name: it may say what kind of file it leads to.
            yield _piece(source, name, place.absolute(), out, cache, code_hash)


def _piece(source: SourceSettings, name: str, place: Path, out: Path, cache: Path, code_hash: str) -> Piece:
    licensed = source.licence != NOT_STATED and bool(source.paths or source.git)
    said = (source.licence, str(licensed), " ".join(source.languages), str(source.language))
    asked = (source.reader, name, str(source.cap), *said)
    key = digest(*asked, str(place.resolve()), own_state(place), code_hash)
    path = str(out / f"{name.replace('/', '_')}-{key}.parquet")
    origin = (source.reader, name, source.licence, str(place))
    return Piece(*origin, source.cap, path, str(cache), source.language, licensed)


def _fetched(
    source: SourceSettings, cache: Path, barred: Sequence[str]
) -> list[tuple[str, Path | InputError]]:
    left_out = {*barred, *source.without}
    return [(name, place) for name, place in _places(source, cache, left_out) if name not in left_out]


def own_state(place: Path) -> str:
    """What changes where a file or folder of one's own does, or the set that a file of judgements is of."""
    return state_of(dataset.set_of(place))


def read_piece(written: str) -> str:
    """Write the part file of a piece (given and answered as JSON) where it is not there yet.

    What is damaged or hostile is refused by name and stops nothing else. Raises MissingExtraError, and
    OSError or MemoryError where disk or memory are full, since all other pieces would fail too.
    """
    piece = Piece(**json.loads(written))
    path = Path(piece.out)
    counted = path.with_suffix(".json")
    if path.exists() and counted.exists():
        return counted.read_text("utf-8")
    try:
        refuse_held_out(piece.source)
        came = _read(piece, path)
    except MissingExtraError:
        raise
    except Exception as problem:
        # Files of strangers break libraries in ways of their own: whatever it is, the rest goes on.
        if is_of_the_machine(problem):
            raise
        said = str(problem) if isinstance(problem, InputError) else f"{piece.place}: {problem!r}"
        return json.dumps(asdict(Part(piece.source, str(path), 0, said)))
    part = json.dumps(asdict(came))
    partial = counted.with_suffix(".json.part")
    partial.write_text(part, "utf-8")
    partial.replace(counted)
    return part


def _read(piece: Piece, path: Path) -> Part:
    with archives.unpacked(Path(piece.place), Path(piece.cache)) as folder:
        if folder != Path(piece.place):
            # The sources of a JDK lie in an archive inside of their package; what was not unpacked by us
            # is somebody's own folder, and is only read.
            for inner in sorted(p for p in folder.rglob("src.zip") if not p.is_symlink()):
                archives.unpack_beside(inner)
        refuse_held_out(name_of(folder) or piece.source)
        own = piece.licensed or not folder.is_dir()
        licence = piece.licence if own else licence_of(folder, piece.licence)
        origin = Origin(piece.source, licence, code_of(piece.language) if piece.language else None)
        if piece.reader in DOCUMENT_READERS:
            texts = DOCUMENT_READERS[piece.reader](folder, origin)
            documents, pairs = write_documents(islice(texts, piece.cap), path), 0
        else:
            rows = READERS[piece.reader](folder, origin)
            documents, pairs = 0, write_pairs(islice(rows, piece.cap), path)
        if folder.is_file() and not (documents or pairs or origin.left_out):
            raise InputError(f"{piece.place} has nothing for the reader {piece.reader}", "choose another")
    return Part(piece.source, str(path), pairs, None, documents, _shortened(origin.left_out))


def _shortened(reasons: Sequence[str]) -> list[str]:
    more = len(reasons) - _MOST_REASONS
    return [*reasons[:_MOST_REASONS], *([f"and {more:,} more"] if more > 0 else [])]


def _places(
    source: SourceSettings, cache: Path, barred: Collection[str]
) -> Iterator[tuple[str, Path | InputError]]:
    if source.languages:
        yield "descriptions", registries.fetched_indices(source.languages, cache)
    for url in source.git:
        yield registries.name_of_git(url), _tried(_cloned(source.depth), url, cache)
    for path in source.paths:
        place = dataset.set_of(path.expanduser())
        # A path such as `.` has no name of its own.
        yield place.name if place.name not in ("", "..") else place.resolve().name, path.expanduser()
    for name in _unless(source.source, barred):
        yield name, _tried(registries.fetched_source, name, cache)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for registry, names in (("npm", source.npm), ("pypi", source.pypi)):
            wanted = _unless(names, barred)
            fetch = partial(_tried, registries.FETCHED[registry], cache=cache)
            yield from zip(map(registries.bare_name, wanted), pool.map(fetch, wanted), strict=True)
    if source.deb:
        debs = _unless(registries.named_debs(source.deb), barred)
        sizes = registries.sizes_of_debs(debs)
        wanted = [name for name in debs if sizes.get(name, 0) <= source.most_megabytes * 1e6]
        debs_there = registries.fetched_debs(wanted, cache)
        for name in wanted:
            yield name, debs_there.get(name) or InputError(f"apt-get has no {name}", "correct the name")


def _cloned(depth: int) -> Callable[[str, Path], Path]:
    return lambda url, cache: registries.fetched_git(url, cache, depth)


def _tried(fetch: Callable[[str, Path], Path], name: str, cache: Path) -> Path | InputError:
    """The fetched package, or why it did not come: one that is missing stops none of the others."""
    try:
        refuse_held_out(name)
        return fetch(name, cache)
    except InputError as refused:
        if is_of_the_machine(refused):
            raise
        return refused


def _unless(names: Sequence[str], barred: Collection[str]) -> list[str]:
    return [name for name in names if registries.bare_name(name) not in barred]
