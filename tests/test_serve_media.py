"""A server of a model of pictures and sound over an index of both: bodies, pages, and what is refused."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
pytest.importorskip("PIL", reason="pictures need Pillow (extra vision)")
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dialect_server import SETTINGS, app_of, asked, cases, media_app, models, same, serving
from lingxi import Client, Index
from lingxi.errors import InputError
from lingxi.index.media import MediaIndex
from lingxi.index.seeing import add_all
from lingxi.media import MediaEmbedder
from lingxi.serve import pages
from lingxi.serve.app import create_app
from lingxi.serve.opening import Plan, open_service
from lingxi.serve.pages.uploads import MOST_EXAMPLE, Part, read_parts
from lingxi.serve.service import Service
from listening import listening
from media_toys import (
    BAD_PICTURES,
    BAD_SOUNDS,
    ODD_PICTURES,
    SCRIPTED,
    drawing,
    hour,
    saved,
    tone,
    toy_media,
    url_of,
    wav,
)
from toys import gap

RED, BLUE = drawing("red"), drawing("blue")
LOW, HIGH = wav(tone(200)), wav(tone(2000))
RED_URL, BLUE_URL = url_of(saved(RED)), url_of(saved(BLUE))
LOW_URL = url_of(LOW, "audio/wav")
BODY = {"type": "image_url", "image_url": {"url": RED_URL}}
HEARD = {"type": "input_audio", "input_audio": {"data": base64.b64encode(LOW).decode(), "format": "wav"}}


@dataclass(frozen=True)
class Place:
    """What the server of these tests stands on."""

    media: MediaEmbedder
    index: Path
    files: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    media = toy_media(folder / "model", models()[0])
    (folder / "files" / "sound").mkdir(parents=True)
    for colour in ("red", "green", "blue"):
        drawing(colour).save(folder / "files" / f"{colour}.png")
    (folder / "files" / "sound" / "low.wav").write_bytes(LOW)
    (folder / "files" / "sound" / "high.wav").write_bytes(HIGH)
    (folder / "files" / "tea.md").write_text("# Tea\n\nGreen tea is steeped at eighty degrees.\n")
    add_all(Index.open(folder / "i", media.text), MediaIndex(folder / "i", media), [folder / "files"])
    return Place(media, folder / "i", folder / "files")


def service_of(place: Place, **options: Any) -> Service:
    return Service(
        {"nano-vl": place.media},
        {"judge": models()[1]},
        index=Index.open(place.index, place.media.text),
        media=MediaIndex(place.index, place.media),
        settings=replace(SETTINGS, **options),
    )


@pytest.fixture(scope="module")
def client(place: Place) -> Iterator[TestClient]:
    service = service_of(place, max_pictures=6)
    app = create_app(service, service.settings, extras=[pages.install])
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def vectors(client: TestClient, path: str = "/v1/embeddings", **body: Any) -> list[Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return (
        found["embeddings"]["float"] if path == "/v2/embed" else [row["embedding"] for row in found["data"]]
    )


# --- bodies ----------------------------------------------------------------------------------------


def test_vectors_are_those_of_the_process(client: TestClient, place: Place) -> None:
    given = [
        "a text",
        {"image": RED_URL},
        {"audio": LOW_URL},
        {"text": "both", "image": BLUE_URL},
        {"text": "all", "image": RED_URL, "audio": LOW_URL},
    ]
    ours = ["a text", RED, LOW, {"text": "both", "image": BLUE}, {"text": "all", "image": RED, "audio": LOW}]
    wanted = place.media.encode(ours)
    assert gap(vectors(client, input=given), wanted) < 1e-5
    assert gap(vectors(client, input=given[3])[0], wanted[3]) < 1e-5
    assert gap(vectors(client, input="a text")[0], models()[0].encode("a text")) < 1e-6
    cut = vectors(client, input=[{"image": RED_URL}], dimensions=64)[0]
    assert len(cut) == 64 and gap(cut, wanted[1][:64] / np.linalg.norm(wanted[1][:64])) < 1e-5


def test_several_pictures_are_one_input(client: TestClient, place: Place) -> None:
    mean = place.media.encode([RED, BLUE]).mean(0)
    assert gap(vectors(client, input={"image": [RED_URL, BLUE_URL]})[0], mean / np.linalg.norm(mean)) < 1e-5


def test_instructions_are_of_the_text(client: TestClient, place: Place) -> None:
    item = {"text": "a box", "image": RED}
    wanted = place.media.encode_query([item], instruction="Find it")[0]
    found = vectors(client, input={"text": "a box", "image": RED_URL}, instruction="Find it")[0]
    assert gap(found, wanted) < 1e-5


def test_chats_and_cohere_say_the_same(client: TestClient, place: Place) -> None:
    wanted = place.media.encode({"text": "what is it?", "image": RED, "audio": LOW})
    parts = [BODY, {"type": "text", "text": "what is it?"}, HEARD]
    assert gap(vectors(client, messages=[{"role": "user", "content": parts}])[0], wanted) < 1e-5
    assert gap(vectors(client, input=[{"content": parts}])[0], wanted) < 1e-5
    assert gap(vectors(client, "/v2/embed", inputs=[{"content": parts}])[0], wanted) < 1e-5
    heard = {"type": "audio_url", "audio_url": {"url": LOW_URL}}
    assert gap(vectors(client, "/v2/embed", inputs=[{"content": [heard]}])[0], place.media.encode(LOW)) < 1e-5
    assert gap(vectors(client, "/v2/embed", images=[RED_URL])[0], place.media.encode(RED)) < 1e-5


def test_golden_bodies() -> None:
    """Bodies as the dialects send them, with answers of a model that tells kinds apart and no more."""
    with TestClient(media_app()) as client:
        for case in cases("media"):
            status, answer = asked(client, case)
            assert status == case["status"], f"{case['path']} {case['body']}: {answer}"
            same(answer, case["answer"], f"{case['path']}")


def test_usage_counts_what_networks_look_at(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", json={"input": [{"image": RED_URL}, {"audio": LOW_URL}]}).json()
    assert answer["usage"]["total_tokens"] == 25 + 25  # 25 places of a picture; half a second of 50


def test_what_is_served_says_what_it_reads(client: TestClient) -> None:
    said = {model["id"]: model.get("modalities") for model in client.get("/v1/models").json()["data"]}
    assert said == {"nano-vl": ["text", "image", "audio"], "judge": None}


def test_sound_is_refused_where_nothing_hears(client: TestClient) -> None:
    with TestClient(app_of()) as texts:
        for body in ({"input": [{"audio": LOW_URL}]}, {"messages": [{"role": "user", "content": [HEARD]}]}):
            answer = texts.post("/v1/embeddings", json=body)
            assert answer.status_code == 400 and "reads text alone" in answer.text
    answer = client.post("/v1/embeddings", json={"input": [{"video": [RED_URL]}]})
    assert answer.status_code == 400 and "sees no videos" in answer.text
    answer = client.post("/v2/rerank", json={"query": "q", "documents": [{"content": [HEARD]}]})
    assert answer.status_code == 400 and "reads text alone" in answer.text
    answer = client.post("/v1/embeddings", json={"input": [{"image": [RED_URL] * 4, "audio": [LOW_URL] * 3}]})
    assert answer.status_code == 400 and "7 pictures or sounds" in answer.text


# --- what strangers send ---------------------------------------------------------------------------


def picture_bodies(source: str) -> list[tuple[str, dict[str, Any]]]:
    part = {"type": "image_url", "image_url": {"url": source}}
    return [
        ("/v1/embeddings", {"input": [{"image": source}]}),
        ("/v1/embeddings", {"messages": [{"role": "user", "content": [part]}]}),
        ("/v2/embed", {"images": [source]}),
        ("/v2/embed", {"inputs": [{"content": [part]}]}),
        ("/search", {"image": source}),
    ]


def sound_bodies(source: str) -> list[tuple[str, dict[str, Any]]]:
    part = {"type": "audio_url", "audio_url": {"url": source}}
    return [
        ("/v1/embeddings", {"input": [{"audio": source}]}),
        ("/v1/embeddings", {"messages": [{"role": "user", "content": [part]}]}),
        ("/v2/embed", {"inputs": [{"content": [part]}]}),
        ("/search", {"audio": source}),
    ]


def is_said(client: TestClient, bodies: list[tuple[str, dict[str, Any]]], said: str) -> None:
    for path, body in bodies:
        answer = client.post(path, json=body)
        assert answer.status_code == 400, (path, answer.text)
        assert any(one in answer.text for one in said.split("|")), (path, answer.text)


@pytest.mark.parametrize("name", [*BAD_PICTURES])
def test_a_bad_picture_is_refused_by_name(client: TestClient, name: str) -> None:
    made, said = BAD_PICTURES[name]
    is_said(client, picture_bodies(url_of(made())), said)
    page = client.post("/ui/search", files={"example": (name, made(), "image/png")})
    # Nothing was chosen, where nothing is in the file.
    assert page.status_code == 400 and any(one in page.text for one in [*said.split("|"), "No picture"])


@pytest.mark.parametrize("name", [*ODD_PICTURES])
def test_an_odd_picture_is_handled(client: TestClient, place: Place, name: str) -> None:
    data = ODD_PICTURES[name]()
    wanted = place.media.encode([data])[0]
    assert gap(vectors(client, input={"image": url_of(data)})[0], wanted) < 1e-5
    assert client.post("/ui/search", files={"example": (name, data)}).status_code == 200


@pytest.mark.parametrize("name", [*BAD_SOUNDS])
def test_a_bad_sound_is_refused_by_name(client: TestClient, name: str) -> None:
    made, said = BAD_SOUNDS[name]
    is_said(client, sound_bodies(url_of(made(), "audio/wav")), said)


def test_an_hour_of_sound_is_refused_unless_it_may_be_cut(client: TestClient, place: Place) -> None:
    long = url_of(hour(), "audio/wav")
    answer = client.post("/v1/embeddings", json={"input": {"audio": long}})
    assert answer.status_code == 400 and "3,600 seconds, more than 30" in answer.text
    cut = vectors(client, input={"audio": long}, truncate_prompt_tokens=-1)[0]
    part = {"type": "audio_url", "audio_url": {"url": long}}
    assert gap(vectors(client, "/v2/embed", inputs=[{"content": [part]}])[0], cut) < 1e-5
    answer = client.post("/v2/embed", json={"inputs": [{"content": [part]}], "truncate": "NONE"})
    assert answer.status_code == 400 and "3,600 seconds" in answer.text


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)


def test_no_path_is_opened_and_no_address_asked(client: TestClient, place: Place) -> None:
    with listening(_Site) as site:
        site.asked = []  # type: ignore[attr-defined]
        address = f"http://127.0.0.1:{site.server_port}/cat"
        for path in (place.files / "red.png", place.files / "sound" / "low.wav"):
            for source in (str(path), f"file://{path}"):
                is_said(client, [*picture_bodies(source), *sound_bodies(source)], "files are not opened here")
        is_said(client, [*picture_bodies(address), *sound_bodies(address)], "URLs are not fetched here")
        svg = SCRIPTED.replace(b"/x", address.encode()).replace(b"/y", address.encode())
        is_said(client, picture_bodies(url_of(svg, "image/svg+xml")), "SVG is not opened")
        assert site.asked == []  # type: ignore[attr-defined]


def test_a_server_that_fetches_asks_public_addresses_alone(place: Place) -> None:
    service = service_of(place, fetch_urls=True)
    with TestClient(create_app(service, service.settings)) as client:
        for address in ("http://127.0.0.1/a.wav", "http://169.254.169.254/a.wav", "http://[::1]/a.wav"):
            is_said(client, [*picture_bodies(address), *sound_bodies(address)], "not a public address")


# --- the index -------------------------------------------------------------------------------------


def found(client: TestClient, **body: Any) -> tuple[list[str], list[dict[str, Any]]]:
    answer = client.post("/search", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    return [hit["path"].rpartition("/")[2] for hit in told["hits"]], told["media"]


def names(media: list[dict[str, Any]], kind: str) -> list[str]:
    return [one["path"].rpartition("/")[2] for one in media if one["kind"] == kind]


def test_words_and_examples_find_passages_pictures_and_sound(client: TestClient, place: Place) -> None:
    texts, media = found(client, query="green tea")
    assert texts == ["tea.md"] and len(names(media, "image")) == 3 and len(names(media, "audio")) == 2
    assert not any(one["path"].startswith("/") for one in media)
    texts, media = found(client, image=BLUE_URL, top_k=1)
    assert texts == ["tea.md"] and names(media, "image") == ["blue.png"] and media[0]["score"] > 0.999
    _, media = found(client, audio=LOW_URL, top_k=1)
    assert names(media, "audio") == ["low.wav"]
    _, media = found(client, like=media[0]["key"], top_k=1)
    assert media[0]["score"] > 0.999
    wanted = MediaIndex(place.index, place.media).search("green tea")
    assert (
        gap([one["score"] for one in found(client, query="green tea")[1]], [hit.score for hit in wanted])
        < 1e-5
    )


def test_a_client_finds_by_words_and_by_example(place: Place, tmp_path: Path) -> None:
    pytest.importorskip("httpx", reason="the extra `client` is not installed")
    service = service_of(place)
    with serving(create_app(service, service.settings)) as url, Client(url) as asking:
        wanted = MediaIndex(place.index, place.media).search("green tea")
        got = asking.search_media("green tea")
        assert gap([hit.score for hit in got], [hit.score for hit in wanted]) < 1e-5
        assert {hit.kind for hit in asking.search_media("green tea", kinds=["audio"])} == {"audio"}
        (seen,) = asking.search_media(place.files / "blue.png", 1, kinds=["image"])
        (heard,) = asking.search_media(place.files / "sound" / "low.wav", 1, kinds=["audio"])
        assert (seen.place[-8:], heard.place[-7:]) == ("blue.png", "low.wav") and seen.score > 0.999
        for wrong in (place.files / "tea.md", tmp_path / "gone.png"):
            with pytest.raises(InputError, match=wrong.name):
                asking.search_media(wrong)


def test_a_search_is_narrowed(client: TestClient) -> None:
    assert found(client, query="tea", kinds=["image"])[0] == []
    texts, media = found(client, query="tea", kinds=["markdown"])
    assert texts == ["tea.md"] and media == []
    texts, media = found(client, query="tea", kinds=["markdown", "audio"])
    assert texts == ["tea.md"] and {one["kind"] for one in media} == {"audio"}
    folder = found(client, query="tea", kinds=["audio"])[1][0]["path"].rpartition("/")[0]
    texts, media = found(client, query="tea", below=[folder])
    assert texts == [] and names(media, "audio") and not names(media, "image")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "nothing to search for"),
        ({"query": "a", "image": RED_URL}, 400, "query and image"),
        ({"query": " "}, 400, "empty"),
        ({"image": RED_URL, "rerank": True}, 400, "not reranked"),
        ({"image": RED_URL, "instruction": "find"}, 400, "not reranked"),
        ({"like": "../../etc/passwd"}, 404, "nothing in the index has that key"),
        ({"query": "a", "kinds": ["image"], "languages": ["python"]}, 400, "languages are of code"),
        ({"query": "a", "kinds": ["video"]}, 400, "no kind"),
    ],
)
def test_a_search_that_says_nothing_is_refused(
    client: TestClient, body: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post("/search", json=body)
    assert answer.status_code == status and said in answer.text, answer.text


def test_an_index_of_texts_answers_as_ever(place: Place) -> None:
    with TestClient(app_of(Index.open(place.index, models()[0]))) as client:
        answer = client.post("/search", json={"query": "tea"})
        assert answer.status_code == 200 and "media" not in answer.json()
        for body in ({"image": RED_URL}, {"like": "x"}):
            assert client.post("/search", json=body).status_code in (400, 404)


def test_a_server_is_opened_from_names(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    plan = Plan({"vl": str(place.media.directory), "nano": "lingxi-pico"}, {}, index=str(place.index))
    service = open_service(plan, SETTINGS)
    assert service.state().media and [card.name for card in service.cards()] == ["vl", "nano"]
    # One text model is opened for both.
    assert service.embedder("vl") is service.embedder("nano")
    service.close()
    with caplog.at_level("WARNING"):
        service = open_service(Plan({"lingxi-pico": "lingxi-pico"}, {}, index=str(place.index)), SETTINGS)
    assert not service.state().media and "pictures and sound" in caplog.text
    service.close()


# --- pages -----------------------------------------------------------------------------------------


def test_what_a_browser_gets_is_made_here(client: TestClient) -> None:
    media = found(client, query="tea")[1]
    answer = client.get(f"/ui/media/{media[0]['key']}")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).format == "JPEG"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    answer = client.get(f"/ui/media/{names_key(media, 'audio')}")
    assert answer.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(answer.content)) as heard:
        assert (heard.getnchannels(), heard.getframerate()) == (1, 16_000)
        assert heard.getnframes() == 8000


def names_key(media: list[dict[str, Any]], kind: str) -> str:
    return str(next(one["key"] for one in media if one["kind"] == kind))


@pytest.mark.parametrize(
    "key",
    ["x", "..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "red.png", "%00", "a" * 5000],
)
def test_only_keys_of_the_index_are_shown(client: TestClient, key: str) -> None:
    answer = client.get(f"/ui/media/{key}")
    assert answer.status_code == 404
    assert "root:x" not in answer.text


def test_a_file_that_became_another_is_not_shown(tmp_path: Path, place: Place) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        RED.save(files / name)
    (tmp_path / "secret.png").write_bytes(saved(BLUE))
    index = Index.open(tmp_path / "i", place.media.text)
    media = MediaIndex(tmp_path / "i", place.media)
    add_all(index, media, [files])
    keys = {Path(one.path).name: one.key for one in media.files}
    (files / "a.png").unlink()
    (files / "a.png").symlink_to(tmp_path / "secret.png")
    (files / "b.png").write_bytes(b"<script>alert(1)</script>")
    (files / "c.png").unlink()
    service = Service({"vl": place.media}, index=index, media=media, settings=SETTINGS)
    with TestClient(create_app(service, SETTINGS, extras=[pages.install])) as client:
        for key in keys.values():
            answer = client.get(f"/ui/media/{key}")
            assert answer.status_code == 404 and answer.headers["content-type"].startswith("text/plain")
            assert "changed" in answer.text and str(tmp_path) not in answer.text


def test_the_page_shows_rows_of_thumbnails_and_players(client: TestClient) -> None:
    page = client.get("/ui/search", params={"q": "green tea", "lang": "en"}).text
    assert page.count('<img src="/ui/media/') == 3 and page.count("<audio controls") == 2
    assert "Passages: 1; pictures, pages and sounds: 5" in page and 'enctype="multipart/form-data"' in page
    like = page.partition('href="/ui/search?like=')[2].partition("&")[0]
    page = client.get("/ui/search", params={"like": like}).text
    assert 'class="like"' in page and "1.000" in page
    assert "<option>audio</option>" in page


def test_a_picture_or_recording_is_searched_by_on_the_page(client: TestClient) -> None:
    page = client.post("/ui/search", files={"example": ("dir/<b>mine</b>.png", saved(BLUE), "text/html")})
    assert page.status_code == 200 and "Like b&gt;.png" in page.text and "<b>" not in page.text
    assert page.text.index("blue.png") < page.text.index("red.png")
    page = client.post("/ui/search", data={"lang": "zh"}, files={"example": ("声.wav", HIGH)})
    assert page.status_code == 200 and "声.wav" in page.text and "<mark>" not in page.text
    assert page.text.index("high.wav") < page.text.index("low.wav")


def test_a_form_that_holds_nothing_or_too_much_says_so(client: TestClient) -> None:
    for files in ({"example": ("", b"")}, {"other": ("a.png", saved(RED))}):
        page = client.post("/ui/search", files=files)
        assert page.status_code == 400
    page = client.post("/ui/search", files={"example": ("big.png", b"x" * (MOST_EXAMPLE + 1))})
    assert page.status_code == 400 and "larger than 24 MB" in page.text
    page = client.post("/ui/search", files={"example": ("big.png", b"x" * (MOST_EXAMPLE + (2 << 20)))})
    assert page.status_code == 413
    two = [("example", ("a.png", saved(RED))), ("example", ("b.png", saved(RED)))]
    assert client.post("/ui/search", files=two).status_code == 400
    assert client.post("/ui/search", content=b"q=tea").status_code == 400
    page = client.get("/ui/search", params={"q": "tea", "like": "x"})
    assert page.status_code == 400 and "one of them" in page.text
    assert client.get("/ui/search", params={"like": "nobody"}).status_code == 404


def test_a_page_without_media_offers_none(place: Place) -> None:
    service = Service({"nano": models()[0]}, index=Index.open(place.index, models()[0]), settings=SETTINGS)
    with TestClient(create_app(service, SETTINGS, extras=[pages.install])) as client:
        page = client.get("/ui/search", params={"q": "tea"}).text
        assert 'type="file"' not in page and "<img" not in page and "audio" not in page


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=60)), min_size=1, max_size=20))
def test_forms_are_cut_to_the_byte(parts: list[tuple[str, bytes]]) -> None:
    head = b'Content-Disposition: form-data; name="%s"; filename="f"'
    body = b"".join(
        b"--XyZ\r\n" + head % name.encode() + b"\r\n\r\n" + data + b"\r\n" for name, data in parts
    )
    if any(b"\r\n--XyZ" in data for _, data in parts):
        return
    read = read_parts("multipart/form-data; boundary=XyZ", body + b"--XyZ--\r\n")
    assert read == [Part(name, "f", data) for name, data in parts]
    assert read_parts("multipart/form-data; boundary=XyZ", body) is None
