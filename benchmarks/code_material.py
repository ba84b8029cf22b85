"""What code search is measured on: repositories without docstrings, and sets of single answers.

Repositories are PyPI packages that no training run reads, without docstrings. Functions are asked for by
their first sentence (in Chinese too), a message they raise, their name, or lines of their middle.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lingxi.apps.code.units import split_title, units
from lingxi.collect.archives import opened_archive, opened_tar
from lingxi.collect.registries import FETCHED
from lingxi.evaluate.codesearch import CHINESE
from lingxi.evaluate.readers import read_set
from lingxi.evaluate.suite import resolve
from lingxi.index.words import name_parts
from lingxi.parse.documented import summary_of
from lingxi.records import read_jsonl

CACHE = Path("~/.cache/lingxi").expanduser()
_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
_NAMED = ast.ClassDef | _FUNCTION
Asks = Callable[[ast.Module], Iterator[tuple[str, str]]]


class Units:
    """The units of files as the index makes them: whole `texts`, and the key of what each belongs to."""

    def __init__(self, files: Mapping[str, str], by_name: bool) -> None:
        found = [unit for path, text in files.items() for unit in units(text, "python", path)]
        self.texts = [f"{unit.title}\n{unit.text}" for unit in found]
        titles = [split_title(unit.title) for unit in found]
        self.keys = [f"{path}\t{name}" if by_name else path for path, name in titles]


@dataclass(frozen=True)
class Material:
    """Files by path, and queries with the grades of what they ask for (a path, or path and name)."""

    name: str
    files: Mapping[str, str]
    queries: Sequence[str]
    judged: Sequence[Mapping[str, float]]
    by_name: bool

    def key(self, path: str, name: str) -> str:
        """What is ranked: a definition of a repository, or a file of a set of single answers."""
        return f"{path}\t{name}" if self.by_name else path

    def drawn(self, count: int, seed: int = 0) -> Material:
        """The same with `count` of its queries."""
        everyone = range(len(self.queries))
        chosen = sorted(random.Random(seed).sample(everyone, min(count, len(everyone))))
        return replace(
            self, queries=[self.queries[i] for i in chosen], judged=[self.judged[i] for i in chosen]
        )

    def write(self, folder: Path) -> Path:
        """The files in a folder."""
        for path, text in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
        return folder


def answers(name: str, archive: Path) -> Material:
    """A set of single answers, each a file of its own."""
    suite = resolve("benchmark", (), (name,))
    task: Any = next(iter(read_set(suite.sets[0], suite, opened_tar(archive, CACHE / "sources"))))
    files = {f"d{i}.py": text for i, text in enumerate(task.documents)}
    judged = [{f"d{i}.py": grade for i, grade in own.items()} for own in task.judged]
    return Material(name, files, task.queries, judged, False)


def repository(package: str, asked: str = "words") -> Material:
    """A package without its docstrings, and queries of a kind for its functions (`ASKED`)."""
    folder = opened_archive(FETCHED["pypi"](package, CACHE / "sources"), CACHE / "sources")
    files: dict[str, str] = {}
    said: list[tuple[str, str]] = []
    for path in sorted(folder.rglob("*.py")):
        place = path.relative_to(folder).as_posix()
        source = path.read_text("utf-8", "replace")
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        if "/tests/" not in place:
            files[place] = without_docstrings(source, tree)
            said += [(f"{place}\t{name}", query) for name, query in ASKED[asked](tree)]
    held = set(Units(files, True).keys)
    judged: dict[str, dict[str, float]] = {}
    for key, query in said:
        if query and key in held:
            judged.setdefault(query, {})[key] = 1.0
    return Material(f"{package.split('=')[0]} {asked}", files, list(judged), list(judged.values()), True)


def without_docstrings(source: str, tree: ast.Module) -> str:
    """A module without the docstrings of its functions, classes and itself."""
    lines = source.encode().split(b"\n")
    owners = [node for node in ast.walk(tree) if isinstance(node, ast.Module | _NAMED)]
    said: list[Any] = [node for node in owners if ast.get_docstring(node) is not None]
    # Last first, so that the places before stay right.
    for node in sorted(said, key=lambda one: -one.body[0].lineno):
        text = node.body[0]
        first, last = text.lineno - 1, text.end_lineno - 1
        rest = lines[first][: text.col_offset] + (b"..." if len(node.body) == 1 else b"")
        lines[first : last + 1] = [rest + lines[last][text.end_col_offset :]]
    return b"\n".join(line.rstrip() for line in lines).decode("utf-8", "replace")


# --- how functions are asked for -------------------------------------------------------------------


def functions(tree: ast.AST, name: str = "") -> Iterator[tuple[str, Any]]:
    """Functions and methods with their qualified names, in order."""
    for child in ast.iter_child_nodes(tree):
        own = f"{name}.{child.name}".strip(".") if isinstance(child, _NAMED) else name
        if isinstance(child, _FUNCTION):
            yield own, child
        yield from functions(child, own)


def summaries(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """By the first sentence of their docstring."""
    for name, node in functions(tree):
        sentence = summary_of(ast.get_docstring(node) or "", "python").split(". ")[0].strip()
        if len(sentence.split()) >= 4:
            yield name, sentence


def in_chinese(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """By what the code-search set asks for them in Chinese."""
    asked = {row["q"]: row["zh"] for row in read_jsonl(CHINESE) if row["l"] == "python"}
    for name, node in functions(tree):
        yield name, asked.get(summary_of(ast.get_docstring(node) or "", "python"), "")


def messages(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """By a message that they raise, its values filled in."""
    for name, node in functions(tree):
        for one in ast.walk(node):
            if isinstance(one, ast.Raise) and isinstance(one.exc, ast.Call) and one.exc.args:
                text = _message(one.exc.args[0])
                if len(text.split()) >= 4:
                    yield name, f"{ast.unparse(one.exc.func)}: {text}"


def _message(node: ast.expr) -> str:
    """Constants as they are, a number for each value; nothing for other expressions."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return " ".join(node.value.split())
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "17" for part in node.values]
        return " ".join("".join(parts).split())
    return ""


def own_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """By their own name, where it has more than one part."""
    for name, _ in functions(tree):
        own = name.split(".")[-1]
        if name_parts(own) and not own.startswith("__"):
            yield name, own


def fragments(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """By three lines of their middle, their own variables called otherwise."""
    for name, node in functions(tree):
        body = node.body[1:] if ast.get_docstring(node) else node.body
        lines = ast.unparse(ast.Module(body, [])).split("\n")
        if len(lines) >= 9:
            third = "\n".join(lines[len(lines) // 3 :][:3])
            names = [one for one in ast.walk(node) if isinstance(one, ast.Name | ast.arg)]
            stored = {one.id for one in names if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
            local = stored | {one.arg for one in names if isinstance(one, ast.arg)}
            for number, own in enumerate(sorted(local)):
                third = re.sub(rf"\b{own}\b", f"v{number}", third)
            yield name, third


ASKED: Mapping[str, Asks] = {
    "words": summaries,
    "words zh": in_chinese,
    "error": messages,
    "name": own_names,
    "code": fragments,
}
