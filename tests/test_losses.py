"""Losses against slow references written from the equations, and gradients against finite differences."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lingxi import vectors as finished
from lingxi.errors import InputError
from lingxi.train import losses
from lingxi.train.losses import EVERY_GROUP, OWN_GROUP, QUERY_GROUPS, Group, Relevance, relevance_of_ids

SEEDS = st.integers(0, 2**31)
SOME_GROUPS = st.frozensets(st.sampled_from(Group), min_size=1)
quick = settings(max_examples=25, deadline=None)


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=-1)


@dataclass
class Drawn:
    """A batch of 5 queries and 14 documents: own positives, a further positive, mined negatives, equals."""

    queries: torch.Tensor
    documents: torch.Tensor
    known: Relevance
    ids: list[str]


def right_of(*ids: object) -> dict[object, float]:
    return dict.fromkeys(ids, 1.0)


def drawn(seed: int, graded: bool = False, dim: int = 5) -> Drawn:
    rng = np.random.default_rng(seed)
    texts = [f"d{rng.integers(8)}" for _ in range(14)]
    queries = ["q0", "q1", "q2", "q3", f"q{rng.integers(5)}"]
    owner = [*range(5), *rng.integers(5, size=9)]
    known = relevance_of_ids(
        queries, texts, owner, [right_of(texts[i], f"d{rng.integers(8)}") for i in range(5)]
    )
    grades = torch.from_numpy(rng.integers(1, 4, size=(5, 14)).astype(np.float32)) if graded else None
    known = Relevance(known.relevant, known.same_query, known.owner, grades)
    return Drawn(unit(5, dim, seed), unit(14, dim, seed + 1), known, texts)


def slow_info_nce(batch, temperature, margin, groups, mask_own=False, hardness=0.0):
    """Qwen3-Embedding report, eq. 1, term by term, for each target of each row."""
    total = 0.0
    for i in range(len(batch.queries)):
        terms, weights = [], []
        for p in batch.known.relevant[i].nonzero()[:, 0].tolist():
            positive = (batch.queries[i] @ batch.documents[p]).item()
            logits = [positive / temperature]
            logits += slow_documents(batch, i, positive + margin, temperature, groups, mask_own, hardness)
            logits += slow_rest(batch, i, p, positive + margin, temperature, groups)
            terms.append(math.log(sum(map(math.exp, logits))) - logits[0])
            weights.append(1.0 if batch.known.grades is None else 2.0 ** float(batch.known.grades[i, p]) - 1)
        total += np.dot(terms, weights) / sum(weights)
    return total / len(batch.queries)


def slow_documents(batch, i, limit, temperature, groups, mask_own, hardness):
    for j in range(len(batch.documents)):
        score, own = (batch.queries[i] @ batch.documents[j]).item(), batch.known.owner[j] == i
        if batch.known.relevant[i, j] or (score > limit and (mask_own or not own)):
            continue
        if own and Group.OWN in groups:
            yield score / temperature + hardness * score
        if not own and Group.OTHERS in groups:
            yield score / temperature


def slow_rest(batch, i, p, limit, temperature, groups):
    if Group.QUERIES in groups:
        for k in range(len(batch.queries)):
            score = (batch.queries[i] @ batch.queries[k]).item()
            if not batch.known.same_query[i, k] and score <= limit:
                yield score / temperature
    if Group.DOCUMENTS in groups:
        for j in range(len(batch.documents)):
            if not batch.known.relevant[i, j]:
                yield (batch.documents[p] @ batch.documents[j]).item() / temperature


def nce(batch: Drawn, **changed) -> torch.Tensor:
    asked = {"temperature": 0.2, "margin": 0.1, "groups": EVERY_GROUP} | changed
    return losses.info_nce(batch.queries, batch.documents, batch.known, **asked)


def pairs(n: int, same: torch.Tensor | None = None) -> Relevance:
    """n pairs without mined negatives; rows that are the same are not each other's targets."""
    same = torch.eye(n, dtype=torch.bool) if same is None else same
    return Relevance(same, same, torch.arange(n), grades=torch.eye(n))


# InfoNCE


@quick
@given(SEEDS, SOME_GROUPS, st.booleans(), st.booleans(), st.sampled_from([-0.2, 0.1, math.inf]))
def test_info_nce_equals_the_equation(seed, groups, graded, mask_own, margin):
    batch = drawn(seed, graded)
    asked = {"margin": margin, "groups": groups, "mask_own": mask_own, "hardness": 5.0}
    expected = slow_info_nce(batch, 0.2, **asked)
    assert math.isclose(nce(batch, **asked).item(), expected, rel_tol=1e-9, abs_tol=1e-12)


def test_pairs_alone_are_the_equation_without_mined_negatives():
    same = torch.eye(7, dtype=torch.bool)
    same[1, 2] = same[2, 1] = True
    q, d = unit(7, 16, 1), unit(7, 16, 2)
    total = 0.0
    for i in range(7):
        positive = q[i] @ d[i]
        others = [k for k in range(7) if not same[i, k]]
        near = [s for k in others for s in (q[i] @ q[k], q[i] @ d[k]) if s <= positive + 0.1]
        terms = torch.stack([positive, *near, *(d[i] @ d[k] for k in others)]) / 0.1
        total += (torch.logsumexp(terms, 0) - positive / 0.1).item() / 7
    got = losses.info_nce(q, d, pairs(7, same), temperature=0.1, margin=0.1, groups=EVERY_GROUP)
    assert math.isclose(got.item(), total, rel_tol=1e-9)


@quick
@given(SEEDS, SOME_GROUPS, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_documents_changes_nothing(seed, groups, random):
    batch = drawn(seed)
    rows, rest = list(range(5)), list(range(5, 14))
    random.shuffle(rows)
    random.shuffle(rest)
    columns = [*rows, *rest]
    place = torch.tensor([rows.index(i) for i in range(5)])
    moved = Drawn(
        batch.queries[rows],
        batch.documents[columns],
        Relevance(
            batch.known.relevant[rows][:, columns],
            batch.known.same_query[rows][:, rows],
            place[batch.known.owner[columns]],
        ),
        [batch.ids[c] for c in columns],
    )
    assert torch.isclose(nce(moved, groups=groups), nce(batch, groups=groups), rtol=1e-10)


@quick
@given(SEEDS)
def test_a_document_right_for_every_query_changes_nothing_as_no_target(seed):
    batch = drawn(seed, graded=True)
    n, known = 5, batch.known
    more = Relevance(
        torch.cat((known.relevant, torch.ones(n, 1, dtype=torch.bool)), 1),
        known.same_query,
        torch.cat((known.owner, torch.tensor([2]))),
        torch.cat((known.grades, torch.zeros(n, 1)), 1),
    )
    wider = Drawn(batch.queries, torch.cat((batch.documents, unit(1, 5, seed + 2))), more, batch.ids)
    assert torch.isclose(nce(wider), nce(batch), rtol=1e-12)


@quick
@given(SEEDS, st.sampled_from("abc"), SOME_GROUPS)
def test_a_copy_of_a_right_document_changes_nothing(seed, copied, groups):
    q, d = unit(1, 6, seed), unit(6, 6, seed + 1)
    right = [{"a": 1.0, "b": 2.0, "c": 1.0}]
    once = relevance_of_ids("q", "abcxyz", [0, 0, 1, 0, 1, 1], right)
    twice = relevance_of_ids("q", "abcxyz" + copied, [0, 0, 1, 0, 1, 1, 1], right)
    more = torch.cat((d, d["abc".index(copied)][None]))
    expected, got = (
        losses.info_nce(q, documents, known, temperature=0.2, margin=0.1, groups=groups)
        for documents, known in ((d, once), (more, twice))
    )
    assert torch.isclose(got, expected, rtol=1e-12)


@quick
@given(SEEDS, st.booleans())
def test_a_masked_negative_gets_no_gradient_and_own_ones_are_not_masked(seed, mask_own):
    # The query nearly is its mined negative, and far from its positive.
    query = unit(1, 6, seed)
    negative = F.normalize(query + 0.01 * unit(1, 6, seed + 1), dim=-1)
    documents = torch.cat((-query, negative)).requires_grad_()
    known = relevance_of_ids(["q"], ["right", "wrong"], [0, 0], [right_of("right")])
    loss = losses.info_nce(
        query, documents, known, temperature=0.2, margin=0.1, groups=QUERY_GROUPS, mask_own=mask_own
    )
    loss.backward()
    assert bool((documents.grad[1] == 0).all()) == mask_own
    assert (loss.item() == 0) == mask_own


def test_a_known_positive_is_no_negative_whoever_brought_it():
    q, d = unit(2, 6, 1), unit(2, 6, 2)
    known = relevance_of_ids("xy", "ab", range(2), [right_of("a", "b"), right_of("b")])
    own_targets = Relevance(known.relevant, known.same_query, known.owner, grades=torch.eye(2))
    got = losses.info_nce(q, d, own_targets, temperature=0.2, margin=9.0, groups=QUERY_GROUPS)
    # Row x has no negative left; a is a negative of y.
    assert torch.isclose(got, F.softplus((q[1] @ d[0] - q[1] @ d[1]) / 0.2) / 2)


def test_a_row_with_only_right_documents_gets_no_gradient():
    d = unit(2, 6, 2).requires_grad_()
    known = relevance_of_ids("x", "ab", [0, 0], [right_of("a", "b")])
    losses.info_nce(unit(1, 6, 1), d, known, temperature=0.2, margin=9.0, groups=EVERY_GROUP).backward()
    assert (d.grad == 0).all()


@quick
@given(SEEDS)
def test_classification_sees_its_own_wrong_labels_alone(seed):
    q, labels = unit(3, 6, seed), unit(9, 6, seed + 1)
    names = ["good", "bad", "good", *("bad", "good", "bad"), *("fair", "fair", "fair")]
    owner = [*range(3), *range(3), *range(3)]
    right = [right_of(name) for name in names[:3]]
    known = relevance_of_ids(range(3), names, owner, right)
    asked = {"temperature": 0.2, "margin": 0.1, "groups": OWN_GROUP}
    alone = [
        losses.info_nce(
            q[i : i + 1],
            labels[i::3],
            relevance_of_ids([i], names[i::3], [0, 0, 0], right[i : i + 1]),
            **asked,
        )
        for i in range(3)
    ]
    assert torch.isclose(losses.info_nce(q, labels, known, **asked), torch.stack(alone).mean())


def test_hardness_weighs_gradients_of_hard_negatives_more():
    query, right = unit(1, 6, 1), unit(1, 6, 2)
    near = F.normalize(query + 0.5 * unit(1, 6, 3), dim=-1)
    known = relevance_of_ids(["q"], ["right", "near"], [0, 0], [right_of("right")])

    def pull(hardness: float) -> torch.Tensor:
        documents = torch.cat((right, near)).requires_grad_()
        losses.info_nce(
            query, documents, known, temperature=1.0, margin=9.0, groups=OWN_GROUP, hardness=hardness
        ).backward()
        return documents.grad[1].norm()

    # d loss / d document = probability · query / τ: the added term has no gradient of its own.
    plain, hard = (query @ near.T - query @ right.T).item(), 5 * (query @ near.T).item()
    assert math.isclose(pull(0.0).item(), 1 / (1 + math.exp(-plain)), rel_tol=1e-9)
    assert math.isclose(pull(5.0).item(), 1 / (1 + math.exp(-plain - hard)), rel_tol=1e-9)


def test_info_nce_of_one_pair_is_nothing():
    got = losses.info_nce(
        unit(1, 4, 0), unit(1, 4, 1), pairs(1), temperature=0.05, margin=0.1, groups=EVERY_GROUP
    )
    assert got.item() == 0.0


def test_no_group_is_refused():
    with pytest.raises(InputError, match="no group"):
        nce(drawn(0), groups=frozenset())


@quick
@given(SEEDS, SOME_GROUPS)
def test_accuracy_is_the_share_of_rows_won(seed, groups):
    batch = drawn(seed)
    won = 0
    for i in range(5):
        scores = (batch.documents @ batch.queries[i]).tolist()
        mine, known = batch.known.owner == i, batch.known.relevant[i]
        asked = [(Group.OWN if mine[j] else Group.OTHERS) in groups for j in range(14)]
        wrong = [s for j, s in enumerate(scores) if asked[j] and not known[j]]
        won += max(s for j, s in enumerate(scores) if known[j]) > max(wrong, default=-math.inf)
    got = losses.accuracy(batch.queries, batch.documents, batch.known, groups=groups)
    assert math.isclose(got.item(), won / 5)


def test_vectors_fallen_together_have_no_accuracy():
    one = torch.ones(4, 1)
    assert losses.accuracy(one, one, pairs(4), groups=QUERY_GROUPS).item() == 0.0


# What is known of a batch


@quick
@given(st.data())
def test_relevance_is_what_the_ids_say(data):
    n, total = 4, 9
    names, row = st.integers(0, 5), st.integers(0, n - 1)
    queries = data.draw(st.lists(names, min_size=n, max_size=n))
    documents = data.draw(st.lists(names, min_size=total, max_size=total))
    owner = [*range(n), *data.draw(st.lists(row, min_size=total - n, max_size=total - n))]
    more = st.dictionaries(names, st.floats(1, 3, width=32), max_size=2)
    right = [data.draw(more) | {documents[i]: 1.0} for i in range(n)]
    known = relevance_of_ids(queries, documents, owner, right)
    for i in range(n):
        mine = [right[k] for k in range(n) if queries[k] == queries[i]]
        ids = set().union(*mine)
        assert known.relevant[i].tolist() == [document in ids for document in documents]
        for document in ids & set(documents):
            copies = [c for c in range(total) if documents[c] == document]
            [target] = [c for c in copies if known.grades[i, c] > 0]
            assert known.grades[i, target] == max(r.get(document, 0.0) for r in mine)
            assert owner[target] == i or all(owner[c] != i for c in copies)
        for k in range(n):
            theirs = set().union(*(right[m] for m in range(n) if queries[m] == queries[k]))
            assert bool(known.same_query[i, k]) == bool(ids & theirs)


def test_what_does_not_fit_a_batch_is_refused_in_words():
    eye = torch.eye(3, dtype=torch.bool)
    own = torch.arange(3)
    wrong = {
        "shapes": lambda: Relevance(eye, eye[:2, :2], own),
        "fewer documents": lambda: Relevance(eye[:, :2], eye, own[:2]),
        "not brought by row": lambda: Relevance(eye, eye, own.flip(0)),
        "own positive": lambda: Relevance(~eye, eye, own),
        "same as itself": lambda: Relevance(eye, ~eye, own),
        "below 0": lambda: Relevance(eye, eye, own, grades=-torch.eye(3)),
        "no target": lambda: Relevance(eye, eye, own, grades=torch.zeros(3, 3)),
    }
    for cause, make in wrong.items():
        with pytest.raises(InputError, match=cause):
            make()
    with pytest.raises(InputError, match="own positive"):
        relevance_of_ids(["q"], ["d"], [0], [right_of("e")])


# Graded pairs, teachers, verdicts


def test_cosent_equals_the_sum_over_misordered_pairs():
    scores = torch.tensor([0.9, 0.2, 0.5], dtype=torch.float64)
    grades = torch.tensor([1.0, 2.0, 2.0])
    terms = [
        math.exp((scores[j] - scores[i]) / 0.05) for i in range(3) for j in range(3) if grades[i] > grades[j]
    ]
    assert math.isclose(losses.cosent(scores, grades).item(), math.log(1 + sum(terms)), rel_tol=1e-9)
    assert losses.cosent(scores, torch.ones(3)).item() == 0.0


def test_a_row_without_a_target_adds_nothing_to_the_mean():
    vectors, targets = unit(4, 6, 1), unit(4, 6, 2)
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5], dtype=torch.float64)
    expected = sum(w * (1 - v @ t) for w, v, t in zip(weights, vectors, targets, strict=True)) / 4
    assert torch.isclose(losses.to_teacher(vectors, targets, weights), expected)
    assert torch.isclose(losses.to_teacher(vectors, targets), 1 - (vectors * targets).sum(1).mean())


def known_columns(seed: int) -> torch.Tensor:
    """Rows that lack some documents, and one that lacks all."""
    known = torch.rand(4, 5, generator=torch.Generator().manual_seed(seed)) < 0.7
    known[0] = False
    known[1] = True
    return known


@quick
@given(SEEDS)
def test_score_distillation_is_the_cross_entropy_less_the_teachers_entropy(seed):
    scores, teacher, known = unit(4, 5, seed), 4 * unit(4, 5, seed + 1), known_columns(seed)
    total = 0.0
    for row in range(4):
        columns = [j for j in range(5) if known[row, j]]
        p = [math.exp(teacher[row, j] / 2) for j in columns]
        q = [math.exp(scores[row, j] / 0.1) for j in columns]
        total += sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    got = losses.score_distillation(scores, teacher, temperature=0.1, teacher_temperature=2.0, known=known)
    assert math.isclose(got.item(), total / 4, rel_tol=1e-9, abs_tol=1e-12)


def test_a_student_that_agrees_has_nothing_to_learn():
    scores = unit(3, 4, 1).requires_grad_()
    loss = losses.score_distillation(scores, scores.detach() / 0.1, temperature=0.1)
    loss.backward()
    assert abs(loss.item()) < 1e-12
    assert scores.grad.abs().max() < 1e-12
    logits = torch.tensor([-3.0, 0.0, 2.0], dtype=torch.float64)
    assert abs(losses.judge_distillation(logits, torch.sigmoid(logits)).item()) < 1e-12
    assert losses.margin_mse(scores, scores.detach() + 7.0).item() < 1e-24


@quick
@given(SEEDS)
def test_margin_mse_compares_margins(seed):
    scores, teacher, known = unit(4, 5, seed), unit(4, 5, seed + 1), known_columns(seed)
    squares = [
        ((scores[i, 0] - scores[i, j]) - (teacher[i, 0] - teacher[i, j])).item() ** 2
        for i in range(4)
        for j in range(1, 5)
        if known[i, 0] and known[i, j]
    ]
    assert math.isclose(losses.margin_mse(scores, teacher, known).item(), np.mean(squares), rel_tol=1e-9)
    assert losses.margin_mse(scores, teacher, torch.zeros_like(known)).item() == 0.0


def test_judge_distillation_is_a_divergence_of_two_answers():
    logits, theirs = torch.tensor([0.3, -2.0, 1.0, 4.0]), torch.tensor([0.9, 0.2, 0.0, 1.0])
    weights, total = torch.tensor([1.0, 2.0, 1.0, 0.5]), 0.0
    for z, t, w in zip(logits.tolist(), theirs.tolist(), weights.tolist(), strict=True):
        p = 1 / (1 + math.exp(-z))
        total += w * sum(a * math.log(a / b) for a, b in ((t, p), (1 - t, 1 - p)) if a > 0) / 4
    assert math.isclose(losses.judge_distillation(logits, theirs, weights).item(), total, rel_tol=1e-5)


def test_yes_no_is_the_log_of_the_answers_probability():
    logits, labels = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0])
    terms = [-math.log(1 / (1 + math.exp(-2))), -math.log(1 - 1 / (1 + math.exp(1)))]
    assert math.isclose(losses.yes_no(logits, labels).item(), sum(terms) / 2, rel_tol=1e-6)
    weighed = losses.yes_no(logits, labels, torch.tensor([3.0, 0.0]))
    assert math.isclose(weighed.item(), 3 * terms[0] / 2, rel_tol=1e-6)


@quick
@given(SEEDS)
def test_listwise_sets_each_right_document_against_those_less_right(seed):
    logits, known = 3 * unit(4, 5, seed), known_columns(seed)
    grades = torch.randint(0, 3, (4, 5), generator=torch.Generator().manual_seed(seed)).double()
    total = 0.0
    for row in range(4):
        terms, weights = [], []
        for p in range(5):
            if grades[row, p] == 0 or not known[row, p]:
                continue
            mine = math.exp(logits[row, p] / 0.5)
            less = [j for j in range(5) if known[row, j] and grades[row, j] < grades[row, p]]
            terms.append(-math.log(mine / (mine + sum(math.exp(logits[row, j] / 0.5) for j in less))))
            weights.append(2 ** grades[row, p].item() - 1)
        total += np.dot(terms, weights) / sum(weights) / 4 if terms else 0.0
    got = losses.listwise(logits, grades, temperature=0.5, known=known)
    assert math.isclose(got.item(), total, rel_tol=1e-9, abs_tol=1e-12)


def test_listwise_without_grades_picks_the_first_column():
    logits = torch.tensor([[5.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    assert torch.isclose(losses.listwise(logits), F.cross_entropy(logits, torch.zeros(2, dtype=torch.long)))


# Forms


def test_matryoshka_cuts_before_it_normalises():
    vectors, targets = unit(3, 8, 1) * 3, unit(3, 8, 2) / 2
    parts = [1 - F.cosine_similarity(vectors[:, :w], targets[:, :w]).mean() for w in (2, 8)]
    got = losses.matryoshka((2, 8), losses.to_teacher, vectors, targets)
    assert torch.isclose(got, torch.stack(parts).mean())
    weighed = losses.matryoshka((2, 8), losses.to_teacher, vectors, targets, weights=(3.0, 1.0))
    assert torch.isclose(weighed, (3 * parts[0] + parts[1]) / 4)


def test_matryoshka_keeps_the_digits_of_a_half_precision_step():
    states = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    seen = []

    def loss(cut: torch.Tensor) -> torch.Tensor:
        seen.append((cut @ cut.T).dtype)
        return cut.sum()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses.matryoshka((4, 8), loss, states.bfloat16())
    assert seen == [torch.float32, torch.float32]


def test_widths_and_weights_that_do_not_fit_are_refused():
    for widths in ((), (4, 9), (0,)):
        with pytest.raises(InputError, match="widths"):
            losses.matryoshka(widths, losses.to_teacher, unit(2, 8, 0), unit(2, 8, 1))
    for weights in ((1.0,), (0.0, 0.0), (2.0, -1.0)):
        with pytest.raises(InputError, match="weights"):
            losses.matryoshka((4, 8), losses.to_teacher, unit(2, 8, 0), unit(2, 8, 1), weights=weights)


@quick
@given(SEEDS)
def test_the_stored_forms_are_those_of_the_index(seed):
    exact = unit(6, 32, seed).float()
    scale = finished.int8_scale(exact.numpy(), 32)
    codes = finished.quantize(exact.numpy(), "int8", scale).astype(np.float32)
    seen = losses.quantized(exact, "int8", scale=scale).numpy()
    assert np.abs(seen - codes * np.float32(scale)).max() < 1e-6
    signs = np.unpackbits(finished.quantize(exact.numpy(), "ubinary"), axis=-1).astype(np.float32) * 2 - 1
    assert np.allclose(losses.quantized(exact, "binary").numpy(), signs / math.sqrt(32))
    own = losses.quantized(exact, "int8")
    steps = exact.abs().amax(1, keepdim=True) / 127
    assert ((own - exact).abs() <= steps / 2 + 1e-6).all()
    assert torch.allclose(own / steps, (own / steps).round(), atol=1e-3)
    assert losses.quantized(exact, "float32") is exact


def test_gradients_pass_straight_through_but_not_where_clipped():
    vectors = torch.tensor([[0.9, -0.3, 0.1, 0.0]], dtype=torch.float64, requires_grad=True)
    coefficients = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)

    def gradient(form: str, **asked) -> list[float]:
        loss = (losses.quantized(vectors, form, **asked) * coefficients).sum()
        return torch.autograd.grad(loss, vectors)[0][0].tolist()

    assert gradient("int8") == [1.0, 2.0, 3.0, 4.0]
    assert gradient("int8", scale=0.5 / 127) == [0.0, 2.0, 3.0, 4.0]
    assert gradient("binary") == [0.0, 2.0, 3.0, 4.0]
    assert gradient("binary", reach=math.inf) == [1.0, 2.0, 3.0, 4.0]


@quick
@given(SEEDS)
def test_a_loss_through_int8_has_the_gradient_of_its_codes(seed):
    batch = drawn(seed, dim=16)
    d = batch.documents
    through, at = batch.queries.clone().requires_grad_(), losses.quantized(batch.queries, "int8").clone()
    asked = {"temperature": 0.2, "margin": 0.1, "groups": EVERY_GROUP}
    losses.info_nce(losses.quantized(through, "int8"), d, batch.known, **asked).backward()
    losses.info_nce(at.requires_grad_(), d, batch.known, **asked).backward()
    assert torch.allclose(through.grad, at.grad)


def test_a_zero_vector_has_a_stored_form():
    zero = torch.zeros(1, 4, requires_grad=True)
    for form in losses.STORED_FORMS:
        assert torch.isfinite(losses.quantized(zero, form)).all()


def test_unknown_forms_and_scales_are_refused():
    with pytest.raises(InputError, match="int4"):
        losses.quantized(unit(1, 4, 0), "int4")
    for scale in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="scale"):
            losses.quantized(unit(1, 4, 0), "int8", scale=scale)


@quick
@given(SEEDS)
def test_spread_out_is_made_of_two_moments_of_the_cosines(seed):
    vectors = unit(5, 3, seed)
    same = torch.zeros(5, 5, dtype=torch.bool)
    same[1, 3] = same[3, 1] = True
    for left_out in (None, same):
        cosines = [
            (vectors[i] @ vectors[j]).item()
            for i in range(5)
            for j in range(5)
            if i != j and not (left_out is not None and left_out[i, j])
        ]
        first, second = np.mean(cosines) ** 2, max(np.mean(np.square(cosines)) - 1 / 3, 0)
        got = losses.spread_out(vectors, mean_weight=2.0, moment_weight=3.0, same=left_out)
        assert math.isclose(got.item(), 2 * first + 3 * second, rel_tol=1e-9, abs_tol=1e-15)


def test_one_vector_has_nothing_to_spread_from():
    vector = unit(1, 4, 0).requires_grad_()
    loss = losses.spread_out(vector, mean_weight=1.0, moment_weight=1.0)
    loss.backward()
    assert loss.item() == 0.0
    assert (vector.grad == 0).all()


# Gradients


@pytest.mark.parametrize("groups", [EVERY_GROUP, QUERY_GROUPS, OWN_GROUP], ids=["all", "retrieval", "own"])
@pytest.mark.parametrize("graded", [False, True])
def test_gradients_of_info_nce_agree_with_finite_differences(groups, graded):
    batch = drawn(11, graded)
    q, d = batch.queries.requires_grad_(), batch.documents.requires_grad_()

    def contrast(q, d):
        return losses.info_nce(q, d, batch.known, temperature=0.3, margin=0.1, groups=groups)

    assert torch.autograd.gradcheck(contrast, (q, d))
    assert torch.autograd.gradcheck(
        lambda q, d: losses.matryoshka((3, 5), contrast, q, d, weights=(1.0, 2.0)), (q, d)
    )


def test_gradients_of_the_others_agree_with_finite_differences():
    a, b = unit(4, 5, 3).requires_grad_(), unit(4, 5, 4)
    known, weights = known_columns(2), torch.tensor([1.0, 0.0, 2.0, 0.5], dtype=torch.float64)
    grades = torch.tensor([[0, 1, 2, 0, 1], [0, 0, 0, 0, 0], [2, 1, 0, 0, 0], [1, 1, 1, 0, 2]])
    probabilities = torch.sigmoid(3 * b)
    checked = {
        "cosent": lambda a: losses.cosent((a * b).sum(-1), grades[:, 2], temperature=0.3),
        "to_teacher": lambda a: losses.to_teacher(a, b, weights),
        "scores": lambda a: losses.score_distillation(a, 4 * b, temperature=0.3, known=known),
        "margins": lambda a: losses.margin_mse(a, b, known),
        "verdicts": lambda a: losses.judge_distillation(a, probabilities),
        "yes_no": lambda a: losses.yes_no(a, (b > 0).double()),
        "listwise": lambda a: losses.listwise(a, grades, temperature=0.5, known=known),
        "spread": lambda a: losses.spread_out(a, mean_weight=1.0, moment_weight=1.0),
    }
    for name, loss in checked.items():
        assert torch.autograd.gradcheck(loss, (a,)), name
        assert torch.isfinite(torch.autograd.grad(loss(a), a)[0]).all(), name


@pytest.mark.slow
def test_two_houses_agree():
    """sentence-transformers' joint InfoNCE with its hardness, orthogonal regularisation and CoSENT."""
    from sentence_transformers.sentence_transformer import losses as theirs

    q, positives, mined = unit(6, 8, 1), unit(6, 8, 2), unit(6, 8, 3)
    names = [f"d{i}" for i in range(12)]
    known = relevance_of_ids(range(6), names, [*range(6), *range(6)], [right_of(n) for n in names[:6]])
    for directions, groups in (
        (("query_to_doc",), QUERY_GROUPS),
        (("query_to_doc", "query_to_query"), QUERY_GROUPS | {Group.QUERIES}),
    ):
        other = theirs.MultipleNegativesRankingLoss(
            None, scale=10.0, directions=directions, hardness_mode="hard_negatives", hardness_strength=5.0
        )
        expected = other.compute_loss_from_embeddings([q, positives, mined], torch.zeros(6))
        got = losses.info_nce(
            q, torch.cat((positives, mined)), known, temperature=0.1, margin=9.0, groups=groups, hardness=5.0
        )
        assert torch.isclose(got, expected)
    regular = theirs.GlobalOrthogonalRegularizationLoss(None).compute_gor(q)
    assert torch.isclose(losses.spread_out(q, mean_weight=1.0, moment_weight=1.0), sum(regular))
    grades = torch.tensor([0.0, 1.0, 1.0, 2.0, 3.0, 0.0], dtype=torch.float64)
    ranked = theirs.CoSENTLoss(None).compute_loss_from_embeddings([q, positives], grades)
    assert torch.isclose(losses.cosent((q * positives).sum(1), grades), ranked)


def test_a_vector_without_leading_components_has_a_small_gradient():
    vectors = torch.randn(6, 16, generator=torch.Generator().manual_seed(3))
    vectors[2, :8] = 0.0
    vectors.requires_grad_()
    losses.matryoshka((8, 16), lambda v: v.sum(), vectors).backward()
    assert vectors.grad is not None
    assert float(vectors.grad.abs().max()) < 10
