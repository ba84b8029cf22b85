"""A repository's history: a message asks for its change; nothing that the repository names is run."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingxi.collect import CollectSettings, collect_pairs
from lingxi.collect.history import commits, message_of, read_history
from lingxi.collect.instructions import CHANGE
from lingxi.collect.origin import Origin
from lingxi.collect.registries import fetched_git, name_of_git
from lingxi.collect.sources import SourceSettings
from lingxi.errors import InputError

ORIGIN = Origin("source", "MIT")


def git(*arguments: str, at: Path) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=at, check=True, capture_output=True)


def commit(at: Path, message: str, **files: str | bytes) -> None:
    for name, content in files.items():
        path = at / name.replace("_", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    git("add", ".", at=at)
    git("commit", "-qm", message, at=at)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    there = tmp_path / "there"
    there.mkdir()
    git("init", "-q", at=there)
    commit(there, "the first commit holds everything", tea_py="def brew():\n    return 1\n")
    commit(
        there,
        "Brew for as long as told\n\nIt was always\none minute.\n\n"
        "Signed-off-by: x <x@example.com>\nFixes: #3",
        tea_py="def brew(minutes):\n    return minutes\n",
    )
    commit(there, "Say in words what the tea is", README_md="# Tea\n")
    commit(there, "Add a picture of the tea", tea_png=b"\x89PNG\0\0", tea_py="def brew(n):\n    return n\n")
    commit(there, "wip", tea_py="def brew(m):\n    return m\n")
    commit(there, "Rewrite all of it at once", tea_py="".join(f"x{i} = {i}\n" for i in range(9000)))
    commit(
        there, "Make it short and good again", tea_py="def brew():\n    return 2\n", pot_rs="fn pot() {}\n"
    )
    commit(there, "Write in an old encoding", tea_py="name = 'th\xe9'\n".encode("latin-1"))
    return there


def test_messages_ask_for_their_changes(repository: Path) -> None:
    (row,) = read_history(repository, ORIGIN)
    assert row.query == "Brew for as long as told\n\nIt was always\none minute."
    assert (row.task, row.instruction) == ("code", CHANGE)
    assert (row.query_language, row.document_language, row.licence) == ("en", "python", "MIT")
    assert row.positives[0].text == (
        "--- a/tea.py\n+++ b/tea.py\n@@ -1,2 +1,2 @@\n-def brew():\n-    return 1\n"
        "+def brew(minutes):\n+    return minutes"
    )


def test_merges_and_first_commits_are_left_out(repository: Path) -> None:
    git("checkout", "-qb", "side", "HEAD~1", at=repository)
    commit(repository, "Warm the pot before brewing", pot_rs="fn pot() { warm() }\n")
    git("checkout", "-q", "main", at=repository)
    git("merge", "-q", "--no-ff", "-m", "Merge the side into the main branch", "side", at=repository)
    queries = [row.query for row in read_history(repository, ORIGIN)]
    assert "Warm the pot before brewing" in queries
    assert not any("Merge" in query or "first" in query for query in queries)
    messages = [each.message for each in commits(repository)]
    assert not any("Merge" in message for message in messages)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("One line", "One line"),
        ("Do it\n\nBecause: it is so good\n", "Do it\n\nBecause: it is so good"),
        ("Do it\n\nCo-authored-by: x <x@y>\nReviewed-By: z\n", "Do it"),
        ("Do it\n\nbody\nSigned-off-by: x <x@y>\n", "Do it\n\nbody"),
        ("Do it\n\nbody\n\nChange-Id: I1\n(cherry picked from commit 1)\n", "Do it\n\nbody"),
        ("", ""),
    ],
)
def test_trailers_are_no_message(message: str, said: str) -> None:
    assert message_of(message) == said


def test_what_a_repository_names_is_not_run(repository: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    script.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "diff.evil.textconv", "diff.evil.command", "core.pager"):
        git("config", key, str(script), at=repository)
    git("config", "gpg.program", str(script), at=repository)
    git("config", "log.showSignature", "true", at=repository)
    (repository / ".gitattributes").write_text("* diff=evil\n")
    (repository / ".git" / "info" / "attributes").write_text("* diff=evil\n")
    assert len(list(read_history(repository, ORIGIN))) == 1
    assert not (tmp_path / "ran").exists()


def test_missing_objects_are_not_fetched(repository: Path, tmp_path: Path) -> None:
    git("config", "extensions.partialClone", "origin", at=repository)
    git("config", "core.repositoryFormatVersion", "1", at=repository)
    git("config", "remote.origin.promisor", "true", at=repository)
    git("config", "protocol.ext.allow", "always", at=repository)
    git("config", "remote.origin.url", f"ext::sh -c touch% {tmp_path}/ran", at=repository)
    found = subprocess.run(
        ["git", "rev-parse", "HEAD~1:tea.py"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    missing = repository / ".git" / "objects" / found[:2] / found[2:]
    missing.chmod(0o644)
    missing.unlink()
    with pytest.raises(InputError, match="git cannot read the history"):
        list(read_history(repository, ORIGIN))
    assert not (tmp_path / "ran").exists()


def test_a_folder_without_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no git repository"):
        list(read_history(tmp_path, ORIGIN))
    (tmp_path / ".git").mkdir()
    with pytest.raises(InputError, match="is no git repository of its own"):
        list(read_history(tmp_path, ORIGIN))
    for part in ("objects", "refs"):
        (tmp_path / ".git" / part).mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    with pytest.raises(InputError, match="git cannot read the history"):
        list(read_history(tmp_path, ORIGIN))


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A repository that nobody named."""
    there = tmp_path / "private"
    there.mkdir()
    git("init", "-q", at=there)
    commit(there, "the first commit", secret_py="x = 1\n")
    commit(there, "Write down the secret password", secret_py="x = 2\n")
    return there


def _pointed(there: Path, private: Path) -> None:
    (there / ".git").write_text(f"gitdir: {private}/.git\n")


def _linked(there: Path, private: Path) -> None:
    (there / ".git").symlink_to(private / ".git", target_is_directory=True)


def _bare(there: Path, private: Path) -> None:
    (there / "HEAD").write_text("ref: refs/heads/main\n")


def _shared(there: Path, private: Path) -> None:
    for name in ("objects", "refs"):
        (there / ".git" / name).mkdir(parents=True)
    (there / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (there / ".git" / "commondir").write_text(f"{private}/.git\n")


def _borrowing(there: Path, private: Path) -> None:
    git("init", "-q", at=there)
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=private, text=True)
    (there / ".git" / "objects" / "info" / "alternates").write_text(f"{private}/.git/objects\n")
    (there / ".git" / "refs" / "heads" / "main").write_text(head)


@pytest.mark.parametrize("make", [_pointed, _linked, _bare, _shared, _borrowing])
@pytest.mark.parametrize(
    "read", [read_history, lambda there, origin: fetched_git(str(there), there / "cache")]
)
def test_no_repository_is_read_but_the_one_that_was_named(
    make: Callable[[Path, Path], None], read: Callable[[Path, Origin], Any], private: Path
) -> None:
    there = private / "inside"
    there.mkdir()
    make(there, private)
    with pytest.raises(InputError, match=r"no git repository of its own|names another repository"):
        list(read(there, ORIGIN))


def test_the_environment_names_no_repository(
    repository: Path, private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(private / ".git"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(private / ".git" / "objects"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "broken")
    (row,) = read_history(repository, ORIGIN)
    assert row.query.startswith("Brew")
    (row,) = read_history(fetched_git(str(repository), tmp_path / "cache", 100), ORIGIN)
    assert row.query.startswith("Brew")


def test_a_bare_repository_and_a_relative_path(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("clone", "-q", "--bare", "--no-local", str(repository), "bare.git", at=tmp_path)
    monkeypatch.chdir(tmp_path)
    source = {"reader": "history", "git": ["there", "bare.git"], "depth": 100, "licence": "MIT"}
    settings = CollectSettings(mediawiki="none", cache=Path("cache"), sources=[source])
    report = collect_pairs(settings, Path("out"))
    assert report.by_source == {"there": 1, "bare": 1}, report.skipped
    assert name_of_git(".") == tmp_path.name


def test_a_cap_ends_git_early(tmp_path: Path) -> None:
    git("init", "-q", at=tmp_path)
    for number in range(5):
        commit(tmp_path, f"Set the number to {number} now", tea_py=f"n = {number}\n")
    assert next(iter(read_history(tmp_path, ORIGIN))).query == "Set the number to 4 now"


def test_a_clone_is_as_deep_as_asked(repository: Path, tmp_path: Path) -> None:
    shallow = fetched_git(str(repository), tmp_path / "cache")
    deep = fetched_git(str(repository), tmp_path / "cache", 3)
    assert shallow != deep
    count = ["git", "rev-list", "--count", "HEAD"]
    counted = [subprocess.check_output(count, cwd=place, text=True).strip() for place in (shallow, deep)]
    assert counted == ["1", "3"]
    assert not list(read_history(shallow, ORIGIN)), "the first commit of a clone is no change"


def test_a_history_is_a_source(repository: Path, tmp_path: Path) -> None:
    source = {
        "reader": "history",
        "git": [str(repository), "ext::sh -c x", "-x"],
        "depth": 100,
        "licence": "MIT",
    }
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    report = collect_pairs(settings, tmp_path / "out")
    assert report.by_task == {"code": 1} and len(report.skipped) == 2
    for depth in (1, 10_001, 0):
        with pytest.raises(ValueError, match="depth"):
            SourceSettings(reader="history", git=("https://x.org/x",), depth=depth)
