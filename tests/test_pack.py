"""Packing: within the megabytes, rare strata whole, and back again."""

from collections import Counter
from pathlib import Path

import pytest

from lingxi.curate.pack import pack, unpack
from lingxi.errors import InputError
from lingxi.records import read_pairs, write_pairs
from lingxi.train.storing import build_store
from test_curate import pair


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    many = [
        pair(f"Satz Nummer {i} {i * 7919}", f"sentence {i} {i * 104729}", id=f"de{i:05}") for i in range(4000)
    ]
    few = [pair(f"Sentensi {i}", f"sentence {i}", id=f"sw{i}", query_language="sw") for i in range(50)]
    write_pairs([*many, *few], tmp_path / "pairs.parquet")
    return tmp_path / "pairs.parquet"


def test_the_rare_stays_whole(kept: Path, tmp_path: Path) -> None:
    packed = pack(kept, tmp_path / "packed.parquet", 0.03)
    assert packed.bytes <= 30_000 and (tmp_path / "packed.parquet").stat().st_size == packed.bytes
    rows = list(read_pairs(tmp_path / "packed.parquet"))
    counts = Counter(row.query_language for row in rows)
    assert counts["sw"] == 50 and 50 < counts["de"] == packed.cap < 4000 and packed.rows == len(rows)
    assert unpack(tmp_path / "packed.parquet", tmp_path / "back.parquet") == len(rows)
    whole = {row.id: row for row in read_pairs(kept)}
    assert all(whole[row.id] == row for row in read_pairs(tmp_path / "back.parquet"))


def test_all_fits_where_there_is_room(kept: Path, tmp_path: Path) -> None:
    assert pack(kept, tmp_path / "packed.parquet", 10).rows == 4050


def test_too_little_room_is_said(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not hold one row of each of 2 strata"):
        pack(kept, tmp_path / "packed.parquet", 0.0005)
    assert not (tmp_path / "packed.parquet").exists()


def test_texts_may_be_cut_where_training_reads_no_more(kept: Path, tmp_path: Path) -> None:
    packed = pack(kept, tmp_path / "packed.parquet", 10, characters=9)
    rows = list(read_pairs(tmp_path / "packed.parquet"))
    assert packed.rows == len(rows) == 4050
    assert {row.query for row in rows} == {row.query[:9] for row in read_pairs(kept)}
    assert {row.positives[0].text for row in rows} == {row.positives[0].text[:9] for row in read_pairs(kept)}


def test_training_reads_a_packed_file_as_it_is(kept: Path, tmp_path: Path) -> None:
    pack(kept, tmp_path / "packed.parquet", 10)
    unpack(tmp_path / "packed.parquet", tmp_path / "back.parquet")
    stores = [build_store([tmp_path / f"{name}.parquet"], tmp_path / name, 0) for name in ("packed", "back")]
    texts = [[store.row(number).positives[0].text for number in range(len(store))] for store in stores]
    assert texts[0] == texts[1]
    ids = [store.positives.ids for store in stores]
    assert len(set(ids[0].tolist())) == len(set(ids[1].tolist())) == len(set(texts[0]))
