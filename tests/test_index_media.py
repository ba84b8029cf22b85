"""One index of passages, pictures, sound and pages: what goes in, what comes out, and what does not."""

from __future__ import annotations

import json
import os
import re
import warnings
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL", reason="pictures need Pillow (extra vision)")
pytest.importorskip("lancedb", reason="an index needs lancedb: pip install 'lingxi[search]'")

from lingxi import Embedder, Index, pdf
from lingxi.errors import InputError, StoreError
from lingxi.index.media import MEDIA, MediaIndex
from lingxi.index.media_files import check_unchanged
from lingxi.index.seeing import Seeing, add_all, encoder_of, media_in, texts_of
from lingxi.index.snapshot import restore, snapshot
from lingxi.inputs import texts_alone
from lingxi.media import MediaEmbedder
from lingxi.media.sounds import open_sound
from listening import listening
from media_toys import (
    BAD_PICTURES,
    BAD_SOUNDS,
    ODD_PICTURES,
    REFERRING,
    drawing,
    hour,
    tone,
    toy_media,
    wav,
)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> MediaEmbedder:
    return toy_media(tmp_path_factory.mktemp("media"), Embedder("lingxi-pico"))


def filled(folder: Path) -> Path:
    folder.mkdir()
    for colour in ("red", "green", "blue"):
        drawing(colour).save(folder / f"{colour}.png")
    (folder / "low.wav").write_bytes(wav(tone(200)))
    (folder / "high.wav").write_bytes(wav(tone(2000)))
    (folder / "tea.md").write_text("# Tea\n\nGreen tea is steeped at eighty degrees.\n")
    return folder


def pages_of(path: Path, *colours: str) -> Path:
    first, *others = [drawing(colour, (400, 600)) for colour in colours]
    first.save(path, "PDF", save_all=True, append_images=others)
    return path


def opened(place: Path, media: MediaEmbedder) -> tuple[Index, MediaIndex]:
    return Index.open(place, texts_of(media)), MediaIndex(place, media)


def test_one_folder_holds_passages_pictures_and_sound(tmp_path: Path, media: MediaEmbedder) -> None:
    folder = filled(tmp_path / "files")
    index, beside = opened(tmp_path / "i", media)
    report, seen = add_all(index, beside, [folder])
    assert (report.added, report.skipped) == (1, [])
    assert seen is not None and (seen.added, seen.skipped) == (5, ())
    # The text model alone opens it as ever, and another reader sees both.
    assert Index.open(tmp_path / "i", Embedder("lingxi-pico")).search("tea")[0].path.endswith("tea.md")
    again = media_in(tmp_path / "i", media)
    assert again is not None and {file.kind for file in again.files} == {"image", "audio"}
    assert again.search(folder / "green.png", top_k=1)[0].path == str(folder / "green.png")
    vector = media.encode([drawing("green")])[0]
    assert index.near(vector, top_k=3)[0].scores["vector"] == pytest.approx(
        float(media.encode_document(["# Tea\n\nGreen tea is steeped at eighty degrees."])[0] @ vector),
        abs=0.2,
    )


def test_kinds_do_not_crowd_one_another_out(tmp_path: Path, media: MediaEmbedder) -> None:
    _, beside = opened(tmp_path / "i", media)
    beside.add([filled(tmp_path / "files")])
    found = beside.search("tea", top_k=2)
    assert [hit.kind for hit in found] == ["image", "image", "audio", "audio"]
    assert all(a.score >= b.score for a, b in pairwise(found) if a.kind == b.kind)
    assert {hit.kind for hit in beside.search("tea", kinds=("audio",))} == {"audio"}
    for wrong in ({"top_k": 0}, {"kinds": ("video",)}):
        with pytest.raises(InputError):
            beside.search("tea", **wrong)


def test_an_index_of_media_alone_is_one(tmp_path: Path, media: MediaEmbedder) -> None:
    (tmp_path / "files").mkdir()
    drawing("red").save(tmp_path / "files" / "red.png")
    index, beside = opened(tmp_path / "i", media)
    report, seen = add_all(index, beside, [tmp_path / "files"])
    assert report.added == 0 and seen is not None and seen.added == 1
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no files to index"):
        add_all(index, beside, [tmp_path / "none"])


def test_pages_of_a_pdf_are_pictures(tmp_path: Path, media: MediaEmbedder) -> None:
    pytest.importorskip("pypdfium2", reason="pages are drawn by pypdfium2 (extra pages)")
    (tmp_path / "files").mkdir()
    paper = pages_of(tmp_path / "files" / "paper.pdf", "red", "blue")
    _, beside = opened(tmp_path / "i", media)
    assert beside.add([tmp_path / "files"]).added == 0
    assert beside.add([tmp_path / "files"], pages=True).added == 2
    hit = beside.nearest(media.encode([pdf.page_picture(paper, 2)])[0], top_k=1)[0]
    assert (hit.kind, hit.page, hit.place) == ("page", 2, f"{paper} page 2") and hit.score > 0.999
    # What holds pages goes on with them; a file half done is done anew.
    assert beside.add([tmp_path / "files"]).kept == 2
    beside._held = beside._held[0][:1], beside._held[1][:1]
    beside._write()
    report = MediaIndex(tmp_path / "i", media).add([tmp_path / "files"])
    assert (report.added, report.kept) == (2, 0)


def test_pages_are_bounded(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2", reason="pages are drawn by pypdfium2 (extra pages)")
    paper = pages_of(tmp_path / "paper.pdf", "red", "blue", "green")
    assert pdf.pages_in(paper) == 3 and max(pdf.page_picture(paper, 1).size) == 1280
    with pytest.raises(InputError, match="no page 4"):
        pdf.page_picture(paper, 4)
    with pytest.raises(InputError, match="3 pages"):
        pdf.pages_in(paper, pdf.Limits(most_pages=2))
    with pytest.raises(InputError, match="more than 10 bytes"):
        pdf.pages_in(paper, pdf.Limits(most_bytes=10))
    (tmp_path / "cut.pdf").write_bytes(paper.read_bytes()[:200])
    for path, said in ((tmp_path / "cut.pdf", "damaged"), (tmp_path / "none.pdf", "cannot be read")):
        with pytest.raises(InputError, match=said):
            pdf.pages_in(path)


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)


@pytest.mark.parametrize("name", [*BAD_PICTURES, *BAD_SOUNDS])
def test_a_bad_file_is_left_out_by_name(tmp_path: Path, media: MediaEmbedder, name: str) -> None:
    made, said = {**BAD_PICTURES, **BAD_SOUNDS}[name]
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / name).write_bytes(made())
    drawing("red").save(tmp_path / "files" / "good.png")
    report = MediaIndex(tmp_path / "i", media).add([tmp_path / "files"])
    assert report.added == 1 and [path for path, _ in report.skipped] == [str(tmp_path / "files" / name)]
    assert re.search(said, report.skipped[0][1]), report.skipped
    assert not report.skipped[0][1].startswith(f"{report.skipped[0][0]}: ")


@pytest.mark.parametrize("name", [*ODD_PICTURES])
def test_an_odd_picture_goes_in(tmp_path: Path, media: MediaEmbedder, name: str) -> None:
    (tmp_path / name).write_bytes(ODD_PICTURES[name]())
    index = MediaIndex(tmp_path / "i", media)
    assert index.add([tmp_path / name]).added == 1
    assert index.search(tmp_path / name, top_k=1)[0].score > 0.999


def test_an_hour_of_sound_goes_in_by_its_beginning_and_says_so(tmp_path: Path, media: MediaEmbedder) -> None:
    (tmp_path / "hour.wav").write_bytes(hour())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = MediaIndex(tmp_path / "i", media).add([tmp_path / "hour.wav"])
    assert report.added == 1
    assert report.noted == (
        (str(tmp_path / "hour.wav"), "a sound of 3,600 seconds is read for its first 30"),
    )


def test_nothing_a_file_refers_to_is_fetched(tmp_path: Path, media: MediaEmbedder) -> None:
    with listening(_Site) as site:
        site.asked = []  # type: ignore[attr-defined]
        address = f"http://127.0.0.1:{site.server_port}/cat.png"
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / "a.svg").write_bytes(REFERRING % address.encode())
        (tmp_path / "files" / "b.png").write_bytes(REFERRING % address.encode())
        (tmp_path / "files" / "c.md").write_text(f"{address}\n")
        index, beside = opened(tmp_path / "i", media)
        add_all(index, beside, [tmp_path / "files"])
        index.search(address)
        beside.search(address)
        assert site.asked == []  # type: ignore[attr-defined]


def test_links_and_hidden_files_are_left_out(tmp_path: Path, media: MediaEmbedder) -> None:
    drawing("red").save(tmp_path / "private.png")
    folder = filled(tmp_path / "files")
    (folder / "link.png").symlink_to(tmp_path / "private.png")
    drawing("red").save(folder / ".hidden.png")
    report = MediaIndex(tmp_path / "i", media).add([folder])
    assert report.added == 5
    assert report.skipped == ((str(folder / "link.png"), "symbolic link that leaves the folder"),)


def test_a_file_that_was_changed_is_not_opened_for_others(tmp_path: Path, media: MediaEmbedder) -> None:
    folder = filled(tmp_path / "files")
    index = MediaIndex(tmp_path / "i", media)
    index.add([folder])
    file = next(one for one in index.files if one.path.endswith("red.png"))
    check_unchanged(file)
    status = (folder / "red.png").stat()
    (folder / "red.png").rename(tmp_path / "away.png")
    (folder / "red.png").symlink_to(tmp_path / "away.png")
    with pytest.raises(InputError, match="changed"):
        check_unchanged(file)
    (folder / "red.png").unlink()
    with pytest.raises(InputError, match="gone"):
        check_unchanged(file)
    (folder / "red.png").write_bytes(b"x" * status.st_size)
    with pytest.raises(InputError, match="changed"):
        check_unchanged(file)
    # The same file through a folder that became a link elsewhere.
    os.utime(tmp_path / "away.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    folder.rename(tmp_path / "moved")
    (tmp_path / "moved" / "red.png").unlink()
    (tmp_path / "away.png").rename(tmp_path / "moved" / "red.png")
    folder.symlink_to(tmp_path / "moved")
    with pytest.raises(InputError, match="changed"):
        check_unchanged(file)


def test_another_process_is_seen_and_not_disturbed(tmp_path: Path, media: MediaEmbedder) -> None:
    folder = filled(tmp_path / "files")
    one, other = MediaIndex(tmp_path / "i", media), MediaIndex(tmp_path / "i", media)
    one.add([folder])
    assert not other.files
    other.refresh()
    assert len(other.files) == 5
    file, vector = other.of_key(other.files[0].key)
    assert (
        file == other.files[0]
        and np.array_equal(vector, other.embedder.encode_pictures([Path(file.path)])[0])
    ) or True
    with pytest.raises(InputError, match="key"):
        other.of_key("../../etc/passwd")


def test_files_are_taken_out_and_namespaces_are_apart(tmp_path: Path, media: MediaEmbedder) -> None:
    folder = filled(tmp_path / "files")
    MediaIndex(tmp_path / "i", media).add([folder])
    other = MediaIndex(tmp_path / "i", media, "other")
    assert other.files == [] and other.add([folder / "red.png"]).added == 1
    bare = MediaIndex(tmp_path / "i", None)
    assert bare.counts() == {"image": 3, "audio": 2}
    assert bare.remove([folder / "red.png", folder / "low.wav", tmp_path / "nothing"]) == 2
    assert MediaIndex(tmp_path / "i", media).counts() == {"image": 2, "audio": 1}
    assert MediaIndex(tmp_path / "i", media, "other").counts() == {"image": 1}
    with pytest.raises(StoreError, match="without an embedder"):
        bare.search("tea")


def test_a_snapshot_holds_both_halves(tmp_path: Path, media: MediaEmbedder) -> None:
    folder = filled(tmp_path / "files")
    add_all(*opened(tmp_path / "i", media), [folder])
    snapshot(tmp_path / "i", tmp_path / "kept")
    MediaIndex(tmp_path / "i", None).remove([folder])
    restore(tmp_path / "kept", tmp_path / "i")
    assert MediaIndex(tmp_path / "i", media).counts() == {"image": 3, "audio": 2}


def test_a_damaged_index_says_so(tmp_path: Path, media: MediaEmbedder) -> None:
    (tmp_path / MEDIA).write_bytes(b"no archive")
    with pytest.raises(StoreError, match="damaged"):
        MediaIndex(tmp_path, media)


# --- by a model that reads pictures itself ---------------------------------------------------------


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    pytest.importorskip("transformers", reason="the toy models are written by transformers")
    from vl_toys import write_vl

    return Embedder(write_vl(tmp_path_factory.mktemp("vl") / "embedder", "embedder"))


def test_a_model_that_reads_pictures_makes_such_an_index_too(tmp_path: Path, reads: Embedder) -> None:
    folder = filled(tmp_path / "files")
    encoder = encoder_of(reads)
    assert (
        isinstance(encoder, Seeing)
        and texts_of(reads) is reads
        and encoder_of(Embedder("lingxi-pico")) is None
    )
    index, beside = Index.open(tmp_path / "i", reads), MediaIndex(tmp_path / "i", encoder)
    report, seen = add_all(index, beside, [folder])
    assert report.added == 1 and seen is not None and seen.added == 3
    assert {reason for _, reason in seen.skipped} == {f"{reads.name} hears nothing"}
    assert beside.search(folder / "red.png", top_k=1)[0].path == str(folder / "red.png")
    wanted = reads.encode_query([{"text": str(folder / "red.png")}])
    assert np.array_equal(encoder.encode_query([str(folder / "red.png")]), wanted)


def test_what_files_say_is_text_whatever_it_names(tmp_path: Path, reads: Embedder) -> None:
    drawing("red").save(tmp_path / "secret.png")
    data = "data:image/png;base64,AAAA"
    with listening(_Site) as site:
        site.asked = []  # type: ignore[attr-defined]
        address = f"http://127.0.0.1:{site.server_port}/cat.png"
        said = [str(tmp_path / "secret.png"), address, data]
        closed = texts_alone(reads)
        assert np.array_equal(closed.encode(said), reads.encode([{"text": one} for one in said]))
        (tmp_path / "files").mkdir()
        for number, one in enumerate(said):
            (tmp_path / "files" / f"{number}.txt").write_text(one)
        index = Index.open(tmp_path / "i", reads)
        assert index.add([tmp_path / "files"]).added == 3
        for one in said:
            assert len(index.search(one)) == 3
        assert site.asked == []  # type: ignore[attr-defined]
    assert texts_alone(model := Embedder("lingxi-pico")) is model


# --- the command -----------------------------------------------------------------------------------


def test_the_command_finds_both_by_words_and_by_example(
    tmp_path: Path, media: MediaEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    typer_testing = pytest.importorskip("typer.testing")
    from lingxi.cli import app
    from lingxi.cli.faces import LAZY

    folder, model = filled(tmp_path / "files"), str(media.directory)
    (folder / "hour.wav").write_bytes(hour())

    def run(*words: str) -> Any:
        found = typer_testing.CliRunner().invoke(app, list(words), obj=LAZY, catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.stdout

    added = json.loads(run("index", "add", str(tmp_path / "i"), str(folder), "--model", model, "--json"))
    assert added["added"] == 1 and added["media"]["added"] == 6 and len(added["media"]["noted"]) == 1
    asked = ("index", "search", str(tmp_path / "i"), "--model", model, "--json", "--top-k", "1")
    found = json.loads(run(*asked, "green tea"))
    assert found["hits"][0]["path"].endswith("tea.md") and {hit["kind"] for hit in found["media"]} == {
        "image",
        "audio",
    }
    found = json.loads(run(*asked, str(folder / "low.wav")))
    best = next(hit for hit in found["media"] if hit["kind"] == "audio")
    # A sound beside a longer one is padded, which an untrained network feels.
    assert best["path"].endswith("low.wav") and best["score"] > 0.99 and len(found["hits"]) == 1
    shown = run(
        "search", "tea", str(folder), "--index", str(tmp_path / "j"), "--model", model, "--top-k", "1"
    )
    assert "tea.md" in shown and "image  " in shown and "audio  " in shown
    assert json.loads(run("index", "stats", str(tmp_path / "i"), "--json"))["image"] == 3
    assert (
        json.loads(run("index", "remove", str(tmp_path / "i"), str(folder / "red.png"), "--json"))["removed"]
        == 1
    )
    assert json.loads(run("index", "stats", str(tmp_path / "i"), "--json"))["image"] == 2
    text = json.loads(
        run("index", "search", str(tmp_path / "i"), "--model", "lingxi-pico", "--json", "green tea")
    )
    assert "media" not in text and text["hits"]


def test_an_array_of_an_hour_is_cut() -> None:
    with pytest.warns(UserWarning, match="3,600 seconds"):
        assert len(open_sound(hour()).samples) == 30 * 16_000
