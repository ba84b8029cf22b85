"""Definitions of source code: functions, classes and types with their members, found by tree-sitter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from lingxi.errors import MissingExtraError

# Language -> (wheel's module, its function that gives the grammar, node types that define something).
_GRAMMARS: dict[str, tuple[str, str, str]] = {
    "python": ("tree_sitter_python", "language", "function_definition class_definition decorated_definition"),
    "java": (
        "tree_sitter_java",
        "language",
        "class_declaration interface_declaration enum_declaration record_declaration "
        "annotation_type_declaration method_declaration constructor_declaration",
    ),
    "javascript": (
        "tree_sitter_javascript",
        "language",
        "function_declaration generator_function_declaration class_declaration method_definition",
    ),
    "typescript": ("tree_sitter_typescript", "language_typescript", ""),
    "tsx": ("tree_sitter_typescript", "language_tsx", ""),
    "go": ("tree_sitter_go", "language", "function_declaration method_declaration type_declaration"),
    "rust": (
        "tree_sitter_rust",
        "language",
        "function_item struct_item enum_item union_item trait_item impl_item mod_item macro_definition",
    ),
    "c": ("tree_sitter_c", "language", "function_definition type_definition"),
    "cpp": ("tree_sitter_cpp", "language", "function_definition type_definition template_declaration"),
    "c_sharp": (
        "tree_sitter_c_sharp",
        "language",
        "class_declaration struct_declaration interface_declaration record_declaration enum_declaration "
        "method_declaration constructor_declaration property_declaration delegate_declaration",
    ),
    "ruby": ("tree_sitter_ruby", "language", "module class method singleton_method"),
    "php": (
        "tree_sitter_php",
        "language_php",
        "function_definition class_declaration interface_declaration trait_declaration enum_declaration "
        "method_declaration",
    ),
    "bash": ("tree_sitter_bash", "language", "function_definition"),
    "sql": (
        "tree_sitter_sql",
        "language",
        "create_table create_view create_materialized_view create_function create_index create_trigger "
        "create_type",
    ),
}
_TYPESCRIPT = (
    _GRAMMARS["javascript"][2] + " abstract_class_declaration interface_declaration enum_declaration "
    "type_alias_declaration"
)
for _name in ("typescript", "tsx"):
    _GRAMMARS[_name] = (*_GRAMMARS[_name][:2], _TYPESCRIPT)
LANGUAGES = tuple(_GRAMMARS)

# These define something only with a body: `struct point { … }`, not `struct point p`.
_WITH_BODY = frozenset({"struct_specifier", "union_specifier", "enum_specifier", "class_specifier"})
_FUNCTION_VALUES = frozenset({"arrow_function", "function_expression", "generator_function", "class"})
# What a name is not found in: `public static`, `CREATE TABLE`, parameters.
_NAMELESS = ("comment", "modifiers", "parameters", "keyword")
# What may stand above a definition and belongs to it.
_ATTACHED = ("comment", "attribute")
# What may stand around a definition alone, with its comment above.
_WRAPPERS = frozenset(["statement", "body_statement"])
# How grammars call what is called; names that hold a function are `lexical` and `variable` declarations.
_FUNCTIONS = ("function", "method", "constructor", "macro", "lexical", "variable", "property")
# Parsing costs about a second for five megabytes; files above this are generated, and cut by lines.
MOST_CHARACTERS = 2_000_000
# Definitions nested deeper are part of the one around them.
_DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Definition:
    """`text[start:end]` defines `name`; comments, attributes and decorators right above are part of it.

    `members` are the definitions directly inside (methods, nested functions), in order; `kind` is what
    the grammar calls it, seen through wrappers such as a decorator.
    """

    name: str
    start: int
    end: int
    members: tuple[Definition, ...] = ()
    kind: str = field(default="", compare=False)

    @property
    def is_function(self) -> bool:
        """Whether it is a function or method, not a class or type that holds others."""
        return any(word in self.kind for word in _FUNCTIONS)


def definitions(text: str, language: str) -> tuple[Definition, ...]:
    """Outermost definitions of a source text, in order and apart from each other.

    `language` is one of `LANGUAGES`. Text that does not parse gives what could be recognised, very
    large text gives none. Raises MissingExtraError where the grammar's wheel is not installed.
    """
    if len(text) > MOST_CHARACTERS:
        return ()
    data = text.encode("utf-8")
    tree = parser_of(language).parse(data)
    kinds = frozenset(_GRAMMARS[language][2].split())
    return _members(tree.root_node, kinds, _offsets(text, data))


@cache
def parser_of(language: str) -> Any:
    """The tree-sitter parser of a language; raises MissingExtraError where its wheel is not installed."""
    module, function, _ = _GRAMMARS[language]
    try:
        from tree_sitter import Language, Parser

        grammar = import_module(module)
    except ImportError as error:
        raise MissingExtraError(error.name or module, "search", f"reading {language} code") from None
    return Parser(Language(getattr(grammar, function)()))


def _offsets(text: str, data: bytes) -> Callable[[int], int]:
    """From a byte offset in the UTF-8 form to a character offset."""
    if len(data) == len(text):
        return lambda offset: offset
    begins = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
    before = np.concatenate([[0], np.cumsum(begins, dtype=np.int64)])
    return lambda offset: int(before[offset])


def _members(
    node: Any, kinds: frozenset[str], place: Callable[[int], int], depth: int = 0
) -> tuple[Definition, ...]:
    found: list[Definition] = []
    if depth == _DEEPEST:
        return ()
    for child in _nearest(node, kinds):
        start, end = place(_start(child)), place(child.end_byte)
        # Two definitions on one line, or a comment claimed twice: the earlier one keeps what it has.
        start = max(start, found[-1].end) if found else start
        if start < end:
            inside = _members(child, kinds, place, depth + 1)
            found.append(Definition(_name_of(child), start, end, inside, _kind_of(child)))
    return tuple(found)


def _nearest(node: Any, kinds: frozenset[str]) -> Iterator[Any]:
    """Definitions below a node that are in no other definition below it, in the order of the text."""
    stack = _inside(node)
    while stack:
        child = stack.pop()
        if _defines(child, kinds):
            yield child
        elif child.named_child_count:
            stack.extend(reversed(child.named_children))


def _inside(node: Any) -> list[Any]:
    """The children to look through; through a wrapper (`@decorated`, `export`, `template`) at once."""
    wrapped = node.child_by_field_name("definition") or node.child_by_field_name("declaration")
    if node.type == "template_declaration":
        wrapped = node.named_children[-1]
    return list(reversed((wrapped or node).named_children))


def _defines(node: Any, kinds: frozenset[str]) -> bool:
    if node.type in kinds:
        return True
    if node.type in _WITH_BODY:
        return node.child_by_field_name("body") is not None
    if node.type == "export_statement":
        declared = node.child_by_field_name("declaration")
        return declared is not None and _defines(declared, kinds)
    return node.type in ("lexical_declaration", "variable_declaration") and any(
        value is not None and value.type in _FUNCTION_VALUES
        for value in (child.child_by_field_name("value") for child in node.named_children)
    )


def _kind_of(node: Any) -> str:
    """The type of a node, or of what it wraps."""
    wrapped = node.child_by_field_name("definition") or node.child_by_field_name("declaration")
    if node.type == "template_declaration":
        wrapped = node.named_children[-1]
    return str((wrapped or node).type)


def _start(node: Any) -> int:
    """Byte where the definition begins, with what is attached above it."""
    first = node
    while (above := _above(first)) is not None and _is_attached(above, first):
        first = above
    return int(first.start_byte)


def _above(node: Any) -> Any:
    """What stands before a node; for the first in a wrapper, such as the statement of SQL, before that."""
    parent = node.parent
    while node.prev_sibling is None and parent is not None and parent.type in _WRAPPERS:
        node, parent = parent, parent.parent
    return node.prev_sibling


def _is_attached(above: Any, node: Any) -> bool:
    if not any(word in above.type for word in _ATTACHED):
        return False
    beyond = above.prev_sibling
    ends_a_line_of_code = (
        beyond is not None and beyond.end_point[0] == above.start_point[0] and beyond.end_point[1]
    )
    return not ends_a_line_of_code and above.end_point[0] + 1 >= node.start_point[0]


def _name_of(node: Any, depth: int = 0) -> str:
    if node.type == "template_declaration":
        return _name_of(node.named_children[-1], depth)
    for part in ("name", "definition", "declaration", "declarator", "type"):
        child = node.child_by_field_name(part)
        if child is not None and (part == "name" or child.named_child_count == 0):
            return str(child.text.decode("utf-8", "replace"))[:100]
        if child is not None and depth < 5:
            return _name_of(child, depth + 1)
    named = [c for c in node.named_children if not c.type.startswith(_NAMELESS)]
    return _name_of(named[0], depth + 1) if named and depth < 5 else ""
