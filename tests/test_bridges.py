"""The bridges, with the libraries they lead to: same vectors, same order, instructions heeded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingxi import Embedder, Index, Reranker
from lingxi.errors import InputError, StoreError

TASK = "Find the passage that names a city"
TEXTS = ["Apples fall from trees.", "The capital of China is Beijing.", "Paris lies on the Seine."]
QUERY = "which city is the capital of China"
# What the libraries say of themselves while they are imported is no concern of ours.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def url(embedder: Embedder, reranker: Reranker) -> Iterator[str]:
    pytest.importorskip("httpx", reason="the extra `client` is not installed")
    from speaking import Speaker, speaking

    with speaking(Speaker(embedder, reranker)) as address:
        yield address


def same(a: Any, b: Any) -> None:
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=1e-6)


def order(reranker: Reranker, task: str | None = None) -> list[int]:
    return [row["corpus_id"] for row in reranker.rank(QUERY, TEXTS, instruction=task)]


def test_langchain_embeds_and_reranks(embedder: Embedder, reranker: Reranker) -> None:
    pytest.importorskip("langchain_core", reason="langchain-core is not installed")
    from langchain_core.documents import Document
    from langchain_core.vectorstores import InMemoryVectorStore

    from lingxi.bridges.langchain import LingxiEmbeddings, LingxiReranker

    for task in (None, TASK):
        ours = LingxiEmbeddings(embedder, instruction=task, truncate_dim=32)
        same(ours.embed_query(QUERY), embedder.encode_query(QUERY, instruction=task, truncate_dim=32))
        same(asyncio.run(ours.aembed_query(QUERY)), ours.embed_query(QUERY))
        same(ours.embed_documents(TEXTS), embedder.encode_document(TEXTS, truncate_dim=32))
        same(asyncio.run(ours.aembed_documents(TEXTS)), ours.embed_documents(TEXTS))
    store = InMemoryVectorStore(LingxiEmbeddings(embedder))
    store.add_texts(TEXTS)
    best = store.similarity_search_with_score(QUERY, k=3)
    cosines = embedder.similarity(embedder.encode_query([QUERY]), embedder.encode_document(TEXTS))[0]
    assert [found.page_content for found, _ in best] == [TEXTS[i] for i in np.argsort(-cosines)]

    documents = [Document(page_content=text, metadata={"at": i}) for i, text in enumerate(TEXTS)]
    for task in (None, TASK):
        judge = LingxiReranker(model=reranker, top_k=2, instruction=task)
        got = judge.compress_documents(documents, QUERY)
        assert [one.metadata["at"] for one in got] == order(reranker, task)[:2]
        assert got == asyncio.run(judge.acompress_documents(documents, QUERY))
        scores = reranker.predict([(QUERY, one.page_content) for one in got], instruction=task)
        same([one.metadata["relevance_score"] for one in got], scores)
    assert all("relevance_score" not in one.metadata for one in documents)
    assert judge.compress_documents([], QUERY) == []


def test_langchain_retrieves_from_an_index(embedder: Embedder, reranker: Reranker, tmp_path: Path) -> None:
    pytest.importorskip("langchain_core", reason="langchain-core is not installed")
    pytest.importorskip("lancedb", reason="the extra `search` is not installed")
    from langchain_core.runnables import RunnableLambda

    from lingxi.bridges.langchain import LingxiRetriever

    for i, text in enumerate(TEXTS):
        (tmp_path / f"{i}.md").write_text(text)
    index = Index.open(tmp_path / "i", embedder, reranker)
    index.add([tmp_path / f"{i}.md" for i in range(3)])
    retriever = LingxiRetriever(index=index, top_k=2, instruction=TASK, rerank=False)
    found = retriever.invoke(QUERY)
    expected = index.search(QUERY, 2, TASK, rerank=False)
    assert [one.page_content for one in found] == [hit.text for hit in expected]
    assert found[0].metadata["source"] == expected[0].path and found[0].metadata["score"] == expected[0].score
    assert asyncio.run(retriever.ainvoke(QUERY)) == found
    chain = retriever | RunnableLambda(len)
    assert chain.invoke(QUERY) == 2


def test_llamaindex_embeds_and_reranks(embedder: Embedder, reranker: Reranker) -> None:
    pytest.importorskip("llama_index.core", reason="llama-index-core is not installed")
    from llama_index.core import VectorStoreIndex
    from llama_index.core.schema import NodeWithScore, TextNode

    from lingxi.bridges.llamaindex import LingxiEmbedding, LingxiRerank

    for task in (None, TASK):
        ours = LingxiEmbedding(embedder, instruction=task)
        same(ours.get_query_embedding(QUERY), embedder.encode_query(QUERY, instruction=task))
        same(asyncio.run(ours.aget_query_embedding(QUERY)), ours.get_query_embedding(QUERY))
        same(ours.get_text_embedding_batch(TEXTS), embedder.encode_document(TEXTS))
        same(asyncio.run(ours.aget_text_embedding_batch(TEXTS)), embedder.encode_document(TEXTS))
        same(asyncio.run(ours.aget_text_embedding(TEXTS[0])), ours.get_text_embedding(TEXTS[0]))
    assert ours.model_name == embedder.name and "model" not in ours.to_dict()
    nodes = [TextNode(text=text, id_=str(i)) for i, text in enumerate(TEXTS)]
    retriever = VectorStoreIndex(nodes, embed_model=LingxiEmbedding(embedder)).as_retriever(
        similarity_top_k=3
    )
    found = retriever.retrieve(QUERY)
    cosines = embedder.similarity(embedder.encode_query([QUERY]), embedder.encode_document(TEXTS))[0]
    assert [int(one.node.node_id) for one in found] == list(np.argsort(-cosines))
    for task in (None, TASK):
        judge = LingxiRerank(model=reranker, top_n=2, instruction=task)
        got = judge.postprocess_nodes(found, query_str=QUERY)
        assert [int(one.node.node_id) for one in got] == order(reranker, task)[:2]
        later = asyncio.run(judge.apostprocess_nodes(found, query_str=QUERY))
        assert [one.score for one in later] == [one.score for one in got]
    with pytest.raises(InputError, match="without a query"):
        judge.postprocess_nodes([NodeWithScore(node=nodes[0])])


def test_haystack_runs_saves_and_loads(embedder: Embedder, reranker: Reranker) -> None:
    pytest.importorskip("haystack", reason="haystack-ai is not installed")
    from haystack import Document, Pipeline
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    from lingxi.bridges.haystack import LingxiDocumentEmbedder, LingxiRanker, LingxiTextEmbedder

    given = [Document(content=text, meta={"at": i}) for i, text in enumerate(TEXTS)]
    documents = LingxiDocumentEmbedder(embedder).run(given)["documents"]
    same([one.embedding for one in documents], embedder.encode_document(TEXTS))
    assert [one.id for one in documents] == [one.id for one in given] and given[0].embedding is None
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    store.write_documents(documents)

    line = Pipeline()
    line.add_component("query", LingxiTextEmbedder(embedder.name, instruction=TASK))
    line.add_component("find", InMemoryEmbeddingRetriever(store, top_k=3))
    line.add_component("rank", LingxiRanker(reranker.name, instruction=TASK))
    line.connect("query.embedding", "find.query_embedding")
    line.connect("find.documents", "rank.documents")
    asked = {"query": {"text": QUERY}, "rank": {"query": QUERY, "top_k": 2}}
    found = line.run(asked)["rank"]["documents"]
    assert [one.meta["at"] for one in found] == order(reranker, TASK)[:2]
    same(
        [one.score for one in found],
        sorted(reranker.predict([(QUERY, t) for t in TEXTS], instruction=TASK))[:0:-1],
    )

    saved = line.dumps()
    again = Pipeline.loads(saved, allowed_modules=["lingxi.*", "haystack.*"])
    assert again.to_dict()["components"] == line.to_dict()["components"] and "instruction: " + TASK in saved
    judge = again.get_component("rank")
    plain = judge.run(QUERY, given, instruction="Find fruit")["documents"]
    assert [one.meta["at"] for one in plain] == order(reranker, "Find fruit")
    assert (
        asyncio.run(judge.run_async(QUERY, given, 2))["documents"] == judge.run(QUERY, given, 2)["documents"]
    )
    with pytest.raises(InputError, match="cannot be saved"):
        LingxiTextEmbedder(embedder).to_dict()


def test_haystack_names_a_server_and_keeps_its_key_out_of_the_file(
    embedder: Embedder, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("haystack", reason="haystack-ai is not installed")
    from haystack.utils import Secret

    from lingxi.bridges.haystack import LingxiTextEmbedder

    monkeypatch.setenv("KEY_OF_MINE", "hush")
    made = LingxiTextEmbedder(url=url, token=Secret.from_env_var("KEY_OF_MINE"))
    assert "hush" not in str(made.to_dict())
    again = LingxiTextEmbedder.from_dict(made.to_dict())
    for component in (made, again):
        same(component.run(QUERY)["embedding"], embedder.encode_query(QUERY))
        same(asyncio.run(component.run_async(QUERY))["embedding"], embedder.encode_query(QUERY))
        component._face.close()


def test_the_rerankers_package_ranks_with_ours(reranker: Reranker) -> None:
    pytest.importorskip("rerankers", reason="rerankers is not installed")
    from rerankers import Document

    from lingxi.bridges.rerankers import LingxiRanker

    ranker = LingxiRanker(reranker.name, instruction=TASK)
    found = ranker.rank(QUERY, TEXTS, doc_ids=["a", "b", "c"], metadata=[{"n": i} for i in range(3)])
    expected = order(reranker, TASK)
    assert [one.doc_id for one in found] == ["abc"[i] for i in expected] and found.has_scores
    assert [one.rank for one in found] == [1, 2, 3] and found[0].metadata == {"n": expected[0]}
    assert [one.doc_id for one in found.top_k(2)] == ["abc"[i] for i in expected[:2]]
    same(ranker.score(QUERY, TEXTS[0]), reranker.predict([(QUERY, TEXTS[0])], instruction=TASK)[0])
    later = asyncio.run(ranker.rank_async(QUERY, [Document(text, doc_id=i) for i, text in enumerate(TEXTS)]))
    assert [one.doc_id for one in later] == expected
    other = LingxiRanker(reranker).rank(QUERY, TEXTS, instruction="Find fruit")
    assert [one.doc_id for one in other] == order(reranker, "Find fruit")
    assert LingxiRanker(reranker).rank(QUERY, []).results == []


def test_sentence_transformers_computes_with_ours(
    embedder: Embedder, reranker: Reranker, tmp_path: Path
) -> None:
    pytest.importorskip(
        "sentence_transformers", minversion="6", reason="sentence-transformers 6 is not installed"
    )
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import semantic_search

    from lingxi.bridges.sentence_transformers import (
        LingxiModule,
        to_cross_encoder,
        to_sentence_transformers,
    )

    model = to_sentence_transformers(embedder)
    same(model.encode_query([QUERY]), embedder.encode_query([QUERY]))
    same(model.encode_query([QUERY], instruction=TASK), embedder.encode_query([QUERY], instruction=TASK))
    same(model.encode_document(TEXTS), embedder.encode_document(TEXTS))
    same(model.encode(TEXTS[0], prompt="title: "), embedder.encode(TEXTS[0], prompt="title: "))
    same(
        model.encode(TEXTS, truncate_dim=32, normalize_embeddings=True),
        embedder.encode(TEXTS, truncate_dim=32),
    )
    same(
        to_sentence_transformers(embedder, TASK).encode_query([QUERY]),
        embedder.encode_query([QUERY], instruction=TASK),
    )
    same(
        SentenceTransformer(modules=[LingxiModule(embedder)], device="cpu").encode(TEXTS),
        embedder.encode(TEXTS),
    )
    assert model.get_embedding_dimension() == embedder.dim and model.max_seq_length == embedder.max_seq_length
    hits = semantic_search(
        model.encode_query([QUERY], convert_to_tensor=True),
        model.encode_document(TEXTS, convert_to_tensor=True),
    )
    cosines = embedder.similarity(embedder.encode_query([QUERY]), embedder.encode_document(TEXTS))[0]
    assert [hit["corpus_id"] for hit in hits[0]] == list(np.argsort(-cosines))

    pairs = [(QUERY, text) for text in TEXTS]
    judge = to_cross_encoder(reranker)
    same(judge.predict(pairs), reranker.predict(pairs))
    same(judge.predict(pairs, instruction=TASK), reranker.predict(pairs, instruction=TASK))
    same(to_cross_encoder(reranker, TASK).predict(pairs), reranker.predict(pairs, instruction=TASK))
    for task in (None, TASK):
        assert [row["corpus_id"] for row in judge.rank(QUERY, TEXTS, prompt=task)] == order(reranker, task)
    with pytest.raises(InputError, match="lingxi models export"):
        model.save_pretrained(str(tmp_path))


def test_a_model_of_sentence_transformers_stands_where_ours_would(
    embedder_directory: Path, tmp_path: Path
) -> None:
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    pytest.importorskip("lancedb", reason="the extra `search` is not installed")
    from sentence_transformers import SentenceTransformer

    from lingxi.bridges.from_sentence_transformers import FromSentenceTransformers

    ours, theirs = Embedder(embedder_directory), SentenceTransformer(str(embedder_directory), device="cpu")
    face = FromSentenceTransformers(theirs, "theirs")
    for options in (
        {},
        {"instruction": TASK},
        {"truncate_dim": 32},
        {"prompt": "x: "},
        {"prompt_name": "query"},
    ):
        np.testing.assert_allclose(face.encode(TEXTS, **options), ours.encode(TEXTS, **options), atol=1e-5)
    np.testing.assert_allclose(face.encode_query(QUERY), ours.encode_query(QUERY), atol=1e-5)
    np.testing.assert_allclose(face.encode_document(TEXTS), ours.encode_document(TEXTS), atol=1e-5)
    assert face.encode([]).shape == (0, face.dim)
    assert (face.encode(TEXTS, precision="ubinary") == np.packbits(face.encode(TEXTS) > 0, axis=-1)).all()
    with pytest.raises(InputError, match="scale"):
        face.encode(TEXTS, precision="int8")
    with pytest.raises(InputError, match="exclude"):
        face.encode_document(TEXTS, instruction=TASK)
    (tmp_path / "a.md").write_text(" ".join(TEXTS))
    index = Index.open(tmp_path / "i", face)
    index.add([tmp_path / "a.md"])
    assert index.search(QUERY)
    theirs[0].model.norm.weight.data[0] += 1
    with pytest.raises(StoreError):
        Index.open(tmp_path / "i", FromSentenceTransformers(theirs, "theirs"))


def test_a_client_stands_where_the_models_would(embedder: Embedder, reranker: Reranker, url: str) -> None:
    pytest.importorskip("langchain_core", reason="langchain-core is not installed")
    from langchain_core.documents import Document

    from lingxi import AsyncClient, Client
    from lingxi.bridges.langchain import LingxiEmbeddings, LingxiReranker

    documents = [Document(page_content=text, metadata={"at": i}) for i, text in enumerate(TEXTS)]
    with Client(url) as client:
        same(
            LingxiEmbeddings(client, TASK).embed_query(QUERY), embedder.encode_query(QUERY, instruction=TASK)
        )
        got = LingxiReranker(model=client, instruction=TASK).compress_documents(documents, QUERY)
        assert [one.metadata["at"] for one in got] == order(reranker, TASK)

    async def asked() -> Any:
        async with AsyncClient(url) as client:
            with pytest.raises(InputError, match="without await"):
                LingxiEmbeddings(client).embed_query(QUERY)
            return await LingxiEmbeddings(client, TASK).aembed_query(QUERY)

    same(asyncio.run(asked()), embedder.encode_query(QUERY, instruction=TASK))
