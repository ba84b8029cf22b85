"""What a student learns from: the teacher's answers, the losses on them, and weights as they are stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lingxi.compress.pool import Pool, ask, read_answers, read_pool, write_pool
from lingxi.compress.recover import Imitation, Verdicts, check_widths, differences, recover
from lingxi.compress.rounded import plain_state, round_in_forward, rounded
from lingxi.compress.settings import RecoverySettings
from lingxi.engine.run import pooled_states
from lingxi.errors import InputError
from lingxi.model.int4 import nearest
from lingxi.model.int8 import quantized
from toys import (
    assert_mendable,
    gap,
    random_ids,
    toy_decoder,
    unit,
)

SEQUENCES = random_ids((3, 9, 9, 17, 30), 512)


def test_rounded_weights_are_those_that_are_stored_and_gradients_pass():
    weight = torch.randn(8, 64, requires_grad=True)
    stored = dict(quantized({"x.weight": weight.detach()}))
    wanted = stored["x.weight"].float() * stored["x.scale"].float()[:, None]
    assert torch.equal(rounded(weight, "int8", 32).detach(), wanted)
    four = rounded(weight, "int4", 16)
    assert all(len(part.unique()) <= 16 for part in four.detach().view(-1, 16))
    # No further off than by half than what `lingxi compress int4` stores, which searches for its scales.
    lost = [(each - weight.detach()).norm() for each in (four.detach(), nearest(weight.detach(), 16).values)]
    assert lost[1] <= lost[0] < 1.5 * lost[1]
    four.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_a_network_that_rounds_keeps_its_own_names_and_weights():
    decoder = toy_decoder()
    before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    exact = pooled_states(decoder, SEQUENCES)
    round_in_forward(decoder, "int4", 32)
    assert gap(pooled_states(decoder, SEQUENCES), exact) > 1e-3
    after = plain_state(decoder)
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


def pool_of(count: int = 12) -> tuple[Pool, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = np.array([[2 * i, 2 * i + 1, -1 if i % 2 else (2 * i + 3) % count] for i in range(count // 2)])
    vectors = rng.normal(size=(count, 16)).astype(np.float16)
    return Pool("embedder", tuple(f"text {i}" for i in range(count)), rows.astype(np.int32)), vectors


def recovery(**changes) -> RecoverySettings:
    return RecoverySettings(steps=1, learning_rate=1e-3, token_learning_rate=1e-3, **changes)


def test_a_student_that_answers_as_its_teacher_has_no_loss():
    pool, answers = pool_of()
    fed: list[str] = []

    def ids(texts: list[str]) -> list[list[int]]:
        fed[:] = texts
        return [[1]] * len(texts)

    batch = Imitation(pool, answers, ids, recovery(batch_rows=6), None)(np.random.default_rng(0))
    states = torch.tensor(answers[[int(text.split()[1]) for text in fed]].astype(np.float32))
    loss, figures = batch.loss(states)
    assert float(loss.detach()) < 1e-5 and figures["cosine"] == pytest.approx(1.0, abs=1e-4)
    turned, _ = batch.loss(-states)
    assert float(turned) > 1.0
    # Of another width, with its own axes, too.
    axes = torch.linalg.qr(torch.randn(16, 8))[0]
    other = Imitation(pool, answers, ids, recovery(batch_rows=6), axes)(np.random.default_rng(0))
    assert float(other.loss(unit(states) @ axes)[0]) < 1e-5


def test_a_reranker_that_answers_as_its_teacher_has_no_loss_and_empty_places_count_for_nothing():
    rows = np.array([[0, 1, 2], [3, 4, -1]], np.int32)
    logits = np.array([3.0, -1.0, 0.5, 2.0, -2.0], np.float32)
    pool = Pool("reranker", tuple("abcde"), rows)
    fed: list[str] = []

    def ids(texts: list[str]) -> list[list[int]]:
        fed[:] = texts
        return [[1]] * len(texts)

    step = Verdicts(pool, logits, ids, recovery(batch_rows=2), lambda: torch.ones(1))
    batch = step(np.random.default_rng(0))
    assert sorted(fed) == list("abcde")
    right = torch.tensor([[logits["abcde".index(text)]] for text in fed])
    assert float(batch.loss(right)[0]) < 1e-5
    assert float(batch.loss(-right)[0]) > 1.0


@given(st.integers(0, 2**16), st.floats(-5, 5))
def test_differences_are_those_of_all_pairs_of_a_list(seed, shift):
    torch.manual_seed(seed)
    mine, theirs = torch.randn(3, 5).double(), torch.randn(3, 5).double()
    known = torch.rand(3, 5) < 0.7
    known[0], known[1, 1:] = True, False  # a whole list, and one with at most one document
    found = []
    for s, t, k in zip(mine, theirs, known, strict=True):
        gaps = (s - t)[k]
        found.append(float((gaps[:, None] - gaps[None]).square().mean() / 2) if len(gaps) else 0.0)
    assert float(differences(mine, theirs, known)) == pytest.approx(np.mean(found))
    lifted = differences(theirs + shift, theirs, known)
    assert float(lifted) == pytest.approx(0.0, abs=1e-9)  # only differences count


@pytest.mark.parametrize("as_stored", [None, "int8"])
def test_token_vectors_are_learnt_alone_where_asked(tmp_path, as_stored):
    network = toy_decoder().requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pool, answers = pool_of()
    answers = np.tile(answers, (1, -(-network.hidden // answers.shape[1])))[:, : network.hidden]
    settings_of = recovery(batch_rows=6, learns="tokens", rounded=as_stored)

    def ids(texts: list[str]) -> list[list[int]]:
        return [[int(text.split()[1]) + 5, 3] for text in texts]

    objective = Imitation(pool, answers, ids, settings_of, None)
    after, _ = recover(network, objective, settings_of, tmp_path, 0, {}, torch.device("cpu"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"embed_tokens.weight"}


def test_widths_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError) as refused:
        check_widths(16, 32, None, recovery())
    assert_mendable(refused.value, "recovery.embedding")
    check_widths(16, 32, None, recovery(embedding=0.0))
    with pytest.raises(ValueError, match="nothing would be learnt"):
        recovery(embedding=0, similarity=0, ranking=0)


class Counted:
    """A teacher that counts what it is asked, and stops at a text."""

    def __init__(self, stop: str | None = None) -> None:
        self.stop, self.asked = stop, 0

    def ids(self, texts, most):
        return [[ord(text[0]), len(text)] for text in texts]

    def answers(self, sequences):
        if self.stop and ord(self.stop) in {s[0] for s in sequences}:
            raise KeyboardInterrupt
        self.asked += len(sequences)
        return np.array([[s[0], s[1]] for s in sequences], np.float32)


def test_answers_are_asked_once_and_a_stopped_pool_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("lingxi.compress.pool._PART", 2)
    pool = Pool("embedder", tuple("abcde"), np.array([[0, 1], [2, 3]], np.int32))
    write_pool(pool, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ask(pool, Counted(stop="c"), tmp_path, 9)
    rest = Counted()
    found = ask(pool, rest, tmp_path, 9)
    assert rest.asked == 3 and found[:, 0].tolist() == [ord(c) for c in "abcde"]
    again = Counted()
    ask(pool, again, tmp_path, 9)
    assert again.asked == 0
    kept = read_pool(tmp_path, "embedder")
    assert kept.texts == pool.texts and (kept.rows == pool.rows).all()


def test_a_broken_folder_of_answers_is_told_in_words(tmp_path):
    with pytest.raises(InputError) as refused:
        read_pool(tmp_path, "embedder")
    assert_mendable(refused.value, "texts.jsonl")
    pool = Pool("reranker", ("a", "b"), np.array([[0, 1]], np.int32))
    write_pool(pool, tmp_path)
    np.save(tmp_path / "answers.npy", np.zeros((2, 4)))
    with pytest.raises(InputError) as refused:
        read_answers(pool, tmp_path)
    assert_mendable(refused.value, "one logit")
