"""VL models: the numbers of transformers, mixed inputs alone and together, and what is refused in words."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="pictures need Pillow (extra vision)")
pytest.importorskip("transformers", reason="the toy models are written by transformers")

from lingxi import Embedder, Reranker, prompts
from lingxi.errors import InputError, LingxiWarning, ModelError
from lingxi.inputs import Access, Mixed, Video
from lingxi.model.files import read_config
from lingxi.model.network import read_size
from lingxi.model.seen import Seen, patches_of
from lingxi.model.vision_size import few_layers, vision_size
from toys import assert_mendable, gap
from vl_toys import noise, random_model, vl_tokenizer, write_vl

VECTORS = 1e-5
PUBLISHED = 1e-4  # with published widths sums are longer
TASK = "Find a document image that matches the given query."

Model = Any


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Path:
    return write_vl(tmp_path_factory.mktemp("vl") / "embedder", model=model)


@pytest.fixture(scope="module")
def reranking(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Path:
    return write_vl(tmp_path_factory.mktemp("vl") / "reranker", "reranker", model=model)


@pytest.fixture(scope="module", params=["native", "torch"])
def embedder(request: pytest.FixtureRequest, directory: Path) -> Embedder:
    return Embedder(directory, engine=request.param)


@pytest.fixture(scope="module", params=["native", "torch"])
def reranker(request: pytest.FixtureRequest, reranking: Path) -> Reranker:
    return Reranker(reranking, engine=request.param)


def items() -> list[Any]:
    return [
        "a text",
        "\na line break first",
        {"text": "what is it?", "image": noise(100, 70)},
        noise(65, 65, 1),
        {"image": [noise(33, 140, 2), noise(90, 80, 3)], "text": ["two", " of them"]},
        {"video": [noise(60, 60, i) for i in range(3)], "text": "a clip"},
        {"video": {"frames": [noise(90, 60, i) for i in range(4)], "fps": 1.0}, "image": noise(40, 40, 9)},
    ]


def states_by_transformers(model: Model, sequence: Any, size: Any) -> torch.Tensor:
    """Last state [hidden] of ids with pictures, by transformers' own network, alone."""
    seen = sequence if isinstance(sequence, Seen) else Seen(list(sequence), ())
    ids, config = torch.tensor([seen.ids]), model.config
    kinds = torch.zeros_like(ids)
    kinds[ids == config.image_token_id], kinds[ids == config.video_token_id] = 1, 2
    more: dict[str, Any] = {}
    for name, views in (
        ("", [v for v in seen.views if len(v.pixels) == 1]),
        ("_videos", [v for v in seen.views if len(v.pixels) > 1]),
    ):
        if views:
            grid = "video_grid_thw" if name else "image_grid_thw"
            more[f"pixel_values{name}"] = patches_of(views, size)
            more[grid] = torch.tensor([view.grid for view in views])
    with torch.inference_mode():
        found = model.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=kinds, **more
        )
    return found.last_hidden_state[0, -1]


def vectors_by_transformers(model: Model, embedder: Embedder, sequences: Sequence[Any]) -> torch.Tensor:
    assert embedder.vision is not None
    states = [states_by_transformers(model, s, embedder.vision.size) for s in sequences]
    return torch.nn.functional.normalize(torch.stack(states), dim=-1)


def sequences_of(embedder: Embedder, given: Sequence[Any], **options: Any) -> list[Any]:
    """`token_ids` of inputs whose strings are texts."""
    given = [Mixed(images=(one,)) if hasattr(one, "getpixel") else one for one in given]
    return embedder.token_ids(given, **options)


def test_vectors_are_those_of_transformers(embedder: Embedder, model: Model) -> None:
    wanted = vectors_by_transformers(model, embedder, sequences_of(embedder, items()))
    assert gap(embedder.encode(items()), wanted) < VECTORS


def test_an_instruction_goes_into_the_system_turn(embedder: Embedder, model: Model) -> None:
    sequences = sequences_of(embedder, items(), instruction=" Find it ")
    tokens = embedder.tokenizer
    head = tokens.laid((*prompts.vl_head("Find it."), prompts.VL_LEAD))
    assert sequences[0][: len(head)] == head == sequences[2].ids[: len(head)]
    wanted = vectors_by_transformers(model, embedder, sequences)
    assert gap(embedder.encode(items(), instruction=" Find it "), wanted) < VECTORS
    assert gap(embedder.encode_query(items(), instruction="Find it."), wanted) < VECTORS


def test_two_pictures_and_a_text_are_the_reference_input(embedder: Embedder, model: Model) -> None:
    """Built by hand here: the template as a string, pixels by Pillow's filter alone."""
    first, second = noise(96, 64, 5), noise(64, 160, 6)
    seats = [prompts.IMAGE_PAD * n for n in (6, 10)]
    said = "".join(f"<|vision_start|>{seat}<|vision_end|>" for seat in seats) + "both"
    turn = (
        f"<|im_start|>system\n{prompts.VL_TASK}<|im_end|>\n<|im_start|>user\n{said}<|im_end|>\n"
        "<|im_start|>assistant\n<|endoftext|>"
    )
    (sequence,) = sequences_of(embedder, [{"text": "both", "image": [first, second]}])
    assert sequence.ids == embedder.tokenizer.prompt(turn)
    for view, picture in zip(sequence.views, (first, second), strict=True):
        assert np.array_equal(view.pixels[0], np.asarray(picture))
    wanted = vectors_by_transformers(model, embedder, [sequence])
    assert gap(embedder.encode({"text": "both", "image": [first, second]})[None], wanted) < VECTORS


def test_scores_are_those_of_transformers(reranker: Reranker, model: Model) -> None:
    query, task = {"text": "which", "image": noise(70, 100, 4)}, "Judge it"
    pairs = [(q, d) for q in ("a query", query) for d in [*items(), ""]]
    wanted = scores_by_transformers(model, reranker, pairs, instruction=task)
    assert gap(reranker.predict(pairs, instruction=task), wanted) < VECTORS


def scores_by_transformers(
    model: Model, reranker: Reranker, pairs: Sequence[Any], **options: Any
) -> torch.Tensor:
    """Probabilities [n] by transformers' network and its whole output head."""
    given = [(_mixed(q), _mixed(d)) for q, d in pairs]
    assert reranker.vision is not None
    sequences = reranker.token_ids(given, **options)
    states = [states_by_transformers(model, s, reranker.vision.size) for s in sequences]
    yes, no = reranker.tokenizer.answer("yes"), reranker.tokenizer.answer("no")
    logits = torch.stack(states) @ model.lm_head.weight.T
    return torch.sigmoid(logits[:, yes] - logits[:, no])


def _mixed(item: Any) -> Any:
    if isinstance(item, str):
        return item
    from lingxi.inputs import taken

    return taken(item, 0)


def test_a_pair_is_laid_out_as_the_published_turn(reranker: Reranker) -> None:
    document = Mixed(("On a beach",), (noise(64, 96),))
    for pair in (("a query", "a document"), ("a query", document), (document, "a document"), ("", "")):
        (sequence,) = reranker.token_ids([pair])
        asked, judged = (
            prompts.Content(pictures=(6,), texts=d.texts)
            if isinstance(d, Mixed)
            else prompts.Content(texts=(d,) if d else ())
            for d in pair
        )
        turn = prompts.written(prompts.vl_rerank(asked, judged))
        assert list(sequence) == reranker.tokenizer.prompt(turn)


def test_inputs_get_the_same_alone_and_together(embedder: Embedder) -> None:
    together = embedder.encode(items())
    assert gap(np.stack([embedder.encode(item) for item in items()]), together) < 1e-6
    backwards = embedder.encode(items()[::-1])[::-1]
    assert gap(backwards, together) < 1e-6


def test_pairs_get_the_same_alone_and_together(reranker: Reranker) -> None:
    pairs = [(noise(64, 64), item) for item in items()]
    together = reranker.predict(pairs)
    assert gap([reranker.predict([pair])[0] for pair in pairs], together) < 1e-6


def test_pictures_change_the_vector_and_their_order_does(embedder: Embedder) -> None:
    a, b = noise(64, 64, 1), noise(64, 64, 2)
    found = embedder.encode([a, b, {"image": [a, b]}, {"image": [b, a]}, {"text": "x", "image": a}])
    distances = 1 - found @ found.T
    assert (distances[~np.eye(len(found), dtype=bool)] > 1e-4).all()


def test_every_matryoshka_width_is_cut_and_normed(embedder: Embedder) -> None:
    whole = embedder.encode(items())
    for width in (32, 48, 64):
        cut = whole[:, :width]
        wanted = cut / np.linalg.norm(cut, axis=1, keepdims=True)
        assert gap(embedder.encode(items(), truncate_dim=width), wanted) < 1e-6


def test_int8_weights_stay_near(directory: Path) -> None:
    exact, rounded = Embedder(directory), Embedder(directory, weights="int8")
    cosines = (exact.encode(items()) * rounded.encode(items())).sum(1)
    assert cosines.min() > 0.995


def png(picture: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def test_a_picture_may_come_in_any_form(embedder: Embedder, tmp_path: Path) -> None:
    picture = noise(80, 60, 3)
    path = tmp_path / "a picture.png"
    path.write_bytes(png(picture))
    url = "data:image/png;base64," + base64.b64encode(png(picture)).decode()
    forms = [picture, path, str(path), url, {"image": url}, {"image": str(path)}, {"image": png(picture)}]
    assert gap(embedder.encode(forms), np.repeat(embedder.encode([picture]), len(forms), axis=0)) < 1e-6


def test_a_string_that_names_nothing_is_a_text(embedder: Embedder) -> None:
    texts = ["cat.png", "see https://a.example/cat.png", "https://a.example/cat.html"]
    assert gap(embedder.encode(texts), embedder.encode([{"text": t} for t in texts])) < 1e-6


def test_ids_are_made_of_texts_whatever_they_name(embedder: Embedder) -> None:
    url = "data:image/png;base64," + base64.b64encode(png(noise(64, 64))).decode()
    assert all(isinstance(ids, list) for ids in embedder.token_ids([url, "https://a.example/cat.png"]))


def test_urls_and_files_may_be_closed(directory: Path, tmp_path: Path) -> None:
    closed = Embedder(directory, access=Access(files=False, urls=False))
    path = tmp_path / "a.png"
    path.write_bytes(png(noise(64, 64)))
    for source, word in ((str(path), "files"), ("http://127.0.0.1/a.png", "URLs")):
        with pytest.raises(InputError, match=f"{word} are not") as caught:
            closed.encode({"image": source})
        assert_mendable(caught.value)
        assert gap(closed.encode(source), closed.encode({"text": source})) < 1e-6  # a text, then


def test_a_private_address_is_refused(embedder: Embedder) -> None:
    with pytest.raises(InputError, match="not a public address"):
        embedder.encode({"image": "http://127.0.0.1:80/cat.png"})


def test_long_texts_are_cut_and_pictures_never(directory: Path) -> None:
    short = Embedder(directory, max_seq_length=64)
    item = {"text": "gravity " * 100, "image": noise(96, 64)}
    with pytest.warns(LingxiWarning, match="1 of 1 texts are longer than 64"):
        short.encode([item])
    tail = short.tokenizer.laid(prompts.VL_TAIL)
    mixed = Mixed(("the start " + "gravity " * 100 + "the end",), (noise(96, 64),))
    for truncate in ("end", "start"):
        (sequence,) = short.token_ids([mixed], truncate=truncate)
        assert len(sequence) <= 64 and sequence.ids[-len(tail) - 1 : -1] == tail
        assert sum(i in (514, 515) for i in sequence.ids) == 6
        text = short.tokenizer.user.decode(sequence.ids)
        assert ("the start" in text, "the end" in text) == (truncate == "end", truncate == "start")
    with pytest.raises(InputError, match="more than 64 tokens"):
        short.token_ids([mixed], truncate="none")
    with pytest.raises(InputError, match=r"pictures of an input take \d+ tokens, more than 64"):
        short.encode({"image": noise(400, 400)})


def test_a_long_document_keeps_the_question(reranking: Path) -> None:
    short = Reranker(reranking, max_length=160)
    tail = short.tokenizer.laid(prompts.VL_TAIL)
    for document in ("gravity " * 200, Mixed(("gravity " * 200,), (noise(64, 64),))):
        (sequence,) = short.token_ids([("q", document)])
        assert len(sequence) == 160 and list(sequence)[-len(tail) :] == tail
        (sequence,) = short.token_ids([("q", document)], max_tokens_per_document=5)
        assert len(sequence) < 160


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (3, "item 1 is int"),
        ({"audio": [0.0]}, "'audio'"),
        ({}, "key None"),
        ({"text": 3}, "a text is no string"),
        ({"image": 3}, "an image is int"),
        ({"video": "no frames"}, "a video is str, not its frames"),
        ({"video": {"frames": ["a.png"], "fps": 0}}, "fps is 0"),
        ({"image": b"no picture"}, "not a picture"),
        ({"image": "data:image/svg+xml;base64,PHN2Zy8+"}, "SVG is not opened"),
        ({"image": "/nowhere/cat.png"}, "cannot be read"),
    ],
)
def test_what_is_no_input_is_refused_in_words(directory: Path, item: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        Embedder(directory).encode(["a text", item])
    assert_mendable(caught.value)


def test_a_strip_is_refused_and_one_pixel_is_not(directory: Path) -> None:
    embedder = Embedder(directory)
    with pytest.raises(InputError, match="200 times as long as wide"):
        embedder.encode(noise(4000, 10))
    assert embedder.encode(noise(1, 1)).shape == (64,)


def test_a_model_of_texts_refuses_pictures() -> None:
    with pytest.raises(InputError, match="not a string"):
        Embedder().encode([noise(64, 64)])
    with pytest.raises(InputError, match=r"not a .* pair"):
        Reranker().predict([("q", noise(64, 64))])


def test_equal_pictures_are_looked_at_once_and_names_never_meet(embedder: Embedder) -> None:
    """Pictures made and thrown away one after the other may lie at one address of memory."""
    made = (noise(64, 64, i) for i in range(60))
    found = embedder.encode(made)
    assert len(np.unique(found.round(5), axis=0)) == 60


def test_the_cache_keeps_texts_by_instruction(directory: Path, tmp_path: Path) -> None:
    kept = Embedder(directory, cache=tmp_path / "cache")
    plain = Embedder(directory)
    for options in ({}, {"instruction": "Find it"}, {}, {"instruction": "Find it"}):
        assert gap(kept.encode(["a", "b"], **options), plain.encode(["a", "b"], **options)) == 0


def test_reference_specials_may_not_stand_for_pictures(directory: Path) -> None:
    believer = Embedder(directory, reference_specials=True)
    with pytest.raises(InputError, match="placeholder token"):
        believer.encode({"text": "<|image_pad|>", "image": noise(64, 64)})


def test_a_directory_without_its_tower_says_so(directory: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    state = load_file(directory / "model.safetensors")
    save_file({k: v for k, v in state.items() if "visual" not in k}, tmp_path / "model.safetensors")
    embedder = Embedder(tmp_path)
    assert embedder.encode("a text").shape == (64,)
    with pytest.raises(ModelError, match="tensors are missing"):
        embedder.encode(noise(64, 64))


def test_another_rotation_is_refused(directory: Path) -> None:
    from lingxi.model.families import decoder_size

    config = read_config(directory)
    config["text_config"]["rope_parameters"]["mrope_interleaved"] = False
    with pytest.raises(ModelError, match="rotary positions"):
        decoder_size(config, "x")


def test_the_checkpoints_of_transformers_4_are_read_too(
    model: Model, tmp_path: Path, directory: Path
) -> None:
    """Keys without the `model.` prefix, `rope_scaling` beside `rope_theta`."""
    import json

    from safetensors.torch import load_file, save_file

    write_vl(tmp_path, model=model)
    state = load_file(tmp_path / "model.safetensors")
    bare = {k.removeprefix("model."): v.clone() for k, v in state.items()}
    save_file(bare, tmp_path / "model.safetensors")
    config = read_config(tmp_path)
    rope = config["text_config"].pop("rope_parameters")
    config["text_config"]["rope_theta"] = rope.pop("rope_theta")
    config["text_config"]["rope_scaling"] = rope
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_size(tmp_path) == read_size(directory)
    assert gap(Embedder(tmp_path).encode(items()), Embedder(directory).encode(items())) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vl-2B", "vl-8B"])
def test_published_shapes_with_few_layers(name: str, tmp_path: Path) -> None:
    """fp32 within 1e-4 of transformers, embedder and reranker, three layers and a tower of three."""
    text, tower = few_layers(name, layers=3, depth=3, vocab=520)
    model = random_model(text, tower, tokenizer=vl_tokenizer())
    directory = write_vl(tmp_path, model=model)
    assert read_size(directory) == replace(text, sections=(24, 20, 20))
    assert vision_size(read_config(directory), "x") == tower
    embedder = Embedder(directory)
    given = [*items()[:4], {"text": "both", "image": [noise(160, 120, 1), noise(75, 125, 2)]}]
    wanted = vectors_by_transformers(model, embedder, sequences_of(embedder, given))
    assert gap(embedder.encode(given), wanted) < PUBLISHED
    del embedder
    shutil.rmtree(directory / "1_Pooling")
    (directory / "modules.json").unlink()
    reranker = Reranker(directory)
    pairs = [({"text": "q", "image": noise(70, 100, 4)}, item) for item in given[:3]]
    assert gap(reranker.predict(pairs), scores_by_transformers(model, reranker, pairs)) < PUBLISHED


def test_video_objects_are_taken(embedder: Embedder) -> None:
    frames = [noise(60, 60, i) for i in range(3)]
    video = Video(tuple(frames))
    given = [{"video": frames}, {"video": video}, {"video": [frames]}, Mixed(videos=(video,))]
    found = embedder.encode(given)
    assert gap(found, np.repeat(found[:1], 4, axis=0)) < 1e-6
    two = embedder.encode({"video": [frames, {"frames": frames}]})
    assert gap(two, found[0]) > 1e-3
