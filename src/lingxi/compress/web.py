"""A folder that is a web page: it embeds and searches some hundred documents in the browser alone.

`index.html` with the model as ONNX, its tokenizer, the documents, and two libraries: onnxruntime-web
(Microsoft, MIT) and tokenizers.js (Hugging Face, Apache-2.0), installed by npm or copied from a folder. Any
web server serves it (`python -m http.server`); the page asks nobody else, and its own policy forbids it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lingxi.compress.onnx_export import Exported, export_onnx
from lingxi.errors import InputError, ModelError, require_new
from lingxi.lines import numbered_lines
from lingxi.model.layout import require_kind
from lingxi.parse import Skip, decode
from lingxi.parse.segments import segments

PAGE = Path(__file__).parent / "web"
PACKAGES = ("onnxruntime-web@1.30.0", "@huggingface/tokenizers@0.2.0")
# What each backend loads; the larger WebAssembly is fetched by browsers that are asked for WebGPU alone.
_VENDORED = {
    "onnxruntime-web/dist": (
        "ort.wasm.min.mjs",
        "ort-wasm-simd-threaded.mjs",
        "ort-wasm-simd-threaded.wasm",
        "ort.webgpu.min.mjs",
        "ort-wasm-simd-threaded.asyncify.mjs",
        "ort-wasm-simd-threaded.asyncify.wasm",
    ),
    "@huggingface/tokenizers/dist": ("tokenizers.min.mjs",),
}
_LICENCES = {"onnxruntime-web": "Microsoft, MIT", "@huggingface/tokenizers": "Hugging Face, Apache-2.0"}
MOST = 2000
_TEXTS = {".md", ".txt", ".rst", ".html", ".htm"}


@dataclass(frozen=True, slots=True)
class Page:
    """What was written: the folder, how many documents it searches, the model, all files' bytes."""

    path: Path
    documents: int
    model: Exported
    bytes: int


@dataclass(frozen=True, slots=True)
class Document:
    """One passage of the page: its text, what it is called, and where it stands."""

    text: str
    title: str
    place: str


def write_page(
    model: Path, documents: Path, out: Path, *, precision: str = "int8", runtime: Path | None = None
) -> Page:
    """Write the page to the new folder `out`; `runtime` is a `node_modules`, else npm installs one.

    Raises InputError where `out` exists, there are no documents or more than 2,000, or npm cannot be run;
    ModelError for a reranker, and as `export_onnx`.
    """
    require_new(out)
    require_kind(model, "embedder")
    found = list(read_documents(documents))
    if not found or len(found) > MOST:
        raise InputError(f"{documents}: {len(found)} passages", f"give files that make 1 to {MOST:,}")
    out.mkdir(parents=True)
    exported = export_onnx(model, out / "model", precision)
    for path in PAGE.iterdir():
        shutil.copyfile(path, out / path.name)
    listed = [{"text": d.text, "title": d.title, "place": d.place} for d in found]
    (out / "documents.json").write_text(json.dumps(listed, ensure_ascii=False), encoding="utf-8")
    if runtime is not None:
        _vendor(runtime, out / "vendor")
    else:
        with tempfile.TemporaryDirectory() as folder:
            _vendor(_installed(Path(folder)), out / "vendor")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return Page(out, len(found), exported, size)


def read_documents(path: Path) -> Iterator[Document]:
    """Passages of a folder of texts, a text, or JSON Lines of `text` (and `title`)."""
    if path.suffix == ".jsonl":
        yield from _rows(path)
        return
    if not path.exists():
        raise InputError(f"no file at {path}", "name a folder, a text, or a .jsonl file")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in _TEXTS)
    for file in files:
        content = decode(file, file.read_bytes())
        if isinstance(content, Skip):
            continue
        name = file.name if path.is_file() else str(file.relative_to(path))
        for s in segments(content):
            yield Document(s.text, s.title or name, f"{name}:{s.first_line}")


def _rows(path: Path) -> Iterator[Document]:
    for number, line in numbered_lines(path):
        try:
            row = json.loads(line)
            yield Document(str(row["text"]), str(row.get("title") or ""), f"{path.name}:{number}")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{path}:{number} is no object with `text`", 'write {"text": "…"} on every line'
            ) from None


def _installed(folder: Path) -> Path:
    """The `node_modules` of a folder into which npm has installed the two libraries."""
    command = [
        "npm",
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--prefix",
        str(folder),
        *PACKAGES,
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    except FileNotFoundError:
        raise InputError("npm is not installed", "install Node.js, or name a node_modules folder") from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        last = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1]
        raise InputError(f"npm could not install the runtime ({last})", "see to the network") from None
    return folder / "node_modules"


def _vendor(modules: Path, out: Path) -> None:
    out.mkdir()
    notes = []
    for folder, names in _VENDORED.items():
        package = modules / folder.removesuffix("/dist")
        for name in names:
            if not (modules / folder / name).exists():
                raise ModelError(f"{modules / folder / name} is missing", f"install {' and '.join(PACKAGES)}")
            shutil.copyfile(modules / folder / name, out / name)
        about = json.loads((package / "package.json").read_text(encoding="utf-8"))
        notes.append(f"{about['name']} {about['version']} ({_LICENCES[about['name']]}): {', '.join(names)}")
    (out / "NOTICE").write_text("\n".join(notes) + "\n", encoding="utf-8")
