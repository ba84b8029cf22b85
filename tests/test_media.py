"""Pictures and sound beside texts: one space, texts untouched, indexes that follow their files."""

import json

import numpy as np
import pytest
import torch

Image = pytest.importorskip("PIL.Image")

from lingxi import Embedder  # noqa: E402
from lingxi.curate.looks import groups, look  # noqa: E402
from lingxi.engine.linears import with_int8_linears  # noqa: E402
from lingxi.errors import InputError, ModelError, StoreError  # noqa: E402
from lingxi.evaluate.media import chance_of, colours, first_ranks, measured  # noqa: E402
from lingxi.index.media import MediaIndex  # noqa: E402
from lingxi.media import MediaEmbedder  # noqa: E402
from lingxi.model.files import hash_weights  # noqa: E402
from lingxi.model.media_files import MediaConfig, read_media, restored, rounded, text_model_of, write_media  # noqa: E402
from lingxi.model.media_heads import PictureNetwork, SoundNetwork, parted  # noqa: E402
from lingxi.model.picture import Convolution, folded  # noqa: E402
from lingxi.model.sound import RATE, SoundTrunk, log_mel  # noqa: E402
from lingxi.pictures import opened  # noqa: E402
from lingxi.train.media import Matched, MediaSettings, _ridge, fit_head  # noqa: E402


@pytest.fixture(scope="module")
def text():
    return Embedder("lingxi-pico")


@pytest.fixture(scope="module")
def directory(tmp_path_factory, text):
    """A directory of untrained networks: what it says is chance, how it says it is not."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("media")
    config = MediaConfig("lingxi-pico", hash_weights(text.directory), 384, 2)
    write_media(place, config, PictureNetwork(), SoundNetwork(2))
    return place


@pytest.fixture(scope="module")
def media(directory, text):
    return MediaEmbedder(directory, text=text)


def drawing(colour: str, size: tuple[int, int] = (120, 80)) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    picture.paste(colour, (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    return picture


def clip(hertz: float, seconds: float = 0.6) -> dict[str, object]:
    times = np.arange(int(seconds * RATE)) / RATE
    return {"array": np.sin(2 * np.pi * hertz * times).astype(np.float32), "sampling_rate": RATE}


TEXTS = ["an elephant", "слон", "", "象が水を飲む", "a very long " * 50]


def test_text_vectors_are_the_text_models_to_the_last_digit(media, text):
    assert np.array_equal(media.encode(TEXTS), text.encode(TEXTS))
    assert np.array_equal(media.encode_query(TEXTS), text.encode_query(TEXTS))
    mixed = media.encode([*TEXTS, drawing("red"), clip(300)])
    assert np.array_equal(mixed[: len(TEXTS)], text.encode(TEXTS))


def test_all_kinds_are_unit_vectors_of_one_width(media):
    given = [
        "a text",
        drawing("red"),
        clip(440),
        {"text": "a red box", "image": drawing("red"), "audio": clip(440)},
    ]
    found = media.encode(given)
    assert found.shape == (4, 384)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert media.encode(drawing("red")).shape == (384,)


def test_a_mixture_is_the_mean_of_its_parts(media):
    one, other = media.encode(["a box"])[0], media.encode([drawing("blue")])[0]
    mean = (one + other) / np.linalg.norm(one + other)
    assert np.allclose(media.encode({"text": "a box", "image": drawing("blue")}), mean, atol=1e-5)


def test_a_picture_has_one_vector_alone_or_in_a_batch(media):
    pictures = [drawing(colour) for colour in ("red", "green", "blue")]
    together = media.encode(pictures)
    assert np.allclose(together[1], media.encode(pictures[1]), atol=1e-5)
    sounds = [clip(300, 0.4), clip(500, 1.5), clip(700, 0.9)]
    assert np.allclose(media.encode(sounds)[0], media.encode(sounds[0]), atol=5e-3)


def test_files_and_bytes_are_what_is_in_them(media, tmp_path):
    path = tmp_path / "box.png"
    drawing("red").save(path)
    assert np.array_equal(media.encode(path), media.encode(path.read_bytes()))
    with pytest.raises(InputError, match="neither a picture nor a sound"):
        media.encode(tmp_path / "notes.docx")
    with pytest.raises(InputError, match="keys"):
        media.encode({"video": b""})
    with pytest.raises(InputError, match="is no text"):
        media.encode([3])


def test_a_directory_of_another_text_model_is_refused(directory, text, tmp_path):
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "text_hash": "0" * 16}))
    with pytest.raises(ModelError, match="space of another"):
        MediaEmbedder(tmp_path, text=text)
    (tmp_path / "picture-1.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="do not fit"):
        read_media(tmp_path)


def test_a_directory_made_before_its_text_model_was_renamed_opens(directory, tmp_path):
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "text_model": "lingxi-nano"}))
    assert text_model_of(tmp_path) == MediaEmbedder(tmp_path).text.name == "lingxi-pico"


def test_rounding_keeps_a_row_within_half_a_step():
    torch.manual_seed(1)
    weight = torch.randn(40, 200) * torch.logspace(-2, 1, 40)[:, None]
    back = restored(rounded({"w": weight, "b": torch.ones(3)}))
    assert ((back["w"] - weight).abs() <= weight.abs().amax(1, keepdim=True) / 127 * 0.5001).all()
    assert torch.equal(back["b"], torch.ones(3))


def test_a_convolution_pads_as_tensorflow_does():
    layer = Convolution(1, 1, 3, 2)
    with torch.no_grad():
        layer.weight.fill_(1)
    # An even side of stride 2 is padded behind alone: the first window begins at the first pixel.
    out = layer(torch.ones(1, 1, 4, 4))[0, 0]
    assert out.tolist() == [[9, 6], [6, 4]]


def test_a_normalisation_is_folded_into_its_convolution():
    torch.manual_seed(2)
    weight, gain, shift = torch.randn(32, 3, 3, 3), torch.rand(32) + 0.5, torch.randn(32)
    mean, variance = torch.randn(32), torch.rand(32) + 0.1
    stated = {
        "_conv_stem.weight": weight, "_bn0.weight": gain, "_bn0.bias": shift,
        "_bn0.running_mean": mean, "_bn0.running_var": variance,
    }  # fmt: skip
    found = folded(stated)
    x = torch.randn(1, 3, 8, 8)
    wanted = torch.nn.functional.batch_norm(
        torch.nn.functional.conv2d(x, weight), mean, variance, gain, shift, eps=1e-3
    )
    got = torch.nn.functional.conv2d(x, found["stem.weight"], found["stem.bias"])
    assert torch.allclose(got, wanted, atol=1e-4)


def test_a_spectrogram_has_its_tone_in_the_right_band():
    times = torch.arange(RATE) / RATE
    low, high = (log_mel(torch.sin(2 * torch.pi * f * times)).mean(1).argmax().item() for f in (300, 3000))
    assert log_mel(torch.zeros(RATE)).shape == (80, 100)
    assert low < high
    # 1,000 Hz is 15 mel of 45.2, and there are 80 bands.
    assert abs(log_mel(torch.sin(2 * torch.pi * 1000 * times)).mean(1).argmax().item() - 15 / 45.245 * 81) < 2


def test_padding_changes_no_state_of_a_clip():
    torch.manual_seed(3)
    trunk = SoundTrunk(layers=2).eval()
    short = torch.randn(1, 80, 40)
    alone, _ = trunk(short, torch.tensor([40]))
    long = torch.cat([torch.cat([short, torch.zeros(1, 80, 60)], 2), torch.randn(1, 80, 100)])
    beside, real = trunk(long, torch.tensor([40, 100]))
    # The convolutions look one frame past the end; states before that are the same.
    assert torch.allclose(alone[0, :18], beside[0, :18], atol=0.05)
    assert real.sum(1).tolist() == [20, 50]


def test_int8_linears_compute_nearly_the_same():
    torch.manual_seed(4)
    network = torch.nn.Sequential(
        torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 256)
    ).eval()
    x = torch.randn(7, 256)
    wanted = network(x)
    with torch.inference_mode():
        found = with_int8_linears(network)(x)
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=1).min() > 0.995


def test_a_head_finds_the_captions_of_new_items():
    """Features that are a noisy matrix of what captions say: items that were not learned are found."""
    rng = np.random.default_rng(0)
    said = rng.normal(size=(300, 384)).astype(np.float32)
    said /= np.linalg.norm(said, axis=1, keepdims=True)
    features = said @ rng.normal(size=(384, 500)).astype(np.float32) + 0.02 * rng.normal(size=(300, 500))
    known = Matched(features[:250].astype(np.float32), said[:250], np.ones(250, np.float32))
    for settings in (MediaSettings(ridge=0.1, whiten=0.0), MediaSettings(ridge=0.1, whiten=0.5)):
        matrix, bias = fit_head(known, said[:250], settings)
        found = features[250:] @ matrix.T + bias
        assert matrix.shape == (384, 500)
        assert (np.argmax(said[250:] @ found.T, 1) == np.arange(50)).mean() > 0.9


def test_ridge_is_the_same_by_items_and_by_inputs():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 40)).astype(np.float32), rng.normal(size=(40, 5)).astype(np.float32)
    share = np.full((40, 1), 1 / 40, np.float32)
    by_inputs = _ridge(x, y, share, 0.5)
    by_items = _ridge(np.hstack([x, np.zeros((40, 1), np.float32)]), y, share, 0.5 * 40 / 40)
    assert np.allclose(by_inputs, by_items[:40], atol=1e-4)


def test_parts_of_a_clip_follow_its_time():
    rising = torch.arange(24.0).view(24, 1) * torch.tensor([[1.0, -1.0]])
    wide = torch.cat([rising, torch.zeros(24, 2)], 1)
    found = parted(wide, 3)
    assert found.shape == (12,)
    assert parted(wide[:1], 3).shape == (12,)
    # 12 pairs in 3 parts: each the mean of 4 normalised pairs, not of any other part's.
    pairs = torch.nn.functional.layer_norm(wide.view(12, 2, 4).mean(1), (4,))
    assert torch.allclose(found.view(3, 4), pairs.view(3, 4, 4).mean(1))


def test_ranks_count_ties_as_lost():
    scores = np.array([[0.5, 0.5, 0.1], [0.9, 0.2, 0.3]], np.float32)
    right = np.array([[True, False, False], [False, False, True]])
    assert first_ranks(scores, right).tolist() == [2, 2]
    found = measured("x", scores, right)
    assert (found.recall_1, found.recall_10, found.mrr) == (0.0, 1.0, 0.5)


def test_chance_is_what_shuffling_gives():
    rng = np.random.default_rng(0)
    right = np.zeros((1, 40), bool)
    right[0, :3] = True
    hits = [first_ranks(rng.random((1, 40)), right)[0] <= 10 for _ in range(4000)]
    assert abs(chance_of(right.sum(1), 40, 10) - np.mean(hits)) < 0.03
    assert chance_of(right.sum(1), 40, 1) == pytest.approx(3 / 40)


def test_pictures_that_look_alike_are_one_group():
    rng = np.random.default_rng(1)
    noisy = Image.fromarray(rng.integers(0, 255, (60, 60, 3)).astype(np.uint8)).resize((200, 200))
    flat = [Image.new("RGB", (90, 60), colour) for colour in ("red", "blue")]
    looks = np.stack([look(one) for one in (noisy, noisy.resize((90, 90)), *flat)])
    found = groups(looks)
    assert found[0] == found[1]
    assert len({found[0], found[2], found[3]}) == 3


class ByColour:
    """An encoder that can be reasoned about: a picture is its colours, every text is the same."""

    dim = 216

    def encode_pictures(self, items):
        return np.stack([colours(opened(item)) for item in items])

    def encode_sounds(self, items):
        raise AssertionError("there is no sound here")

    def encode_query(self, inputs):
        even = np.full((1, 216), 216**-0.5, np.float32)
        return self.encode_pictures(inputs) if inputs[0] != "a box" else even

    def fingerprint(self):
        return {"by": "colour"}


def test_an_index_follows_its_folder(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for colour in ("red", "green", "blue"):
        drawing(colour).save(folder / f"{colour}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    index = MediaIndex(tmp_path / "index", ByColour())
    report = index.add([folder])
    assert (report.added, report.kept, report.removed) == (3, 0, 0)
    assert [path for path, _ in report.skipped] == [str(folder / "broken.jpg")]
    assert index.search(folder / "green.png", top_k=1)[0].path == str(folder / "green.png")
    (folder / "red.png").unlink()
    again = MediaIndex(tmp_path / "index", ByColour())
    report = again.add([folder])
    assert (report.added, report.kept, report.removed) == (0, 2, 1)
    assert {hit.path for hit in again.search("a box")} == {
        str(folder / "green.png"),
        str(folder / "blue.png"),
    }


def test_an_index_of_another_model_is_refused(media, directory, text, tmp_path):
    MediaIndex(tmp_path, media).add([tmp_path])
    torch.manual_seed(9)
    other = tmp_path / "other"
    write_media(other, media.config, PictureNetwork(), None)
    with pytest.raises(StoreError, match="another model"):
        MediaIndex(tmp_path, MediaEmbedder(other, text=text))
