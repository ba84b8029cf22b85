"""Source files that nobody wrote here: vendored, generated, minified; each is left out with a reason."""

from __future__ import annotations

import re

_VENDORED = re.compile(
    r"(?:^|/)(node_modules|bower_components|jspm_packages|vendor|vendored|_vendor|third[-_]?party|3rd[-_]?party"
    r"|Godeps|site-packages|Pods|Carthage)/"
)
_GENERATED_NAME = re.compile(
    r"(?:_pb2(?:_grpc)?\.pyi?|\.pb(?:\.gw)?\.(?:go|cc|h)|_generated\.\w+|\.generated\.\w+|\.g\.(?:cs|dart)"
    r"|\.designer\.cs|_string\.go|zz_generated\.\w*\.?go|(?:^|/)moc_[^/]+\.cpp|\.tab\.[ch])$",
    re.I,
)
_MINIFIED_NAME = re.compile(r"[.-]min\.(?:js|mjs|cjs|css)$|\.bundle\.js$", re.I)
# Said at the top of a file, in a comment: a program that writes such lines has them further down.
_GENERATED = re.compile(
    r"^\W{0,8}\s*(?:@generated\b|code generated\b.*\bdo not edit"
    r"|(?:this (?:file|code|class) (?:is|was|has been) )?auto(?:matically)?[- ]?generated\b"
    r"|this (?:file|code) (?:is|was) generated\b|generated (?:by|from) \S+.*\bdo not (?:edit|modify))",
    re.I | re.M,
)
_TOP_LINES = 15
_LONGEST_LINE, _LONGEST_MEAN, _LEAST_MINIFIED = 5000, 250, 2000


def by_name(path: str) -> str:
    """Why a file is left out for its path, written with `/`; empty where it is not."""
    if found := _VENDORED.search(path):
        return f"vendored (below {found[1]})"
    if _MINIFIED_NAME.search(path):
        return "minified"
    return "generated (by its name)" if _GENERATED_NAME.search(path) else ""


def by_text(text: str) -> str:
    """Why a file is left out for what it says; empty where it is not."""
    lines = text.splitlines()
    if _GENERATED.search("\n".join(line[:300] for line in lines[:_TOP_LINES])):
        return "generated (it says so)"
    if len(text) < _LEAST_MINIFIED or not lines:
        return ""
    if max(map(len, lines)) > _LONGEST_LINE or len(text) / len(lines) > _LONGEST_MEAN:
        return "minified, or data in long lines"
    return ""
