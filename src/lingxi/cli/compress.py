"""`lingxi compress`: smaller models, and models in other forms, each verb a file of its own."""

from __future__ import annotations

import typer

from lingxi.cli import distil, exports


def register(app: typer.Typer) -> None:
    """Add `compress` and its verbs."""
    compress = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    # A group of one verb would be that verb.
    compress.callback()(lambda: None)
    distil.register(compress)
    exports.register(compress)
    app.add_typer(compress, name="compress", help="Smaller models, and models in other forms.")
