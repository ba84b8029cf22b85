"""Model cards: the data's licences, and what was measured in the report's own numbers."""

from typing import get_args

import pytest

from lingxi import cards
from lingxi.evaluate.report import Score
from lingxi.manifest import Manifest
from lingxi.train.settings import TeacherSettings, TrainSettings

SCORES = (
    Score("tatoeba", "mean of 2", "nano", "accuracy", 0.315, 0.3, 0.33, 20),
    Score("tatoeba", "mean of 2", "BM25", "accuracy", 0.05, 0.04, 0.06, 20),
    Score("tatoeba", "spa", "nano", "accuracy", 0.421, 0.4, 0.45, 10),
    Score("tatoeba", "deu", "nano", "accuracy", 0.21, 0.2, 0.25, 10),
    Score("cosqa", "en>python", "nano", "ndcg@10", 0.36, 0.3, 0.4, 10),
)


PHASE = {"steps": 10, "learning_rate": 1e-3, "token_learning_rate": 1e-3, "warmup_steps": 1}
TUNED = TrainSettings.model_validate(
    {
        "start": "org/base",
        "dims": [64, 128],
        "weak": {**PHASE, "batch_pairs": 32, "max_tokens": 96},
        "reranker": {**PHASE, "batch_queries": 8, "start": "org/judge", "max_tokens": 200},
        "teacher": {"package": "a_teacher"},
        "limits": ["Little of it is spoken language."],
    }
)
SCRATCH = TrainSettings.model_validate(
    {
        "tokenizer": {"vocab": 600, "characters_per_language": 1000},
        "lexicon": {**PHASE, "batch_pairs": 32},
        "reranker": {**PHASE, "batch_queries": 8},
    }
)
CURATED = Manifest("curate", "", {}, {}, {}, {"by_source": {}, "licences": {}}, 0.0)


def test_a_card_says_what_a_model_is_of_and_how_it_was_trained():
    text = cards.card("embedder", "mine", [CURATED], TUNED)
    assert "base_model: org/base\n" in text and "license:" not in text
    assert "`org/base` tuned by lingxi as a text embedder (all its weights)." in text
    assert "| weak | 10 | 32 pairs | 0.001 | 96 tokens |" in text
    assert "the trained widths 64, 128" in text
    assert "teacher `a_teacher`" in text
    assert "cut to 96 tokens" in text
    assert "- Little of it is spoken language." in text


@pytest.mark.parametrize("reads", get_args(TeacherSettings.model_fields["reads"].annotation))
def test_a_card_says_what_a_teacher_read_whatever_it_was(reads: str) -> None:
    taught = TUNED.model_copy(update={"teacher": TeacherSettings(package="a_teacher", reads=reads)})
    assert "translations" in cards.card("embedder", "mine", [CURATED], taught)


def test_a_reranker_s_card_is_of_its_own_phases():
    text = cards.card("reranker", "mine", [CURATED], TUNED)
    assert "base_model: org/judge\n" in text and "org/base" not in text
    assert "| reranker | 10 | 8 queries |" in text and "| weak |" not in text
    assert "a_teacher" not in text, "it gave the reranker no scores"
    assert "cut to 200 tokens" in text
    text = cards.card("reranker", "mine", [CURATED], SCRATCH)
    assert "license: apache-2.0" in text and "trained from scratch" in text
    assert "| lexicon |" in text and "| reranker |" in text


def test_a_card_names_the_licence_of_every_source_it_kept():
    counts = {
        "by_source": {"a": {"rows": 10, "kept": 4}, "b": {"rows": 3, "kept": 0}},
        "licences": {"a": "CC BY 4.0", "b": "CC BY-NC"},
    }
    text = cards.card("embedder", "nano", [Manifest("curate", "", {}, {}, {}, counts, 0.0)], TUNED)
    assert "| a | CC BY 4.0 | 4 | 10 |" in text
    assert "| b |" not in text


def test_a_card_shows_the_report_s_numbers():
    text = cards.measured("# a card\n", SCORES, {"spa"})
    assert text.startswith("# a card\n\n## Measured\n")
    assert "| set | language | metric × 100 | nano | BM25 |" in text
    assert "| tatoeba | mean of 2 | accuracy | 31.5 [30.0, 33.0] | 5.0 [4.0, 6.0] |" in text
    assert "| tatoeba | spa | accuracy | 42.1 [40.0, 45.0] |  |" in text
    assert "| cosqa | en>python | ndcg@10 | 36.0 [30.0, 40.0] |  |" in text
