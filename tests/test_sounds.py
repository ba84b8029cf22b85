"""Sound of strangers: read exactly, cut, or refused in words; never fetched."""

import io
import struct
import wave

import numpy as np
import pytest

from lingxi.errors import InputError, LingxiWarning
from lingxi.media.sounds import RATE, open_sound, resampled


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def wav(
    samples: np.ndarray, rate: int, *, kind: int, bits: int, channels: int = 1, stated: int | None = None
) -> bytes:
    """A RIFF file byte by byte, so that damage can be placed in it."""
    if kind == 3:
        body = samples.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        body = (samples * 127 + 128).astype(np.uint8).tobytes()
    elif bits == 24:
        codes = (samples.astype(np.float64) * (2**23 - 1)).astype("<i4")
        body = codes.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    else:
        body = (samples.astype(np.float64) * (2 ** (bits - 1) - 1)).astype(f"<i{bits // 8}").tobytes()
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * frame % 2**32, frame, bits)
    size = len(body) if stated is None else stated
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size) + body
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


@pytest.mark.parametrize(
    ("kind", "bits", "off"),
    [(1, 8, 0.02), (1, 16, 1e-4), (1, 24, 1e-6), (1, 32, 1e-6), (3, 32, 0), (3, 64, 1e-7)],
)
def test_every_kind_of_wav_gives_the_same_samples(kind, bits, off):
    samples = tone(0.2, RATE)
    read = open_sound(wav(samples, RATE, kind=kind, bits=bits)).samples
    assert np.abs(read - samples).max() <= off


def test_wav_of_the_standard_library_is_read():
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((tone(0.1, RATE) * 32767).astype("<i2").tobytes())
    assert np.abs(open_sound(file.getvalue()).samples - tone(0.1, RATE)).max() < 1e-4


def test_two_channels_become_their_mean():
    both = np.stack([tone(0.2, RATE), np.zeros(int(0.2 * RATE), np.float32)], 1)
    read = open_sound(wav(both, RATE, kind=3, bits=32, channels=2)).samples
    assert np.allclose(read, tone(0.2, RATE) / 2, atol=1e-6)
    assert np.allclose(open_sound({"array": both, "sampling_rate": RATE}).samples, read)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_another_rate_is_the_same_tone(rate):
    read = open_sound({"array": tone(0.5, rate), "sampling_rate": rate}).samples
    wanted = tone(0.5, RATE)[: len(read)]
    assert abs(len(read) - RATE // 2) <= 1
    assert np.abs(read - wanted)[400:-400].max() < 1e-3


def test_what_the_new_rate_cannot_hold_is_silent():
    assert np.abs(resampled(tone(0.3, 44_100, 12_000.0), 44_100))[400:-400].max() < 1e-3


def test_whole_numbers_are_scaled():
    codes = (tone(0.1, RATE) * 32767).astype(np.int16)
    assert np.abs(open_sound({"array": codes, "sampling_rate": RATE}).samples - tone(0.1, RATE)).max() < 1e-4


def test_an_hour_is_cut_to_half_a_minute_and_said(tmp_path):
    path = tmp_path / "hour.wav"
    rate, count = 8_000, 3600 * 8_000
    head = wav(np.zeros(0, np.float32), rate, kind=1, bits=16, stated=2 * count)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + 2 * count)  # a hole: an hour of silence that takes no disk
    with pytest.warns(LingxiWarning, match="3,600 seconds is read for its first 30"):
        sound = open_sound(path)
    assert len(sound.samples) == 30 * RATE
    assert sound.seconds == 3600


def test_a_cut_file_gives_what_is_there_and_says_so():
    whole = wav(tone(1.0, RATE), RATE, kind=1, bits=16)
    with pytest.warns(LingxiWarning, match="ends before the length it states"):
        assert len(open_sound(whole[: len(whole) // 2]).samples) > RATE // 3


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (wav(tone(0.1, RATE), RATE, kind=1, bits=16)[:30], "format is cut short|no samples"),
        (wav(tone(0.1, RATE), RATE, kind=1, bits=16)[:44], "no samples"),
        (wav(tone(0.1, RATE), RATE, kind=85, bits=16), "kind 85"),
        (wav(tone(0.1, RATE), 0, kind=1, bits=16), "0 samples a second"),
        (wav(tone(0.1, RATE), 4_000_000_000, kind=1, bits=16), "samples a second"),
        (wav(tone(0.1, RATE), RATE, kind=1, bits=16, channels=0), "0 channels"),
        (wav(tone(0.01, RATE), RATE, kind=1, bits=16), "too short"),
        ({"array": np.full(8000, np.nan, np.float32), "sampling_rate": RATE}, "not finite"),
        ({"array": np.zeros((2, 2, 2)), "sampling_rate": RATE}, "shape"),
        ({"array": np.zeros(8000)}, "array"),
        ({"array": ["a"], "sampling_rate": RATE}, "holds"),
        ("http://169.254.169.254/a.wav", "not fetched"),
        ("no-such-file.wav", "no file"),
        (7, "is no sound"),
    ],
)
def test_what_is_no_sound_is_refused_in_words(source, said):
    with pytest.raises(InputError, match=said):
        open_sound(source)


def test_noise_is_refused_by_the_other_reader():
    pytest.importorskip("soundfile")
    with pytest.raises(InputError, match="no sound that can be read"):
        open_sound(bytes(range(256)) * 20)


def test_flac_is_read(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "tone.flac"
    soundfile.write(path, tone(0.5, 22_050), 22_050)
    assert np.abs(open_sound(path).samples - tone(0.5, RATE))[400:-400].max() < 1e-3
