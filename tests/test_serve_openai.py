"""OpenAI's shapes: golden bodies, and OpenAI's own client against a running server."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from dialect_fixtures import client, embedder, url
from dialect_server import asked, cases, models, same
from lingxi import Embedder

__all__ = ["client", "embedder", "url"]

TEXTS = ["The capital of China is Beijing.", "重力 attracts", "one two three " * 40, "Was ist das?"]


def test_golden_bodies(client: TestClient) -> None:
    for case in cases("openai"):
        status, answer = asked(client, case)
        assert status == case["status"], f"{case['path']} {case.get('body')}: {answer}"
        same(answer, case["answer"], f"{case['path']} {case.get('body')}")


def _vectors(found: Any) -> np.ndarray:
    assert [item.index for item in found.data] == list(range(len(found.data)))
    return np.array([item.embedding for item in found.data], np.float32)


def test_openai_client_gets_the_vectors_of_the_process(url: str, embedder: Embedder) -> None:
    openai = pytest.importorskip("openai", reason="pip install openai")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    # Without a format the client asks for base64 and reads it.
    found = client.embeddings.create(model="lingxi-pico", input=TEXTS)
    assert np.abs(_vectors(found) - embedder.encode(TEXTS)).max() <= 1e-6
    assert found.model == "lingxi-pico"
    assert found.usage.prompt_tokens == found.usage.total_tokens == sum(embedder.count_tokens(TEXTS))
    narrow = client.embeddings.create(
        model="lingxi-pico",
        input=TEXTS[0],
        dimensions=64,
        encoding_format="float",
        extra_body={"input_type": "query"},
    )
    wanted = embedder.encode_query([TEXTS[0]], truncate_dim=64)
    assert np.abs(_vectors(narrow) - wanted).max() <= 1e-6
    assert [model.id for model in client.models.list()] == ["lingxi-pico", "lingxi-pico-reranker"]
    with pytest.raises(openai.NotFoundError) as error:
        client.embeddings.create(model="text-embedding-3-small", input="a")
    assert error.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="lingxi-pico", input="")
    client.close()


def test_openai_async_client_gets_them_under_load(url: str, embedder: Embedder) -> None:
    openai = pytest.importorskip("openai", reason="pip install openai")
    texts = [f"{text} {n}" for n in range(12) for text in TEXTS]

    async def main() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            asking = [client.embeddings.create(model="lingxi-pico", input=[text]) for text in texts]
            return await asyncio.gather(*asking)

    got = np.concatenate([_vectors(found) for found in asyncio.run(main())])
    assert np.abs(got - embedder.encode(texts)).max() <= 1e-6


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("form", ["float", "base64"])
def test_codes_are_exactly_those_of_the_process(
    precision: str, form: str, client: TestClient, embedder: Embedder
) -> None:
    body = {"input": TEXTS, "embed_dtype": precision, "encoding_format": form, "dimensions": 128}
    found = [item["embedding"] for item in client.post("/v1/embeddings", json=body).json()["data"]]
    wanted = embedder.encode(TEXTS, precision=precision, truncate_dim=128)
    if form == "base64":
        found = [np.frombuffer(base64.b64decode(row), wanted.dtype) for row in found]
    assert (np.array(found) == wanted).all()


def test_base64_is_of_little_floats_unless_big_ones_are_asked_for(
    client: TestClient, embedder: Embedder
) -> None:
    wanted = embedder.encode(TEXTS[:1])[0]
    for endianness, kind in (("little", "<f4"), ("native", "<f4"), ("big", ">f4")):
        body = {"input": TEXTS[0], "encoding_format": "base64", "endianness": endianness}
        row = client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
        assert np.abs(np.frombuffer(base64.b64decode(row), kind) - wanted).max() <= 1e-6


def test_token_ids_give_the_vector_of_their_text(client: TestClient, embedder: Embedder) -> None:
    framed = embedder.token_ids(TEXTS)
    bare = embedder.tokenizer.texts(TEXTS)
    for ids in (framed, bare):
        found = client.post("/v1/embeddings", json={"input": ids}).json()
        got = np.array([item["embedding"] for item in found["data"]])
        assert np.abs(got - embedder.encode(TEXTS)).max() <= 1e-6
        assert found["usage"]["prompt_tokens"] == sum(map(len, framed))


def test_an_instruction_is_of_token_ids_too(client: TestClient, embedder: Embedder) -> None:
    body = {"input": embedder.token_ids(TEXTS), "instruction": "Find the answer"}
    found = client.post("/v1/embeddings", json=body).json()["data"]
    wanted = embedder.encode(TEXTS, instruction="Find the answer")
    assert np.abs(np.array([item["embedding"] for item in found]) - wanted).max() <= 1e-6


def test_a_long_text_is_refused_unless_it_may_be_cut(client: TestClient, embedder: Embedder) -> None:
    text = "word " * (embedder.max_seq_length + 10)
    refused = client.post("/v1/embeddings", json={"input": ["a", text]})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "input"
    cut = client.post("/v1/embeddings", json={"input": text, "truncate_prompt_tokens": 20})
    assert cut.json()["usage"]["prompt_tokens"] == 20


@settings(max_examples=20, deadline=None)
@given(
    text=st.text(min_size=1, max_size=60), most=st.integers(1, 12), side=st.sampled_from(["left", "right"])
)
def test_what_is_cut_has_the_tokens_asked_for_and_keeps_its_side(text: str, most: int, side: str) -> None:
    embedder = models()[0]
    truncate: Any = "start" if side == "left" else "end"
    [ids] = embedder.token_ids([text], prompt="Query: ", max_tokens=most + 4, truncate=truncate)
    whole = embedder.token_ids([text], prompt="Query: ")[0]
    assert len(ids) <= most + 4
    assert ids == whole if len(whole) <= most + 4 else ids[-1] == whole[-1]
    # Enough of the prompt is kept that the text stays a query.
    assert ids[:2] == whole[:2]


def test_too_many_texts_and_too_many_tokens_are_refused(client: TestClient) -> None:
    many = client.post("/v1/embeddings", json={"input": ["a"] * 2049})
    assert many.status_code == 400 and many.json()["error"]["code"] == "too_large"
    large = client.post("/v1/embeddings", json={"input": [[5] * 8000] * 40, "truncate_prompt_tokens": -1})
    assert large.status_code == 400 and large.json()["error"]["code"] == "too_large"


def test_the_document_describes_what_is_taken(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/v1/embeddings"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["input"] and body["additionalProperties"] is False
    assert {"dimensions", "encoding_format", "instruction", "input_type"} <= set(body["properties"])
    assert "$defs" not in str(document)
