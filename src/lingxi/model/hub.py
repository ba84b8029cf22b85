"""Models of the hub: the files that are read, fetched and cached."""

from __future__ import annotations

from pathlib import Path

from lingxi.errors import ModelError

_FILES = [
    "*.json",
    "*.safetensors",
    "vocab.txt",
    "golden/*",
    "1_Pooling/*",
    "*_Dense/*.json",
    "*_Dense/*.safetensors",
    "1_LogitScore/*",
    "1_CausalScoreHead/*",
    "README.md",
]


def fetched(repo: str, revision: str | None, local_files_only: bool) -> Path:
    """Where the cached copy lies; raises ModelError where the model cannot be had."""
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            repo, revision=revision, local_files_only=local_files_only, allow_patterns=_FILES
        )
    except Exception as error:  # hub, network and cache errors have no common ancestor
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"model {repo!r} is not a directory here and could not be fetched from the hub ({first})",
            "check the name and the network, or give the path of a local copy",
        ) from None
    return Path(found)
