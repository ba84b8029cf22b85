"""Objectives of training: what a batch feeds and counts; and where a network from scratch starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from lingxi import prompts
from lingxi.errors import InputError
from lingxi.model.golden import GoldenText
from lingxi.model.packed import pack
from lingxi.model.sizes import Size
from lingxi.model.tokens import Tokens, read_tokens
from lingxi.records import passage
from lingxi.train.contrast import Contrast
from lingxi.train.feeding import fed, pair_ids
from lingxi.train.judge import Judgement
from lingxi.train.lexicon import Lexicon
from lingxi.train.mixture import contrast_sampler, sampler
from lingxi.train.phases import ContrastiveSettings, RerankerSettings
from lingxi.train.served import prompts_match
from lingxi.train.settings import TeacherSettings, TokenizerSettings
from lingxi.train.start import as_embedder, as_reranker, read_marks
from lingxi.train.store import Store
from lingxi.train.taught import every, key_of, to_read
from lingxi.train.teachers import Teacher, rotated
from lingxi.train.tokenizer import train_tokenizer
from test_store import built, pair
from toys import TEXTS, toy_tokenizer

SIZE = Size(192, 3, 3, 3, 64, 256, 512)
WORDS = ("gravity", "silla", "北京", "cocina", "search", "text", "double", "capital")
SEEDS = range(12)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    path.write_text(toy_tokenizer(), encoding="utf-8")
    return read_tokens(path, 512)


def rows(task: str, count: int = 24, **given: Any) -> list[Any]:
    """Pairs of one task: query i and its text share nothing but their number."""
    return [
        pair(n, query=f"{WORDS[n % 8]} {n}", task=task, instruction=f"the task {task}", **given)
        for n in range(count)
    ]


def contrast(store: Store, tokens: Tokens, tasks: tuple[str, ...], **options: Any) -> Contrast:
    """An objective that always asks with the row's own instruction, unless told otherwise."""
    teacher, mixed = options.pop("teacher", None), options.pop("mixed", None)
    instructed = options.pop("instructed", True)
    widths = {name: options.pop(name) for name in ("dim_weights", "taught_dims") if name in options}
    rates = {"raw_query_rate": 0.0, "default_task_rate": 0.0, "paraphrase_rate": 0.0}
    settings = ContrastiveSettings(
        steps=4,
        batch_pairs=8,
        learning_rate=1e-3,
        token_learning_rate=1e-2,
        warmup_steps=1,
        **rates | options,
    )
    drawn_from = sampler(store, dict.fromkeys(tasks, 1.0), 0.5)
    return Contrast(drawn_from, mixed, tokens, settings, (16, 64), teacher, 1.0, instructed, **widths)


def told(tokens: Tokens, sequences: list[list[int]]) -> list[str]:
    """What sequences say, without the end token, which all have."""
    assert {ids[-1] for ids in sequences} == {tokens.end}
    return [tokens.user.decode(ids[:-1]) for ids in sequences]


def states(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 64, generator=generator, requires_grad=True)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- what is fed ---------------------------------------------------------------------------------


def test_training_feeds_what_serving_feeds(
    tokens: Tokens, embedder_directory: Path, reranker_directory: Path
) -> None:
    prompts_match(embedder_directory, "embedder", lambda text: fed(tokens, text, 100), 100)
    # The toy's template takes more than half of what it reads.
    frame = len(tokens.prompt(prompts.RERANK_PREFIX)) + len(tokens.prompt(prompts.RERANK_SUFFIX))
    room = 256 - frame
    prompts_match(reranker_directory, "reranker", lambda text: fed(tokens, text, room), room)


def test_a_search_batch_asks_queries_and_leaves_documents_bare(tokens: Tokens, tmp_path: Path) -> None:
    step = contrast(built(tmp_path, rows("retrieval")), tokens, ("retrieval",))
    said = told(tokens, step(rng()).sequences)
    assert len(said) == 16
    assert all(text.startswith(prompts.query_prefix("the task retrieval")) for text in said[:8])
    assert not any("Instruct" in text for text in said[8:])
    for query, document in zip(said[:8], said[8:], strict=True):
        assert query.split()[-1] == document.split()[-1]
    wanted = fed(tokens, GoldenText(said[8]), 128)
    assert step(rng()).sequences[8] == wanted


@pytest.mark.parametrize("task", ["bitext", "sts", "pair", "classification"])
def test_both_sides_of_a_symmetric_task_are_asked(tokens: Tokens, tmp_path: Path, task: str) -> None:
    step = contrast(built(tmp_path, rows(task)), tokens, (task,))
    said = told(tokens, step(rng()).sequences)
    assert all(text.startswith(prompts.query_prefix(f"the task {task}")) for text in said)


def test_queries_are_asked_raw_or_by_the_default_task_at_their_rates(tokens: Tokens, tmp_path: Path) -> None:
    store = built(tmp_path, rows("retrieval"))
    raw = contrast(store, tokens, ("retrieval",), raw_query_rate=1.0)
    assert not any("Instruct" in text for text in told(tokens, raw(rng()).sequences))
    general = contrast(store, tokens, ("retrieval",), default_task_rate=1.0)
    said = told(tokens, general(rng()).sequences)
    assert all(text.startswith(prompts.query_prefix()) for text in said[:8])
    bare = contrast(store, tokens, ("retrieval",), instructed=False)
    assert not any("Instruct" in text for text in told(tokens, bare(rng()).sequences))


def test_the_default_task_is_no_task_of_translations(tokens: Tokens, tmp_path: Path) -> None:
    step = contrast(built(tmp_path, rows("bitext")), tokens, ("bitext",), default_task_rate=1.0)
    said = told(tokens, step(rng()).sequences)
    assert all(text.startswith(prompts.query_prefix("the task bitext")) for text in said)


def test_long_texts_are_cut_and_keep_prompt_and_end(tokens: Tokens, tmp_path: Path) -> None:
    long = [pair(n, query=f"{n} " + "gravity " * 200, task="retrieval") for n in range(8)]
    step = contrast(built(tmp_path, long), tokens, ("retrieval",), max_tokens=10)
    prefix = tokens.prompt(prompts.query_prefix("find it"))
    for ids in step(rng()).sequences[:8]:
        assert ids[: len(prefix)] == prefix
        assert len(ids) == len(prefix) + 10 + 1


def contrasting(count: int = 12) -> list[Any]:
    """Each query under two instructions, with a text for each."""
    return [
        pair(
            2 * n + side,
            query=f"query {n}",
            instruction=f"side {side}",
            positives=(passage(f"the text of {n} for {side}"),),
        )
        for n in range(count)
        for side in (0, 1)
    ]


def test_contrast_rows_keep_their_own_instruction(tokens: Tokens, tmp_path: Path) -> None:
    store = built(tmp_path, contrasting())
    options = {"instruction_rate": 1.0, "default_task_rate": 1.0, "raw_query_rate": 1.0}
    step = contrast(store, tokens, ("retrieval",), mixed=contrast_sampler(store, 0.5), **options)
    batch = step(rng())
    said = told(tokens, batch.sequences)
    queries, documents = said[:8], said[8:]
    for query, document in zip(queries, documents, strict=True):
        side = document[-1]
        assert query.startswith(prompts.query_prefix(f"side {side}"))
    bare = [query.rpartition("Query:")[2] for query in queries]
    assert len(set(bare)) < len(bare), "a row stands beside its partner"
    # The partner's document is a negative: where the vectors ignore the instruction, the loss is not 0.
    known = {
        text: torch.nn.functional.normalize(states(1, n)[0].detach(), dim=0) for n, text in enumerate(bare)
    }
    alike = torch.stack([known[text] for text in (*bare, *bare)])
    assert float(batch.loss(alike)[0]) > 0.5


# --- what is counted -----------------------------------------------------------------------------


def test_a_step_has_a_loss_an_accuracy_and_gradients(tokens: Tokens, tmp_path: Path) -> None:
    store = built(tmp_path, rows("retrieval"))
    given = states(16)
    loss, figures = contrast(store, tokens, ("retrieval",))(rng()).loss(given)
    loss.backward()
    assert given.grad is not None and bool(given.grad.abs().sum(1).gt(0).all())
    assert 0 <= figures["accuracy"] <= 1
    matched = torch.cat((states(8), states(8))).detach()
    best, figures = contrast(store, tokens, ("retrieval",))(rng()).loss(matched)
    assert figures["accuracy"] == 1 and float(best) < float(loss.detach())


def labelled(count: int = 24) -> list[Any]:
    """Sentences with their label, and wrong labels as negatives; many rows share a label."""
    names = ("refund", "card", "loan")
    return [
        pair(
            n,
            query=f"sentence {n}",
            task="classification",
            positives=(passage(names[n % 3]),),
            negatives=tuple(passage(name) for name in names if name != names[n % 3]),
        )
        for n in range(count)
    ]


def test_classification_has_its_own_wrong_labels_only(tokens: Tokens, tmp_path: Path) -> None:
    step = contrast(built(tmp_path, labelled()), tokens, ("classification",), negatives=2)
    batch = step(rng())
    said = [text.rpartition("Query:")[2] for text in told(tokens, batch.sequences)]
    assert len(said) == 8 + 8 + 16
    # All other queries and right labels move to row 0: nothing of it is a negative of row 0's.
    place = {"refund": 1, "card": 2, "loan": 3}
    vectors = torch.eye(64)[[place.get(text, 0) for text in said]]
    # All queries are alike, and as far from every label: two wrong ones and the right one are what is asked.
    assert float(batch.loss(vectors)[0]) == pytest.approx(np.log(3), rel=1e-4)


@pytest.mark.parametrize("form", ["int8", "binary"])
def test_stored_forms_change_the_loss(tokens: Tokens, tmp_path: Path, form: str) -> None:
    store, given = built(tmp_path, rows("retrieval")), states(16)
    plain = contrast(store, tokens, ("retrieval",))(rng()).loss(given)[0]
    stored = contrast(store, tokens, ("retrieval",), stored_as=(form,))(rng()).loss(given)[0]
    assert abs(float(stored.detach() - plain.detach())) > 1e-5
    stored.backward()
    assert given.grad is not None and bool(given.grad.isfinite().all())


def test_graded_pairs_are_ordered_by_their_grades(tokens: Tokens, tmp_path: Path) -> None:
    graded = [pair(n, task="sts", scores={"similarity": float(n)}) for n in range(8)]
    batch = contrast(built(tmp_path, graded), tokens, ("sts",))(rng())
    numbers = [int(text.split()[-1]) for text in told(tokens, batch.sequences)[:8]]
    angles = torch.tensor([(7 - n) * 0.2 for n in numbers])
    given = torch.zeros(16, 64)
    given[:8, 0] = 1
    given[8:, 0], given[8:, 1] = angles.cos(), angles.sin()
    right, figures = batch.loss(given)
    assert "accuracy" not in figures
    given[8:, 0], given[8:, 1] = (1.4 - angles).cos(), (1.4 - angles).sin()
    wrong, _ = batch.loss(given)
    assert float(right) < 0.25 * float(wrong)


def test_a_graded_pair_without_its_grade_counts_for_nothing(tokens: Tokens, tmp_path: Path) -> None:
    ungraded = [pair(n, task="sts") for n in range(8)]
    loss, _ = contrast(built(tmp_path, ungraded), tokens, ("sts",))(rng()).loss(states(16))
    assert float(loss.detach()) == 0


def taught(texts: list[str]) -> Teacher:
    vectors = np.random.default_rng(3).normal(size=(len(texts), 64)).astype(np.float16)
    return Teacher({key_of(text): i for i, text in enumerate(texts)}, vectors)


@pytest.mark.parametrize("side", ["query", "document"])
def test_a_translation_is_drawn_to_the_vector_of_its_english_side(
    tokens: Tokens, tmp_path: Path, side: str
) -> None:
    pairs = rows("bitext")
    english = [row.query if side == "query" else row.positives[0].text for row in pairs]
    teacher = taught(english)
    step = contrast(built(tmp_path, pairs), tokens, ("bitext",), teacher=teacher)
    batch = step(rng())
    said = [text.rpartition("Query:")[2] for text in told(tokens, batch.sequences)]
    own = said[:8] if side == "query" else said[8:]
    wanted = torch.from_numpy(teacher.vectors[[teacher.row(text) for text in own]].astype(np.float32))
    figures = batch.loss(torch.cat((wanted, wanted)))[1]
    assert figures["teacher"] == pytest.approx(0, abs=1e-3)
    assert batch.loss(states(16))[1]["teacher"] > 0.5


def test_widths_count_by_their_weights(tokens: Tokens, tmp_path: Path) -> None:
    store, given = built(tmp_path, rows("retrieval")), states(16)

    def loss(weights: tuple[float, ...] | None) -> float:
        step = contrast(store, tokens, ("retrieval",), dim_weights=weights)(rng())
        return float(step.loss(given)[0].detach())

    narrow, full = loss((1.0, 0.0)), loss((0.0, 1.0))
    assert abs(narrow - full) > 0.1
    assert loss(None) == pytest.approx((narrow + full) / 2)
    assert loss((3.0, 1.0)) == pytest.approx((3 * narrow + full) / 4)


def test_a_teacher_of_full_widths_leaves_cut_vectors_alone(tokens: Tokens, tmp_path: Path) -> None:
    pairs = rows("retrieval")
    teacher = taught([row.query for row in pairs])
    store, given = built(tmp_path, pairs), states(16)

    def apart(**options: Any) -> float:
        return contrast(store, tokens, ("retrieval",), teacher=teacher, **options)(rng()).loss(given)[1][
            "teacher"
        ]

    narrow, full = apart(taught_dims=(16,)), apart(taught_dims=(64,))
    assert abs(narrow - full) > 1e-3
    assert apart() == pytest.approx((narrow + full) / 2)


def test_search_has_no_target_for_what_the_teacher_has_not_read(tokens: Tokens, tmp_path: Path) -> None:
    pairs = rows("retrieval")
    teacher = taught([row.query for row in pairs])
    batch = contrast(built(tmp_path, pairs), tokens, ("retrieval",), teacher=teacher)(rng())
    said = [text.rpartition("Query:")[2] for text in told(tokens, batch.sequences)[:8]]
    wanted = torch.from_numpy(teacher.vectors[[teacher.row(text) for text in said]].astype(np.float32))
    assert batch.loss(torch.cat((wanted, states(8))))[1]["teacher"] == pytest.approx(0, abs=1e-3)


def test_a_teacher_that_reads_all_reads_no_code_and_english_of_translations(tmp_path: Path) -> None:
    pairs = [
        pair(1, query="un chat", task="bitext", query_language="fr", document_language="en"),
        pair(2, query="a dog", task="bitext", query_language="en", document_language="sw"),
        pair(3, query="sort a list", task="code", query_language="en", document_language="python"),
        pair(4, query="北京?", task="retrieval", query_language="zh", document_language="zh"),
    ]
    store = built(tmp_path, pairs)
    wanted = [pairs[0].positives[0].text, "a dog", "sort a list", "北京?", pairs[3].positives[0].text]
    assert list(every(store)) == wanted
    assert to_read(store, TeacherSettings(reads="all", max_texts=2), ()) == wanted[:2]


# --- the reranker's ------------------------------------------------------------------------------


def judgement(store: Store, tokens: Tokens, **options: Any) -> Judgement:
    settings = RerankerSettings(
        steps=2, batch_queries=6, learning_rate=1e-3, token_learning_rate=1e-3, warmup_steps=1,
        **{"negatives": 2, "easy_negatives": 3, "default_task_rate": 0.0, **options},
    )  # fmt: skip
    drawn_from = sampler(store, {"retrieval": 1.0}, 0.5)
    row = torch.nn.functional.one_hot(torch.tensor(0), 64).float()
    return Judgement(drawn_from, tokens, lambda: row, settings, None)


def many_right(count: int = 30) -> list[Any]:
    """Queries that are asked in several rows, each with another right document; and mined negatives."""
    return [
        pair(
            n,
            query=f"query {n % 10}",
            group=f"g{n % 10}",
            positives=(passage(f"right {n % 10} {n}"), passage(f"right {n % 10} also")),
            negatives=(passage(f"right {(n + 1) % 10} also"), passage(f"wrong {n}")),
        )
        for n in range(count)
    ]


def test_a_group_never_holds_another_right_document(tokens: Tokens, tmp_path: Path) -> None:
    step = judgement(built(tmp_path, many_right()), tokens, max_tokens=256)
    for seed in SEEDS:
        sequences = step(rng(seed)).sequences
        assert len(sequences) == 6 * 6
        frame = len(tokens.prompt(prompts.RERANK_PREFIX)), len(tokens.prompt(prompts.RERANK_SUFFIX))
        bodies = [tokens.user.decode(ids[frame[0] : -frame[1]]) for ids in sequences]
        for start in range(0, 36, 6):
            asked = {body.split("<Query>: query ")[1].split("\n")[0] for body in bodies[start : start + 6]}
            right = [f"<Document>: right {next(iter(asked))} " in body for body in bodies[start : start + 6]]
            assert len(asked) == 1
            assert right == [True, *[False] * 5]


def test_a_judged_pair_is_rendered_with_the_row_s_instruction_or_the_default(
    tokens: Tokens, tmp_path: Path
) -> None:
    store = built(tmp_path, many_right())
    step = judgement(store, tokens, max_tokens=256)
    known = {
        tuple(pair_ids(tokens, [(row.query, row.positives[i].text, "find it")], 256)[0])
        for row in store.rows(range(30))
        for i in (0, 1)
    }
    assert {tuple(ids) for ids in step(rng()).sequences[::6]} <= known
    general = judgement(store, tokens, max_tokens=256, default_task_rate=1.0)
    body = tokens.user.decode(general(rng()).sequences[0])
    assert prompts.DEFAULT_TASK in body


def test_a_reranker_s_loss_falls_where_the_right_document_is_picked(tokens: Tokens, tmp_path: Path) -> None:
    batch = judgement(built(tmp_path, many_right()), tokens)(rng())
    right = torch.zeros(6, 6, 64)
    right[..., 0] = -5
    right[:, 0, 0] = 5
    good, figures = batch.loss(right.flatten(0, 1))
    assert figures["accuracy"] == 1
    bad, figures = batch.loss(-right.flatten(0, 1))
    assert figures["accuracy"] == 0
    assert float(good) < 0.1 < 5 < float(bad)


# --- where a network from scratch starts ---------------------------------------------------------


@pytest.fixture
def lexicon(tokens: Tokens) -> Lexicon:
    """Token vectors that weigh: half of the tokens are common."""
    torch.manual_seed(0)
    counts = np.where(np.arange(512) % 2, 1, 200).astype(np.int64)
    found = Lexicon(SIZE, read_marks(tokens).silent, counts)
    torch.nn.init.normal_(found.embed_tokens.weight)
    return found


def test_tokens_weigh_by_how_rare_they_are(lexicon: Lexicon) -> None:
    weights = lexicon.weights(torch.arange(512)).detach()
    assert float(weights[1]) > 1.5 * float(weights[0])


def after(ids: list[int], marks: frozenset[int]) -> list[int]:
    """The ids behind the last mark: as they stand in a prompt, since text may join what is before it."""
    return ids[max(place for place, each in enumerate(ids) if each in marks) + 1 :]


def test_the_embedder_starts_as_the_token_vectors(tokens: Tokens, lexicon: Lexicon) -> None:
    marks = read_marks(tokens)
    decoder = as_embedder(lexicon, marks)
    texts = ["gravity attracts", "北京是首都", "the capital of a country, and its cuisine"]
    bare = [[*ids, tokens.end] for ids in tokens.texts(texts)]
    asked = [[*ids, tokens.end] for ids in tokens.texts([prompts.query(text) for text in texts])]
    inner = [after(ids, marks.query) for ids in asked]
    with torch.no_grad():
        assert torch.cosine_similarity(decoder(pack(bare)), lexicon(pack(bare))).min() > 0.99
        instructed = decoder(pack(asked))
        assert torch.cosine_similarity(instructed, lexicon(pack(inner))).min() > 0.99, "no instruction"
        lexicon.embed_loudness.zero_()
        assert torch.cosine_similarity(instructed, lexicon(pack(inner))).min() < 0.985, "weights are seen"


def test_the_reranker_starts_as_two_cosines(tokens: Tokens, lexicon: Lexicon) -> None:
    marks = read_marks(tokens)
    decoder = as_reranker(lexicon, marks, tokens)
    query = "what attracts a body"
    documents = [query, "a body attracts", "北京是首都", "the cuisine of a country", "what a text", "gravity"]
    turns = pair_ids(tokens, [(query, document, prompts.DEFAULT_TASK) for document in documents], 256)
    right = [after(ids, marks.document) for ids in turns]
    left = [after(ids[: -len(own)], marks.query) for ids, own in zip(turns, right, strict=True)]
    rows_of = decoder.embed_tokens.weight
    with torch.no_grad():
        cosines = torch.cosine_similarity(lexicon(pack(left)), lexicon(pack(right)))
        row = rows_of[tokens.answer("yes")] - rows_of[tokens.answer("no")]
        logits = decoder(pack(turns)) @ row
    assert int(logits.argmax()) == 0, "the query itself answers best"
    assert torch.corrcoef(torch.stack((cosines, logits)))[0, 1] > 0.9


def test_a_shape_that_cannot_start_from_token_vectors_is_refused(tokens: Tokens) -> None:
    for wrong in (
        Size(64, 2, 2, 2, 64, 96, 512),
        Size(64, 1, 4, 4, 16, 96, 512),
        Size(64, 2, 4, 2, 16, 96, 512),
    ):
        with pytest.raises(InputError, match="cannot start"):
            as_embedder(Lexicon(wrong, ()), read_marks(tokens))


def test_a_shape_that_cannot_start_as_a_reranker_is_refused(tokens: Tokens) -> None:
    for wrong in (Size(192, 2, 3, 3, 64, 96, 512), Size(128, 3, 2, 2, 64, 96, 512)):
        with pytest.raises(InputError, match="as a reranker"):
            as_reranker(Lexicon(wrong, ()), read_marks(tokens), tokens)


def test_rotated_teacher_vectors_keep_cosines_and_lead_with_most() -> None:
    vectors = rng().normal(size=(500, 16)) * np.linspace(0.1, 2, 16)
    turned = rotated(vectors).astype(np.float32)
    centred = vectors - vectors.mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    assert np.abs(turned @ turned.T - centred @ centred.T).max() < 5e-3
    assert (turned[:, :8] ** 2).sum() > (turned[:, 8:] ** 2).sum() * 3


def test_a_language_may_have_more_of_the_vocabulary():
    words = [chr(0x4E00 + n) * 3 for n in range(60)]
    texts = [("en", text) for text in TEXTS * 20] + [("zh", word) for word in words * 3]
    few = train_tokenizer(
        texts, TokenizerSettings(vocab=600, characters_per_language=60_000, characters={"zh": 3})
    )
    many = train_tokenizer(texts, TokenizerSettings(vocab=600, characters_per_language=60_000, characters={}))

    def whole(tokenizer: str) -> int:
        read = Tokenizer.from_str(tokenizer)
        return sum(len(read.encode(word).ids) for word in words)

    assert whole(many) < whole(few)
