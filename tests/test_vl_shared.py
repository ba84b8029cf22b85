"""What pairs with pictures begin with alike is computed once, and the scores stay what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL", reason="pictures need Pillow (extra vision)")
pytest.importorskip("transformers", reason="the toy models are written by transformers")

from lingxi import Reranker
from lingxi.engine.looking import Part, told_apart, visible
from lingxi.engine.seen import states_of
from lingxi.model import messages
from lingxi.model.seen import Seen
from toys import gap
from vl_toys import noise, write_vl

QUERY = {"text": "Which of these shows the same street?", "image": noise(260, 330, 1)}
DOCUMENTS: list[Any] = [
    "a text about a street",
    {"image": noise(90, 70, 2)},
    {"text": "a caption", "image": noise(64, 64, 3)},
    noise(120, 40, 4),
    "another text, a little longer than the first one is",
    {"text": "two", "image": [noise(64, 64, 3), noise(33, 80, 5)]},
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vl(tmp_path_factory.mktemp("shared") / "reranker", "reranker")


@pytest.fixture(scope="module", params=["torch", None], ids=["torch", "native"])
def reranker(request: pytest.FixtureRequest, directory: Path) -> Reranker:
    return Reranker(directory, engine=request.param)


class Counting:
    """A network that counts the tokens it is given."""

    def __init__(self, of: Any) -> None:
        self._of, self.tokens = of, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def __call__(self, packed: Any, prefix: Any = None) -> Any:
        self.tokens += len(packed.ids)
        return self._of(packed, prefix)

    def prefix(self, ids: list[int], after: Any = None, visual: Any = None) -> Any:
        self.tokens += len(ids)
        return self._of.prefix(ids, after, visual)


def counted(reranker: Reranker, sequences: list[Any], share: bool) -> tuple[np.ndarray, int]:
    from dataclasses import replace

    network = Counting(reranker.judge.seeing.networks[0])
    seeing = replace(reranker.judge.seeing, networks=[network])
    return states_of(seeing, sequences, share=share).numpy(), network.tokens


def test_a_query_with_a_picture_is_read_once(reranker: Reranker) -> None:
    sequences = reranker.token_ids([(_mixed(QUERY), _mixed(one)) for one in DOCUMENTS])
    alone, all_tokens = counted(reranker, sequences, share=False)
    shared, fewer = counted(reranker, sequences, share=True)
    assert gap(shared, alone) < 2e-5
    assert all_tokens == sum(map(len, sequences)) and fewer < all_tokens / 2
    one_by_one = np.concatenate([counted(reranker, [one], share=True)[0] for one in sequences])
    assert gap(shared, one_by_one) < 2e-5


def test_scores_are_the_same_alone_and_together(reranker: Reranker) -> None:
    together = reranker.predict([(QUERY, one) for one in DOCUMENTS])
    alone = np.concatenate([reranker.predict([(QUERY, one)]) for one in DOCUMENTS])
    assert gap(together, alone) < 1e-6
    other = {**QUERY, "image": noise(260, 330, 9)}
    mixed = reranker.predict([(q, one) for one in DOCUMENTS for q in (QUERY, other)])
    assert gap(mixed[::2], alone) < 1e-6
    # Another picture of the same size is another query.
    assert gap(mixed[1::2], alone) > 1e-6


def test_a_query_s_picture_is_opened_once(reranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    whole = messages.opened
    monkeypatch.setattr(messages, "opened", lambda *given: opened.append(given[0]) or whole(*given))
    reranker.rank(QUERY, ["one", "two", "three"])
    assert len(opened) == 1


def test_pictures_of_one_size_are_told_apart(reranker: Reranker) -> None:
    pads = reranker.judge.seeing.pads
    pairs = [("q", noise(64, 64, 1)), ("q", noise(64, 64, 2)), ("q", noise(64, 64, 1))]
    one, other, again = reranker.token_ids([(q, _mixed(d)) for q, d in pairs])
    numbers: dict[bytes, int] = {}
    told = [told_apart(s, pads, numbers) for s in (one, other, again)]
    assert one.ids == other.ids and told[0] != told[1] and told[0] == told[2]
    assert [i for i in told[0] if i >= 0] == [i for i in one.ids if i not in pads]


def test_any_part_of_a_sequence_says_what_the_whole_says(reranker: Reranker) -> None:
    """Cut anywhere, also within a picture: vectors, places and axes are those of the whole."""
    assert reranker.judge.seeing.eyes is not None
    tower, pads = reranker.judge.seeing.eyes.tower(0), reranker.judge.seeing.pads
    sequence = reranker.token_ids([(_mixed(QUERY), _mixed(DOCUMENTS[5]))])[0]
    assert isinstance(sequence, Seen)
    whole = visible([Part(sequence, 0, len(sequence))], tower, pads).visual
    assert whole is not None
    for cut in range(1, len(sequence), 7):
        parts = [
            visible([Part(sequence, a, b)], tower, pads).visual for a, b in ((0, cut), (cut, len(sequence)))
        ]
        vectors = np.concatenate([part.vectors.numpy() for part in parts])
        axes = np.concatenate([part.axes.numpy() for part in parts], axis=1)
        places = np.concatenate([parts[0].places.numpy(), parts[1].places.numpy() + cut])
        assert gap(vectors, whole.vectors.numpy()) < 1e-5
        assert np.array_equal(axes, whole.axes.numpy()) and np.array_equal(places, whole.places.numpy())


def _mixed(item: Any) -> Any:
    from lingxi.inputs import taken

    return taken(item, 0)
