"""The language-model phase: what is hidden is hidden, what counts counts, and the loss is the reference's."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import lingxi
from lingxi import prompts
from lingxi.errors import InputError
from lingxi.model.decoder import Decoder
from lingxi.model.packed import pack
from lingxi.model.sizes import size_named
from lingxi.model.tokens import Tokens, read_tokens
from lingxi.parse.documented import MASK
from lingxi.train.head import summed_cross_entropy
from lingxi.train.infill import (
    Marks,
    Sample,
    Words,
    infill,
    mask_spans,
    masked,
    plain,
    read_infill_marks,
    read_words,
)  # fmt: skip
from lingxi.train.language import LanguageSettings, backward, draw_samples, language_step, rendered
from lingxi.train.names import hidden_name, name_infill
from lingxi.train.start import fresh_decoder
from toys import SENTENCES, assert_mendable, gap, random_ids, toy_decoder, toy_size, toy_tokenizer

SETTINGS = LanguageSettings(
    steps=10,
    batch_tokens=512,
    forward_tokens=200,
    head_tokens=16,
    max_tokens=96,
    learning_rate=1e-3,
    token_learning_rate=1e-3,
    warmup_steps=1,
)
SEEDS = st.integers(0, 2**32 - 1)
TEXT = "The capital of China is Beijing, where a text is cut when it is too long. El gato duerme. " * 2
PYTHON = '''import math

@cached
def harmonic_mean(values, deep=False):
    """harmonic_mean of a list; see harmonic_mean_of_rows."""
    if deep:
        return [harmonic_mean(row) for row in values]
    return len(values) / sum(1 / v for v in values)


class Stack:
    def push_item(self, item):
        self.items.append(item)
        return self.push_item
'''
GO = "// CountWords counts words.\nfunc CountWords(s string) int {\n\treturn len(strings.Fields(s))\n}\n"
RUBY = "class Set\n  def vacant?\n    @items.size == 0\n  end\nend\n"
CPP = "int Stack::top_of(int i) {\n  return i ? top_of(i - 1) : items[0];\n}\n"
FUNCTIONS = {
    "python": (PYTHON, {"harmonic_mean", "push_item"}),
    "go": (GO, {"CountWords"}),
    "ruby": (RUBY, {"vacant?"}),
    "cpp": (CPP, {"top_of"}),
}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    path.write_text(toy_tokenizer(), encoding="utf-8")
    return read_tokens(path, 512)


@pytest.fixture(scope="module")
def unmarked(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """A tokenizer as the shipped ones: the templates' special tokens, and no marks of holes."""
    description = json.loads(toy_tokenizer())
    description["added_tokens"] = [
        token for token in description["added_tokens"] if token["content"] in prompts.SPECIAL_TOKENS
    ]
    path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    path.write_text(json.dumps(description), encoding="utf-8")
    return read_tokens(path, 512)


@pytest.fixture(scope="module")
def marks(tokens: Tokens) -> Marks:
    return read_infill_marks(tokens)


def said(sample: Sample) -> list[int]:
    """The ids that count."""
    return [i for i, counts in zip(sample.ids, sample.counted, strict=True) if counts]


def pieces(sample: Sample, marks: Marks) -> dict[str, list[list[int]]]:
    """What stands after each mark, by the mark's name, read by a parser that knows nothing of the writer."""
    names = {getattr(marks, name)[0]: name for name in ("prefix", "suffix", "middle", "hole")}
    found: dict[str, list[list[int]]] = {}
    where = ""
    for i in sample.ids:
        if i in names:
            where = names[i] if names[i] != "hole" else f"{where.split('+')[0]}+"
            found.setdefault(where, []).append([])
        else:
            found[where][-1].append(i)
    return found


def words_of(tokens: Tokens, text: str = TEXT, language: str = "en") -> Words:
    return read_words(np.random.default_rng(0), tokens, language, text, 10_000)


# --- marks ---------------------------------------------------------------------------------------


def test_a_new_tokenizer_has_the_marks_and_keeps_the_ids_of_the_templates(tokens: Tokens) -> None:
    assert [tokens.specials[name] for name in prompts.SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    marks = read_infill_marks(tokens)
    assert [len(mark) for mark in (marks.prefix, marks.suffix, marks.middle, marks.hole)] == [1] * 4
    assert marks.end == 0
    # A text that names a mark does not place one.
    ids = set(tokens.texts(["<|fim_prefix|> <|fim_pad|><|fim_middle|>"])[0])
    assert not ids & {tokens.specials[name] for name in prompts.INFILL_TOKENS}


def test_published_marks(qwen3_tokenizer: Path) -> None:
    marks = read_infill_marks(read_tokens(qwen3_tokenizer, 151669))
    assert (marks.prefix, marks.middle, marks.suffix, marks.hole) == ([151659], [151660], [151661], [151662])


def test_a_shipped_tokenizer_reads_the_marks_as_plain_text() -> None:
    directory = Path(lingxi.__file__).parent / "weights" / "lingxi-pico"
    tokens = read_tokens(directory / "tokenizer.json", size_named("pico").vocab)
    marks = read_infill_marks(tokens)
    assert tokens.user.decode(marks.prefix) == prompts.FIM_PREFIX
    assert not set(marks.prefix) & set(tokens.specials.values())


# --- words ---------------------------------------------------------------------------------------


@given(st.text(max_size=60), st.sampled_from(["en", "zh", "hi"]), st.integers(2, 30), SEEDS)
def test_a_stretch_is_a_part_of_the_text_that_begins_with_a_word(
    tokens: Tokens, text: str, language: str, room: int, seed: int
) -> None:
    (whole,) = tokens.texts([text])
    words = read_words(np.random.default_rng(seed), tokens, language, text, room)
    assert len(words.ids) == len(whole) if len(whole) <= room else 0 < len(words.ids) <= room
    assert any(whole[i : i + len(words.ids)] == words.ids for i in range(len(whole) + 1))
    assert words.finished == (whole[len(whole) - len(words.ids) :] == words.ids) or not words.finished
    assert words.starts == sorted(set(words.starts))
    assert words.starts[-1] == len(words.ids)
    assert not words.ids or words.starts[0] == 0


def test_words_are_whole_and_characters_are_not_cut(tokens: Tokens) -> None:
    spaced = words_of(tokens, "Where is a text cut")
    cut = [tokens.user.decode(spaced.ids[a:b]) for a, b in pairwise(spaced.starts)]
    assert cut == ["Where", " is", " a", " text", " cut"]
    chinese = words_of(tokens, "人工智能𠀀正在", "zh")
    cut = [tokens.user.decode(chinese.ids[a:b]) for a, b in pairwise(chinese.starts)]
    assert "".join(cut) == "人工智能𠀀正在"
    assert len(cut) > 1
    accents = words_of(tokens, "हिन्दी", "hi")
    assert accents.count == 1


def test_every_part_of_a_long_text_is_drawn(tokens: Tokens) -> None:
    text = " ".join(f"w{i}" for i in range(80))
    firsts = {
        tuple(read_words(np.random.default_rng(seed), tokens, "en", text, 20).ids) for seed in range(200)
    }
    assert len(firsts) > 50


# --- plain and infill ----------------------------------------------------------------------------


def test_a_plain_text_is_predicted_whole_but_for_its_first_token(tokens: Tokens, marks: Marks) -> None:
    words = words_of(tokens)
    sample = plain(words, marks)
    assert sample.ids == [*words.ids, marks.end]
    assert sample.counted == [False] + [True] * len(words.ids)
    # A text that goes on has no end to predict.
    assert plain(replace(words, finished=False), marks).ids == words.ids


@given(SEEDS, st.booleans(), st.booleans())
def test_prefix_middle_and_suffix_are_the_text(
    tokens: Tokens, marks: Marks, seed: int, suffix_first: bool, context: bool
) -> None:
    words = words_of(tokens)
    rng = np.random.default_rng(seed)
    sample = infill(rng, words, marks, suffix_first=suffix_first, context=context)
    found = pieces(sample, marks)
    (prefix,), (suffix,), (middle,) = found["prefix"], found["suffix"], found["middle"]
    assert middle[-1] == marks.end
    text = middle[:-1] + suffix if suffix_first else prefix + middle[:-1] + suffix
    assert text == words.ids
    assert not (suffix_first and prefix)
    control = {i for mark in (marks.prefix, marks.suffix, marks.middle) for i in mark}
    assert not control & set(said(sample))
    if context:
        assert len(said(sample)) == len(words.ids) + 1
    else:
        # The prefix is known, and stands before the middle also where the suffix was first.
        answer = said(sample)
        assert answer == sample.ids[-len(answer) :]
        assert 2 <= len(answer) <= len(middle)


# --- masked --------------------------------------------------------------------------------------


@given(st.integers(2, 300), st.floats(0.01, 0.5), st.floats(1, 8), SEEDS)
def test_mask_spans_keep_their_rate_and_never_touch(words: int, rate: float, span: float, seed: int) -> None:
    spans = mask_spans(np.random.default_rng(seed), words, rate, span)
    assert sum(b - a for a, b in spans) == min(max(1, round(words * rate)), words - 1)
    assert all(b < c for (_, b), (c, _) in pairwise(spans))
    assert all(0 <= a < b <= words for a, b in spans)
    assert len(spans) <= max(1, round(words * rate / span + 1))


def test_mask_spans_reach_every_word() -> None:
    hit = Counter(
        i
        for seed in range(2000)
        for a, b in mask_spans(np.random.default_rng(seed), 20, 0.15, 3)
        for i in range(a, b)
    )
    assert set(hit) == set(range(20))
    assert sum(hit.values()) == 2000 * 3


@given(SEEDS, st.booleans())
def test_masked_spans_put_back_are_the_text(tokens: Tokens, marks: Marks, seed: int, context: bool) -> None:
    words = words_of(tokens)
    sample = masked(np.random.default_rng(seed), words, marks, rate=0.3, span=2.0, context=context)
    found = pieces(sample, marks)
    stretches = [*found["prefix"], *found["prefix+"]]
    answers = [*found["middle"], *found.get("middle+", [])]
    assert answers[-1].pop() == marks.end
    assert len(answers) == len(stretches) - 1
    rebuilt = stretches[0] + [i for a, s in zip(answers, stretches[1:], strict=True) for i in a + s]
    assert rebuilt == words.ids
    counted = said(sample)
    between = marks.hole * (len(answers) - 1)
    expected = Counter([i for a in answers for i in a] + between + [marks.end])
    assert Counter(counted) == expected + Counter(i for s in stretches for i in s if context)


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", FUNCTIONS)
def test_a_hidden_name_is_nowhere_in_what_is_read_before_it(
    tokens: Tokens, marks: Marks, language: str
) -> None:
    text, names = FUNCTIONS[language]
    seen = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        hidden = hidden_name(rng, language, text)
        assert hidden is not None
        seen.add(hidden.name.strip())
        word = re.compile(rf"(?<![\w$]){re.escape(hidden.name.strip())}(?![\w$])")
        for suffix_first in (False, True):
            sample = name_infill(hidden, tokens, marks, 500, suffix_first=suffix_first, context=True)
            assert sample is not None
            answer = [*tokens.texts([hidden.name])[0], marks.end]
            assert sample.ids[-len(answer) :] == answer
            assert all(sample.counted[-len(answer) :])
            assert not word.search(tokens.user.decode(sample.ids[: -len(answer)]))
        restored = (hidden.before + hidden.name + hidden.after).replace(MASK, hidden.name.strip())
        assert restored in text
    assert seen == names


def test_the_stand_in_for_a_hidden_name_is_never_predicted(tokens: Tokens, marks: Marks) -> None:
    hidden = hidden_name(np.random.default_rng(0), "go", GO)
    assert hidden is not None
    assert MASK in hidden.before + hidden.after
    sample = name_infill(hidden, tokens, marks, 500, suffix_first=False, context=True)
    assert sample is not None
    assert MASK in tokens.user.decode(sample.ids)
    assert MASK not in tokens.user.decode(said(sample))
    only = name_infill(hidden, tokens, marks, 500, suffix_first=False, context=False)
    assert only is not None
    assert said(only) == [*tokens.texts([hidden.name])[0], marks.end]


def test_a_long_function_is_cut_far_from_its_name(tokens: Tokens, marks: Marks) -> None:
    code = "def first_word(text):\n" + "    text = text.strip()\n" * 100 + "    return text\n"
    hidden = hidden_name(np.random.default_rng(0), "python", code)
    assert hidden is not None
    sample = name_infill(hidden, tokens, marks, 64, suffix_first=False, context=True)
    assert sample is not None
    assert len(sample.ids) == 64
    assert tokens.user.decode(pieces(sample, marks)["prefix"][0]) == "def"
    assert name_infill(hidden, tokens, marks, 8, suffix_first=False, context=True) is None


def test_prose_and_code_without_functions_hide_no_name() -> None:
    assert hidden_name(np.random.default_rng(0), "python", "x = 1\nprint(x)\n") is None
    assert hidden_name(np.random.default_rng(0), "python", f"def {MASK}(x):\n    return x\n") is None


# --- one text ------------------------------------------------------------------------------------


@given(
    st.sampled_from(
        [("en", TEXT * 3), ("zh", "北京是中华人民共和国的首都。" * 20), ("python", PYTHON), ("en", "a")]
    ),
    st.sampled_from(["plain", "infill", "masked"]),
    SEEDS,
)
def test_no_sequence_is_longer_than_asked(
    tokens: Tokens, marks: Marks, row: tuple[str, str], form: str, seed: int
) -> None:
    shares = dict.fromkeys(("plain", "infill", "masked"), 0.0) | {form: 1.0}
    settings = SETTINGS.model_copy(update=shares)
    sample = rendered(np.random.default_rng(seed), *row, tokens, marks, settings)
    assert len(sample.ids) == len(sample.counted) <= settings.max_tokens
    assert not sample.counted[0]
    assert any(sample.counted)
    again = rendered(np.random.default_rng(seed), *row, tokens, marks, settings)
    assert sample == again


def test_marks_of_plain_text_leave_room_and_never_count(unmarked: Tokens) -> None:
    marks = read_infill_marks(unmarked)
    assert len(marks.prefix) > 1
    settings = SETTINGS.model_copy(update={"plain": 0.0, "max_tokens": 160})
    for seed in range(50):
        sample = rendered(np.random.default_rng(seed), "en", TEXT * 5, unmarked, marks, settings)
        assert len(sample.ids) <= 160
        assert not any(sample.counted[: len(marks.prefix)])
        assert prompts.FIM_MIDDLE not in unmarked.user.decode(said(sample))


def test_a_batch_holds_the_tokens_asked_for_and_depends_on_its_numbers_alone(
    tokens: Tokens, marks: Marks
) -> None:
    batches = [draw_samples(np.random.default_rng(3), rows, tokens, marks, SETTINGS) for _ in range(2)]
    total = sum(len(sample.ids) for sample in batches[0])
    assert 512 <= total < 512 + SETTINGS.max_tokens
    assert batches[0] == batches[1]
    assert batches[0] != draw_samples(np.random.default_rng(4), rows, tokens, marks, SETTINGS)


def rows(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """Rows of the toys, an empty one among them."""
    material = [*SENTENCES, ("python", PYTHON), ("go", GO), ("en", "")]
    return [material[i] for i in rng.integers(len(material), size=count)]


# --- the loss ------------------------------------------------------------------------------------


def test_states_are_the_pooled_ones_of_every_beginning() -> None:
    decoder = toy_decoder()
    sequences = random_ids([7, 7, 3], 512)
    states = decoder.states(pack(sequences))
    beginnings = [s[: i + 1] for s in sequences for i in range(len(s))]
    assert gap(states, torch.cat([decoder(pack([b])) for b in beginnings])) < 1e-5


def test_the_loss_is_that_of_transformers() -> None:
    from test_transformers import reference_of

    decoder = trainable()
    reference = reference_of(decoder.size, decoder.state_dict(), head=True)
    samples = [Sample(ids, [False, *[True] * (len(ids) - 1)]) for ids in random_ids([9, 30, 30, 2, 17], 512)]
    samples.append(Sample(random_ids([12], 512, 1)[0], [False] * 5 + [True, False, True] + [True] * 4))
    width = max(len(s.ids) for s in samples)
    ids = torch.zeros(len(samples), width, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
        for place, counts in enumerate(sample.counted):
            labels[row, place] = sample.ids[place] if counts else -100
    reference.requires_grad_(True)
    reference.lm_head.weight = reference.model.embed_tokens.weight  # one parameter, as trained models have
    found = reference(input_ids=ids, labels=labels).loss
    found.backward()
    loss = found.item()
    figures = backward(decoder, samples, SETTINGS)
    assert abs(figures["loss"] - loss) < 1e-5
    assert figures["counted"] == int((labels != -100).sum())
    assert math.isclose(figures["perplexity"], math.exp(loss), rel_tol=1e-4)
    theirs = dict(reference.model.named_parameters())
    for name, parameter in decoder.named_parameters():
        assert gap(parameter.grad, theirs[name].grad) < 1e-5, name


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_the_chunked_loss_is_the_plain_one(chunk: int) -> None:
    torch.manual_seed(0)
    states, weight = torch.randn(33, 8, dtype=torch.float64), torch.randn(50, 8, dtype=torch.float64)
    labels = torch.randint(50, (33,))
    ours, theirs = ([t.clone().requires_grad_() for t in (states, weight)] for _ in range(2))
    loss, right = summed_cross_entropy(ours[0], ours[1], labels, chunk)
    logits = theirs[0] @ theirs[1].T
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    assert gap(loss.detach(), expected.detach()) < 1e-10
    assert int(right) == int((logits.argmax(-1) == labels).sum())
    (3 * loss).backward()
    (3 * expected).backward()
    for ours_, theirs_ in zip(ours, theirs, strict=True):
        assert gap(ours_.grad, theirs_.grad) < 1e-10


def test_the_chunked_loss_agrees_with_finite_differences() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (5, 6)]
    labels = torch.tensor([0, 5, 2, 2, 1])
    assert torch.autograd.gradcheck(lambda s, w: summed_cross_entropy(s, w, labels, 2)[0], inputs)


def test_logits_are_held_for_a_chunk_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import lingxi.train.head as head

    rows_seen: list[int] = []
    errors = head._errors

    def watched(logits: torch.Tensor, labels: torch.Tensor) -> Any:
        rows_seen.append(len(logits))
        return errors(logits, labels)

    monkeypatch.setattr(head, "_errors", watched)
    summed_cross_entropy(torch.randn(40, 8), torch.randn(50, 8), torch.randint(50, (40,)), 16)
    assert rows_seen == [16, 16, 8]


def test_bf16_autocast_stays_near_the_loss() -> None:
    torch.manual_seed(0)
    states, weight = torch.randn(33, 64, requires_grad=True), torch.randn(50, 64, requires_grad=True)
    labels = torch.randint(50, (33,))
    full, _ = summed_cross_entropy(states, weight, labels, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, _ = summed_cross_entropy(states, weight, labels, 8)
    half.backward()
    assert half.dtype == torch.float32
    assert 0 < abs(half.item() - full.item()) / full.item() < 0.01
    assert weight.grad is not None
    assert torch.isfinite(weight.grad).all()


def test_the_size_of_a_pass_and_of_a_chunk_change_nothing(tokens: Tokens, marks: Marks) -> None:
    samples = draw_samples(np.random.default_rng(0), rows, tokens, marks, SETTINGS)
    decoders = trainable(), trainable()
    one = backward(decoders[0], samples, SETTINGS)
    other = backward(
        decoders[1], samples, SETTINGS.model_copy(update={"forward_tokens": 9999, "head_tokens": 999})
    )
    assert {k: pytest.approx(v, rel=1e-5) for k, v in one.items()} == other
    for left, right in zip(decoders[0].parameters(), decoders[1].parameters(), strict=True):
        assert gap(left.grad, right.grad) < 1e-5


def trainable() -> Decoder:
    return toy_decoder().requires_grad_(True)


# --- learning ------------------------------------------------------------------------------------


def test_a_fresh_decoder_says_every_token_is_as_likely(tokens: Tokens) -> None:
    decoder = fresh_decoder(toy_size(), seed=0)
    figures = language_step(decoder, rows, tokens, SETTINGS)(np.random.default_rng(0))
    assert abs(figures["loss"] - math.log(512)) < 0.1
    assert (
        gap(fresh_decoder(toy_size(), 0).embed_tokens.weight.detach(), decoder.embed_tokens.weight.detach())
        == 0
    )


def test_a_toy_run_falls_well_below_the_entropy_of_its_tokens(tokens: Tokens, marks: Marks) -> None:
    decoder = fresh_decoder(toy_size(), seed=0)
    step = language_step(decoder, rows, tokens, SETTINGS)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=5e-3)
    for number in range(50):
        figures = step(np.random.default_rng((0, number)))
        optimizer.step()
        optimizer.zero_grad()
    counts = Counter(
        i
        for n in range(20)
        for s in draw_samples(np.random.default_rng(n), rows, tokens, marks, SETTINGS)
        for i in said(s)
    )
    shares = np.array(list(counts.values())) / counts.total()
    entropy = float(-(shares * np.log(shares)).sum())
    assert entropy > 3
    assert figures["loss"] < 0.4 * entropy
    assert figures["accuracy"] > 0.5


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"plain": 0, "infill": 0, "masked": 0}, "above 0"),
        ({"batch_tokens": 64, "max_tokens": 96}, "max_tokens"),
        ({"warmup_steps": 10}, "warmup_steps"),
        ({"mask_rate": 0.9}, "mask_rate"),
        ({"identifier_rate": 1.5}, "identifier_rate"),
        ({"mask_ratio": 0.1}, "mask_ratio"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        LanguageSettings(**(SETTINGS.model_dump() | changes))


@pytest.mark.parametrize(
    ("decoder", "texts", "changes", "word"),
    [
        (lambda: toy_decoder(tied_head=False), rows, {}, "head"),
        (trainable, lambda rng, n: [("en", "")] * n, {}, "empty"),
        (trainable, lambda rng, n: [], {}, "empty"),
        (trainable, rows, {"max_tokens": 64, "mask_rate": 0.5, "mask_span": 1.0}, "room"),
    ],
)
def test_a_step_that_cannot_be_says_why(
    unmarked: Tokens, decoder: Callable[[], Decoder], texts: Any, changes: dict[str, Any], word: str
) -> None:
    settings = SETTINGS.model_copy(update={"max_tokens": 256} | changes)
    with pytest.raises(InputError) as caught:
        language_step(decoder(), texts, unmarked, settings)(np.random.default_rng(0))
    assert_mendable(caught.value, word)
