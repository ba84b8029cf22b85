"""A map from old vectors to new ones, for the time until documents are embedded again.

Fitted on documents that both models embedded: orthogonal (Procrustes, Schönemann 1966) or linear with a
ridge. It is put on the side of the queries, q ↦ normalise(W q), since q·(o W) = (W qᵀ)·o: no stored vector
is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from lingxi.errors import InputError
from lingxi.vectors import cut

Matrix = NDArray[np.float32]
# Part of the sample that a map is judged on.
_HELD = 5
_RIDGES = (0.01, 0.1, 1.0)


@dataclass(frozen=True, slots=True)
class Bridge:
    """W [dim, dim] with new ≈ old W, how it was fitted, and the mean cosine on held-out documents.

    `cosine_before` is that of old and new vectors as they are.
    """

    name: str
    matrix: Matrix
    cosine_before: float
    cosine: float

    def queries(self, vectors: Matrix) -> Matrix:
        """New queries [n, dim] as they are to be compared with old documents."""
        moved = vectors @ self.matrix.T
        return cut(moved, moved.shape[1])

    def documents(self, vectors: Matrix) -> Matrix:
        """New documents [n, dim] as they stand among old ones: (W q)·(W⁻ᵀ d) = q·d."""
        moved = vectors @ np.linalg.inv(self.matrix.astype(np.float64))
        return cut(moved.astype(np.float32), moved.shape[1])


def fit(old: Matrix, new: Matrix) -> Bridge:
    """The map that brings held-out old vectors nearest to the new ones; both [n, dim], row by row.

    Raises InputError for fewer than 20 rows, or shapes that differ.
    """
    if old.shape != new.shape or len(old) < 20:
        raise InputError(f"a map of {old.shape} to {new.shape}", "give 20 or more documents' vectors of both")
    held = np.arange(len(old)) % _HELD == 0
    made = {"orthogonal": _orthogonal(old[~held], new[~held])}
    made |= {f"ridge {r:g}": _ridge(old[~held], new[~held], r) for r in _RIDGES}
    alone = _cosine(old[held], new[held])
    scored = {name: _cosine(cut(old[held] @ w, w.shape[1]), new[held]) for name, w in made.items()}
    best = max(scored, key=lambda name: scored[name])
    return Bridge(best, made[best], alone, scored[best])


def save(bridge: Bridge, path: Path) -> None:
    """Write it as safetensors."""
    said = {name: str(getattr(bridge, name)) for name in ("name", "cosine_before", "cosine")}
    save_file({"matrix": bridge.matrix}, path, metadata=said)


def load(path: Path) -> Bridge:
    """Read what `save` wrote; raises InputError where it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            said = file.metadata()
        matrix = load_file(path)["matrix"]
        return Bridge(said["name"], matrix, float(said["cosine_before"]), float(said["cosine"]))
    except (OSError, SafetensorError, KeyError) as problem:
        raise InputError(f"{path}: no map ({problem})", "run the update again") from None


def _orthogonal(old: Matrix, new: Matrix) -> Matrix:
    u, _, vt = np.linalg.svd(old.T.astype(np.float64) @ new.astype(np.float64))
    return np.asarray(u @ vt, np.float32)


def _ridge(old: Matrix, new: Matrix, strength: float) -> Matrix:
    """Towards the identity: min |o W − n|² + λ |W − I|², λ in units of the mean eigenvalue of oᵀo."""
    gram = old.T.astype(np.float64) @ old.astype(np.float64)
    dim = len(gram)
    ridge = strength * np.trace(gram) / dim * np.eye(dim)
    return np.asarray(np.linalg.solve(gram + ridge, old.T @ new + ridge), np.float32)


def _cosine(a: Matrix, b: Matrix) -> float:
    return float((a * b).sum(1).mean())
