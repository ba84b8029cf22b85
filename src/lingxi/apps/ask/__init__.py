"""Answers with citations, from an index and, if there is one, a language model.

Comes in: a question. On the way: `adaptive` reranks no more than it takes, `orders` (by `order_rules`) and
`plain` take the orders out of passages, `evidence` scores their sentences, `signals` and `calibration`
say whether they answer, `prompt` and `llm` ask a model, `verify` holds what it says against what it cites,
`extract` answers without one.
`conversation` keeps turns, `calibrate` measures thresholds. Goes out: an `Answer`.
"""

from lingxi.apps.ask.answering import ask
from lingxi.apps.ask.calibrate import calibrate
from lingxi.apps.ask.calibration import Calibration, read_calibration
from lingxi.apps.ask.conversation import Conversation
from lingxi.apps.ask.llm import opened
from lingxi.apps.ask.passages import Passages
from lingxi.apps.ask.records import Answer, Citation, Flag, Reranking, Statement
from lingxi.apps.ask.settings import AskSettings, LlmSettings

__all__ = [
    "Answer",
    "AskSettings",
    "Calibration",
    "Citation",
    "Conversation",
    "Flag",
    "LlmSettings",
    "Passages",
    "Reranking",
    "Statement",
    "ask",
    "calibrate",
    "opened",
    "read_calibration",
]
