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
    assert summary_of("", "java") == "" and summary_of("/** @return int */", "java") == ""


MARKED = {
    "c": "#define N 1\n// Puts a book on the shelf.\nint add(int book) { return book; }\n",
    "c_sharp": "class S {\n/// <summary>Puts a book on the shelf.</summary>\n[Fast]\n"
    "int Add(int b) { return b; }\n}\n",
    "bash": '#!/bin/bash\n# Puts a book on the shelf.\n# $1 the book\nadd() {\n  echo "$1" >> shelf\n}\n',
    "sql": "-- Puts a book on the shelf.\nCREATE FUNCTION add(book integer) RETURNS integer\n"
    "AS $$ SELECT book; $$ LANGUAGE SQL;\n",
    "ruby": "class Shelf\n  # Puts a book on the shelf.\n  def add(book)\n    @books << book\n  end\nend\n",
}


@pytest.mark.parametrize("language", MARKED)
def test_comments_begin_as_their_language_begins_them(language: str) -> None:
    (found,) = documented(MARKED[language], language)
    assert found.name.lower() == "add"
    assert found.summary.startswith("Puts a book on the shelf.") and "Puts" not in found.code


def test_a_number_sign_is_no_comment_where_it_is_none() -> None:
    rust = "/// Puts a book.\n#[inline]\npub fn add(b: B) -> usize { 1 }\n"
    (found,) = documented(rust, "rust")
    assert found.code.startswith("#[inline]")
    assert summary_of("/* #1 of the shelf */", "java") == "#1 of the shelf"
    assert summary_of("#1 of the shelf", "ruby") == "1 of the shelf"
    assert summary_of("/* -- so it says -- */", "c") == "-- so it says --"


def test_types_come_before_their_members() -> None:
    method = '    def add(self, book):\n        """Put it."""\n'
    python = f'class Shelf:\n    """A shelf that holds books."""\n\n{method}'
    outer, inner = documented(python, "python", types=True)
    assert (outer.name, outer.summary, outer.members) == ("Shelf", "A shelf that holds books.", True)
    assert "A shelf" not in outer.code and "def add" in outer.code
    assert (inner.name, inner.members) == ("add", False)
    (only,) = documented(python, "python")
    assert only.name == "add"
    (shelf,) = documented("-- All the books.\nCREATE TABLE shelf (id int);\n", "sql")
    assert shelf.name == "shelf" and shelf.code.startswith("CREATE TABLE")


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        ("{@link Book}", "Book"),
        ("{@link Book#add(int a) the adding}", "adding"),
        ("{@link Book#}", "Book"),
        ("{@code  }", ""),
        ("{@link #}", ""),
    ],
)
def test_tags_show_their_label(tag: str, shown: str) -> None:
    assert summary_of(f"/** Puts {tag} away. */", "java") == " ".join(f"Puts {shown} away.".split())
