"""Languages of source files: those with a grammar, and others that are cut by their lines."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from lingxi.errors import InputError
from lingxi.parse import kind_of
from lingxi.parse.code import LANGUAGES

# No grammar of ours reads these; their files are found by their lines.
_BY_LINES = {
    suffix: language
    for language, suffixes in {
        "kotlin": ".kt .kts",
        "swift": ".swift",
        "scala": ".scala .sc",
        "lua": ".lua",
        "perl": ".pl .pm",
        "r": ".r",
        "julia": ".jl",
        "elixir": ".ex .exs",
        "erlang": ".erl .hrl",
        "haskell": ".hs",
        "ocaml": ".ml .mli",
        "f_sharp": ".fs .fsx",
        "clojure": ".clj .cljs .cljc",
        "lisp": ".lisp .el .scm",
        "dart": ".dart",
        "zig": ".zig",
        "nim": ".nim",
        "objective_c": ".m .mm",
        "groovy": ".groovy .gradle",
        "powershell": ".ps1 .psm1",
        "fortran": ".f .f90 .f95",
        "pascal": ".pas",
        "assembly": ".s .asm",
        "cuda": ".cu .cuh",
        "cython": ".pyx .pxd",
        "solidity": ".sol",
        "proto": ".proto",
        "vue": ".vue",
        "svelte": ".svelte",
    }.items()
    for suffix in suffixes.split()
}
_ALIASES = {
    "py": "python",
    "js": "javascript",
    "ts": "typescript",
    "rs": "rust",
    "golang": "go",
    "c++": "cpp",
    "cc": "cpp",
    "c#": "c_sharp",
    "cs": "c_sharp",
    "csharp": "c_sharp",
    "rb": "ruby",
    "sh": "bash",
    "shell": "bash",
    "kt": "kotlin",
    "pl": "perl",
    "hs": "haskell",
    "f#": "f_sharp",
    "objc": "objective_c",
}
KNOWN = tuple(dict.fromkeys([*LANGUAGES, *_BY_LINES.values()]))


def language_of(path: str, head: bytes = b"") -> str:
    """The language of a source file by its name, or by its first line; empty for what is no source."""
    file = Path(path)
    kind, language = kind_of(file, head)
    if kind == "code" and language:
        return language
    return _BY_LINES.get(file.suffix.lower(), "")


def may_be_source(path: str) -> bool:
    """Whether a file has to be read to know its language: it has no suffix that would say."""
    return bool(language_of(path)) or not Path(path).suffix


def named(languages: Collection[str]) -> list[str]:
    """Languages as users write them (`py`, `C++`); raises InputError for one that is not known."""
    found = []
    for given in languages:
        name = given.strip().lower().lstrip(".")
        name = _ALIASES.get(name, name)
        if name not in KNOWN:
            raise InputError(f"unknown language {given!r}", f"choose one of: {', '.join(sorted(KNOWN))}")
        found += ["typescript", "tsx"] if name == "typescript" else [name]
    return found
