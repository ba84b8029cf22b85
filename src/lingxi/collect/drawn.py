"""Drawings rendered: rows whose picture is an SVG get a PNG in its place, on white.

Only a drawing that draws and does nothing else is rendered (`lingxi.drawings`), by resvg, which fetches
nothing and runs nothing. A size given in millimetres without a view box is mended first, which resvg refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from lingxi.collect.origin import Origin
from lingxi.drawings import checked_drawing
from lingxi.errors import InputError, MissingExtraError
from lingxi.records import Document, digest

_MOST_BYTES = 500_000
_HEAD = re.compile(r"<svg\b[^>]*>", re.DOTALL)
# Pixels a unit, as SVG 1.1 drawings of Inkscape have them.
_UNITS = {"": 1.0, "px": 1.0, "pt": 1.25, "mm": 3.543307, "cm": 35.43307, "in": 90.0}


def rendered(rows: Iterable[Document], folder: Path, side: int, origin: Origin) -> Iterator[Document]:
    """Rows with every SVG rendered into `folder`, `side` pixels wide; what is refused is left out by name."""
    made: dict[str, Path | None] = {}
    for row in rows:
        source = Path(row.media or "")
        if source.suffix.lower() != ".svg":
            yield row
            continue
        if str(source) not in made:
            made[str(source)] = _made(source, folder, side, origin)
        picture = made[str(source)]
        if picture is not None:
            yield replace(row, media=str(picture))


def _made(source: Path, folder: Path, side: int, origin: Origin) -> Path | None:
    path = folder / f"{source.stem[:60]}-{digest(str(source), str(side))[:8]}.png"
    if path.is_file():
        return path
    try:
        text = checked_drawing(source.read_bytes(), source.name, _MOST_BYTES).decode("utf-8", "replace")
        data = render(text, side)
    except (InputError, OSError) as refused:
        origin.left_out.append(f"{source}: {refused}")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def render(text: str, side: int) -> bytes:
    """PNG bytes of an SVG's text, `side` pixels wide; raises InputError without a size, or damaged."""
    try:
        import resvg_py
    except ImportError as absent:
        raise MissingExtraError("resvg-py", "media", "rendering drawings") from absent
    for drawing in (text, mended(text)):
        if drawing is None:
            continue
        try:
            return bytes(resvg_py.svg_to_bytes(svg_string=drawing, width=side))
        except ValueError:
            continue
    raise InputError("the drawing cannot be rendered", "leave it out")


def mended(text: str) -> str | None:
    """An SVG whose width and height are pixels and its view box; None where it states none."""
    head = _HEAD.search(text)
    sizes = [_pixels(head[0], name) for name in ("width", "height")] if head else [None]
    if head is None or None in sizes:
        return None
    width, height = sizes
    bare = re.sub(r'\b(width|height|viewBox)\s*=\s*"[^"]*"', "", head[0])
    sized = bare.replace("<svg", f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}"', 1)
    return text.replace(head[0], sized, 1)


def _pixels(head: str, name: str) -> float | None:
    found = re.search(rf'\b{name}\s*=\s*"([\d.]+)\s*(px|pt|mm|cm|in)?"', head)
    return float(found[1]) * _UNITS[found[2] or ""] if found else None
