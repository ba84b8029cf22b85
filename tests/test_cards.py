"""Model cards: the data's licences, and what was measured in the report's own numbers."""

from lingxi import cards
from lingxi.evaluate.report import Score
from lingxi.manifest import Manifest

SCORES = (
    Score("tatoeba", "mean of 2", "nano", "accuracy", 0.315, 0.3, 0.33, 20),
    Score("tatoeba", "mean of 2", "BM25", "accuracy", 0.05, 0.04, 0.06, 20),
    Score("tatoeba", "spa", "nano", "accuracy", 0.421, 0.4, 0.45, 10),
    Score("tatoeba", "deu", "nano", "accuracy", 0.21, 0.2, 0.25, 10),
    Score("cosqa", "en>python", "nano", "ndcg@10", 0.36, 0.3, 0.4, 10),
)


def test_a_card_names_the_licence_of_every_source_it_kept():
    counts = {
        "by_source": {"a": {"rows": 10, "kept": 4}, "b": {"rows": 3, "kept": 0}},
        "licences": {"a": "CC BY 4.0", "b": "CC BY-NC"},
    }
    text = cards.card("embedder", "nano", Manifest("curate", "", {}, {}, {}, counts, 0.0))
    assert "| a | CC BY 4.0 | 4 | 10 |" in text
    assert "| b |" not in text


def test_a_card_shows_the_report_s_numbers():
    text = cards.measured("# a card\n", SCORES, {"spa"})
    assert text.startswith("# a card\n\n## Measured\n")
    assert "| set | language | metric × 100 | nano | BM25 |" in text
    assert "| tatoeba | mean of 2 | accuracy | 31.5 [30.0, 33.0] | 5.0 [4.0, 6.0] |" in text
    assert "| tatoeba | spa | accuracy | 42.1 [40.0, 45.0] |  |" in text
    assert "| cosqa | en>python | ndcg@10 | 36.0 [30.0, 40.0] |  |" in text
