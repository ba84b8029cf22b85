"""The measurement of a large shape's training, in miniature."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import train_large


def test_a_shape_is_trained_and_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "--size pico --layers 1 --pairs 3 --tokens 12 --steps 2 --chunk 40"
    monkeypatch.setattr(sys, "argv", ["train_large.py", *asked.split()])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    train_large.main()
    told = json.loads(capsys.readouterr().out)
    assert (told["device"], told["layers"]) == ("cpu", 1)
    assert 36 <= told["tokens_a_step"] <= 72 and told["tokens_a_second"] > 0
    # Three documents: guessing costs ln 3, and random weights hardly do better.
    assert 0 < told["first_loss"] < 10
