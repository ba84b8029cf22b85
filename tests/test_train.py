"""Training: batches that never call a positive a negative, resuming, starting points, hard negatives."""

import numpy as np
import pytest
import torch

from lingxi import prompts
from lingxi.errors import InputError
from lingxi.model.packed import pack
from lingxi.model.sizes import Size
from lingxi.model.tokens import Tokens, read_tokens
from lingxi.records import Pair, passage
from lingxi.train.contrast import Contrast
from lingxi.train.lexicon import Lexicon
from lingxi.train.rows import read_rows, same_document, sampler
from lingxi.train.settings import ContrastiveSettings, TokenizerSettings
from lingxi.train.start import as_embedder, as_reranker, read_marks
from lingxi.train.teachers import rotated
from lingxi.train.tokenizer import train_tokenizer
from toys import TEXTS

SIZE = Size(64, 3, 4, 4, 16, 96, 512)
WORDS = ("gravity", "silla", "北京", "cocina", "search", "text", "double", "capital")


def pair(number: int, task: str = "bitext", group: str | None = None) -> Pair:
    query = f"{WORDS[number % 8]} {number}"
    return Pair(
        id=str(number),
        group=group or f"g{number}",
        query=query,
        positives=(passage(f"the text of {query}"),),
        negatives=(),
        instruction=f"instruction of {task}",
        task=task,
        query_language="es" if number % 3 else "zh",
        document_language="en",
        source="test",
        licence="CC0",
        scores={"similarity": float(number % 6)} if task == "sts" else {},
    )


def tokens(tmp_path) -> Tokens:
    path = tmp_path / "tokenizer.json"
    texts = [("en", text) for text in TEXTS * 20]
    path.write_text(train_tokenizer(texts, TokenizerSettings(vocab=512)), encoding="utf-8")
    return read_tokens(path, 512)


def contrast(tmp_path, module, encode, instructed=True, tasks=("bitext", "retrieval", "sts")) -> Contrast:
    rows = read_rows([pair(n, tasks[n % len(tasks)]) for n in range(60)], 0)
    settings = ContrastiveSettings(
        steps=4, batch_pairs=8, learning_rate=1e-3, token_learning_rate=1e-2, warmup_steps=1
    )
    drawn_from = sampler(rows, dict.fromkeys(tasks, 1.0), 0.5)
    return Contrast(drawn_from, tokens(tmp_path), encode, settings, (32, 64), None, 0.0, instructed)


def test_a_batch_has_one_kind_and_no_group_twice():
    rows = read_rows([pair(n, "bitext" if n % 2 else "code", group=f"g{n // 4}") for n in range(200)], 0)
    drawn_from = sampler(rows, {"bitext": 1.0, "code": 1.0}, 0.5)
    seen = set()
    for seed in range(20):
        kind, drawn = drawn_from.draw(np.random.default_rng(seed), 16)
        seen.add(kind.task)
        assert {str(task) for task in rows.tasks[drawn]} == {kind.task}
        assert len(set(rows.groups[drawn])) == len(drawn)
        assert 0 < len(drawn) <= 16
    assert seen == {"bitext", "code"}


def test_rare_languages_are_drawn_more_than_their_share():
    rows = read_rows([pair(3 * n + (n % 50 != 0)) for n in range(1000)], 0)
    kind, _ = sampler(rows, {"bitext": 1.0}, 0.5).draw(np.random.default_rng(0), 4)
    rare = np.array([s.endswith("/zh") for s in rows.strata[kind.members]])
    chance = np.diff(kind.cumulative, prepend=0.0)
    assert rare.mean() < 0.05 < chance[rare].sum()


def test_a_mixture_of_absent_tasks_is_refused():
    with pytest.raises(InputError, match="names no task"):
        sampler(read_rows([pair(1)], 0), {"code": 1.0}, 0.5)


def test_no_pairs_are_refused_in_words():
    with pytest.raises(InputError, match="no pairs"):
        read_rows([], 0)


def test_equal_documents_count_as_one():
    rows = read_rows([pair(1, group="a"), pair(1, group="b"), pair(2, group="c")], 0)
    same = same_document(rows, range(3))
    assert same.sum() == 5
    assert same.diagonal().all()


def test_the_embedder_starts_as_the_token_vectors(tmp_path):
    known = tokens(tmp_path)
    lexicon = Lexicon(SIZE, read_marks(known).silent)
    torch.nn.init.normal_(lexicon.embed_tokens.weight)
    decoder = as_embedder(lexicon, read_marks(known))
    texts = ["gravity attracts", "北京是首都", "the capital of a country, and its cuisine"]
    bare = [[*ids, known.end] for ids in known.texts(texts)]
    asked = [[*ids, known.end] for ids in known.texts([prompts.query(text) for text in texts])]
    with torch.no_grad():
        bag, alone, instructed = lexicon(pack(bare)), decoder(pack(bare)), decoder(pack(asked))
    assert torch.cosine_similarity(alone, bag).min() > 0.97
    assert torch.cosine_similarity(instructed, bag).min() > 0.97, "the instruction is left out"


def test_the_reranker_starts_as_a_cosine(tmp_path):
    known = tokens(tmp_path)
    lexicon = Lexicon(SIZE, read_marks(known).silent)
    torch.nn.init.normal_(lexicon.embed_tokens.weight)
    decoder = as_reranker(lexicon, read_marks(known), known)
    query = "what attracts a body"
    documents = [query, "a body attracts", "北京是首都", "the cuisine of a country", "what a text"]
    with torch.no_grad():
        leading = lexicon(pack(known.texts([query, *documents])))[:, :26]
        cosines = torch.cosine_similarity(leading[:1], leading[1:])
        row = (
            decoder.embed_tokens.weight[known.answer("yes")] - decoder.embed_tokens.weight[known.answer("no")]
        )
        bodies = known.texts([prompts.rerank_body(query, document) for document in documents])
        frame = known.prompt(prompts.RERANK_PREFIX), known.prompt(prompts.RERANK_SUFFIX)
        logits = decoder(pack([[*frame[0], *ids, *frame[1]] for ids in bodies])) @ row
    assert torch.corrcoef(torch.stack((cosines, logits)))[0, 1] > 0.95


def test_a_shape_that_cannot_start_from_token_vectors_is_refused(tmp_path):
    known = tokens(tmp_path)
    for wrong in (
        Size(64, 2, 1, 1, 64, 96, 512),
        Size(64, 1, 4, 4, 16, 96, 512),
        Size(64, 2, 4, 2, 16, 96, 512),
    ):
        with pytest.raises(InputError, match="cannot start"):
            as_embedder(Lexicon(wrong, ()), read_marks(known))


def test_training_renders_what_serving_renders(tmp_path):
    seen = []

    def spy(sequences):
        seen.append(sequences)
        return torch.randn(len(sequences), 64, requires_grad=True)

    step = contrast(tmp_path, None, spy, tasks=("retrieval",))
    step.loss(np.random.default_rng(3))
    queries, documents = seen
    text = step.tokens.user.decode(queries[0][:-1])
    task = text.split("\n")[0].removeprefix("Instruct: ")
    assert text.startswith(prompts.query_prefix(task))
    assert not step.tokens.user.decode(documents[0][:-1]).startswith("Instruct")
    assert all(s[-1] == step.tokens.end for s in queries + documents)


def test_rotated_teacher_vectors_keep_cosines_and_lead_with_most():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 16)) * np.linspace(0.1, 2, 16)
    turned = rotated(vectors).astype(np.float32)
    centred = vectors - vectors.mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    assert np.abs(turned @ turned.T - centred @ centred.T).max() < 5e-3
    assert (turned[:, :8] ** 2).sum() > (turned[:, 8:] ** 2).sum() * 3


def test_emphasis_multiplies_by_source_and_language():
    rows = read_rows([pair(n) for n in range(300)], 0)
    plain, _ = sampler(rows, {"bitext": 1.0}, 0.5).draw(np.random.default_rng(0), 4)
    heavy, _ = sampler(rows, {"bitext": 1.0}, 0.5, {"zh": 10.0, "*": 0.1}).draw(np.random.default_rng(0), 4)
    chinese = np.array([s.endswith("/zh") for s in rows.strata[plain.members]])

    def share(kind):
        return np.diff(kind.cumulative, prepend=0.0)[chinese].sum()

    assert share(plain) < 0.5 < 0.95 < share(heavy)
