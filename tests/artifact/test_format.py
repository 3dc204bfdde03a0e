"""Laws of the .golf file: what is written is read, and no damaged byte passes."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.artifact.format import (
    FIXED_BYTES,
    MAGIC,
    PRELUDE,
    Artifact,
    StoredTensor,
    StoredTokenizer,
    encode_header,
    from_bytes,
    read,
    to_bytes,
    write,
)
from bytegolf.codec import base
from bytegolf.errors import ArtifactError, RunError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)


@st.composite
def artifacts(draw: st.DrawFn) -> Artifact:
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    tensors = []
    for name in draw(st.lists(st.text(min_size=1), unique=True, max_size=4)):
        shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
        codec = draw(st.sampled_from(["fp16", "int8", "int6", "int5"]))
        blob = base.get(codec).encode(rng.normal(size=shape).astype(np.float32))
        tensors.append(StoredTensor(name, draw(st.sampled_from(["matrix", "gate"])), codec, shape, blob))
    tokenizer = StoredTokenizer("bpe", draw(st.integers(1, 70_000)), draw(st.binary(max_size=50)))
    return Artifact(draw(OBJECTS), tokenizer, tuple(tensors), draw(OBJECTS))


@settings(max_examples=25)
@given(artifacts())
def test_an_artifact_survives_its_bytes_and_the_bytes_survive_reading(artifact: Artifact) -> None:
    data = to_bytes(artifact)
    again = from_bytes(data)
    assert again == artifact
    assert to_bytes(again) == data


def test_weights_come_back_as_their_codecs_store_them(
    artifact: Artifact, weights: dict[str, np.ndarray]
) -> None:
    decoded = from_bytes(to_bytes(artifact)).weights()
    assert list(decoded) == list(weights)
    for tensor in artifact.tensors:
        expected = base.get(tensor.codec).decode(tensor.blob, weights[tensor.name].shape)
        assert decoded[tensor.name].tobytes() == expected.tobytes()
        assert np.allclose(decoded[tensor.name], weights[tensor.name], atol=0.06)


def part_at(data: bytes, artifact: Artifact, position: int) -> str:
    """What an error must name when the byte at `position` is altered."""
    header_end = PRELUDE.size + len(encode_header(artifact))
    ends = [(8, "magic"), (10, "version"), (14, "length|header"), (header_end, "header")]
    at = header_end + len(artifact.tokenizer.blob)
    ends.append((at, "the tokenizer"))
    for tensor in artifact.tensors:
        at += len(tensor.blob)
        ends.append((at, f"tensor {re.escape(tensor.name)}"))
    ends.append((len(data), "trailing checksum"))
    return next(part for end, part in ends if position < end)


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_altered_byte_is_an_error_that_names_the_broken_part(artifact: Artifact, flip: int) -> None:
    data = to_bytes(artifact)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= flip
        with pytest.raises(ArtifactError) as error:
            from_bytes(bytes(damaged))
        assert re.match(part_at(data, artifact, position), error.value.rule), (position, error.value.rule)


def test_every_truncation_is_an_error_of_the_length(artifact: Artifact) -> None:
    data = to_bytes(artifact)
    for length in range(len(data)):
        with pytest.raises(ArtifactError, match="length|magic: .*empty" if length == 0 else "^length"):
            from_bytes(data[:length])


@given(st.binary(min_size=1, max_size=40))
def test_bytes_after_the_end_are_an_error(tail: bytes) -> None:
    data = to_bytes(Artifact({}, StoredTokenizer("bytes", 256, b""), (), {}))
    assert from_bytes(data).tensors == ()
    with pytest.raises(ArtifactError, match="length: the file is followed by other bytes"):
        from_bytes(data + tail)


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_refused(data: bytes, with_magic: bool) -> None:
    with pytest.raises(ArtifactError):
        from_bytes(MAGIC + b"\x01\x00" + data if with_magic else data)


def forge(header: bytes, body: bytes = b"") -> bytes:
    """A file whose checksums all fit, around any header."""
    start = PRELUDE.pack(MAGIC, 1, len(header), 0)[:14]
    data = start + zlib.crc32(start + header).to_bytes(4, "little") + header + body
    return data + hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"tensors":', '"tensor":', "keys"),
        ("[12,8]", "[12,-8]", "whole number"),
        ("[12,8]", "[12,8.0]", "whole number"),
        ("[12,8]", "[12,true]", "whole number"),
        ("[12,8]", "[1,1,1,1,1,1,1,1,1]", "at most 8"),
        ("[12,8]", "[16384,16385]", "268,435,456 elements"),
        ("[12,8]", "[0,268435456]", "268,435,456 elements"),
        ("[12,8]", "[16,8]", "tensor embed"),
        ('"block.0.q"', '"embed"', "'embed' twice"),
        ('"block.0.q"', "7", "the name of tensor 1"),
        ('"embed","embed"', '"embed",""', "role"),
        ('"matrix","int6"', '"matrix","int66"', "int6"),
        ('"matrix","int6"', '"matrix",["int6"]', "registered"),
        ('"kind":"bytes","vocab', '"kind":"pickle","vocab', "registered"),
        ('"vocab_size":256', '"vocab_size":0', "vocab_size"),
        ('"bytes":16', '"bytes":99999999999', "length"),
        ('"provenance":{', '"provenance":[{', "JSON"),
        ('"ratio":0.5', '"ratio":NaN', "NaN"),
        ('"ratio":0.5', '"ratio":' + "9" * 5000, "JSON"),
        ('"ratio":0.5', '"ratio":' + "[" * 100_000, "JSON"),
    ],
)
def test_a_header_with_fitting_checksums_is_still_not_believed(
    artifact: Artifact, old: str, new: str, message: str
) -> None:
    header = encode_header(artifact).decode()
    assert old in header
    body = artifact.tokenizer.blob + b"".join(tensor.blob for tensor in artifact.tensors)
    with pytest.raises(ArtifactError, match=message):
        from_bytes(forge(header.replace(old, new, 1).encode(), body)).weights()


@pytest.mark.parametrize(
    "header", [b"", b"[]", b"{}", b"\xff\xfe", b'{"config":1,"tokenizer":{},"tensors":[],"provenance":{}}']
)
def test_headers_of_another_kind_are_refused(header: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^header"):
        from_bytes(forge(header))


def test_a_tokenizer_other_than_the_header_says_is_refused_though_its_crc_fits(artifact: Artifact) -> None:
    header = encode_header(artifact)
    wrong = header.replace(hashlib.sha256(artifact.tokenizer.blob).hexdigest().encode(), b"0" * 64)
    body = artifact.tokenizer.blob + b"".join(tensor.blob for tensor in artifact.tensors)
    with pytest.raises(ArtifactError, match="tokenizer"):
        from_bytes(forge(wrong, body))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Path("x"), b"x", "\ud800", {1, 2}])
def test_config_that_is_no_json_is_refused_before_anything_is_written(
    made_of: dict[str, Any], artifact: Artifact, tmp_path: Path, value: object
) -> None:
    with pytest.raises(ArtifactError, match="plain JSON"):
        write(tmp_path / "m.golf", replace(artifact, config={"key": value}))
    assert list(tmp_path.iterdir()) == []


def test_what_no_reader_would_accept_is_not_written(artifact: Artifact) -> None:
    with pytest.raises(ArtifactError, match="twice"):
        to_bytes(replace(artifact, tensors=artifact.tensors * 2))


def test_a_file_is_written_whole_and_read_back(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "model.golf"
    assert write(path, artifact) == path.stat().st_size == len(to_bytes(artifact))
    assert read(path) == artifact
    assert [p.name for p in tmp_path.iterdir()] == ["model.golf"]


def test_a_damaged_file_is_named_with_what_to_do(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "model.golf"
    path.write_bytes(to_bytes(artifact)[:-5])
    with pytest.raises(ArtifactError) as error:
        read(path)
    assert error.value.where == path
    assert error.value.fix


def test_other_files_and_missing_files_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "model.safetensors"
    other.write_bytes(b"\x10" * 10_000)
    with pytest.raises(ArtifactError, match=r"not a \.golf file"):
        read(other)
    for unreadable in (tmp_path / "none.golf", tmp_path):
        with pytest.raises(ArtifactError, match="readable file"):
            read(unreadable)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing_behind_and_the_old_file_alone(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "model.golf"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(RunError, match="No space left") as error:
        write(path, artifact)
    assert "free some disk space" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["model.golf"]
    assert path.read_bytes() == b"old"


def test_a_directory_that_cannot_be_written_is_an_error(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for parent in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(RunError, match="could not be written"):
            write(parent / "model.golf", artifact)


def test_an_interrupt_while_writing_leaves_nothing_behind(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "model.golf", artifact)
    assert list(tmp_path.iterdir()) == []


def test_the_smallest_file_is_frozen() -> None:
    data = to_bytes(Artifact({}, StoredTokenizer("bytes", 256, b""), (), {}))
    header = (
        '{"config":{},"tokenizer":{"kind":"bytes","vocab_size":256,"bytes":0,"crc32":"00000000",'
        '"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"tensors":[],"provenance":{}}'
    )
    assert data[:14].hex(" ") == "89 47 4f 4c 46 0d 0a 1a 01 00 " + len(header).to_bytes(4, "little").hex(" ")
    assert data[18:-32].decode() == header
    assert data[-32:] == hashlib.sha256(data[:-32]).digest()
    assert len(data) == FIXED_BYTES + len(header)
