"""Building the code-search set: what is asked, what is masked, what is left out."""

import json
from pathlib import Path

import pytest

from lingxi.errors import InputError
from lingxi.evaluate import codesearch
from lingxi.evaluate.codesearch import Package, build, read_packages
from lingxi.parse.documented import Documented, masked

GO = """package sums

// Total reports the sum of all numbers given. It never overflows.
func Total(numbers []int) int {
	rest := numbers[1:]
	return numbers[0] + Total(rest)
}

// Limit holds the largest number of things.
type Limit struct {
	n int
	m int
}

// Join puts the words of a list behind each other.
func Join(words []string) string {
	out := ""
	for _, w := range words { out += w }
	return out
}
"""


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "package"
    (folder / "tests").mkdir(parents=True)
    (folder / "sums.go").write_text(GO)
    (folder / "sums_test.go").write_text(GO.replace("Total", "TestTotal").replace("sum", "test"))
    (folder / "tests" / "more.go").write_text(GO.replace("Total", "MoreTotal").replace("sum", "more"))
    monkeypatch.setattr(codesearch, "_opened", lambda package, cache: folder)
    return tmp_path


def test_functions_are_asked_by_what_their_authors_say(opened: Path) -> None:
    package = Package(language="go", licence="MIT", deb="golang-sums-dev")
    assert build([package], opened / "out", opened, functions=2) == {"go": 2}
    rows = [json.loads(line) for line in (opened / "out" / codesearch.FILE).read_text().splitlines()]
    by_name = {row["name"]: row for row in rows}
    assert set(by_name) == {"Total", "Join"}
    total = by_name["Total"]
    assert total["q"] == "Reports the sum of all numbers given. It never overflows."
    assert total["p"].startswith("func function_name(") and "Total" not in total["p"]
    assert total["package"] == "golang-sums-dev" and total["zh"] is None


def test_too_few_functions_are_said(opened: Path) -> None:
    package = Package(language="go", licence="MIT", deb="golang-sums-dev")
    with pytest.raises(InputError, match="go hold 2 functions, 3 are wanted"):
        build([package], opened / "out", opened, functions=3)


def test_a_name_is_masked_as_a_word_only() -> None:
    assert masked(Documented("sum", "", "def sum(x): return sum_all(x) + self.sum(x)")) == (
        "def function_name(x): return sum_all(x) + self.function_name(x)"
    )


def test_the_shipped_packages_cover_six_languages() -> None:
    packages = read_packages()
    assert {p.language for p in packages} == {"python", "javascript", "java", "go", "ruby", "php"}
    assert {"networkx", "three", "ruby-mail"} <= {p.name for p in packages}
    rows = [json.loads(line) for line in codesearch.CHINESE.read_text("utf-8").splitlines()]
    assert len({(row["l"], row["zh"]) for row in rows}) == len(rows) == 300
