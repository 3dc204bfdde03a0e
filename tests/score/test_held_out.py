"""A denominator is counted and compared, never assumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bytegolf.data.piece_bytes import PieceBytes
from bytegolf.data.shards import write_shard
from bytegolf.errors import DataError
from bytegolf.score.held_out import HeldOut, raw_documents
from tiny import tiny_dataset

# Ids: unknown, BOS, a blank, "ab", blank + "c", byte 0xE2.
PIECES = PieceBytes.from_pieces(
    [
        ("<unk>", "unknown"),
        ("<s>", "control"),
        ("\u2581", "normal"),
        ("ab", "normal"),
        ("\u2581c", "normal"),
        ("<0xE2>", "byte"),
    ]
)
STREAM = np.array(
    [1, 4, 3, 2, 5, 1, 3, 4, 3, 2]
)  # 1 + 2 + 1 + 1 + 0 + 2 + 2 + 2 (+ 1 beyond the last row of 4)


def test_the_held_out_text_of_a_dataset_is_checked_before_it_is_a_denominator(tmp_path: Path) -> None:
    dataset = tiny_dataset(tmp_path / "data")
    text, entry = HeldOut.of(dataset), dataset.manifest.splits.val
    assert (text.raw, text.n_bytes, text.sha256) == (dataset.text("val"), entry.bytes, entry.sha256)
    assert [text.tokens[start] for start in text.starts] == [0] * entry.documents
    assert len(text.tokens) == text.n_bytes + len(text.starts)
    assert raw_documents(text) == [
        dataset.tokenizer.decode(document) for document in dataset.documents("val")
    ]
    for wrong in ({"bytes": entry.bytes + 1}, {"sha256": "0" * 64}, {"documents": 1}):
        splits = dataset.manifest.splits.model_copy(update={"val": entry.model_copy(update=wrong)})
        changed = replace(dataset, manifest=dataset.manifest.model_copy(update={"splits": splits}))
        with pytest.raises(DataError, match="must"):
            HeldOut.of(changed)


def test_a_text_without_a_target_or_a_byte_has_no_score() -> None:
    for tokens, raw in ((np.array([0], np.uint16), b"a"), (np.array([0, 1], np.uint16), b"")):
        with pytest.raises(DataError, match="at least one target and one byte"):
            HeldOut.of_text(tokens, (0,), raw)


def shards(folder: Path, stream: np.ndarray) -> list[Path]:
    """Two shards, given in the wrong order."""
    paths = [folder / f"fineweb_val_{i:06d}.bin" for i in range(2)]
    write_shard(paths[0], stream[:6])
    write_shard(paths[1], stream[6:])
    return paths[::-1]


def test_shards_of_the_challenge_are_counted_by_its_own_rule(tmp_path: Path) -> None:
    text = HeldOut.of_challenge(shards(tmp_path, STREAM), PIECES, row=4, expected_bytes=11)
    assert text.tokens.tolist() == STREAM[:9].tolist()
    assert (text.n_bytes, text.starts, text.raw) == (11, [0, 5], None)


def test_shards_that_are_no_export_or_have_other_bytes_stop_the_run(tmp_path: Path) -> None:
    paths = shards(tmp_path, STREAM)
    with pytest.raises(DataError, match="published export has 62,021,632 targets"):
        HeldOut.of_challenge(paths, PIECES, row=4)
    with pytest.raises(DataError, match="must have 12 bytes"):
        HeldOut.of_challenge(paths, PIECES, row=4, expected_bytes=12)
    with pytest.raises(DataError, match="begins with a document"):
        HeldOut.of_challenge(shards(tmp_path, STREAM[1:]), PIECES, row=4, expected_bytes=11)
