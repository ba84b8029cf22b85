"""Code search on repositories that are broken, odd, or want to run something."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("lancedb")
pytest.importorskip("tree_sitter_python")

from lingxi.apps.code import CodeIndex
from lingxi.cli import run
from lingxi.errors import InputError, LingxiError
from stand_in import WordEmbedder
from test_code_search import FACES, SHAPES, git, index, names, repository

__all__ = ["index", "repository"]


def opened(folder: Path, tmp_path: Path) -> CodeIndex:
    return CodeIndex.open(folder, tmp_path / "other", WordEmbedder())


def object_of(folder: Path, name: str) -> Path:
    key = git(folder, "rev-parse", name)
    return folder / ".git" / "objects" / key[:2] / key[2:]


def test_nothing_that_a_repository_names_is_run(repository, tmp_path):
    mark = tmp_path / "ran"
    script = tmp_path / "evil.sh"
    script.write_text(f'#!/bin/sh\necho ran >> {mark}\n[ -n "$1" ] && cat "$1"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (repository / ".gitattributes").write_text("*.py diff=evil filter=evil\n")
    (repository / ".git" / "info" / "attributes").write_text("*.py diff=evil filter=evil\n")
    git(repository, "add", ".gitattributes")
    git(repository, "commit", "-q", "-m", "Attributes")
    for hook in ("post-index-change", "reference-transaction", "pre-auto-gc"):
        shutil.copy(script, hooks / hook)
        shutil.copy(script, repository / ".git" / "hooks" / hook)
    for key in (
        "core.fsmonitor", "core.pager", "pager.blame", "core.sshCommand", "diff.external",
        "diff.evil.textconv",
        "diff.evil.command", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "core.editor",
        "core.alternateRefsCommand", "gpg.program",
    ):  # fmt: skip
        git(repository, "config", key, str(script))
    git(repository, "config", "core.hooksPath", str(hooks))
    git(repository, "config", "log.showSignature", "true")
    (repository / "src" / "shapes.py").write_text(SHAPES + "\nX = 1\n")
    mark.unlink(missing_ok=True)
    index = opened(repository, tmp_path)
    index.update()
    index.update(at="HEAD")
    for at in (None, "HEAD"):
        assert index.search("surface it covers", at=at, blame=True).hits[0].blame
    assert not mark.exists()
    # So that the test can fail: git by itself does run them.
    subprocess.run(["git", "blame", "HEAD", "--", "src/shapes.py"], cwd=repository, capture_output=True)
    assert mark.exists()


def test_a_missing_blob_is_skipped_with_a_reason(repository, tmp_path):
    object_of(repository, "HEAD:src/shapes.py").unlink()
    report = opened(repository, tmp_path).update(at="HEAD")
    assert ("src/shapes.py", "its object is missing or broken") in report.skipped
    assert report.added == 1


def test_a_broken_blob_is_skipped_with_a_reason(repository, tmp_path):
    broken = object_of(repository, "HEAD:src/shapes.py")
    broken.chmod(0o644)
    broken.write_bytes(b"not zlib at all")
    report = opened(repository, tmp_path).update(at="HEAD")
    assert ("src/shapes.py", "its object is missing or broken") in report.skipped
    # The files as they lie need no objects.
    assert opened(repository, tmp_path).update().added == 2


@pytest.mark.parametrize("part", ["HEAD^{tree}", "HEAD:src", "HEAD"])
def test_a_missing_tree_or_commit_is_told_in_words(repository, tmp_path, part):
    object_of(repository, part).unlink()
    index = opened(repository, tmp_path)
    with pytest.raises(InputError):
        index.update(at="HEAD")
    assert index.update().added == 2
    answer = index.search("surface it covers", blame=True)
    assert answer.hits[0].name == "Circle.area"
    assert (answer.hits[0].blame == ()) == bool(answer.notes)


def test_a_repository_without_commits_is_searched_as_it_lies(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.py").write_text("def only():\n    pass\n")
    git(tmp_path / "new", "init", "-q")
    index = opened(tmp_path / "new", tmp_path)
    index.update()
    answer = index.search("only", blame=True)
    assert answer.hits[0].name == "only"
    assert answer.notes
    with pytest.raises(InputError, match="no commit"):
        index.update(at="HEAD")


def test_a_bare_repository_is_searched_at_its_newest_commit(repository, tmp_path):
    subprocess.run(
        ["git", "clone", "-q", "--bare", "--no-local", str(repository), str(tmp_path / "b.git")], check=True
    )
    index = opened(tmp_path / "b.git", tmp_path)
    index.update()
    answer = index.search("surface it covers", blame=True)
    assert answer.commit == git(repository, "rev-parse", "HEAD")
    assert answer.hits[0].blame[0].author == "Ada"


def test_shallow_clones_detached_heads_and_worktrees_are_read(repository, tmp_path):
    (repository / "src" / "shapes.py").write_text(SHAPES + "\n\ndef later():\n    pass\n")
    git(repository, "commit", "-q", "-a", "-m", "Later")
    subprocess.run(
        ["git", "clone", "-q", "--depth", "1", f"file://{repository}", str(tmp_path / "shallow")], check=True
    )
    git(tmp_path / "shallow", "checkout", "-q", "--detach")
    git(repository, "worktree", "add", "-q", str(tmp_path / "tree"), "HEAD~1")
    for name, held in (("shallow", True), ("tree", False)):
        index = CodeIndex.open(tmp_path / name, tmp_path / f"{name}.index", WordEmbedder())
        index.update()
        index.update(at="HEAD")
        assert ("src/shapes.py later" in names(index, "later", at="HEAD")) == held
        assert index.search("surface it covers", blame=True).hits[0].blame[0].author == "Ada"


def test_a_worktree_file_that_names_a_stranger_is_refused(repository, tmp_path):
    (tmp_path / "thief").mkdir()
    (tmp_path / "thief" / "a.py").write_text("def a():\n    pass\n")
    (tmp_path / "thief" / ".git").write_text(f"gitdir: {repository / '.git'}\n")
    index = opened(tmp_path / "thief", tmp_path)
    assert index.update().added == 1
    with pytest.raises(InputError, match="does not know this folder"):
        index.update(at="HEAD")


def test_submodules_and_clones_inside_are_left_out(repository, tmp_path):
    inner = repository / "inner"
    (inner / "deep").mkdir(parents=True)
    (inner / "deep" / "x.py").write_text("def inside():\n    pass\n")
    git(inner, "init", "-q")
    git(inner, "add", ".")
    git(inner, "commit", "-q", "-m", "Inner")
    git(repository, "-c", "advice.addEmbeddedRepo=false", "add", "inner")
    git(repository, "commit", "-q", "-m", "A submodule")
    index = opened(repository, tmp_path)
    assert ("inner/deep/x.py", "in another repository (inner)") in index.update().skipped
    assert ("inner", "in another repository (a submodule)") in index.update(at="HEAD").skipped
    assert opened(inner, tmp_path / "of-inner").update().added == 1


@pytest.mark.parametrize("damage", ["empty", "nonsense", "gone"])
def test_a_damaged_repository_is_searched_as_it_lies(repository, tmp_path, damage):
    head = repository / ".git" / "HEAD"
    {
        "empty": lambda: head.write_bytes(b""),
        "nonsense": lambda: head.write_bytes(b"\xff\0\n" * 9),
        "gone": head.unlink,
    }[damage]()
    index = opened(repository, tmp_path)
    assert index.update().added == 2
    with pytest.raises(LingxiError):
        index.update(at="HEAD")
    assert index.search("surface it covers", blame=True).notes


def test_huge_lines_odd_bytes_loops_and_pipes_are_skipped_with_reasons(repository, tmp_path):
    (repository / "huge.py").write_bytes(b"x" * 100_000_000)
    (repository / "large.js").write_bytes(b"a=1;" * 2_000_000)
    (repository / "latin.py").write_bytes("def é():\n    pass\n".encode("latin-1"))
    (repository / "null.c").write_bytes(b"int a;\0\0\0")
    (repository / "empty.py").write_bytes(b"\n\n")
    (repository / "loop").symlink_to(repository)
    (repository / "self.py").symlink_to(repository / "self.py")
    os.mkfifo(repository / "pipe.py")
    (repository / "deep.py").write_text("x = " + "(" * 5000 + "1" + ")" * 5000 + "\n")
    reasons = dict(opened(repository, tmp_path).update().skipped)
    assert reasons["huge.py"] == "larger than 10 MB"
    assert reasons["large.js"] == "minified, or data in long lines"
    assert reasons["latin.py"].startswith("not UTF-8")
    assert (reasons["null.c"], reasons["empty.py"]) == ("binary", "empty")
    assert reasons["loop"] == "symbolic link to what lies in the folder itself"
    assert (reasons["self.py"], reasons["pipe.py"]) == (
        "symbolic link that leads to itself",
        "not a regular file",
    )


def test_names_with_line_breaks_and_escapes_stay_on_their_line(repository, tmp_path, capsys):
    odd = "a\nfake.py:1 \x1b[31mred\x1b[0m'\"; -- 名.py"
    (repository / odd).write_text("def oddly_named():\n    return 1\n")
    (repository / os.fsdecode(b"\xff\xfe.py")).write_text("def b():\n    pass\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "A line\x1b[31m of red")
    place = ["--index", str(tmp_path / "other")]
    for at in ([], ["--at", "HEAD"]):
        assert (
            run(["code", "search", "oddly_named", str(repository), "--blame", "-k", "1", *place, *at], FACES)
            == 0
        )
        said = capsys.readouterr().out
        assert said.startswith("a\\nfake.py:1 red'\"; -- 名.py:1  ")
        assert "\x1b" not in said
    hits = opened(repository, tmp_path).search("oddly_named").hits
    assert hits[0].path == odd
    skipped = opened(repository, tmp_path).update().skipped
    assert [reason for path, reason in skipped if "\ufffd" in path or "?" in path] == [
        "file name is not UTF-8"
    ]


@pytest.mark.parametrize("place", ["nowhere", "src/shapes.py"])
def test_a_place_that_is_no_folder_is_refused(repository, place):
    with pytest.raises(InputError, match="no such folder"):
        CodeIndex.open(repository / place, None, WordEmbedder())


def test_a_folder_without_a_repository_has_no_commits(tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a.py").write_text("def only():\n    pass\n")
    index = opened(tmp_path / "plain", tmp_path)
    assert index.update().added == 1
    for asked in (lambda: index.update(at="HEAD"), lambda: index.search("only", blame=True)):
        with pytest.raises(InputError, match="in no git repository"):
            asked()
