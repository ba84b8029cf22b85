"""LoRA: peft computes the same and reads the same files, and an adapter without effect is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lingxi import Embedder, Reranker
from lingxi.cli import run
from lingxi.engine.run import pooled_states
from lingxi.errors import InputError, LingxiError, ModelError
from lingxi.model.decoder import Decoder
from lingxi.model.files import read_answer_rows, read_decoder
from lingxi.model.layout import Kind, read_kind
from lingxi.model.packed import pack
from lingxi.train.adapt import apply_adapter, load_adapter
from lingxi.train.adapters import read_adapter, write_adapter
from lingxi.train.lora import LoraLinear, adapted, adapter_state, attach, merged
from lingxi.train.settings import PROJECTIONS, LoraSettings
from toys import TEXTS, assert_mendable, decoder_of, gap, random_ids, random_state, toy_size, unit, write_toy

SIZE = toy_size()
IDS = random_ids([3, 9, 9, 40], SIZE.vocab)
SMALL = LoraSettings(rank=4, alpha=8)
TENSORS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def base(seed: int = 0) -> Decoder:
    return decoder_of(SIZE, random_state(SIZE, seed))


def taught(decoder: Decoder, lora: LoraSettings = SMALL, scale: float = 0.05, seed: int = 7) -> Decoder:
    """Adapters whose B is not zero any more."""
    attach(decoder, lora, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, layer in adapted(decoder):
            layer.lora_B.weight.normal_(0, scale, generator=generator)
    return decoder


def vectors(decoder: Decoder) -> torch.Tensor:
    return unit(pooled_states(decoder, IDS))


# --- beside the network --------------------------------------------------------------------------


def test_a_new_adapter_changes_nothing_and_keeps_the_names() -> None:
    decoder, names = base(), list(base().state_dict())
    expected = vectors(decoder)
    assert len(attach(decoder, SMALL, 0)) == len(PROJECTIONS) * SIZE.layers
    assert torch.equal(vectors(decoder), expected)
    assert [n for n in decoder.state_dict() if "lora_" not in n] == names
    assert set(adapter_state(decoder)) == set(decoder.state_dict()) - set(names)


def test_adapters_alone_learn() -> None:
    decoder = base()
    attach(decoder, SMALL, 0)
    before = {n: t.clone() for n, t in decoder.state_dict().items()}
    learning = [p for p in decoder.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.1)
    for _ in range(2):
        decoder(pack(IDS)).square().mean().backward()
        optimizer.step()
    after = decoder.state_dict()
    moved = {n for n in after if not torch.equal(after[n], before[n])}
    assert moved == set(adapter_state(decoder))


def test_a_seed_means_the_same_adapter_and_another_another() -> None:
    def drawn(seed: int) -> torch.Tensor:
        decoder = base()
        attach(decoder, SMALL, seed)
        return torch.cat([m.lora_A.weight.detach().flatten() for _, m in adapted(decoder)])

    assert torch.equal(drawn(3), drawn(3)) and not torch.equal(drawn(3), drawn(4))


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        ("all-linear", 14),
        (("q_proj", "v_proj"), 4),
        (("self_attn.q_proj",), 2),
        (("layers.1.mlp.up_proj",), 1),
        (("model.layers.1.mlp.up_proj",), 1),
        (r".*\.mlp\..*", 6),
        (r"model\.layers\.1\..*\.(q|k)_proj", 2),
    ],
)
def test_targets(targets: Any, count: int) -> None:
    assert len(attach(base(), LoraSettings(rank=2, targets=targets), 0)) == count


def test_targets_that_name_nothing_are_told() -> None:
    for targets in (("q_proj", "query"), "q_proj", ("proj",)):
        decoder = base()
        with pytest.raises(ModelError) as caught:
            attach(decoder, LoraSettings(targets=targets), 0)
        assert_mendable(caught.value, "no linear", "gate_proj")
        assert not list(adapted(decoder))


def test_two_adapters_are_refused() -> None:
    decoder = taught(base())
    with pytest.raises(ModelError) as caught:
        attach(decoder, SMALL, 0)
    assert_mendable(caught.value, "already")


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"alpha": 0}, {"targets": ()}, {"targets": "("}, {"r": 8}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LoraSettings(**wrong)


# --- peft ----------------------------------------------------------------------------------------


def transformers_model(kind: Kind) -> Any:
    """transformers' network with the weights of `base()`."""
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

    from lingxi.model.sizes import config_from_size

    config = Qwen3Config(**config_from_size(SIZE, end_id=0, dtype="float32"))
    model = Qwen3Model(config) if kind == "embedder" else Qwen3ForCausalLM(config)
    inner = model if kind == "embedder" else model.model
    inner.load_state_dict(random_state(SIZE))
    return model.eval()


@torch.inference_mode()
def their_vectors(peft_model: Any, kind: Kind) -> torch.Tensor:
    wrapped = peft_model.base_model.model
    inner = wrapped if kind == "embedder" else wrapped.model
    return unit(torch.cat([inner(torch.tensor([s])).last_hidden_state[:, -1] for s in IDS]))


# peft asks transformers by a name that transformers is giving up.
THEIRS = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
KINDS = pytest.mark.parametrize("kind", ["embedder", "reranker"])


@THEIRS
def test_the_first_a_is_spread_as_in_peft() -> None:
    from peft import LoraConfig, get_peft_model

    theirs = get_peft_model(transformers_model("embedder"), LoraConfig(r=4, target_modules=["q_proj"]))
    ours = base()
    attach(ours, LoraSettings(rank=4, targets=("q_proj",)), 0)
    a = ours.get_parameter("layers.0.self_attn.q_proj.lora_A.weight").detach()
    b = theirs.base_model.model.layers[0].self_attn.q_proj.lora_A["default"].weight.detach()
    assert a.shape == b.shape
    assert a.abs().max() < SIZE.hidden**-0.5 and b.abs().max() < SIZE.hidden**-0.5
    assert abs(float(a.std() - b.std())) < 0.1 * float(b.std())


@THEIRS
@KINDS
@pytest.mark.parametrize(
    "lora",
    [
        SMALL,
        LoraSettings(rank=3, alpha=0.5, rslora=True, targets="all-linear"),
        LoraSettings(rank=2, alpha=8, targets=r"layers\.1\.mlp\..*"),
    ],
)
def test_peft_computes_what_we_wrote(kind: Kind, lora: LoraSettings, tmp_path: Path) -> None:
    from peft import PeftModel

    decoder = taught(base(), lora, scale=0.5)
    folder = write_adapter(decoder, tmp_path / "adapter", "base", kind)
    theirs = PeftModel.from_pretrained(transformers_model(kind), folder)
    assert gap(their_vectors(theirs, kind), vectors(decoder)) < 1e-5
    assert gap(vectors(decoder), vectors(base())) > 1e-2
    again = base()
    load_adapter(again, folder)
    assert torch.equal(vectors(again), vectors(decoder))


@THEIRS
@KINDS
@pytest.mark.parametrize(
    "options",
    [
        {"r": 4, "lora_alpha": 8, "target_modules": list(PROJECTIONS), "lora_dropout": 0.1},
        {"r": 2, "lora_alpha": 16, "target_modules": "all-linear", "use_rslora": True},
        {"r": 2, "lora_alpha": 3, "target_modules": r".*layers\.\d\.self_attn\.(q|v)_proj"},
    ],
)
def test_we_compute_what_peft_wrote(kind: Kind, options: dict[str, Any], tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(init_lora_weights=False, **options)
    theirs = get_peft_model(transformers_model(kind), config).eval()
    theirs.save_pretrained(str(tmp_path))
    decoder = base()
    adapter = load_adapter(decoder, tmp_path)
    assert adapter.settings.rank == options["r"]
    assert gap(their_vectors(theirs, kind), vectors(decoder)) < 1e-5
    assert gap(vectors(decoder), vectors(base())) > 1e-2


def test_what_an_adapter_says_of_itself_is_read(tmp_path: Path) -> None:
    lora = LoraSettings(rank=3, alpha=0.5, rslora=True, targets=("q_proj",))
    read = read_adapter(write_adapter(taught(base(), lora), tmp_path, "somebody/model", "embedder"))
    assert (read.settings, read.base) == (lora, "somebody/model")


# --- refused -------------------------------------------------------------------------------------


def _tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    return lambda folder: save_file(change(load_file(folder / TENSORS)), folder / TENSORS)


def _says(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | changes))

    return damage


def _truncated(folder: Path) -> None:
    (folder / TENSORS).write_bytes((folder / TENSORS).read_bytes()[:100])


def _broken_json(folder: Path) -> None:
    (folder / CONFIG).write_text("{")


def _nan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = next(iter(tensors))
    return {**tensors, name: tensors[name] * float("nan")}


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (_tensors(lambda t: dict(list(t.items())[1:])), "missing"),
    # Another wrapper's prefix: peft would warn and compute the base.
    (_tensors(lambda t: {n.replace("base_model.model.", "net."): v for n, v in t.items()}), "missing"),
    (_tensors(lambda t: {**t, "base_model.model.lm_head.lora_A.weight": torch.ones(4, 64)}), "lm_head"),
    (_tensors(lambda t: {n: v[:, :2].contiguous() if "_B" in n else v for n, v in t.items()}), "shape"),
    (_tensors(lambda t: {n: v * 0 if "_B" in n else v for n, v in t.items()}), "changes nothing"),
    (_tensors(_nan), "not finite"),
    (_says(target_modules=["q_proj"]), "for no linear"),
    (_says(target_modules=None), "target_modules"),
    (_says(lora_alpha="much"), "alpha is 'much'"),
    (_says(r=8), "shape"),
    (_says(use_dora=True), "use_dora"),
    (_says(bias="all"), "bias"),
    (_says(rank_pattern={"q_proj": 2}), "rank_pattern"),
    (_says(modules_to_save=["lm_head"]), "modules_to_save"),
    (_says(init_lora_weights="pissa_niter_4"), "init_lora_weights"),
    (_says(peft_type="IA3"), "not a LoRA adapter"),
    (_truncated, "truncated"),
    (lambda folder: (folder / TENSORS).unlink(), TENSORS),
    (lambda folder: (folder / CONFIG).unlink(), CONFIG),
    (_broken_json, "not JSON"),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(taught(base()), tmp_path_factory.mktemp("adapters") / "sound", "b", "embedder")


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_damage_is_refused(damage: Callable[[Path], None], words: str, sound: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sound, tmp_path / "adapter")
    damage(folder)
    decoder = base()
    with pytest.raises(ModelError) as caught:
        load_adapter(decoder, folder)
    assert_mendable(caught.value, words, str(folder))
    assert not list(adapted(decoder)) and torch.equal(vectors(decoder), vectors(base()))


def test_an_adapter_of_another_shape_of_network_is_refused(sound: Path) -> None:
    size = toy_size(layers=3)
    with pytest.raises(ModelError) as caught:
        load_adapter(decoder_of(size, random_state(size)), sound)
    assert_mendable(caught.value, "14 tensors are missing", "layers.2")
    with pytest.raises(ModelError) as caught:
        load_adapter(taught(base()), sound)
    assert_mendable(caught.value, "already")


def test_there_must_be_an_adapter_to_write(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        write_adapter(base(), tmp_path / "none", "b", "embedder")
    assert_mendable(caught.value, "no adapters")


# --- merged --------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 80), st.floats(0.1, 64), st.booleans(), st.integers(0, 99))
def test_merged_computes_what_the_adapter_did(rank: int, alpha: float, rslora: bool, seed: int) -> None:
    decoder = taught(base(), LoraSettings(rank=rank, alpha=alpha, rslora=rslora), seed=seed)
    out = merged(decoder, IDS)
    assert list(out.state_dict()) == list(base().state_dict())
    assert gap(vectors(out), vectors(decoder)) < 1e-4
    name = "layers.1.mlp.down_proj"
    layer = decoder.get_submodule(name)
    assert isinstance(layer, LoraLinear)
    a, b = layer.lora_A.weight.detach().double(), layer.lora_B.weight.detach().double()
    slow = layer.weight.double() + alpha / (rank**0.5 if rslora else rank) * b @ a
    assert gap(out.get_parameter(f"{name}.weight"), slow) < 1e-4 * float(slow.abs().max())


def test_the_merged_network_is_its_own() -> None:
    decoder = taught(base())
    expected = vectors(decoder)
    out = merged(decoder, IDS)
    with torch.no_grad():
        for parameter in out.parameters():
            parameter.zero_()
    assert torch.equal(vectors(decoder), expected)


def test_merging_that_changes_nothing_is_refused() -> None:
    decoder = base()
    attach(decoder, SMALL, 0)
    for network, words in ((decoder, "equals its base"), (base(), "no adapters")):
        with pytest.raises(ModelError) as caught:
            merged(network, IDS)
        assert_mendable(caught.value, words)
    with pytest.raises(InputError) as empty:
        merged(taught(base()), [])
    assert_mendable(empty.value, "probes")


def test_merged_vectors_that_differ_are_refused() -> None:
    # In half precision the adapted network rounds what the merged one does not.
    half = taught(base(), scale=2).bfloat16()
    broken = taught(base())
    with torch.no_grad():
        next(adapted(broken))[1].lora_B.weight.fill_(float("nan"))
    for decoder in (half, broken):
        with pytest.raises(ModelError) as caught:
            merged(decoder, IDS)
        assert_mendable(caught.value, "differ")


# --- directories ---------------------------------------------------------------------------------


def no_golden(directory: Path) -> None:
    assert (directory / "config.json").exists()


def test_an_embedder_takes_an_adapter(embedder_directory: Path, tmp_path: Path) -> None:
    decoder = taught(read_decoder(embedder_directory, torch.float32))
    adapter = write_adapter(decoder, tmp_path / "adapter", "toy", "embedder")
    out = apply_adapter(embedder_directory, adapter, tmp_path / "new" / "out", "float32", no_golden)
    assert read_kind(out) == "embedder"
    assert gap(vectors(read_decoder(out, torch.float32)), vectors(decoder)) < 1e-5
    assert gap(Embedder(out).encode(TEXTS), Embedder(embedder_directory).encode(TEXTS)) > 1e-2
    card = (out / "README.md").read_text()
    assert card.startswith("# A toy\n") and "`adapter` (rank 4, alpha 8)" in card
    assert [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("tied", [True, False])
def test_a_reranker_keeps_its_head(tied: bool, tmp_path: Path) -> None:
    size = toy_size(tied_head=tied)
    source = write_toy(tmp_path / "toy", "reranker", size=size)
    decoder = taught(read_decoder(source, torch.float32))
    adapter = write_adapter(decoder, tmp_path / "adapter", "toy", "reranker")
    out = apply_adapter(source, adapter, tmp_path / "out", "float32", no_golden)
    assert gap(vectors(read_decoder(out, torch.float32)), vectors(decoder)) < 1e-5
    assert gap(read_answer_rows(out, size, 9, 4), read_answer_rows(source, size, 9, 4)) == 0
    assert Reranker(out).predict([("capital", "Beijing")]) != Reranker(source).predict(
        [("capital", "Beijing")]
    )


def test_an_adapter_lost_to_rounding_is_refused(embedder_directory: Path, tmp_path: Path) -> None:
    faint = taught(read_decoder(embedder_directory, torch.float32), scale=1e-5)
    adapter = write_adapter(faint, tmp_path / "adapter", "toy", "embedder")
    with pytest.raises(ModelError) as caught:
        apply_adapter(embedder_directory, adapter, tmp_path / "out", "int8", no_golden)
    assert_mendable(caught.value, "rounding to int8")
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]
    apply_adapter(embedder_directory, adapter, tmp_path / "out", "float32", no_golden)


def test_a_bare_model_must_be_told_what_it_is(tmp_path: Path) -> None:
    source = write_toy(tmp_path / "toy")
    adapter = write_adapter(
        taught(read_decoder(source, torch.float32)), tmp_path / "adapter", "toy", "embedder"
    )
    shutil.rmtree(source / "1_Pooling")
    with pytest.raises(InputError) as caught:
        apply_adapter(source, adapter, tmp_path / "out", "float32", no_golden)
    assert_mendable(caught.value, str(source), "--kind")
    for kind in ("embedder", "reranker"):
        out = apply_adapter(source, adapter, tmp_path / kind, "float32", no_golden, kind)
        assert read_kind(out) == kind
    with pytest.raises(LingxiError) as wrong:
        apply_adapter(tmp_path / "embedder", adapter, tmp_path / "out", "float32", no_golden, "reranker")
    assert_mendable(wrong.value, "embedder")


# The toys are short, some golden texts are not.
@pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")
def test_the_command_line_adapts(
    embedder_directory: Path, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = ["models", "adapt", str(embedder_directory)]
    out = str(tmp_path / "out")
    assert run([*verb, str(sound), out, "--dtype", "bfloat16"]) == 0
    assert capsys.readouterr().out.startswith(f"embedder in {out}, bfloat16, ")
    assert run(["check", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    assert run([*verb, str(sound), str(tmp_path / "two"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "embedder"
    for arguments, words in (
        ([str(sound), out], "exists already"),
        ([str(tmp_path), str(tmp_path / "three")], CONFIG),
        ([str(sound), str(tmp_path / "three"), "--kind", "oracle"], "oracle"),
    ):
        assert run([*verb, *arguments]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "three").exists()
