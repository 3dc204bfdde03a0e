"""Transformed text is counted in the bytes of the original: by token, on disk, and checked against the text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_samples import documents

from bytegolf.data import dataset as module
from bytegolf.data.build import build_dataset
from bytegolf.data.corpora import Corpus, Document
from bytegolf.data.dataset import Dataset, open_dataset
from bytegolf.data.shards import open_shard, write_shard
from bytegolf.data.split import split
from bytegolf.errors import DataError

VAL, SIDECAR = "sample_val_000000.bin", "sample_val_bytes_000000.bin"


def corpus() -> Corpus:
    """Words in capitals, and bytes that are operators of the case split: tokens that do not decode alone."""
    found = [Document(d.name, d.group, d.data.swapcase() + b"\x0e\x10") for d in documents()]
    return Corpus("sample", found, "made for a test")


@pytest.fixture
def built(tmp_path: Path) -> Dataset:
    return build_dataset(corpus(), tmp_path / "sample", 400, tokenizer_kind="case_bpe")


def test_the_bytes_of_every_token_lie_beside_the_tokens(built: Dataset) -> None:
    assert sorted(path.name for path in built.folder.iterdir()) == [
        "manifest.json",
        "sample_train_000000.bin",
        "sample_train_bytes_000000.bin",
        VAL,
        SIDECAR,
        "tokenizer.bin",
    ]
    for side, entry in (("train", built.manifest.splits.train), ("val", built.manifest.splits.val)):
        counts = built.byte_counts(side)
        assert (counts.dtype, len(counts)) == (np.uint16, entry.tokens)
        assert counts.sum() == entry.bytes == len(built.text(side))
        assert (counts[built.tokens(side) == 0] == 0).all()
        for tokens, size in zip(built.documents(side), sizes(built, counts, side), strict=True):
            assert len(built.tokenizer.decode(tokens)) == size
        (shard,) = entry.byte_counts
        assert shard.sha256 == hashlib.sha256((built.folder / shard.name).read_bytes()).hexdigest()
        assert open_shard(built.folder / shard.name, 1 << 16).tolist() == counts.tolist()
    built.verify()


def sizes(dataset: Dataset, counts: np.ndarray, side: str) -> list[int]:
    starts = np.flatnonzero(dataset.tokens(side) == 0)  # type: ignore[arg-type]
    return np.add.reduceat(counts.astype(np.int64), starts).tolist()


def test_the_text_is_the_original_and_the_tokens_are_of_another(built: Dataset) -> None:
    expected = b"".join(d.data for d in split(corpus().documents).held_out)
    assert built.text("val") == expected
    assert b"HELD" in expected
    assert not any(letter in piece for piece in built.tokenizer.bpe.pieces[256:] for letter in b"HELD")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_text_is_decoded_in_whole_documents(
    built: Dataset, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A cut between an operator and its letter would lose the capital, or be an error."""
    text, counts = built.text("train"), built.byte_counts("train")
    monkeypatch.setattr(module, "_PIECE_TOKENS", size)
    assert built.text("train") == text
    assert np.array_equal(built.byte_counts("train"), counts)
    built.verify()


def test_many_shards_have_as_many_files_of_bytes(built: Dataset, tmp_path: Path) -> None:
    cut = build_dataset(corpus(), tmp_path / "cut", 400, tokenizer_kind="case_bpe", shard_tokens=1000)
    assert np.array_equal(cut.byte_counts("train"), built.byte_counts("train"))
    entry = cut.manifest.splits.train
    assert [f.tokens for f in entry.byte_counts] == [f.tokens for f in entry.files]
    assert len(entry.files) > 2
    cut.verify()


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_plain_tokenizers_need_no_file(tmp_path: Path, kind: str) -> None:
    plain = build_dataset(corpus(), tmp_path / "d", 257, tokenizer_kind=kind)
    assert not list(plain.folder.glob("*_bytes_*"))
    counts = plain.byte_counts("val")
    assert counts.tolist() == plain.tokenizer.token_bytes()[plain.val_tokens()].tolist()
    assert counts.sum() == plain.manifest.splits.val.bytes


def test_a_manifest_from_before_there_were_byte_counts_is_read(tmp_path: Path) -> None:
    plain = build_dataset(corpus(), tmp_path / "d", 257, tokenizer_kind="bytes")
    alter(lambda m: [m["splits"][side].pop("byte_counts") for side in ("train", "val")])(plain.folder)
    again = open_dataset(plain.folder)
    assert again.manifest == plain.manifest
    again.verify()


def test_without_the_file_the_tokenizer_tells_the_bytes(built: Dataset) -> None:
    expected = built.byte_counts("val")
    alter(lambda m: m["splits"]["val"].pop("byte_counts"))(built.folder)
    assert open_dataset(built.folder).byte_counts("val").tolist() == expected.tolist()


def alter(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return damage


def rewrite(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Other counts, with a manifest that vouches for the file."""

    def damage(folder: Path) -> None:
        counts = change(open_shard(folder / SIDECAR, 1 << 16).copy())
        write_shard(folder / SIDECAR, counts)
        digest = hashlib.sha256((folder / SIDECAR).read_bytes()).hexdigest()
        alter(lambda m: m["splits"]["val"]["byte_counts"][0].update(sha256=digest))(folder)

    return damage


def shift(counts: np.ndarray) -> np.ndarray:
    """One byte from the first token that has some to the one behind it: the sum stays."""
    at = int(np.argmax(counts > 0))
    counts[at] -= 1
    counts[at + 1] += 1
    return counts


def more(counts: np.ndarray) -> np.ndarray:
    counts[5] += 1
    return counts


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda f: (f / SIDECAR).unlink(), "every shard"),
    "another file": (
        lambda f: write_shard(f / SIDECAR, np.ones(3, np.uint16)),
        f"{SIDECAR} must have sha256",
    ),
    "fewer counts than tokens": (rewrite(lambda c: c[:-1]), "tokens"),
    "another sum": (rewrite(more), "must sum to"),
    "other tokens": (rewrite(shift), "byte count of val token"),
    "a number in the manifest": (
        alter(lambda m: m["splits"]["val"]["byte_counts"][0].update(tokens=7)),
        "one file per shard",
    ),
    "one file too many": (
        alter(lambda m: m["splits"]["val"]["byte_counts"].append(m["splits"]["val"]["byte_counts"][0])),
        "one file per shard",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_is_named(built: Dataset, name: str) -> None:
    damage, message = DAMAGES[name]
    damage(built.folder)
    with pytest.raises(DataError, match=message):
        open_dataset(built.folder).verify()


@pytest.mark.parametrize("name", [name for name in DAMAGES if name != "other tokens"])
def test_a_score_cannot_be_taken_over_damaged_counts(built: Dataset, name: str) -> None:
    DAMAGES[name][0](built.folder)
    with pytest.raises(DataError):
        open_dataset(built.folder).byte_counts("val")
