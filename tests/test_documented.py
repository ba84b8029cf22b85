"""Doc comments of every language: the summary alone, and the code without the comment."""

import pytest

from lingxi.parse.documented import documented, summary_of

SOURCES = {
    "python": '''
class Shelf:
    def add(self, book):
        """Put a book on the shelf, at its :class:`~lib.Place`.

        Args:
            book: what to put.
        """
        self.books.append(book)
        return len(self.books)

    def silent(self):
        return 1
''',
    "java": """
class Shelf {
    /**
     * Puts a {@link Book} on the <b>shelf</b>.
     *
     * @param book what to put
     */
    @Override
    public int add(Book book) { books.add(book); return books.size(); }
}
""",
    "javascript": """
/**
 * Put a book on the shelf.
 * @param {Book} book
 */
export function add(book) { this.books.push(book); }
""",
    "go": """
package shelf

// Add puts a book on the shelf
// and counts it.
func (s *Shelf) Add(book Book) int { return 1 }
""",
    "rust": """
/// Puts a [`Book`] on the shelf.
///
/// # Examples
#[inline]
pub fn add(book: Book) -> usize { 1 }
""",
    "ruby": """
# Puts a book on the shelf.
#
# @param book [Book]
def add(book)
  @books << book
end
""",
    "php": """<?php
/**
 * Puts a book on the shelf.
 * @return int
 */
function add($book) { return 1; }
""",
}


@pytest.mark.parametrize("language", SOURCES)
def test_the_summary_and_the_rest(language: str) -> None:
    (found,) = documented(SOURCES[language], language)
    assert found.name.lower() == "add"
    assert (
        found.summary.lower()
        .replace("puts", "put")
        .rstrip(".")
        .startswith(("put a book on the shelf", "add put"))
    )
    for mark in ("*", "@param", "{@", "<b>", "//", "#", "`", "Args", '"""'):
        assert mark not in found.summary
    assert "book on the" not in found.code and "add" in found.code.lower()


def test_what_stands_in_the_code_stays() -> None:
    (found,) = documented(
        'def f(a):\n    """Adds one to a number."""\n    # keep me\n    return a + 1\n', "python"
    )
    assert found.code == "def f(a):\n    # keep me\n    return a + 1\n".rstrip("\n")


def test_no_comment_no_summary() -> None:
    assert not list(documented("def f(a):\n    return a\n", "python"))
    assert summary_of("") == "" and summary_of("/** @return int */") == ""
