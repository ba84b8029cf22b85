"""What a run shows: one live line on a terminal alone, TensorBoard's files, the picture of the curves."""

import builtins
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lingxi.errors import InputError, MissingExtraError
from lingxi.train.curves import draw_curves, smoothed
from lingxi.train.progress import live_line, tensorboard


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(listener, first=0, steps=40):
    for step in range(first, steps):
        row = {"step": step, "loss": 2.0, "accuracy": 0.5, "tokens_per_second": 1234.0}
        listener(step, row)


def test_a_terminal_sees_step_loss_accuracy_speed_and_time_left():
    out = Terminal()
    with live_line("weak", 40, file=out) as listener:
        run(listener)
    shown = out.getvalue()
    for word in ("weak", "40/40", "loss 2.000", "accuracy 50%", "1,234 tokens/s", "left"):
        assert word in shown


def test_a_pipe_sees_nothing():
    out = io.StringIO()
    with live_line("weak", 40, file=out) as listener:
        run(listener)
    assert out.getvalue() == ""


def test_what_is_shown_is_a_running_mean():
    out = Terminal()
    with live_line("weak", 2, file=out) as listener:
        listener(0, {"loss": 1.0})
        listener(1, {"loss": 3.0})
    assert "loss 2.000" in out.getvalue()
    assert "accuracy" not in out.getvalue()


def test_tensorboard_holds_every_figure_and_hides_steps_that_were_done_again(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tensorboard(tmp_path) as listener:
        run(listener, 0, 6)
    with tensorboard(tmp_path, first=4) as listener:
        run(listener, 4, 8)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "accuracy", "tokens_per_second"}
    assert [event.step for event in events.Scalars("loss")] == list(range(8))


def test_an_absent_library_names_its_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith(("torch.utils.tensorboard", "matplotlib")):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"lingxi\[train\]"), tensorboard(tmp_path):
        pass
    write_log(tmp_path / "weak", 3)
    with pytest.raises(MissingExtraError, match=r"lingxi\[train\]"):
        draw_curves([tmp_path / "weak"], tmp_path / "curves.png")


def write_log(folder, steps, dev=False, **more):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"step": n, "loss": 5 / (n + 1), "rate": 1.0, **more} for n in range(steps)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if dev:
        scores = [{"step": n, "score": 0.3 + n / 100} for n in range(0, steps, 5)]
        (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scores), "utf-8")


def test_the_picture_has_a_row_for_each_figure_that_was_logged(tmp_path):
    write_log(tmp_path / "language", 30)
    write_log(tmp_path / "weak", 50, dev=True, accuracy=0.5)
    phases = [tmp_path / "language", tmp_path / "weak"]
    text = draw_curves(phases, tmp_path / "pictures" / "curves.svg").read_text(encoding="utf-8")
    # matplotlib writes each text of an SVG as a comment before its glyphs.
    for word in ("language", "weak", "loss", "in-batch accuracy", "dev score", "start 0.300", "step"):
        assert f"<!-- {word} -->" in text
    assert "gradient norm" not in text


def test_one_step_is_drawn_too(tmp_path):
    write_log(tmp_path / "weak", 1)
    picture = draw_curves([tmp_path / "weak"], tmp_path / "curves.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_folder_without_steps_is_named(tmp_path):
    with pytest.raises(InputError, match="no steps"):
        draw_curves([tmp_path], tmp_path / "curves.png")


@given(arrays.arrays(np.float64, st.integers(1, 300), elements=st.floats(-1e3, 1e3)))
def test_a_smoothed_line_stays_within_what_it_smooths(values):
    line = smoothed(values)
    assert line.shape == values.shape
    assert line.min() >= values.min() - 1e-6
    assert line.max() <= values.max() + 1e-6
    assert np.allclose(smoothed(np.full_like(values, 3.0)), 3.0)
