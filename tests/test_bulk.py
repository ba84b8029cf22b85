"""Vectors of Parquet files: every row once, a stopped run goes on, another model is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lingxi.cli import run
from lingxi.cli.faces import Faces
from lingxi.errors import InputError
from lingxi.index.bulk import BulkSettings, embed_parquet
from stand_in import WordEmbedder
from toys import assert_mendable


def make(name: str | None) -> WordEmbedder:
    return WordEmbedder(name or "stand-in")


def written(place: Path, count: int = 100, start: int = 0) -> Path:
    table = pa.table(
        {"id": range(start, start + count), "said": [f"row {n}" for n in range(start, start + count)]}
    )
    pq.write_table(table, place, row_group_size=30)
    return place


def read(out: Path) -> dict[int, np.ndarray]:
    rows = [row for file in sorted(out.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: np.array(row["vector"], np.float32) for row in rows}


SETTINGS = BulkSettings("said")


def test_every_row_has_its_vector_and_a_stopped_run_goes_on(tmp_path):
    written(tmp_path / "in.parquet")
    done = embed_parquet(tmp_path / "in.parquet", tmp_path / "out", make, SETTINGS)
    assert (done.rows, done.parts, done.made) == (100, 4, 4)
    found = read(tmp_path / "out")
    assert set(found) == set(range(100))
    assert np.array_equal(found[42], WordEmbedder().encode_document(["row 42"])[0])
    kept, gone, *_ = sorted((tmp_path / "out").glob("*.parquet"))
    before = kept.stat().st_mtime_ns
    gone.unlink()
    (tmp_path / "out" / "half.coming").write_bytes(b"left by a kill")
    assert embed_parquet(tmp_path / "in.parquet", tmp_path / "out", make, SETTINGS).made == 1
    assert kept.stat().st_mtime_ns == before
    assert set(read(tmp_path / "out")) == set(range(100))


def test_a_folder_of_files(tmp_path):
    (tmp_path / "in" / "a").mkdir(parents=True)
    written(tmp_path / "in" / "a" / "x.parquet", 50)
    written(tmp_path / "in" / "x.parquet", 50, start=50)
    done = embed_parquet(tmp_path / "in", tmp_path / "out", make, SETTINGS)
    assert done.rows == 100 and set(read(tmp_path / "out")) == set(range(100))


@pytest.mark.slow
def test_processes_make_the_same(tmp_path):
    pytest.importorskip("daft")
    file = str(written(tmp_path / "in.parquet"))
    for runner in ("here", "native"):
        # A process of its own: Daft leaves pipes to be collected.
        command = [
            "-c",
            "from lingxi.cli import main; main()",
            "embed",
            "--file",
            file,
            "--column",
            "said",
            "--dim",
            "32",
        ]
        own = ["--out", str(tmp_path / runner), "--runner", runner, "--processes", "2"]
        subprocess.run([sys.executable, *command, *own], check=True, capture_output=True)
    one, other = read(tmp_path / "here"), read(tmp_path / "native")
    assert one.keys() == other.keys() and len(one) == 100
    assert all(one[key].shape == (32,) and np.allclose(one[key], other[key], atol=1e-5) for key in one)


def test_what_cannot_be_embedded_is_told_of(tmp_path):
    place = written(tmp_path / "in.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not")
    pq.write_table(pa.table({"said": ["a", None]}), tmp_path / "null.parquet")
    pq.write_table(pa.table({"said": ["a"], "vector": [1]}), tmp_path / "has.parquet")
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    wrong = [
        (tmp_path / "bad.parquet", tmp_path / "out", SETTINGS),
        (tmp_path / "absent.parquet", tmp_path / "out", SETTINGS),
        (tmp_path / "null.parquet", tmp_path / "out1", SETTINGS),
        (tmp_path / "has.parquet", tmp_path / "out", SETTINGS),
        (tmp_path / "empty", tmp_path / "out", SETTINGS),
        (place, tmp_path / "out", BulkSettings("text")),
        (place, tmp_path / "out", BulkSettings("said", precision="int3")),
        (place, tmp_path / "mine", SETTINGS),
    ]
    for source, out, settings in wrong:
        with pytest.raises(InputError) as caught:
            embed_parquet(source, out, make, settings)
        assert_mendable(caught.value)
    embed_parquet(place, tmp_path / "made", make, SETTINGS)
    for other in (BulkSettings("said", model="other"), BulkSettings("said", query=True)):
        with pytest.raises(InputError) as caught:
            embed_parquet(place, tmp_path / "made", make, other)
        assert_mendable(caught.value, "made")


def test_the_command_line_embeds_parquet(tmp_path, capsys):
    faces = Faces(make, lambda name: None)
    file, out = str(written(tmp_path / "in.parquet")), str(tmp_path / "out")
    assert run(["embed", "--file", file, "--column", "said", "--out", out, "--json"], faces) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 100, "parts": 4, "made": 4}
    assert run(["embed", "--file", file, "--column", "said"], faces) == 2
    assert run(["embed", "--file", file, "--column", "said", "--out", out, "--runner", "moon"], faces) == 2
