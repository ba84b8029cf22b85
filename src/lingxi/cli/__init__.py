"""The command line: every verb is a function that calls the package and shows what came back.

One file a group of verbs. Exit codes: 0 done, 1 nothing found or a check failed, 2 an error the user can mend
(one line on stderr), 130 Ctrl-C. Heavy libraries are imported by the verbs that need them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer

from lingxi.cli import (
    ask,
    check,
    code,
    compress,
    data,
    evaluate,
    generate,
    graphs,
    index,
    late,
    mcp,
    media,
    merge,
    models,
    recipe,
    review,
    search,
    select,
    serve,
    update,
    vectors,
)
from lingxi.cli.faces import LAZY, Faces
from lingxi.cli.show import complain
from lingxi.errors import LingxiError

app = typer.Typer(
    name="lingxi",
    help="Search files by meaning, and the life of the models that do it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
search.register(app)
index.register(app)
ask.register(app)
vectors.register(app)
models.register(app)
check.register(app)
code.register(app)
compress.register(app)
merge.register(app)
recipe.register(app)
generate.register(app)
data.register(app)
review.register(app)
select.register(app)
evaluate.register(app)
mcp.register(app)
serve.register(app)
update.register(app)
graphs.register(app)
media.register(app)
late.register(app)


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str], faces: Faces = LAZY) -> int:
    """Run one command and return its exit code; `faces` makes the models (another one, in tests)."""
    warnings.showwarning = _one_line
    try:
        outcome = app(args=list(arguments), prog_name="lingxi", standalone_mode=False, obj=faces)
    except (KeyboardInterrupt, typer.Abort):
        outcome = 130
    except LingxiError as error:
        complain(f"error: {error}")
        return 2
    except Exception as error:
        # Usage errors: their class is typer's own copy of click's, or click's, by version.
        if not hasattr(error, "format_message"):
            raise
        complain(f"error: {error.format_message().rstrip('.')}; see `lingxi --help`")
        return 2
    if outcome == 130:
        complain("interrupted; what was committed is kept")
    return outcome if isinstance(outcome, int) else 0


def _one_line(message: Warning | str, *_: Any, **__: Any) -> None:
    complain(f"warning: {message}")
