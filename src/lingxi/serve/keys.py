"""API keys: read from a file, kept as hashes, compared in constant time; a key's name is who asks."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lingxi.errors import InputError

# Shorter ones can be guessed.
LEAST = 16


@dataclass(frozen=True, slots=True)
class Key:
    """A key that opens the server: the name its client goes by, and the SHA-256 of the secret."""

    name: str
    digest: bytes


def read_keys(path: Path) -> tuple[str, ...]:
    """The keys of a file, one a line: `SECRET` or `NAME SECRET`; what follows a # is a remark.

    Raises InputError where the file cannot be read, or holds no key or an unfit one, without showing it.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"cannot read the keys in {path}", "name a text file with one key a line") from None
    found = tuple(bare for line in lines if (bare := " ".join(line.split("#")[0].split())))
    if not found:
        raise InputError(f"no key in {path}", "write one key a line")
    keys_of(found)
    return found


def keys_of(lines: Iterable[str]) -> tuple[Key, ...]:
    """Keys of `SECRET` or `NAME SECRET` strings; raises InputError for an unfit one, without showing it."""
    return tuple(_key(number, line.split()) for number, line in enumerate(lines, 1))


def _key(number: int, words: Sequence[str]) -> Key:
    if len(words) not in (1, 2) or not words[-1].isascii() or len(words[-1]) < LEAST:
        raise InputError(
            f"API key number {number} is unfit",
            f"write SECRET or NAME SECRET, with a secret of at least {LEAST} ASCII characters",
        )
    digest = hashlib.sha256(words[-1].encode()).digest()
    # Without a name the client is told from others by a few letters of the hash, which give nothing away.
    return Key(words[0] if len(words) == 2 else f"key-{digest.hex()[:8]}", digest)


def owner(keys: Sequence[Key], secret: bytes) -> str | None:
    """The name of the key that a secret is, or None; takes as long for every secret."""
    digest, found = hashlib.sha256(secret).digest(), None
    for key in keys:
        if hmac.compare_digest(digest, key.digest):
            found = key.name
    return found
