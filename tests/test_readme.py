"""What the README tells a newcomer to type works."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").glob("*.md"))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks(README, "sh") for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_python_examples_run(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for block in blocks(README, "python"):
        done = subprocess.run(
            [sys.executable, "-W", "error::lingxi.LingxiWarning", "-c", block],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make ")])
def test_every_make_target_named_exists(command):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{command.split()[1]}:", makefile, re.M)


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("lingxi search")])
def test_the_search_commands_find_something(command, tmp_path):
    (tmp_path / "src").mkdir()
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "src/lingxi/errors.py", tmp_path / "src")
    arguments = shlex.split(command)[1:]
    done = subprocess.run(
        [sys.executable, "-c", "from lingxi.cli import main; main()", *arguments, "--index", "i"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "docs/" in done.stdout


def test_every_verb_named_exists():
    named = set(re.findall(r"`lingxi (\w+)", README))
    shown = subprocess.run(
        [sys.executable, "-c", "from lingxi.cli import main; main()", "--help"],
        capture_output=True,
        text=True,
    ).stdout
    assert named <= set(re.findall(r"^\s+(\w+) ", shown, re.M)), shown


def test_every_file_named_exists():
    text = README + "".join(path.read_text(encoding="utf-8") for path in DOCS)
    for name in set(re.findall(r"`((?:src|recipes|tests|docs|benchmarks)/[\w./-]+)`", text)):
        assert (ROOT / name).exists(), name


def test_the_map_names_what_is_there():
    shown = README.split("src/lingxi/\n")[1].split("```")[0]
    rooms = [
        name for line in shown.splitlines() if line.startswith("  ") for name in line.split("   ")[0].split()
    ]
    for name in rooms:
        assert (ROOT / "src/lingxi" / name).exists(), name
