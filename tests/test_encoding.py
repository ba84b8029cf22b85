"""Encoders: queries under their instruction, documents as documents, texts cut to what is read."""

from typing import Any

import numpy as np

from lingxi.encoding import encoder


class Noting:
    """Notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str], dict[str, Any]]] = []

    def encode_query(self, inputs: list[str], **options: Any) -> np.ndarray:
        self.asked.append(("query", inputs, options))
        return np.ones((len(inputs), 2), np.float64)

    def encode_document(self, inputs: list[str], **options: Any) -> np.ndarray:
        self.asked.append(("document", inputs, options))
        return np.ones((len(inputs), 2), np.float64)


def test_queries_have_an_instruction_and_documents_none() -> None:
    noting = Noting()
    encode = encoder(noting, 3)
    assert encode(("a long text", "b"), "find it").dtype == np.float32
    assert encode(("a long text",), None).shape == (1, 2)
    assert noting.asked == [
        ("query", ["a l", "b"], {"instruction": "find it", "show_progress_bar": False}),
        ("document", ["a l"], {"show_progress_bar": False}),
    ]
    encoder(noting, progress=None)(["a long text"], None)
    assert noting.asked[-1] == ("document", ["a long text"], {"show_progress_bar": None})
