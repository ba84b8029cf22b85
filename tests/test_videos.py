"""Files of videos as frames: which are taken, by the reference's rule, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="pictures need Pillow (extra vision)")
pytest.importorskip("av", reason="videos need PyAV (extra video)")
import av
from hypothesis import given
from hypothesis import strategies as st

from lingxi.errors import InputError
from lingxi.inputs import Access, Mixed, taken
from lingxi.videos import Limits, frames_of, wanted


def written(path: Path, count: int, rate: int = 10, size: tuple[int, int] = (64, 48)) -> Path:
    """A video whose frame number n is n grey."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(count):
            values = np.full((size[1], size[0], 3), number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        out.mux(stream.encode())
    return path


def greys(frames: tuple[object, ...]) -> list[int]:
    return [round(float(np.asarray(frame).mean())) for frame in frames]


def test_one_frame_a_second_is_taken_evenly(tmp_path: Path) -> None:
    frames, rate = frames_of(written(tmp_path / "a.mp4", 100))
    assert len(frames) == 10 and rate == pytest.approx(1.0)
    assert np.abs(np.array(greys(frames)) - np.linspace(0, 99, 10)).max() <= 2
    assert frames[0].mode == "RGB" and frames[0].size == (64, 48)


def test_a_short_video_has_four_and_a_long_one_sixty_four(tmp_path: Path) -> None:
    frames, rate = frames_of(written(tmp_path / "short.mp4", 12))
    assert len(frames) == 4 and rate == pytest.approx(4 / 1.2)
    frames, rate = frames_of(written(tmp_path / "long.mp4", 200, rate=2))
    assert len(frames) == 64 and rate == pytest.approx(64 / 100)


@given(st.integers(1, 5000), st.floats(1, 120))
def test_places_are_even_in_number_within_and_in_order(count: int, rate: float) -> None:
    places = wanted(count, rate)
    assert places == sorted(places) and places[0] == 0 and places[-1] <= count - 1
    assert len(places) <= 64 and (len(places) % 2 == 0 or count == 1)
    assert len(places) >= min(4, count) // 2 * 2


def test_the_reference_s_numbers() -> None:
    """smart_nframes of qwen-vl-utils for fps 1, 4 to 64 frames, at 24 and 30 frames a second."""
    videos = ((240, 24.0, 10), (90, 30.0, 4), (9000, 30.0, 64), (3, 30.0, 2), (330, 30.0, 10))
    for count, rate, taken_of in videos:
        assert len(wanted(count, rate)) == taken_of
    assert wanted(240, 24.0) == [0, 27, 53, 80, 106, 133, 159, 186, 212, 239]


def test_large_frames_are_made_smaller(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4", 8, size=(320, 240))
    frames, _ = frames_of(path, Limits(frame_pixels=20_000))
    assert frames[0].width * frames[0].height <= 20_000 and frames[0].width / frames[0].height > 1.3


def test_what_is_no_video_is_refused_in_words(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.mp4", 40)
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 50)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:100])
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {whole}\n")
    (tmp_path / "web.mp4").write_text("#EXTM3U\n#EXTINF:1\nhttp://127.0.0.1/a.ts\n")
    for name in ("noise", "cut", "list", "web"):
        with pytest.raises(InputError, match="no video that can be read"):
            frames_of(tmp_path / f"{name}.mp4")
    with pytest.raises(InputError, match="no file"):
        frames_of(tmp_path / "none.mp4")
    for limits, said in ((Limits(most_pixels=100), "pixels"), (Limits(most_frames=10), "40 frames")):
        with pytest.raises(InputError, match=said):
            frames_of(whole, limits)


def test_a_path_is_an_input_and_a_closed_one_is_not(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4", 40)
    for item in (path, {"video": path}, {"video": str(path)}, {"video": [path]}):
        found = taken(item, 0)
        assert isinstance(found, Mixed) and len(found.videos) == 1 and len(found.videos[0].frames) == 4
    assert len(taken({"video": [path, path], "text": "both"}, 0).videos) == 2
    for item in (path, {"video": str(path)}):
        with pytest.raises(InputError, match="not opened here"):
            taken(item, 0, Access(files=False))
