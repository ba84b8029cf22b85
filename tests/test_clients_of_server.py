"""Our client, LangChain's and LlamaIndex's of OpenAI, asking the real server: as in process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

httpx = pytest.importorskip("httpx", reason="the extra `client` is not installed")
pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("lancedb", reason="the extra `search` is not installed")

from dialect_server import serving  # noqa: E402
from lingxi import AsyncClient, Client, Embedder, Index, Reranker  # noqa: E402
from lingxi.asking import NoAnswerError  # noqa: E402
from lingxi.serve.app import create_app  # noqa: E402
from lingxi.serve.service import Service  # noqa: E402
from lingxi.serve.settings import Settings  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
TASK = "Find the passage that names a city"
TEXTS = ["Apples fall from trees.", "The capital of China is Beijing.", "北京是首都。", "gravity " * 20]
QUERY = "which city is the capital"
PAIRS = [(QUERY, text) for text in TEXTS] + [("what falls", TEXTS[0])]


@pytest.fixture(scope="module")
def index(embedder: Embedder, reranker: Reranker, tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("notes")
    for i, text in enumerate(TEXTS):
        (folder / f"{i}.md").write_text(text)
    made = Index.open(folder / "i", embedder, reranker)
    made.add([folder / f"{i}.md" for i in range(len(TEXTS))])
    return made


@pytest.fixture(scope="module")
def url(embedder: Embedder, reranker: Reranker, index: Index) -> Iterator[str]:
    settings = Settings(self_check=False)
    service = Service({"toy": embedder}, {"toy-reranker": reranker}, index=index, settings=settings)
    with serving(create_app(service, settings)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, max_items=2) as made:
        yield made


def same(a: Any, b: Any) -> None:
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=1e-6)


def test_vectors_and_scores(client: Client, embedder: Embedder, reranker: Reranker) -> None:
    for options in (
        {},
        {"instruction": TASK},
        {"prompt_name": "query"},
        {"truncate_dim": 32},
        {"prompt": "a: "},
    ):
        same(client.encode(TEXTS, **options), embedder.encode(TEXTS, **options))
    long = ["gravity " * 700]
    same(client.encode_document(long), embedder.encode_document(long))
    for precision in ("int8", "uint8", "binary", "ubinary"):
        got, own = client.encode(TEXTS, precision=precision), embedder.encode(TEXTS, precision=precision)
        assert got.dtype == own.dtype and (got == own).all()
    for task in (None, TASK):
        same(client.encode_query(QUERY, instruction=task), embedder.encode_query(QUERY, instruction=task))
        same(client.predict(PAIRS, instruction=task), reranker.predict(PAIRS, instruction=task))
        got, own = (face.rank(QUERY, TEXTS, top_k=3, instruction=task) for face in (client, reranker))
        assert [row["corpus_id"] for row in got] == [row["corpus_id"] for row in own]
    assert client.fingerprint() | {"name": ""} == embedder.fingerprint() | {"name": ""}
    assert client.dim == embedder.dim and client.encode([]).shape == (0, embedder.dim)


def test_search_and_segments(client: Client, embedder: Embedder, index: Index) -> None:
    own = index.search(QUERY, 3, TASK)
    assert [hit.text for hit in client.search(QUERY, 3, TASK)] == [hit.text for hit in own]
    (shown,), (here,) = client.search(QUERY, 1, rerank=False), index.search(QUERY, 1, rerank=False)
    # A server does not say where its files lie.
    assert replace(shown, path=here.path) == here
    assert here.path.endswith(shown.path) and not Path(shown.path).is_absolute()
    assert {hit.path for hit in client.search(QUERY, below=[shown.path])} == {shown.path}
    document = "Apples fall from trees. The capital of China is Beijing. Rain falls in autumn. " * 3
    for options in ({}, {"truncate_dim": 32, "precision": "int8"}):
        first, second = client.segment([document, TEXTS[0]], max_tokens=32, **options)
        assert all(document[one.start : one.stop] == one.text for one in first) and len(second) == 1
        assert len(first) > 1
        got = np.stack([one.vector for one in first])
        same(got, embedder.encode_document([one.text for one in first], **options))


def test_segments_in_the_context_of_their_document(client: Client, embedder: Embedder) -> None:
    document = "Apples fall from trees. The capital of China is Beijing. Rain falls in autumn. " * 3
    (found,) = client.segment([document], max_tokens=32, late=True)
    own = embedder.encode_segments([[one.text for one in found]])
    same(np.stack([one.vector for one in found]), own[0])


def test_refusals_are_in_words(url: str) -> None:
    with (
        Client(url, model="nobody") as client,
        pytest.raises(NoAnswerError, match="not served here") as failed,
    ):
        client.encode("a")
    assert failed.value.status == 404
    with Client(url) as client, pytest.raises(NoAnswerError, match="no vectors") as failed:
        client.encode("a", truncate_dim=7)
    assert failed.value.status == 400


def test_many_at_once_from_an_event_loop(url: str, embedder: Embedder) -> None:
    texts = [f"text {i}" for i in range(40)]

    async def asked() -> list[Any]:
        async with AsyncClient(url, parallel=8) as client:
            return await asyncio.gather(*(client.encode_document(text) for text in texts))

    same(np.stack(asyncio.run(asked())), embedder.encode_document(texts))


def test_an_index_made_through_the_server_is_that_of_the_model(
    url: str, embedder: Embedder, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text(" ".join(TEXTS[:2]))
    with Client(url) as client:
        Index.open(tmp_path / "i", client).add([tmp_path / "a.md"])
        found = Index.open(tmp_path / "i", client).search(QUERY)
    # Opened in process: it is the same model, by weights, prompt and width.
    assert found[0].text == Index.open(tmp_path / "i", embedder).search(QUERY)[0].text


def test_the_openai_embeddings_of_langchain(url: str, embedder: Embedder) -> None:
    module = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    options = {"base_url": f"{url}/v1", "api_key": "none", "check_embedding_ctx_length": False}
    theirs = module.OpenAIEmbeddings(model="toy", **options)
    same(theirs.embed_documents(TEXTS), embedder.encode(TEXTS))

    async def later() -> Any:
        async with httpx.AsyncClient() as http:
            return await module.OpenAIEmbeddings(model="toy", http_async_client=http, **options).aembed_query(
                QUERY
            )

    same(asyncio.run(later()), embedder.encode(QUERY))
    asked = module.OpenAIEmbeddings(
        model="toy", dimensions=32, model_kwargs={"extra_body": {"instruction": TASK}}, **options
    )
    same(asked.embed_query(QUERY), embedder.encode_query(QUERY, instruction=TASK, truncate_dim=32))


def test_the_openai_embedding_of_llamaindex(url: str, embedder: Embedder) -> None:
    module = pytest.importorskip(
        "llama_index.embeddings.openai", reason="llama-index-embeddings-openai is not installed"
    )
    options = {"api_base": f"{url}/v1", "api_key": "none"}
    theirs = module.OpenAIEmbedding(model_name="toy", **options)
    same(theirs.get_text_embedding_batch(TEXTS), embedder.encode(TEXTS))

    async def later() -> Any:
        async with httpx.AsyncClient() as http:
            face = module.OpenAIEmbedding(model_name="toy", async_http_client=http, **options)
            return await face.aget_query_embedding(QUERY)

    same(asyncio.run(later()), embedder.encode(QUERY))
    asked = module.OpenAIEmbedding(
        model_name="toy", additional_kwargs={"extra_body": {"instruction": TASK}}, **options
    )
    same(asked.get_query_embedding(QUERY), embedder.encode_query(QUERY, instruction=TASK))
