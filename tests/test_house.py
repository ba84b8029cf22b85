"""The house keeps its order: imports point one way, files fit a reading, doors have names."""

import ast
import re
from pathlib import Path

import lingxi

ROOT = Path(lingxi.__file__).parent
ORDER = [
    [
        "errors",
        "lines",
        "config",
        "manifest",
        "records",
        "tables",
        "languages",
        "prompts",
        "metrics",
        "vectors",
        "texts",
        "asking",
        "encoding",
        "spread",
        "pictures",
        "pdf",
        "videos",
        "inputs",
        "drawings",
        "web",
        "places",
        "parse",
    ],
    ["model"],
    ["engine"],
    ["embedder", "judging", "reranker", "check"],
    ["media"],
    ["collect"],
    ["generate"],
    ["curate"],
    ["train"],
    ["merge"],
    ["evaluate"],
    ["compress"],
    ["index"],
    ["update"],
    ["serve"],
    ["client"],
    ["cards", "apps", "bridges", "life", "media_card", "media_life", "ablate", "cli", "__init__", "__main__"],
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Rooms of lingxi a module imports, wherever in the module."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "lingxi":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lingxi."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("lingxi.")}
    return found & set(LEVEL)


def test_every_room_has_its_place():
    assert {room(path) for path in FILES} <= set(LEVEL)


def test_imports_never_point_to_a_later_room():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in FILES
        if room(path) != "__init__"
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if LEVEL[name] > LEVEL[room(path)]
    ]
    assert not wrong


def test_files_fit_a_reading_and_say_what_they_know():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 500, f"{path} is longer than 500 lines"
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


def test_functions_stay_small():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name} is longer than 60 lines"


def test_public_names_exist():
    for name in lingxi.__all__:
        assert getattr(lingxi, name) is not None


def test_nothing_reads_settings_from_the_environment():
    # What begins with GIT_ is taken away from git, not read; a forked process tells the tokenizer something.
    allowed = re.compile(
        r"LINGXI_CACHE|LINGXI_TOKEN|XDG_CACHE_HOME|HF_|not name\.startswith\(\"GIT_\"\)"
        r"|os\.environ\[\"TOKENIZERS_PARALLELISM\"\] = "
    )
    for path in FILES:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "os.environ" in line or "getenv" in line:
                assert allowed.search(line), f"{path}: {line.strip()}"
