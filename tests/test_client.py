"""The client: what a server gives is what the models give in process, and trouble is said in words."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("httpx", reason="the extra `client` is not installed")

import lingxi
from lingxi import AsyncClient, Client, Embedder, Index, Reranker, prompts
from lingxi.asking import NoAnswerError
from lingxi.client import plans, wire
from lingxi.errors import InputError
from speaking import Speaker, same, speaking

TEXTS = ["The capital of China is Beijing.", "Gravity pulls.", "北京是首都。", "Gravity pulls."]
PAIRS = [("capital of China", TEXTS[0]), ("why do apples fall", TEXTS[1]), ("capital of China", TEXTS[2])]


@pytest.fixture
def speaker(embedder: Embedder, reranker: Reranker) -> Speaker:
    return Speaker(embedder, reranker)


@pytest.fixture
def url(speaker: Speaker) -> Iterator[str]:
    with speaking(speaker) as address:
        yield address


def posted(speaker: Speaker) -> list[dict]:
    return [body for _, body in speaker.seen if body is not None]


@pytest.mark.filterwarnings("ignore::lingxi.LingxiWarning")  # of what is cut
def test_vectors_are_those_in_process(speaker: Speaker, url: str) -> None:
    own = speaker.embedder
    with Client(url, max_items=2) as client:
        for options in (
            {},
            {"instruction": "Find the city"},
            {"prompt_name": "query"},
            {"prompt": "title: "},
            {"truncate_dim": 32},
        ):
            same(client.encode(TEXTS, **options), own.encode(TEXTS, **options))
        same(client.encode(["gravity " * 600]), own.encode(["gravity " * 600]))
        same(client.encode_query(TEXTS[0]), own.encode_query(TEXTS[0]))
        same(client.encode_document(iter(TEXTS)), own.encode_document(TEXTS))
        for precision in ("int8", "uint8", "binary", "ubinary"):
            got, expected = client.encode(TEXTS, precision=precision), own.encode(TEXTS, precision=precision)
            assert got.dtype == expected.dtype and (got == expected).all()
        assert client.encode([]).shape == (0, own.dim) and client.dim == own.dim
        assert client.fingerprint() == own.fingerprint()
        same(client.similarity(client.encode(TEXTS), client.encode(TEXTS)),
             own.similarity(own.encode(TEXTS), own.encode(TEXTS)))  # fmt: skip


def test_scores_are_those_in_process(speaker: Speaker, url: str) -> None:
    own = speaker.reranker
    with Client(url) as client:
        for task in (None, "Find the city"):
            same(client.predict(PAIRS, instruction=task), own.predict(PAIRS, instruction=task))
            got = client.rank(PAIRS[0][0], TEXTS, top_k=2, instruction=task)
            expected = own.rank(PAIRS[0][0], TEXTS, top_k=2, instruction=task)
            assert [r["corpus_id"] for r in got] == [r["corpus_id"] for r in expected]
            assert got[0].keys() == expected[0].keys()
        assert client.predict([]).shape == (0,)
        with pytest.raises(InputError, match="top_k is 0"):
            client.rank("q", TEXTS, top_k=0)


def test_the_async_twin_has_the_same_methods_and_answers(speaker: Speaker, url: str) -> None:
    own = speaker.embedder

    async def asked() -> tuple[np.ndarray, np.ndarray, dict]:
        async with AsyncClient(url, max_items=1, parallel=2) as client:
            return await asyncio.gather(
                client.encode_query(TEXTS), client.predict(PAIRS), client.fingerprint()
            )

    vectors, scores, said = asyncio.run(asked())
    same(vectors, own.encode_query(TEXTS))
    same(scores, speaker.reranker.predict(PAIRS))
    assert said == own.fingerprint()
    assert speaker.most_running <= 2
    public = [n for n, f in vars(Client).items() if not n.startswith("_") and inspect.isfunction(f)]
    for name in public:
        twin = getattr(AsyncClient, name)
        assert inspect.iscoroutinefunction(twin)
        assert inspect.signature(twin) == inspect.signature(getattr(Client, name)) or name == "close"


def test_the_client_has_the_signatures_of_the_models() -> None:
    faces = {"encode": Embedder, "encode_query": Embedder, "encode_document": Embedder,
             "predict": Reranker, "rank": Reranker, "search": Index}  # fmt: skip
    for name, face in faces.items():
        own = list(inspect.signature(getattr(face, name)).parameters.values())[1:]
        # What a server decides for itself.
        own = [p for p in own if p.name not in ("mark", "around")]
        got = list(inspect.signature(getattr(Client, name)).parameters.values())[1:]
        assert [(p.name, p.kind, p.default) for p in got] == [(p.name, p.kind, p.default) for p in own], name


def test_a_server_that_is_not_lingxi(speaker: Speaker, url: str) -> None:
    speaker.ours, speaker.floats = False, True
    own = speaker.embedder
    with Client(f"{url}/v1/") as client:
        same(client.encode_document(TEXTS), own.encode(TEXTS))
        same(client.encode_query(TEXTS, instruction="Find"), own.encode_query(TEXTS, instruction="Find"))
        same(client.predict(PAIRS), speaker.reranker.predict(PAIRS))
        assert client.dim == own.dim
        for refused in (
            lambda: client.encode_query(TEXTS),
            lambda: client.encode(TEXTS, precision="int8"),
            lambda: client.predict(PAIRS, instruction="Find"),
            lambda: client.fingerprint(),
            lambda: client.search("q"),
            lambda: client.segment(TEXTS),
        ):
            with pytest.raises(InputError, match="not lingxi"):
                refused()
    with Client(url, prompts={"query": prompts.query_prefix()}) as client:
        same(client.encode_query(TEXTS), own.encode_query(TEXTS))
    assert [path for path, _ in speaker.seen].count("/v1/models") == 2  # once a client


def test_an_index_made_through_a_client_and_searched_there(
    speaker: Speaker, url: str, tmp_path: Path
) -> None:
    pytest.importorskip("lancedb", reason="the extra `search` is not installed")
    (tmp_path / "notes.md").write_text("# Cities\n\nBeijing is the capital. It is big.\n\nApples fall.\n")
    with Client(url) as client:
        made = Index.open(tmp_path / "i", client)
        made.add([tmp_path / "notes.md"])
        # The same index, opened by the model in process: its fingerprint is the same.
        speaker.index = Index.open(tmp_path / "i", speaker.embedder, speaker.reranker)
        expected = speaker.index.search("which city is the capital")
        got = client.search("which city is the capital", below=[str(tmp_path / "notes.md")])
        assert got and [hit.text for hit in got] == [hit.text for hit in expected]
        assert got[0].sentence == expected[0].sentence and got[0].place


@pytest.mark.parametrize("status", [429, 503, None])
def test_overload_and_lost_connections_are_tried_again(
    speaker: Speaker, url: str, status: int | None
) -> None:
    fault = None if status is None else (status, {"Retry-After": "0"}, {"error": "busy"})
    speaker.faults = [fault, fault]
    with Client(url, "key", "toy", retries=2) as client:
        same(client.encode(TEXTS), speaker.embedder.encode(TEXTS))
    assert len(posted(speaker)) == 3


def test_retry_after_is_heeded_and_too_long_a_wait_refused(speaker: Speaker, url: str) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=1.5), usegmt=True)
    speaker.faults = [(429, {"Retry-After": "1"}, {}), (429, {"Retry-After": soon}, {})]
    began = time.monotonic()
    with Client(url, model="toy") as client:
        client.encode("a")
        assert time.monotonic() - began >= 1.0
        speaker.faults = [(429, {"Retry-After": "3600"}, {"message": "come back in an hour"})]
        with pytest.raises(NoAnswerError, match="429 come back in an hour") as failed:
            client.encode("a")
    assert failed.value.wait == 3600 and failed.value.status == 429


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((400, {}, {"error": {"message": "dimensions is 9", "code": 400}}), "400 dimensions is 9"),
        ((422, {}, {"detail": "no such field"}), "422 no such field"),
        ((500, {}, b"<html>"), r"no vectors \(500\)"),
        ((200, {}, b"<html>"), "no vectors"),
        ((200, {}, {"data": []}), "no vectors"),
        ((200, {}, {"data": [{"index": 0, "embedding": "!!"}]}), "no vectors"),
        ((200, {}, {"data": [{"index": 1, "embedding": [1.0]}]}), "indices"),
    ],
)
def test_what_is_wrong_is_said_and_not_tried_again(
    speaker: Speaker, url: str, fault: tuple, said: str
) -> None:
    speaker.faults = [fault]
    with Client(url, model="toy") as client, pytest.raises(NoAnswerError, match=said):
        client.encode("a")
    assert len(posted(speaker)) == 1


def test_keys(speaker: Speaker, url: str) -> None:
    speaker.token = "secret"
    with Client(url, "secret") as client:
        assert client.encode_query(TEXTS).shape[0] == len(TEXTS)
    with (
        Client(url, "wrong") as client,
        pytest.raises(NoAnswerError, match=r"401 no key\); give the server's key") as failed,
    ):
        client.encode_query(TEXTS)
    assert "wrong" not in str(failed.value)


def test_no_server_and_no_address() -> None:
    with (
        Client("http://127.0.0.1:9", retries=0) as client,
        pytest.raises(NoAnswerError, match="start the server"),
    ):
        client.encode("a")
    for address in ("127.0.0.1:80", "ftp://a", "http://"):
        with pytest.raises(InputError, match="no address"):
            Client(address)
    with pytest.raises(InputError, match="parallel is too small"):
        Client("http://a", parallel=0)


def test_a_slow_answer_is_not_asked_for_again(
    speaker: Speaker, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = speaker.answer

    def slow(path: str, body: object) -> object:
        time.sleep(0.5)
        return right(path, body)

    monkeypatch.setattr(speaker, "answer", slow)
    with Client(url, model="toy", timeout=0.1) as client, pytest.raises(NoAnswerError, match="the timeout"):
        client.encode("a")
    assert len(speaker.seen) == 1


def test_requests_are_bounded_in_items_tokens_and_number(speaker: Speaker, url: str) -> None:
    texts = [f"text number {i} " * (1 + i % 7) for i in range(60)]
    with Client(url, parallel=3, max_items=8, max_tokens=2000) as client:
        same(client.encode(texts), speaker.embedder.encode(texts))
    sent = [body["input"] for path, body in speaker.seen if path == "/v1/embeddings"]
    assert len(sent) > 60 / 8 and speaker.most_running <= 3
    for batch in sent:
        assert len(batch) <= 8
        assert len(batch) == 1 or sum(len(t.encode()) for t in batch) <= 2000


@given(st.lists(st.text(max_size=40)), st.integers(1, 5), st.integers(1, 900))
@settings(max_examples=40, deadline=None)
def test_batches_hold_all_items_in_order(texts: list[str], most: int, tokens: int) -> None:
    found = list(wire.batches(texts, wire.size, most, tokens))
    assert [text for batch in found for text in batch] == texts
    assert all(1 <= len(batch) <= most for batch in found)
    assert all(len(batch) == 1 or sum(map(wire.size, batch)) <= tokens for batch in found)


def test_public_names_are_lazy() -> None:
    assert lingxi.Client is Client and plans.encode.__doc__ == Client.encode.__doc__
