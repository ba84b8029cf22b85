"""Loading a model directory never runs code that lies in it."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

from lingxi import Embedder, Reranker
from lingxi.errors import LingxiError
from toys import write_toy

KINDS = {"embedder": Embedder, "reranker": Reranker}


class Planted:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def plant(folder: Path, mark: Path) -> None:
    """Put code wherever some loader has been known to run it."""
    code = f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
    names = ("modeling_qwen3", "configuration_qwen3", "tokenization_qwen3", "__init__", "conftest",
             "sitecustomize", "setup", "custom_module", "handler")  # fmt: skip
    for name in names:
        (folder / f"{name}.py").write_text(code)
    for name in (
        "pytorch_model.bin",
        "model.pt",
        "model.pkl",
        "training_args.bin",
        "optimizer.pt",
        "vectors.npy",
    ):
        (folder / name).write_bytes(pickle.dumps(Planted(mark)))
    mapped = {"AutoModel": "modeling_qwen3.Model", "AutoConfig": "configuration_qwen3.Config"}
    for name, extra in (
        ("config.json", {"auto_map": mapped, "trust_remote_code": True}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tokenization_qwen3.T", None]}}),
    ):
        path = folder / name
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**known, **extra}))


def opened(kind: str, folder: Path) -> object:
    """Open and use it; an error in words is as good as an answer."""
    try:
        model = KINDS[kind](folder)
        return model.encode(["a"]) if kind == "embedder" else model.predict([("a", "b")])
    except LingxiError as error:
        return error


@pytest.mark.parametrize("kind", KINDS)
def test_code_beside_the_weights_is_not_run(tmp_path, monkeypatch, kind):
    folder, mark = write_toy(tmp_path / "toy", kind), tmp_path / "ran"
    before = opened(kind, folder)
    plant(folder, mark)
    monkeypatch.chdir(folder)
    found = opened(kind, folder)
    assert not mark.exists()
    assert (found == before).all(), "what is planted changes nothing"
    with pytest.raises(AssertionError):  # the bait works
        pickle.loads((folder / "model.pkl").read_bytes())
        assert not mark.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_pickles_in_the_place_of_weights_are_refused_unread(tmp_path, kind):
    folder, mark = write_toy(tmp_path / "toy", kind), tmp_path / "ran"
    plant(folder, mark)
    weights = list(folder.glob("*.safetensors"))
    for path in weights:
        path.write_bytes(pickle.dumps(Planted(mark)))
    assert isinstance(opened(kind, folder), LingxiError)
    for path in weights:
        path.unlink()
    assert isinstance(opened(kind, folder), LingxiError)
    assert not mark.exists()


@pytest.mark.parametrize("type_", ["custom_module.Module", "builtins.exec", "os.system", "handler.Handler"])
def test_modules_named_by_the_directory_are_not_imported(tmp_path, monkeypatch, type_):
    folder, mark = write_toy(tmp_path / "toy"), tmp_path / "ran"
    plant(folder, mark)
    shutil.rmtree(folder / "1_Extra", ignore_errors=True)
    (folder / "1_Extra").mkdir()
    path = folder / "modules.json"
    known = json.loads(path.read_text()) if path.exists() else []
    path.write_text(json.dumps([*known, {"idx": len(known), "name": "9", "path": "1_Extra", "type": type_}]))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    assert isinstance(opened("embedder", folder), LingxiError)
    assert not mark.exists()
