"""Vectors of real sentences by lingxi-pico, and larger sets drawn like them; kept in a file.

    python benchmarks/real_vectors.py OUT.npy [--count 100000] [--model NAME]

The sentences are those of the Python files and documents that this Python and its packages carry, each once,
cut to 200 characters, in an order drawn by seed.
"""

from __future__ import annotations

import argparse
import random
import sysconfig
from pathlib import Path

import numpy as np

LONGEST = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--model", default="lingxi-pico", help="embedder")
    options = parser.parse_args()
    from lingxi import Embedder

    texts = sentences_here(options.count)
    embedder = Embedder(options.model)
    vectors = embedder.encode_document(texts, show_progress_bar=True)
    np.save(options.out, vectors)
    options.out.with_suffix(".txt").write_text("\n".join(texts), encoding="utf-8")
    print(f"{len(texts)} sentences, vectors {vectors.shape}")


def sentences_here(count: int) -> list[str]:
    """Sentences of the docstrings, comments and pages of this Python installation."""
    from lingxi.parse import sentences

    paths = sysconfig.get_paths()
    files = sorted(
        file
        for place in ("stdlib", "purelib")
        for file in Path(paths[place]).rglob("*")
        if file.suffix in (".py", ".md", ".rst", ".txt") and file.is_file() and file.stat().st_size < 200_000
    )
    random.Random(0).shuffle(files)
    found: dict[str, None] = {}
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")
        for span in sentences(text):
            said = " ".join(text[span.start : span.end].split())[:LONGEST]
            if sum(map(str.isalpha, said)) > 20:
                found[said] = None
        if len(found) > 2 * count:
            break
    return random.Random(1).sample(list(found), min(count, len(found)))


def drawn_like(vectors: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """`count` unit vectors [count, dim]: real ones, each moved toward another by a random share, with noise.

    So they have the spectrum and the crowding of the real ones, and no two are the same.
    """
    draw = np.random.default_rng(seed)
    out = np.empty((count, vectors.shape[1]), np.float32)
    for start in range(0, count, 50_000):
        size = min(50_000, count - start)
        one, other = (vectors[draw.integers(0, len(vectors), size)] for _ in range(2))
        share = draw.uniform(0, 0.5, (size, 1)).astype(np.float32)
        noise = draw.standard_normal(one.shape, np.float32) * np.float32(0.2 / one.shape[1] ** 0.5)
        moved = one * (1 - share) + other * share + noise
        out[start : start + size] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return out


if __name__ == "__main__":
    main()
