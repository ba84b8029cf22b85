"""Other wordings of the instructions that rows carry: with one a model learns the string and not the task.

The first of each is what serving uses; in training any is drawn, so that users may write their own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lingxi.collect import instructions as told

OTHER_WORDS: Mapping[str, tuple[str, ...]] = {
    told.PARALLEL: ("Find the translation of the sentence", "Given a sentence, retrieve its translation"),
    told.SIMILAR: ("Retrieve text that means the same", "Given a text, find texts with the same meaning"),
    told.SEARCH: (
        "Given a search query, find the passages that answer it",
        "Retrieve documents that are relevant to the query",
    ),
    told.WIKIPEDIA: (
        "Given a question, find the encyclopedia passage that answers it",
        "Retrieve the passage that holds the answer to the question",
    ),
    told.QUESTION: ("Given a question, find questions that ask the same",),
    told.MEDICAL: (
        "Given a question about health, retrieve the answer",
        "Find answers of doctors to the patient's question",
    ),
    told.CODING: (
        "Given a programming question, retrieve the code that answers it",
        "Find code that solves the problem",
    ),
    told.COMMENT: ("Given a comment, find the code it documents", "Retrieve the function that does this"),
    told.SAME_CODE: ("Given code, find code that does the same in another language",),
    told.BANKING: ("Given a message to a bank, find messages with the same intent",),
    told.POLICY: ("Find the part of the privacy policy that answers the question",),
    told.MEETING: ("Find what was said in the meeting about the question",),
    told.SHELL: ("Given a task, find the command that does it", "Retrieve the shell command"),
    told.TOPIC: ("Find sentences about the same topic",),
    told.TITLE: ("Given a title, find the text that goes with it",),
    told.ANSWER: ("Find the passage that answers the question",),
    told.SYNOPSIS: ("Given one line about a program, find its full description",),
}


def worded(instruction: str, rng: np.random.Generator, rate: float) -> str:
    """The instruction, or at `rate` (0 to 1) one of its other wordings where it has any."""
    others = OTHER_WORDS.get(instruction, ())
    if not others or rng.random() >= rate:
        return instruction
    return others[int(rng.integers(len(others)))]
