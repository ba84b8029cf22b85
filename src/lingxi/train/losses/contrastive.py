"""Losses that compare the vectors of a batch with one another: InfoNCE in groups, CoSENT."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch.nn import functional as F

from lingxi.errors import InputError
from lingxi.train.losses.relevance import Relevance

Tensor = torch.Tensor


class Group(StrEnum):
    """A group of negatives in the denominator of `info_nce`."""

    OWN = "own"
    """the negatives that the row itself brought: mined ones, or wrong labels"""
    OTHERS = "others"
    """the documents, positives and negatives, that other rows brought"""
    QUERIES = "queries"
    """the other queries, against the query"""
    DOCUMENTS = "documents"
    """all documents that are not right for the query, against its positive"""


# The whole of eq. 1 (bitext, weakly supervised pairs); retrieval once supervised, which drops two
# groups; classification, whose other rows may bear the same label. Qwen3-VL-Embedding report, 5.
EVERY_GROUP: frozenset[Group] = frozenset(Group)
QUERY_GROUPS: frozenset[Group] = frozenset({Group.OWN, Group.OTHERS})
OWN_GROUP: frozenset[Group] = frozenset({Group.OWN})


def info_nce(
    queries: Tensor,
    documents: Tensor,
    relevance: Relevance,
    *,
    temperature: float,
    margin: float,
    groups: frozenset[Group],
    mask_own: bool = False,
    hardness: float = 0.0,
) -> Tensor:
    """Contrastive loss of Qwen3-Embedding (arXiv 2506.05176, eq. 1) over one batch, mean of the rows.

    `queries` [n, dim] and `documents` [D, dim] are unit vectors, the rows' own positives first.
    With s the cosine, p a target of row i and N the negatives of `groups`,
    ℓ(i, p) = −log(e^{s(q_i,d_p)/τ} / (e^{s(q_i,d_p)/τ} + Σ_N e^{s/τ})); a row's loss is the mean
    over its targets, weighed by grade. A document relevant to the row is never its negative.
    Negatives scoring more than `margin` above s(q_i,d_p) are masked among other rows' documents and
    among queries; own ones only with `mask_own`, since they were chosen with care (ms-swift#6969).
    `hardness` α adds α·stopgrad(s) to the logits of own negatives (EmbeddingGemma, arXiv
    2509.20354, there 5). A row without a negative in `groups` adds 0 to the sum over rows. Raises
    InputError where no group is named.
    """
    if not groups:
        raise InputError(
            "the contrastive loss has no group of negatives", f"name some of: {', '.join(Group)}"
        )
    weights = relevance.weights().to(queries.dtype)
    rows, targets = weights.nonzero(as_tuple=True)
    positive = (queries[rows] * documents[targets]).sum(-1)
    limit = (positive.detach() + margin)[:, None]
    blocks = [positive[:, None] / temperature]
    if groups & QUERY_GROUPS:
        scores, own = (queries @ documents.T)[rows], relevance.own()[rows]
        # The hardness is not scaled by the temperature, as in the source.
        harder = scores / temperature + hardness * scores.detach() * own
        above = (scores > limit) & (mask_own | ~own)
        blocks.append(_without(harder, above | ~_negatives(relevance, groups)[rows]))
    if Group.QUERIES in groups:
        scores = (queries @ queries.T)[rows]
        blocks.append(_without(scores / temperature, (scores > limit) | relevance.same_query[rows]))
    if Group.DOCUMENTS in groups:
        scores = documents[targets] @ documents.T
        blocks.append(_without(scores / temperature, relevance.relevant[rows]))
    logits = torch.cat(blocks, dim=1)
    # Not logsumexp less the positive: near 0 the difference of two large numbers has few digits.
    losses = F.cross_entropy(logits, torch.zeros_like(rows), reduction="none")
    shares = weights / weights.sum(1, keepdim=True)
    return (losses * shares[rows, targets]).sum() / len(queries)


def _without(logits: Tensor, hidden: Tensor) -> Tensor:
    return logits.masked_fill(hidden, -torch.inf)


def accuracy(queries: Tensor, documents: Tensor, relevance: Relevance, *, groups: frozenset[Group]) -> Tensor:
    """Share of queries whose best relevant document scores above every negative of `groups`, no gradient.

    `queries` [n, dim], `documents` [D, dim] as in `info_nce`; a tie is wrong, so that vectors
    fallen together score 0; nothing is masked by margin.
    """
    scores = (queries @ documents.T).detach()
    right = _without(scores, ~relevance.relevant).amax(1)
    wrong = _without(scores, ~_negatives(relevance, groups)).amax(1)
    return (right > wrong).to(scores.dtype).mean()


def _negatives(relevance: Relevance, groups: frozenset[Group]) -> Tensor:
    """[n, D] bool: the documents that `groups` set against each query."""
    own = relevance.own()
    among = torch.zeros_like(own)
    if Group.OWN in groups:
        among |= own
    if Group.OTHERS in groups:
        among |= ~own
    return among & ~relevance.relevant


def cosent(scores: Tensor, grades: Tensor, *, temperature: float = 0.05) -> Tensor:
    """CoSENT (Su 2022): log(1 + Σ exp((s_j − s_i)/τ)) over pairs of rows with grade_i > grade_j.

    `scores` [n] are cosines, `grades` [n] any ordered labels.
    """
    gaps = (scores[None, :] - scores[:, None]) / temperature
    wrong = gaps.masked_fill(grades[:, None] <= grades[None, :], -torch.inf).flatten()
    return torch.logsumexp(torch.cat((scores.new_zeros(1), wrong)), dim=0)
