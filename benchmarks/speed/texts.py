"""Real texts that every Python has: paragraphs, docstrings and functions of its own library."""

from __future__ import annotations

import ast
import inspect
import random
from importlib import import_module
from itertools import cycle, islice

MODULES = (
    *("argparse", "ast", "asyncio.tasks", "collections", "configparser", "contextlib", "csv", "dataclasses"),
    *("datetime", "decimal", "difflib", "email.message", "enum", "fractions", "functools", "heapq"),
    *("inspect", "json.decoder", "logging", "pathlib", "random", "shutil", "statistics", "string"),
    *(
        "subprocess",
        "tempfile",
        "textwrap",
        "threading",
        "typing",
        "unittest.case",
        "urllib.parse",
        "zipfile",
    ),
)
QUERY = "How do I split a long text into lines of a given width without breaking words?"
CHARACTERS = 1200  # of a passage: about what search engines cut documents into


def library_texts(count: int, seed: int) -> list[str]:
    """Paragraphs, whole docstrings and functions of Python's library, a third each."""
    docstrings, functions = _docstrings_and_functions()
    paragraphs = [part for text in docstrings for part in text.split("\n\n")]
    kinds = [
        [text[:CHARACTERS] for text in kind if len(text) >= least]
        for kind, least in ((paragraphs, 60), (docstrings, 300), (functions, 100))
    ]
    rng = random.Random(seed)
    chosen = [rng.choice(kind) for kind in islice(cycle(kinds), count)]
    rng.shuffle(chosen)
    return chosen


def _docstrings_and_functions() -> tuple[list[str], list[str]]:
    docstrings: list[str] = []
    functions: list[str] = []
    for name in MODULES:
        source = inspect.getsource(import_module(name))
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                docstrings.append(ast.get_docstring(node) or "")
            if isinstance(node, ast.FunctionDef):
                functions.append("\n".join(lines[node.lineno - 1 : node.end_lineno]))
    return docstrings, functions
