"""Losses as small pure functions, each with its equation's source.

In: vectors of unit length or logits, and what is known of them. Out: a scalar. `matryoshka` cuts,
normalises and hands on, so that every loss sees vectors as they are when the model is used;
`quantized` in between shows it the stored form.

relevance.py    which document is right for which query, by id · contrastive.py    InfoNCE, CoSENT
distillation.py vectors and scores of a teacher · judging.py    the reranker's yes and no
forms.py        widths, stored forms, and how far vectors spread
"""

from lingxi.train.losses.contrastive import (
    EVERY_GROUP,
    OWN_GROUP,
    QUERY_GROUPS,
    Group,
    accuracy,
    cosent,
    info_nce,
)
from lingxi.train.losses.distillation import (
    judge_distillation,
    margin_mse,
    score_distillation,
    to_teacher,
)
from lingxi.train.losses.forms import STORED_FORMS, Stored, matryoshka, quantized, spread_out
from lingxi.train.losses.judging import listwise, yes_no
from lingxi.train.losses.relevance import Relevance, relevance_of_ids

__all__ = [
    "EVERY_GROUP",
    "OWN_GROUP",
    "QUERY_GROUPS",
    "STORED_FORMS",
    "Group",
    "Relevance",
    "Stored",
    "accuracy",
    "cosent",
    "info_nce",
    "judge_distillation",
    "listwise",
    "margin_mse",
    "matryoshka",
    "quantized",
    "relevance_of_ids",
    "score_distillation",
    "spread_out",
    "to_teacher",
    "yes_no",
]
