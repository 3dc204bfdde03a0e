"""The shard format, byte by byte, and everything that can be wrong with a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.data.shards import open_shard, write_shard
from bytegolf.errors import DataError


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "text_val_000000.bin"
    write_shard(path, np.array([1, 0, 1023, 2, 3], dtype=np.uint16))
    return path


@given(ids=st.lists(st.integers(0, 65535), max_size=200))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, ids: list[int]):
    path = tmp_path_factory.mktemp("shard") / "s.bin"
    write_shard(path, np.array(ids, dtype=np.uint16))
    found = open_shard(path, 65536)
    assert found.tolist() == ids
    assert found.dtype == np.uint16
    assert [p.name for p in path.parent.iterdir()] == ["s.bin"]


def test_a_shard_of_five_tokens_has_these_bytes(shard: Path):
    data = shard.read_bytes()
    assert len(data) == 1034
    assert data[:12].hex() == "88d834010100000005000000"
    assert data[12:1024] == bytes(1012)
    assert data[1024:].hex() == "01000000ff0302000300"


def test_an_open_shard_cannot_be_written_to(shard: Path):
    with pytest.raises(ValueError, match="read-only"):
        open_shard(shard, 1024)[0] = 1


@pytest.mark.parametrize(
    ("start", "damage", "rule"),
    [
        (0, b"\x00", "magic number 20240520; got 20240384"),
        (4, b"\x02", "version of a shard must be 1; got 2"),
        (8, b"\x06", "shard of 6 tokens has 1036 bytes; got 1034 bytes"),
        (8, b"\xff\xff\xff\xff", "got 1034 bytes"),
    ],
)
def test_a_wrong_header_is_named(shard: Path, start: int, damage: bytes, rule: str):
    data = bytearray(shard.read_bytes())
    data[start : start + len(damage)] = damage
    shard.write_bytes(data)
    with pytest.raises(DataError, match=rule):
        open_shard(shard, 1024)


@pytest.mark.parametrize("size", [0, 3, 1023, 1024, 1033, 1035])
def test_a_file_of_any_other_length_is_an_error(shard: Path, size: int):
    shard.write_bytes((shard.read_bytes() + bytes(8))[:size])
    with pytest.raises(DataError, match=f"{size} bytes"):
        open_shard(shard, 1024)


def test_the_first_id_beyond_the_vocabulary_is_named(shard: Path):
    assert len(open_shard(shard, 1024)) == 5
    with pytest.raises(DataError, match="vocabulary size 1023; got id 1023 at token 2"):
        open_shard(shard, 1023)


def test_an_id_is_found_in_every_chunk(tmp_path: Path):
    ids = np.zeros((1 << 22) + 10, dtype=np.uint16)
    ids[-3] = 700
    write_shard(tmp_path / "s.bin", ids)
    with pytest.raises(DataError, match=f"id 700 at token {len(ids) - 3}"):
        open_shard(tmp_path / "s.bin", 700)


def test_a_missing_shard_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="readable"):
        open_shard(tmp_path / "none.bin", 1024)


@pytest.mark.parametrize("ids", [[65536], [-1], [[1]]])
def test_ids_that_do_not_fit_are_refused_before_writing(tmp_path: Path, ids: list[int]):
    with pytest.raises(DataError):
        write_shard(tmp_path / "s.bin", np.array(ids, dtype=np.int64))
    assert list(tmp_path.iterdir()) == []
