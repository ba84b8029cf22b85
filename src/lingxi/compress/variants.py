"""The forms one embedder can take: what to write, how to open it, what it weighs, how vectors are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lingxi.compress.int4_directory import METHODS, quantize_int4
from lingxi.compress.onnx_embedder import OnnxEmbedder
from lingxi.compress.onnx_export import MODEL, export_onnx
from lingxi.embedder import Embedder
from lingxi.engine.quantizing import quantize_directory
from lingxi.errors import InputError
from lingxi.evaluate.dense import Dense, Encoder, Form
from lingxi.evaluate.encoders import Own
from lingxi.evaluate.systems import Candidates, Matrix, System, Texts, best_first
from lingxi.model.files import locate

# Binary codes find four times the ten that are wanted, and full vectors put them in order.
RESCORED = 40
_FULL = Form()
WRITTEN = ("float32", "int8", "int4")
VECTORS = {
    "256:int8": Form(256, "int8"),
    "full:int8": Form(None, "int8"),
    "full:binary": Form(None, "binary"),
}
KNOWN = (
    *WRITTEN,
    *(f"int4-{method}" for method in METHODS),
    *(
        f"{runtime}-{precision}"
        for runtime in ("onnx", "openvino")
        for precision in ("float32", "int8", "int4")
    ),
    *(f"float32@{form}" for form in VECTORS),
    "float32@full:binary+rescoring",
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One form: `path` is its folder, `runtime` who computes it, `form` how its vectors are kept."""

    name: str
    path: Path
    runtime: str
    weights: str | None = None
    form: Form = _FULL
    rescored: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of what is shipped: weights or graph, and the tokenizer."""
        graphs = (MODEL, f"{MODEL}.data", "tokenizer.json", "lingxi.json")
        own = self.runtime == "lingxi"
        files = [*self.path.glob("*.safetensors"), self.path / "tokenizer.json"] if own else []
        files += [] if own else [self.path / name for name in graphs]
        return sum(path.stat().st_size for path in files if path.exists())

    def encoder(self) -> Encoder:
        """The model, opened."""
        if self.runtime == "lingxi":
            return Own(Embedder(self.path, weights=self.weights), self.name)
        return OnnxEmbedder(self.path, self.runtime, name=self.name)

    def system(self, cache: Path | None) -> System:
        """The model as evaluation measures it."""
        dense = Named(self.encoder(), cache, self.form, self.name)
        return Rescored(dense, self.name) if self.rescored else dense


class Named(Dense):
    """A dense system under a name of its own."""

    def __init__(self, encoder: Encoder, cache: Path | None, form: Form, name: str) -> None:
        super().__init__(encoder, cache, form)
        self.name = name


class Rescored:
    """Binary documents found by binary queries, the first 40 put in order by the query's full vector.

    Documents stay binary: their codes ±1 are multiplied by the query's floats (asymmetric scoring) for the
    first cut, and their full vectors are read for the 40 alone.
    """

    def __init__(self, binary: Dense, name: str) -> None:
        self.name = name
        self.fingerprint = f"{binary.fingerprint} rescored {RESCORED}"
        self._full = Dense(binary.encoder, binary._cache)  # the cached full vectors

    def blocks(
        self, queries: Texts, documents: Texts, candidates: Candidates | None = None
    ) -> Iterator[Matrix]:
        """Scores of all documents at once: full cosines for those that the codes found, less for the rest."""
        asked, known = self._full.vectors(queries), self._full.vectors(documents)
        codes = np.where(known > 0, 1.0, -1.0).astype(np.float32) / np.float32(known.shape[1] ** 0.5)
        scores = asked @ codes.T
        first = best_first(scores, min(RESCORED, len(documents)))
        found = np.full(scores.shape, -2.0, np.float32) + scores / 100
        exact = np.take_along_axis(asked @ known.T, first, axis=1)
        np.put_along_axis(found, first, exact, axis=1)
        yield found.astype(np.float32)

    def compare(self, left: Texts, right: Texts) -> Matrix:
        """Cosines of full vectors."""
        return self._full.compare(left, right)

    def vectors(self, texts: Texts) -> Matrix:
        """Full vectors."""
        return self._full.vectors(texts)


def prepare(model: str, names: Sequence[str], folder: Path, texts: Sequence[str]) -> list[Variant]:
    """Write what the named variants need below `folder`, where it is missing; `texts` calibrate int4.

    Raises InputError for a name that is none.
    """
    if unknown := [name for name in names if name not in KNOWN]:
        raise InputError(f"unknown variant {unknown[0]!r}", f"choose some of: {', '.join(KNOWN)}")
    source = locate(model)
    return [_prepared(name, source, folder, texts) for name in names]


def _prepared(name: str, source: Path, folder: Path, texts: Sequence[str]) -> Variant:
    base, at, form = name.partition("@")
    if at:
        rescored = form.endswith("+rescoring")
        return Variant(name, source, "lingxi", "float32", VECTORS[form.removesuffix("+rescoring")], rescored)
    runtime, dash, precision = base.partition("-")
    if runtime in ("onnx", "openvino") and dash:
        origin = _int4(source, folder, texts) if precision == "int4" else source
        out = folder / f"onnx-{precision}"
        if not out.exists():
            export_onnx(origin, out, precision)
        return Variant(name, out, "onnxruntime" if runtime == "onnx" else "openvino")
    if base.startswith("int4"):
        return Variant(name, _int4(source, folder, texts, precision or None), "lingxi", "float32")
    if base == "int8":
        out = folder / "int8"
        if not out.exists():
            quantize_directory(source, out, packed=False)
        return Variant(name, out, "lingxi", "int8")
    return Variant(name, source, "lingxi", "float32")


def _int4(source: Path, folder: Path, texts: Sequence[str], method: str | None = None) -> Path:
    """The int4 directory: by GPTQ where there are texts to calibrate with, else to the nearest."""
    method = method or ("gptq" if texts else "nearest")
    out = folder / f"int4-{method}"
    if not out.exists():
        quantize_int4(source, out, method=method, texts=() if method == "nearest" else texts)
    return out


def read_texts(path: Path) -> list[str]:
    """Calibration texts: JSON Lines of `text`, or one to a line; raises InputError without any."""
    from lingxi.lines import numbered_lines

    found = []
    for number, line in numbered_lines(path):
        if path.suffix != ".jsonl":
            found.append(line)
            continue
        try:
            found.append(str(json.loads(line)["text"]))
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{path}:{number} is no object with `text`", 'write {"text": "…"} on every line'
            ) from None
    if not (kept := [text for text in found if text.strip()]):
        raise InputError(f"{path}: no texts", "give some hundred, like those the model will meet")
    return kept
