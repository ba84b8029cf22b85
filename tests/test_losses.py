"""Losses against slow references written from the equations, and gradients against finite differences."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from lingxi.train import losses


def unit(rows: int, dim: int, seed: int, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=dtype), dim=-1)


def slow_info_nce(queries, documents, same, temperature, margin):
    """Qwen3-Embedding report, eq. 1, term by term; without mined negatives."""
    q, d = queries.numpy(), documents.numpy()
    total = 0.0
    for i in range(len(q)):
        positive = q[i] @ d[i]
        z = math.exp(positive / temperature)
        for j in range(len(q)):
            if j == i or same[i, j]:
                continue
            if q[i] @ q[j] <= positive + margin:
                z += math.exp(q[i] @ q[j] / temperature)
            if q[i] @ d[j] <= positive + margin:
                z += math.exp(q[i] @ d[j] / temperature)
            z += math.exp(d[i] @ d[j] / temperature)
        total -= math.log(math.exp(positive / temperature) / z)
    return total / len(q)


def test_info_nce_equals_the_equation():
    for seed in range(5):
        queries, documents = unit(7, 16, seed), unit(7, 16, seed + 100)
        same = torch.eye(7, dtype=torch.bool)
        same[1, 2] = same[2, 1] = True
        got = losses.info_nce(queries, documents, same, temperature=0.1, margin=0.1)
        assert math.isclose(got.item(), slow_info_nce(queries, documents, same, 0.1, 0.1), rel_tol=1e-9)


def test_a_negative_far_above_the_positive_is_masked():
    queries = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64), dim=-1)
    documents = F.normalize(torch.tensor([[0.5, 0.8], [1.0, 0.1]], dtype=torch.float64), dim=-1)
    same = torch.eye(2, dtype=torch.bool)
    strict = losses.info_nce(queries, documents, same, temperature=0.1, margin=10.0)
    masked = losses.info_nce(queries, documents, same, temperature=0.1, margin=0.1)
    assert masked < strict - 1


def test_rows_of_one_document_are_never_negatives():
    queries, documents = unit(4, 8, 1), unit(4, 8, 2)
    everything = torch.ones(4, 4, dtype=torch.bool)
    assert losses.info_nce(queries, documents, everything, temperature=0.05, margin=0.1).item() < 1e-12


def test_cosent_equals_the_sum_over_misordered_pairs():
    scores = torch.tensor([0.9, 0.2, 0.5], dtype=torch.float64)
    grades = torch.tensor([1.0, 2.0, 2.0])
    terms = [
        math.exp((scores[j] - scores[i]) / 0.05) for i in range(3) for j in range(3) if grades[i] > grades[j]
    ]
    assert math.isclose(losses.cosent(scores, grades).item(), math.log(1 + sum(terms)), rel_tol=1e-9)


def test_yes_no_is_the_log_of_the_answers_probability():
    logits, labels = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0])
    expected = -(math.log(1 / (1 + math.exp(-2))) + math.log(1 - 1 / (1 + math.exp(1)))) / 2
    assert math.isclose(losses.yes_no(logits, labels).item(), expected, rel_tol=1e-6)


def test_listwise_prefers_the_first_column():
    assert losses.listwise(torch.tensor([[5.0, 0.0]])) < losses.listwise(torch.tensor([[0.0, 5.0]]))


def test_matryoshka_cuts_before_it_normalises():
    vectors, targets = torch.randn(3, 8, dtype=torch.float64), torch.randn(3, 8, dtype=torch.float64)
    got = losses.matryoshka((2, 8), losses.to_teacher, vectors, targets)
    parts = [1 - F.cosine_similarity(vectors[:, :w], targets[:, :w]).mean() for w in (2, 8)]
    assert torch.isclose(got, torch.stack(parts).mean())


def test_gradients_agree_with_finite_differences():
    queries, documents = unit(4, 6, 3).requires_grad_(), unit(4, 6, 4).requires_grad_()
    same = torch.eye(4, dtype=torch.bool)
    grades = torch.tensor([0.0, 1.0, 2.0, 2.0])

    def contrast(q, d):
        return losses.info_nce(q, d, same, temperature=0.2, margin=0.1)

    assert torch.autograd.gradcheck(contrast, (queries, documents))
    assert torch.autograd.gradcheck(
        lambda q, d: losses.matryoshka((3, 6), contrast, q, d), (queries, documents)
    )
    assert torch.autograd.gradcheck(
        lambda q, d: losses.cosent((q * d).sum(-1), grades, temperature=0.3), (queries, documents)
    )
    assert torch.autograd.gradcheck(losses.to_teacher, (queries, documents.detach()))


def test_info_nce_survives_a_batch_of_one():
    loss = losses.info_nce(
        unit(1, 4, 0), unit(1, 4, 1), torch.eye(1, dtype=torch.bool), temperature=0.05, margin=0.1
    )
    assert np.isclose(loss.item(), 0.0)
