"""A CodeSearchNet-style set, built from packages that no training run may read.

For each language 1,000 functions with a doc comment: the summary asks for the function among the 1,000,
with the comment removed and the function's own name masked, so that nothing but meaning can be matched
(after Husain et al. 2019, arXiv 1909.09436). Some of the summaries are asked in Chinese as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import Field, model_validator

from lingxi import config
from lingxi.collect import archives, registries
from lingxi.config import Settings
from lingxi.errors import InputError
from lingxi.evaluate.suite import SUITES
from lingxi.parse import Skip, decode, kind_of
from lingxi.parse.documented import Documented, documented, masked
from lingxi.records import read_jsonl

PACKAGES = SUITES / "code-search-packages.toml"
CHINESE = SUITES / "code-search-zh.jsonl"
FILE = "code-search.jsonl"
FUNCTIONS = 1000
_LEAST_WORDS, _LEAST_CHARACTERS, _MOST_CHARACTERS = 4, 15, 300
_LEAST_LINES, _MOST_CODE = 3, 4000
_SKIPPED = re.compile(
    r"(^|/)(tests?|spec|examples?|docs?|vendor|dist|build|node_modules|demo)(/|$)|\.min\.js$|_test\.\w+$"
)
# How a function begins, so that types and constants are left out.
_FUNCTION: Mapping[str, re.Pattern[str]] = {
    "python": re.compile(r"\bdef\b"),
    "go": re.compile(r"\Afunc\b"),
    "ruby": re.compile(r"\bdef\b"),
    "php": re.compile(r"\bfunction\b"),
    "java": re.compile(r"\A[^{;=]*\("),
    "javascript": re.compile(r"\A[^;]*?\("),
}


class Package(Settings):
    """One package, by the registry that has it."""

    language: str
    licence: str
    deb: str | None = None
    source: str | None = None
    npm: str | None = None
    pypi: str | None = None

    @model_validator(mode="after")
    def _checked(self) -> Package:
        if len(self._places) != 1:
            raise ValueError("a package has one of deb, source, npm and pypi")
        return self

    @property
    def _places(self) -> dict[str, str]:
        places = {"deb": self.deb, "source": self.source, "npm": self.npm, "pypi": self.pypi}
        return {registry: name for registry, name in places.items() if name is not None}

    @property
    def place(self) -> tuple[str, str]:
        """The registry that has the package, and its name there."""
        return next(iter(self._places.items()))

    @property
    def name(self) -> str:
        """The package's name without its version."""
        return registries.bare_name(self.place[1])


class Packages(Settings):
    """The packages of the set."""

    packages: tuple[Package, ...] = Field(min_length=1)


def read_packages(path: Path = PACKAGES) -> tuple[Package, ...]:
    """The packages that the set is built from, and that training may not read."""
    return config.load(path, Packages).packages


def built(cache: Path, say: Callable[[str], None] = lambda line: None) -> Path:
    """The folder of the set under `cache`, built the first time; raises InputError as `build`."""
    shipped = hashlib.sha256(PACKAGES.read_bytes() + CHINESE.read_bytes())
    out = cache / "sources" / f"code-search-{shipped.hexdigest()[:12]}"
    if not (out / FILE).exists():
        counts = build(read_packages(), out, cache / "sources")
        say("code-search built from " + ", ".join(f"{n:,} functions of {name}" for name, n in counts.items()))
    return out


def build(
    packages: Sequence[Package], out: Path, cache: Path, functions: int = FUNCTIONS, seed: int = 0
) -> Mapping[str, int]:
    """Write `code-search.jsonl` to a folder; returns how many functions each language has.

    A row is `l` language, `q` summary, `zh` the same asked in Chinese (50 a language), `p` code, `name`,
    `package`. Raises InputError where a package
    cannot be fetched, or a language has fewer than `functions` functions.
    """
    chinese = {(row["l"], row["q"]): row["zh"] for row in read_jsonl(CHINESE)}
    counts: dict[str, int] = {}
    rows: list[dict[str, str | None]] = []
    for language in dict.fromkeys(package.language for package in packages):
        found = [
            (package, function)
            for package in packages
            if package.language == language
            for function in _functions(_opened(package, cache), language)
        ]
        chosen = _chosen(found, functions, seed)
        if len(chosen) < functions:
            raise InputError(
                f"the packages of {language} hold {len(chosen)} functions, {functions} are wanted",
                "name more packages",
            )
        counts[language] = len(found)
        rows += [_row(language, package, function, chinese) for package, function in chosen]
    out.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    partial = out / f"{FILE}.{os.getpid()}.part"
    partial.write_text(text, "utf-8")
    partial.replace(out / FILE)
    return counts


def _opened(package: Package, cache: Path) -> Path:
    registry, name = package.place
    return archives.opened_archive(registries.FETCHED[registry](name, cache), cache)


def _functions(folder: Path, language: str) -> Iterator[Documented]:
    """The functions of a package's files that are worth asking for."""
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if not path.is_file() or path.is_symlink() or _SKIPPED.search(place):
            continue
        if kind_of(path) != ("code", language):
            continue
        content = decode(path, path.read_bytes())
        if not isinstance(content, Skip):
            yield from (f for f in map(_asked, documented(content.text, language)) if _is_fit(f, language))


def _asked(function: Documented) -> Documented:
    """The function with a summary that does not begin with its name, as Go's do."""
    first, _, rest = function.summary.partition(" ")
    summary = rest[:1].upper() + rest[1:] if first == function.name else function.summary
    return Documented(function.name, summary, function.code)


def _is_fit(function: Documented, language: str) -> bool:
    summary, code = function.summary, function.code
    return (
        _FUNCTION[language].search(code.lstrip()) is not None
        and len(summary.split()) >= _LEAST_WORDS
        and _LEAST_CHARACTERS <= len(summary) <= _MOST_CHARACTERS
        and code.count("\n") + 1 >= _LEAST_LINES
        and len(code) <= _MOST_CODE
        and summary.isascii()
        and not summary.lower().startswith(("todo", "fixme", "deprecated", "see ", "internal"))
    )


def _chosen(
    found: Sequence[tuple[Package, Documented]], functions: int, seed: int
) -> list[tuple[Package, Documented]]:
    """Functions drawn by seed, no two with one summary or one code: each query has one right answer."""
    taken: dict[str, tuple[Package, Documented]] = {}
    codes: set[str] = set()
    for package, function in random.Random(seed).sample(found, len(found)):
        code = " ".join(masked(function).split())
        if function.summary.casefold() in taken or code in codes:
            continue
        taken[function.summary.casefold()] = (package, function)
        codes.add(code)
        if len(taken) == functions:
            break
    return list(taken.values())


def _row(
    language: str, package: Package, function: Documented, chinese: Mapping[tuple[str, str], str]
) -> dict[str, str | None]:
    return {
        "l": language,
        "q": function.summary,
        "zh": chinese.get((language, function.summary)),
        "p": masked(function),
        "name": function.name,
        "package": package.name,
    }
