"""A server of VL models: pictures in every dialect's body, refused in words where they may not be."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
pytest.importorskip("PIL", reason="pictures need Pillow (extra vision)")
pytest.importorskip("transformers", reason="the toy models are written by transformers")
from fastapi.testclient import TestClient

from dialect_server import SETTINGS, app_of
from lingxi import Embedder, Index, Reranker
from lingxi.check import make_golden
from lingxi.index.media import MediaIndex
from lingxi.index.seeing import add_all, encoder_of, media_in
from lingxi.serve.app import create_app
from lingxi.serve.service import Service
from listening import listening
from toys import gap
from vl_toys import noise, random_model, write_vl


def url_of(picture: Any) -> str:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


CAT, DOG = noise(70, 50, 1), noise(64, 96, 2)
CAT_URL, DOG_URL = url_of(CAT), url_of(DOG)
TASK = "Find it."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Embedder, Reranker]:
    folder, model = tmp_path_factory.mktemp("served"), random_model()
    directories = [write_vl(folder / kind, kind, model=model) for kind in ("embedder", "reranker")]
    for directory in directories:
        make_golden(directory)
    return Embedder(directories[0]), Reranker(directories[1])


@pytest.fixture(scope="module")
def client(models: tuple[Embedder, Reranker]) -> Iterator[TestClient]:
    settings = replace(SETTINGS, self_check=True, max_pictures=4)
    service = Service({"vl": models[0]}, {"vl-reranker": models[1]}, settings=settings)
    with TestClient(create_app(service, settings)) as client:
        yield client


@pytest.fixture(scope="module")
def texts_only() -> Iterator[TestClient]:
    with TestClient(app_of()) as client:
        yield client


def vectors(client: TestClient, path: str = "/v1/embeddings", **body: Any) -> list[Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    if path == "/v2/embed":
        return list(found["embeddings"]["float"])
    return [row["embedding"] for row in found["data"]]


def test_openai_inputs_of_several_things(client: TestClient, models: tuple[Embedder, Reranker]) -> None:
    given = ["a text", {"image": CAT_URL}, {"text": "both", "image": [CAT_URL, DOG_URL]}, {"text": "text"}]
    wanted = models[0].encode(["a text", CAT, {"text": "both", "image": [CAT, DOG]}, "text"])
    assert gap(vectors(client, input=given), wanted) < 1e-6
    wanted = models[0].encode([CAT], instruction=TASK, truncate_dim=32)
    assert gap(vectors(client, input={"image": CAT_URL}, instruction=TASK, dimensions=32), wanted) < 1e-6


def test_videos_are_lists_of_frames(client: TestClient, models: tuple[Embedder, Reranker]) -> None:
    frames = {"video": [DOG_URL, DOG_URL], "text": "a clip"}
    wanted = models[0].encode({"video": [DOG, DOG], "text": "a clip"})
    assert gap(vectors(client, input=[frames])[0], wanted) < 1e-6


def test_messages_are_one_input_and_its_instruction(
    client: TestClient, models: tuple[Embedder, Reranker]
) -> None:
    user = [
        {"type": "image_url", "image_url": {"url": CAT_URL}},
        {"type": "text", "text": "what is it?"},
    ]
    chat = [
        {"role": "system", "content": [{"type": "text", "text": TASK}]},
        {"role": "user", "content": user},
        {"role": "assistant", "content": [{"type": "text", "text": ""}]},
    ]
    item = {"text": "what is it?", "image": CAT}
    assert gap(vectors(client, messages=chat)[0], models[0].encode(item, instruction=TASK)) < 1e-6
    assert gap(vectors(client, messages=chat[1:2])[0], models[0].encode(item)) < 1e-6


def test_cohere_images_and_inputs(client: TestClient, models: tuple[Embedder, Reranker]) -> None:
    wanted = models[0].encode([CAT, DOG])
    assert gap(vectors(client, "/v2/embed", images=[CAT_URL, DOG_URL]), wanted) < 1e-6
    parts = [{"type": "text", "text": "both"}, {"type": "image_url", "image_url": {"url": CAT_URL}}]
    found = vectors(client, "/v2/embed", inputs=[{"content": parts}], input_type="search_document")
    assert gap(found[0], models[0].encode({"text": "both", "image": CAT})) < 1e-6
    answer = client.post("/v2/embed", json={"images": [CAT_URL]}).json()
    assert answer["meta"]["billed_units"]["images"] == 1 and answer["texts"] == []


def test_documents_may_be_pictures(client: TestClient, models: tuple[Embedder, Reranker]) -> None:
    documents = [
        "a text",
        {"image": CAT_URL},
        {"text": "both", "image": DOG_URL},
        {"content": [{"type": "image_url", "image_url": {"url": DOG_URL}}]},
    ]
    ours = ["a text", CAT, {"text": "both", "image": DOG}, DOG]
    for query, said in (("q", "q"), ({"image": CAT_URL, "text": "q"}, {"image": CAT, "text": "q"})):
        body = {"query": query, "documents": documents, "return_documents": True}
        wanted = models[1].predict([(said, document) for document in ours])
        for path in ("/v2/rerank", "/v1/rerank", "/rerank"):
            answer = client.post(path, json=body)
            assert answer.status_code == 200, (path, answer.text)
            found = answer.json()["results"]
            scores = {row["index"]: row["relevance_score"] for row in found}
            assert gap([scores[i] for i in range(4)], wanted) < 1e-6
            assert {row["index"]: row["document"] for row in found}[2]["text"] == "both"


def test_scores_of_pictures_as_vllm_asks_for_them(
    client: TestClient, models: tuple[Embedder, Reranker]
) -> None:
    cat, dog = ({"type": "image_url", "image_url": {"url": url}} for url in (CAT_URL, DOG_URL))
    both = {"content": [{"type": "text", "text": "both"}, dog]}
    wanted = models[1].predict([("q", CAT), ("q", DOG)])

    def scores(path: str = "/score", **body: Any) -> list[float]:
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return [row["score"] for row in answer.json()["data"]]

    # Of an object with parts in the place of a list each part is a document; in a list it is one.
    assert gap(scores(text_1="q", text_2={"content": [cat, dog]}), wanted) < 1e-6
    listed = [{"content": [cat]}, {"image": DOG_URL}]
    assert gap(scores("/v1/score", queries="q", documents=listed), wanted) < 1e-6
    mixed = models[1].predict([({"image": CAT}, {"text": "both", "image": DOG})])
    assert gap(scores(queries={"image": CAT_URL}, documents=[both]), mixed) < 1e-6
    answer = client.post("/rerank", json={"query": "q", "documents": {"content": [cat, dog]}})
    found = {row["index"]: row["relevance_score"] for row in answer.json()["results"]}
    assert gap([found[0], found[1]], wanted) < 1e-6
    assert client.post("/score", json={"queries": "q", "documents": {"content": []}}).status_code == 400


def test_a_string_is_a_text_whatever_it_says(
    client: TestClient, models: tuple[Embedder, Reranker], tmp_path: Path
) -> None:
    path = tmp_path / "secret.png"
    CAT.save(path)
    wanted = models[0].encode([{"text": CAT_URL[:200]}, {"text": str(path)}])
    assert gap(vectors(client, input=[CAT_URL[:200], str(path)]), wanted) < 1e-6


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)


def bodies(source: str) -> list[tuple[str, dict[str, Any]]]:
    """A picture at `source` in the body of every path that takes pictures."""
    part = {"type": "image_url", "image_url": {"url": source}}
    return [
        ("/v1/embeddings", {"input": [{"image": source}]}),
        ("/v1/embeddings", {"input": [{"video": [source]}]}),
        ("/v1/embeddings", {"messages": [{"role": "user", "content": [part]}]}),
        ("/v2/embed", {"images": [source]}),
        ("/v2/embed", {"inputs": [{"content": [part]}]}),
        ("/v2/rerank", {"query": "q", "documents": [{"image": source}]}),
        ("/rerank", {"query": {"image": source}, "documents": ["d"]}),
        ("/score", {"queries": "q", "documents": {"content": [part]}}),
    ]


def test_no_path_is_opened_and_no_address_asked(client: TestClient, tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    CAT.save(path)
    with listening(_Site) as site:
        site.asked = []  # type: ignore[attr-defined]
        for source in (str(path), f"file://{path}", f"http://127.0.0.1:{site.server_port}/cat.png"):
            for place, body in bodies(source):
                answer = client.post(place, json=body)
                assert answer.status_code == 400, (place, body, answer.text)
                assert "here" in answer.text  # not opened here, not fetched here
        assert site.asked == []  # type: ignore[attr-defined]


def test_a_server_that_fetches_asks_public_addresses_alone(models: tuple[Embedder, Reranker]) -> None:
    settings = replace(SETTINGS, fetch_urls=True)
    service = Service({"vl": models[0]}, {"vl-reranker": models[1]}, settings=settings)
    with TestClient(create_app(service, settings)) as client:
        for place, body in bodies("http://127.0.0.1:80/cat.png"):
            answer = client.post(place, json=body)
            assert answer.status_code == 400 and "not a public address" in answer.text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("data:image/png;base64,AAAA", "not a picture"),
        ("data:image/svg+xml,<svg onload='x()'/>", "SVG is not opened"),
        ("data:image/png;base64,###", "not base64"),
        (CAT_URL[: len(CAT_URL) % 4 + len(CAT_URL) // 8 * 4], "damaged"),
        (url_of(noise(2000, 8)), "200 times"),
        ("AAAA", "not opened here"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(client: TestClient, source: str, said: str) -> None:
    for place, body in bodies(source):
        answer = client.post(place, json=body)
        assert answer.status_code == 400, (place, answer.text)
        assert said in answer.text


def test_a_model_of_texts_says_so(texts_only: TestClient) -> None:
    for place, body in bodies(CAT_URL):
        answer = texts_only.post(place, json=body)
        assert answer.status_code == 400, (place, answer.text)
        assert "reads text alone" in answer.text
    answer = texts_only.post("/v2/rerank", json={"query": "q", "documents": [{"text": "t", "image": "meta"}]})
    assert answer.status_code == 200  # what a document holds beside its text is given back, as ever


def test_pictures_are_counted(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", json={"input": [{"image": [CAT_URL] * 5}]})
    assert answer.status_code == 400 and "5 pictures" in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"input": [{}]},
        {"input": [{"image": 3}]},
        {"input": [{"text": "a"}, [1]]},
        {"messages": []},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
        {"messages": [{"role": "user", "content": "a"}], "input": "b"},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        {"input": [{"audio": "x"}]},
        {},
    ],
)
def test_bodies_that_hold_nothing_are_refused(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/embeddings", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]


def test_what_is_served_says_what_it_reads(client: TestClient) -> None:
    said = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    assert said["vl"]["modalities"] == ["text", "image", "video"] == said["vl-reranker"]["modalities"]


def test_an_index_of_pictures_is_searched_by_the_model_itself(
    models: tuple[Embedder, Reranker], tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    for name, picture in (("cat", CAT), ("dog", DOG)):
        picture.save(tmp_path / "files" / f"{name}.png")
    (tmp_path / "files" / "note.txt").write_text(f"{CAT_URL}\n")
    index = Index.open(tmp_path / "i", models[0])
    encoder = encoder_of(models[0])
    assert encoder is not None
    add_all(index, MediaIndex(tmp_path / "i", encoder), [tmp_path / "files"])
    media = media_in(tmp_path / "i", models[0])
    service = Service({"vl": models[0]}, index=index, media=media, settings=SETTINGS)
    with TestClient(create_app(service, SETTINGS)) as client:
        for body, best in (({"image": DOG_URL}, "dog.png"), ({"image": CAT_URL}, "cat.png")):
            found = client.post("/search", json={**body, "top_k": 1}).json()
            assert found["media"][0]["path"].endswith(best) and found["hits"][0]["path"].endswith("note.txt")
        found = client.post("/search", json={"query": "a cat"}).json()
        wanted = {Path(hit.path).name: hit.score for hit in media.search("a cat")} if media else {}
        told = {Path(hit["path"]).name: hit["score"] for hit in found["media"]}
        assert told == pytest.approx(wanted, abs=1e-5)
        answer = client.post("/search", json={"audio": "data:audio/wav;base64,AAAA"})
        assert answer.status_code == 400 and "hears nothing" in answer.text
