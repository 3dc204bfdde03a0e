"""Files that were cut, altered or swapped: what reads them says what is broken, and writes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bytegolf.artifact import format as golf
from bytegolf.data.tokenizer import ByteTokenizer
from cli_samples import VOCAB, Answer, Lab, call, listing

HEADER = 1024  # bytes of a shard before its tokens


def refused(*words: object) -> str:
    """The one error of a command that must fail and leave the current folder as it is."""
    before = listing(Path.cwd())
    answer: Answer = call(*words)
    assert (answer.code, answer.out) == (2, ""), answer
    assert answer.err.count("error: ") == 1
    assert "Traceback" not in answer.err
    assert listing(Path.cwd()) == before
    return answer.err


def readers(lab: Lab, artifact: Path) -> list[tuple[object, ...]]:
    return [("score", artifact, "--data", lab.data, "--no-baselines"), ("generate", artifact)]


def test_an_artifact_altered_at_any_byte_is_refused(lab: Lab, here: Path) -> None:
    whole = lab.artifact.read_bytes()
    path = here / "x.golf"
    # The fixed fields and the checksums byte by byte, the rest at a stride that is prime to every layout.
    places = [*range(18), *range(18, len(whole) - 32, 211), *range(len(whole) - 32, len(whole))]
    for i, place in enumerate(places):
        altered = bytearray(whole)
        altered[place] ^= 1 << place % 8
        path.write_bytes(altered)
        assert str(path) in refused(*readers(lab, path)[i % 2])


@pytest.mark.parametrize("command", [0, 1])
def test_an_artifact_cut_anywhere_or_continued_is_refused(lab: Lab, here: Path, command: int) -> None:
    whole = lab.artifact.read_bytes()
    path = here / "x.golf"
    for length in (0, 1, 8, 17, 18, 50, 1000, len(whole) // 2, len(whole) - 33, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "x.golf" in refused(*readers(lab, path)[command])
    path.write_bytes(whole + b"\0")
    assert "followed by other bytes" in refused(*readers(lab, path)[command])


@pytest.mark.parametrize("command", [0, 1])
def test_another_file_in_place_of_an_artifact_is_refused(lab: Lab, here: Path, command: int) -> None:
    others = (lab.preset, lab.run / "weights.safetensors", lab.run / "run.json", lab.data / "tokenizer.bin")
    for other in others:
        assert "not a .golf file" in refused(*readers(lab, other)[command])


def test_an_artifact_whose_tokenizer_is_of_another_size_than_its_model_is_refused(
    lab: Lab, here: Path
) -> None:
    artifact = golf.read(lab.artifact)
    tokenizer = golf.StoredTokenizer("bytes", 257, ByteTokenizer().to_bytes())
    golf.write(here / "x.golf", replace(artifact, tokenizer=tokenizer))
    for words in readers(lab, here / "x.golf"):
        error = refused(*words)
        assert f"{VOCAB} vocabulary entries" in error
        assert "a tokenizer of 257" in error


def shard(folder: Path, split: str) -> Path:
    (path,) = folder.glob(f"*_{split}_*.bin")
    return path


def words_at(index: int, *values: int) -> Callable[[bytes], bytes]:
    """Little-endian int32 in the header, from field `index` on."""

    def alter(data: bytes) -> bytes:
        new = np.array(values, dtype="<i4").tobytes()
        return data[: 4 * index] + new + data[4 * index + len(new) :]

    return alter


SHARDS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "magic": (words_at(0, 7), "magic number 20240520; got 7"),
    "version": (words_at(1, 9), "version of a shard must be 1; got 9"),
    "count": (words_at(2, 5), "a shard of 5 tokens has 1034 bytes"),
    "negative count": (words_at(2, -1), "bytes"),
    "cut in the header": (lambda data: data[:500], "a file of 500 bytes"),
    "empty": (lambda data: b"", "a file of 0 bytes"),
    "too short": (lambda data: data[:-2], "a shard of"),
    "too long": (lambda data: data + b"\0\0", "a shard of"),
    "id beyond the vocabulary": (
        lambda data: data[: HEADER + 20] + VOCAB.to_bytes(2, "little") + data[HEADER + 22 :],
        f"below the vocabulary size {VOCAB}; got id {VOCAB} at token 10",
    ),
}


@pytest.mark.parametrize("damage", SHARDS)
def test_a_damaged_shard_stops_training_and_scoring_and_names_the_file(
    lab: Lab, here: Path, damage: str
) -> None:
    alter, says = SHARDS[damage]
    shutil.copytree(lab.data, here / "data")
    commands = {
        "train": ("train", lab.preset, "--data", "data", "--out", "run"),
        "val": ("score", lab.artifact, "--data", "data", "--no-baselines"),
    }
    for split, command in commands.items():
        path = shard(here / "data", split)
        whole = path.read_bytes()
        path.write_bytes(alter(whole))
        error = refused(*command)
        assert says in error
        assert path.name in error
        path.write_bytes(whole)


def test_held_out_text_altered_within_the_vocabulary_is_not_scored(lab: Lab, here: Path) -> None:
    shutil.copytree(lab.data, here / "data")
    path = shard(here / "data", "val")
    data = bytearray(path.read_bytes())
    data[HEADER + 20] ^= 1
    path.write_bytes(data)
    assert "must have sha256" in refused("score", lab.artifact, "--data", "data", "--no-baselines")


@pytest.mark.parametrize("file", ["manifest.json", "tokenizer.bin"])
@pytest.mark.parametrize("damage", ["missing", "cut", "altered"])
def test_a_dataset_with_a_damaged_part_is_refused(lab: Lab, here: Path, file: str, damage: str) -> None:
    shutil.copytree(lab.data, here / "data")
    path = here / "data" / file
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[:-20] if damage == "cut" else whole.replace(b"bpe", b"bpf"))
    refused("train", lab.preset, "--data", "data", "--out", "run")
    refused("score", lab.artifact, "--data", "data", "--no-baselines")
