"""What a stage read, did and wrote: the file through which rooms meet.

A stage whose inputs, settings and code are unchanged is skipped; one that was stopped has no
manifest and runs again (from its own checkpoint, where it keeps one).
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lingxi
from lingxi.errors import RecipeError

FILE = "manifest.json"
# Settings of how a stage is run, which change nothing of what it makes.
_HOW = frozenset({"runner", "processes", "cache", "checkpoint_every", "chunk_tokens"})
# Those by which a guard stops a run: with others the same run goes on.
_BOUNDS = re.compile("loss_(window|within|margin|patience)|dev_(every|drop|patience)")
_SOURCES = frozenset({".py", ".toml", ".npz", ".jsonl", ".html"})


@dataclass(frozen=True, slots=True)
class Manifest:
    """One stage of one run.

    `key` is the hash of inputs, settings and code that decides whether the stage is current;
    `counts` holds rows in, out and dropped by reason, or whatever the stage counts. `peak_megabytes` is the
    most memory that this process and the largest that it started had held by the stage's end.
    """

    stage: str
    key: str
    inputs: dict[str, str]
    settings: dict[str, Any]
    outputs: dict[str, str]
    counts: dict[str, Any]
    seconds: float
    peak_megabytes: int | None = None
    version: str = lingxi.__version__
    machine: str = field(default_factory=lambda: f"{platform.system()} {platform.machine()}")
    finished: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def write(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` in one step: a stage either has a whole manifest or none."""
    partial = folder / f"{FILE}.partial"
    partial.write_text(json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(folder / FILE)


def read(folder: Path) -> Manifest | None:
    """Read a stage's manifest, or None where the stage has not finished; raises RecipeError if damaged."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{path}: damaged ({error})", "delete it; the stage will run again") from None


def is_current(folder: Path, key: str) -> bool:
    """Whether the stage finished with this key and all it wrote is still there."""
    found = read(folder)
    return found is not None and found.key == key and all((folder / name).exists() for name in found.outputs)


def key_of(stage: str, inputs: Mapping[str, str], settings: Mapping[str, Any], code: str) -> str:
    """The hash that changes when anything a stage's outcome depends on does."""
    text = json.dumps([stage, dict(inputs), _what(settings), code], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _what(settings: Any) -> Any:
    """Settings, tables within tables, without those of how."""
    if isinstance(settings, Mapping):
        made_by = {n: value for n, value in settings.items() if n not in _HOW and not _BOUNDS.fullmatch(n)}
        return {name: _what(value) for name, value in made_by.items()}
    return [_what(value) for value in settings] if isinstance(settings, (list, tuple)) else settings


def peak_megabytes() -> int | None:
    """The most memory, in 1e6 bytes, of this process and the largest it started; None where unknown."""
    try:
        import resource
    except ImportError:
        return None
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if platform.system() == "Darwin" else 1024
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(who).ru_maxrss for who in both) * unit // 1_000_000


def hash_file(path: Path) -> str:
    """sha256 of a file, or of every file of a folder with its name; 16 hex digits."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        digest.update(str(file.relative_to(path)).encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]


def state_of(path: Path) -> str:
    """What changes where a file, or any file of a folder, does: names, sizes and times; 16 hex digits."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stated = [(str(p), p.stat()) for p in files if p.exists()]
    text = json.dumps([(name, s.st_size, s.st_mtime_ns) for name, s in stated])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_code(*packages: str) -> str:
    """Hash of the sources and tables of these rooms (names below the package), so changed code runs again."""
    root = Path(__file__).parent
    files = sorted(
        file
        for name in packages
        for file in ((root / name).rglob("*") if (root / name).is_dir() else [root / f"{name}.py"])
        if file.suffix in _SOURCES
    )
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
