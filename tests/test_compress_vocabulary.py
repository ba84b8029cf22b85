"""A smaller vocabulary: any text still has ids, and what is kept is cut as before."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lingxi.compress import vocabulary
from lingxi.compress.settings import VocabularySettings
from lingxi.errors import InputError
from toys import (
    SENTENCES,
    assert_mendable,
    toy_tokenizer,
)


def pruned(texts: list[str], size: int | None = None, min_count: int = 1) -> vocabulary.Pruned:
    description = json.loads(toy_tokenizer())
    tokenizer = Tokenizer.from_str(toy_tokenizer())
    counts = vocabulary.count_tokens(tokenizer, texts)
    frame = {i for text in vocabulary.frame_texts() for i in tokenizer.encode(text).ids}
    return vocabulary.prune(description, counts, frame, size=size, min_count=min_count, rows=512)


def counts_of(times: dict[int, int]) -> vocabulary.Counts:
    return vocabulary.Counts(times, {i: float(n) for i, n in times.items()})


ENGLISH = [text for language, text in SENTENCES if language == "en"]
KEPT = pruned(ENGLISH)
SMALL, WHOLE = Tokenizer.from_str(json.dumps(KEPT.description)), Tokenizer.from_str(toy_tokenizer())


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=60) | st.sampled_from([text for _, text in SENTENCES]))
def test_any_text_still_has_ids_and_comes_back(text):
    ids = SMALL.encode(text, add_special_tokens=False).ids
    assert all(i < len(KEPT.ids) for i in ids)
    assert SMALL.decode(ids, skip_special_tokens=False) == WHOLE.decode(
        WHOLE.encode(text, add_special_tokens=False).ids, skip_special_tokens=False
    )


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(" ".join(ENGLISH).split()), max_size=12).map(" ".join))
def test_words_whose_tokens_are_kept_are_cut_as_before(text):
    before = WHOLE.encode(text).ids
    if set(before) <= set(KEPT.ids):
        assert [KEPT.ids[i] for i in SMALL.encode(text).ids] == before


def test_specials_stand_where_they_stood_and_the_pattern_stays():
    before, after = json.loads(toy_tokenizer()), KEPT.description
    assert after["added_tokens"] == before["added_tokens"]
    assert after["pre_tokenizer"] == before["pre_tokenizer"] and after["normalizer"] == before["normalizer"]
    assert len(after["model"]["vocab"]) < len(before["model"]["vocab"])
    merged = {left + right for left, right in map(vocabulary.merge_of, after["model"]["merges"])}
    special = {token["content"] for token in after["added_tokens"]}
    long = {name for name in after["model"]["vocab"] if len(name) > 1} - special
    assert long == merged  # every longer token is still reached
    for word in ("yes", "no"):
        assert len(Tokenizer.from_str(json.dumps(after)).encode(word).ids) == 1


def test_the_most_frequent_tokens_are_kept_and_a_size_too_small_is_refused():
    some = pruned(ENGLISH, size=400)
    assert len(some.ids) <= 400 and some.covered < KEPT.covered == 1.0
    assert len(pruned(ENGLISH, min_count=3).ids) < len(KEPT.ids)
    with pytest.raises(InputError) as refused:
        pruned(ENGLISH, size=300)
    assert_mendable(refused.value, "300")


def test_a_sentence_weighs_as_much_as_a_page():
    tokenizer = Tokenizer.from_str(toy_tokenizer())
    page = " ".join(ENGLISH * 3)
    counts = vocabulary.count_tokens(tokenizer, [page, "a"])
    (only,) = tokenizer.encode("a").ids
    assert counts.shares[only] >= 1.0 and sum(counts.shares.values()) == pytest.approx(2.0)
    assert sum(counts.times.values()) == len(tokenizer.encode(page).ids) + 1


def test_wordpiece_and_unigram_keep_characters_and_renumber_the_frame():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b", "ab", "##cd", "cat", "dog", "##s"]
    frame = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    special = [{"id": i, "content": word, "special": True} for i, word in enumerate(words[:4])]
    model = {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {w: i for i, w in enumerate(words)}}
    made = vocabulary.prune(
        {"model": model, "added_tokens": special, "post_processor": frame},
        counts_of({8: 5, 10: 1, 9: 1}),
        [],
        size=9,
        min_count=1,
        rows=len(words),
    )
    assert [words[i] for i in made.ids] == [*words[:6], "cat", "dog", "##s"]
    assert made.description["model"]["vocab"]["cat"] == 6
    assert made.description["post_processor"]["sep"] == ["[SEP]", 3]
    pieces = [
        ["<s>", 0.0],
        ["</s>", 0.0],
        ["<unk>", 0.0],
        ["▁", -1.0],
        ["a", -2.0],
        ["▁the", -3.0],
        ["xy", -9.0],
    ]
    made = vocabulary.prune(
        {"model": {"type": "Unigram", "unk_id": 2, "vocab": pieces}, "added_tokens": special[:2]},
        counts_of({5: 3, 6: 1}),
        [],
        size=None,
        min_count=2,
        rows=7,
    )
    assert [piece for piece, _ in made.description["model"]["vocab"]] == [
        "<s>",
        "</s>",
        "<unk>",
        "▁",
        "a",
        "▁the",
    ]
    assert made.description["model"]["unk_id"] == 2
    with pytest.raises(InputError) as refused:
        vocabulary.prune({"model": {"type": "WordLevel"}}, {}, [], size=None, min_count=1, rows=3)
    assert_mendable(refused.value, "WordLevel")


def unigram(*scored: tuple[str, float]) -> dict[str, object]:
    """A description of a Unigram tokenizer: an unknown token, one character, and these pieces."""
    vocab = [["<unk>", 0.0], ["a", -2.0], *map(list, scored)]
    return {"model": {"type": "Unigram", "unk_id": 0, "vocab": vocab}, "added_tokens": []}


@pytest.mark.parametrize(
    ("prior", "kept"), [(0.0, ("met", "often")), (0.4, ("met", "likely")), (1.0, ("likely", "middle"))]
)
def test_a_prior_weighs_what_a_tokenizer_holds_likely_beside_what_is_met(prior, kept):
    pieces = (("often", -9.0), ("met", -8.0), ("likely", -1.0), ("middle", -2.5))
    met = vocabulary.Counts({2: 4, 3: 8}, {2: 1.0, 3: 2.0})
    made = vocabulary.prune(unigram(*pieces), met, [], size=4, min_count=1, rows=6, prior=prior)
    names = [piece for piece, _ in made.description["model"]["vocab"]]
    assert names[:2] == ["<unk>", "a"] and set(names[2:]) == set(kept)
    assert made.covered == sum({"often": 4, "met": 8}.get(name, 0) for name in names) / 12


def test_weights_are_shares_and_probabilities_that_each_sum_to_one():
    pieces = (("x", -1.0), ("y", -3.0))
    found = vocabulary._weights(unigram(*pieces), vocabulary.Counts({2: 3}, {2: 5.0}), 1, 0.7)
    assert sum(found.values()) == pytest.approx(1.0)
    assert found[2] == pytest.approx(0.3 + 0.7 * math.exp(-1) / sum(map(math.exp, (-2, -1, -3))))
    assert 0 not in found  # a control piece has no probability


def test_a_prior_of_another_kind_of_tokenizer_is_refused_in_words():
    with pytest.raises(InputError) as refused:
        vocabulary.prune(
            json.loads(toy_tokenizer()), counts_of({9: 1}), [], size=400, min_count=1, rows=512, prior=0.5
        )
    assert_mendable(refused.value, "BPE", "vocabulary.prior")
    with pytest.raises(ValueError, match="prior needs size"):
        VocabularySettings(languages=("en",), prior=0.5)
