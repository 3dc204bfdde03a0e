"""The .golf file: weights, config and tokenizer in one file whose every byte is checked on reading.

Layout (integers little-endian):

    offset  size  what
    0       8     magic: 89 47 4F 4C 46 0D 0A 1A  (89 "GOLF" CR LF SUB; a text-mode copy breaks it at once)
    8       2     u16 version = 1
    10      4     u32 length of the header, h
    14      4     u32 crc32 of bytes 0..13 and the header
    18      h     header: compact UTF-8 JSON (header.py)
    18+h    ...   tokenizer blob, then one blob a tensor in the header's order, back to back
    -32     32    sha256 of everything before

Header keys:

    config      the resolved config that builds the model, as a plain dict
    tokenizer   {kind, vocab_size, bytes, crc32, sha256} of the tokenizer blob
    tensors     [[name, role, codec, shape, nbytes, crc32], ...]
    provenance  a plain dict: tool version, sha256 of the data, a summary of the training

Checksums stand as fixed-width hexadecimal strings. Reading executes nothing: JSON and numbers only. Every size is
compared with the size of the file before anything of it is allocated, and the elements of all tensors together are
bounded, since a tensor of one repeated value has a blob of a few bytes whatever its shape.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bytegolf.artifact import header as header_json
from bytegolf.artifact.header import TensorRow, TokenizerRow
from bytegolf.codec import base
from bytegolf.errors import ArtifactError, RunError
from bytegolf.files import write_atomically

MAGIC = b"\x89GOLF\r\n\x1a"
VERSION = 1
PRELUDE = struct.Struct("<8sHII")  # magic, version, header length, crc32
DIGEST_BYTES = 32
FIXED_BYTES = PRELUDE.size + DIGEST_BYTES
MAX_HEADER_BYTES = 16 << 20
_CHECKED_BY_CRC = PRELUDE.size - 4


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as it lies in the file."""

    name: str
    role: str
    codec: str
    shape: tuple[int, ...]
    blob: bytes

    def weights(self) -> NDArray[np.float32]:
        """The decoded tensor. Raises ArtifactError, naming the tensor, when its blob is no blob of its codec."""
        with self._named():
            return base.get(self.codec).decode(self.blob, self.shape)

    def integers(self) -> base.Integers:
        """The same as the whole numbers that the blob stores. Raises ArtifactError like `weights`."""
        with self._named():
            return base.get(self.codec).integers(self.blob, self.shape)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except ArtifactError as error:
            raise ArtifactError(f"tensor {self.name}: {error.rule}", got=error.got) from error


@dataclass(frozen=True)
class StoredTokenizer:
    """The tokenizer as it lies in the file: its registered kind, its number of entries, its own bytes."""

    kind: str
    vocab_size: int
    blob: bytes


@dataclass(frozen=True)
class Artifact:
    """All that a .golf file holds. `config` and `provenance` are plain JSON data (dicts, lists, str, numbers)."""

    config: Mapping[str, Any]
    tokenizer: StoredTokenizer
    tensors: tuple[StoredTensor, ...]
    provenance: Mapping[str, Any]

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Every tensor decoded, float32, by name in file order. Cost: about 40 ns a weight."""
        return {tensor.name: tensor.weights() for tensor in self.tensors}


def to_bytes(artifact: Artifact) -> bytes:
    """The file's bytes, the same for the same artifact. Raises ArtifactError for what no reader accepts."""
    header = encode_header(artifact)
    start = PRELUDE.pack(MAGIC, VERSION, len(header), 0)[:_CHECKED_BY_CRC]
    start += zlib.crc32(start + header).to_bytes(4, "little")
    body = b"".join([start, header, artifact.tokenizer.blob, *(tensor.blob for tensor in artifact.tensors)])
    return body + hashlib.sha256(body).digest()


def encode_header(artifact: Artifact) -> bytes:
    """The header's bytes, having passed the checks that a reader will make."""
    tokenizer = TokenizerRow(
        kind=artifact.tokenizer.kind,
        vocab_size=artifact.tokenizer.vocab_size,
        nbytes=len(artifact.tokenizer.blob),
        crc32=_crc(artifact.tokenizer.blob),
        sha256=hashlib.sha256(artifact.tokenizer.blob).hexdigest(),
    )
    rows = [
        TensorRow(t.name, t.role, t.codec, tuple(t.shape), len(t.blob), _crc(t.blob))
        for t in artifact.tensors
    ]
    encoded = header_json.dump(artifact.config, tokenizer, rows, artifact.provenance)
    if len(encoded) > MAX_HEADER_BYTES:
        raise ArtifactError(f"a header has at most {MAX_HEADER_BYTES:,} bytes", got=f"{len(encoded):,}")
    header_json.parse(encoded)
    return encoded


def from_bytes(data: bytes, where: object = None) -> Artifact:
    """The artifact in `data`, every byte checked; `where` names the file in errors.

    Raises ArtifactError that names the broken part: magic, version, header, length, tokenizer, tensor NAME, or the
    trailing checksum. Cost: one crc32 and one sha256 over the bytes; the weights are not decoded.
    """
    try:
        return _from_bytes(data)
    except ArtifactError as error:
        error.where = error.where or where
        error.fix = error.fix or "get the file again, or pack the run again"
        raise


def write(path: Path, artifact: Artifact) -> int:
    """Write the file and return its size: all of it under a temporary name first, then renamed into place.

    Raises RunError when the directory cannot be written or the disk is full; then nothing is left behind, and
    a file that was there before stays as it was.
    """
    data = to_bytes(artifact)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise RunError(
            f"the artifact of {len(data):,} bytes could not be written",
            got=error.strerror or str(error),
            where=path,
            fix="free some disk space, or choose a directory that exists and that you may write to",
        ) from error
    return len(data)


def read(path: Path) -> Artifact:
    """The artifact in the file. Raises ArtifactError as `from_bytes` does, and when the file cannot be read."""
    return from_bytes(load_bytes(path), where=path)


def load_bytes(path: Path) -> bytes:
    """The bytes of a .golf file, for `from_bytes`. Raises ArtifactError when the file cannot be read."""
    try:
        with open(path, "rb") as file:
            start = file.read(len(MAGIC))  # do not load a large file of another kind
            return start + file.read() if start == MAGIC else start
    except OSError as error:
        raise ArtifactError(
            "an artifact must be a readable file",
            got=error.strerror or str(error),
            where=path,
            fix="give the path of a .golf file; `bytegolf pack RUN` writes one",
        ) from error


def _from_bytes(data: bytes) -> Artifact:
    header_end, fields = _read_header(data)
    tokenizer_row, rows = fields.tokenizer, fields.tensors
    promised = header_end + tokenizer_row.nbytes + sum(row.nbytes for row in rows) + DIGEST_BYTES
    if promised != len(data):
        kind = "truncated" if promised > len(data) else "followed by other bytes"
        raise ArtifactError(
            f"length: the file is {kind}; its header promises {promised:,} bytes", got=f"{len(data):,}"
        )
    at = header_end + tokenizer_row.nbytes
    blob = _checked("the tokenizer", data[header_end:at], tokenizer_row.crc32)
    if hashlib.sha256(blob).hexdigest() != tokenizer_row.sha256:
        raise ArtifactError("the tokenizer is not the one that its header names", got="another sha256")
    tensors = []
    for row in rows:
        tensor_blob = _checked(f"tensor {row.name}", data[at : at + row.nbytes], row.crc32)
        tensors.append(StoredTensor(row.name, row.role, row.codec, row.shape, tensor_blob))
        at += row.nbytes
    if hashlib.sha256(data[:at]).digest() != data[at:]:
        raise ArtifactError("trailing checksum: the sha256 at the end is not that of the file", got="another")
    tokenizer = StoredTokenizer(tokenizer_row.kind, tokenizer_row.vocab_size, blob)
    return Artifact(fields.config, tokenizer, tuple(tensors), fields.provenance)


def _read_header(data: bytes) -> tuple[int, header_json.Header]:
    """The end of the header and its contents, the bytes before checked in file order."""
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise ArtifactError(
            "magic: not a .golf file", got=f"first bytes {data[:8].hex(' ')}" if data else "an empty file"
        )
    if len(data) < FIXED_BYTES:
        raise ArtifactError(
            f"length: the file is truncated; the smallest has {FIXED_BYTES} bytes", got=len(data)
        )
    _, version, length, checksum = PRELUDE.unpack_from(data)
    if version != VERSION:
        raise ArtifactError(
            f"version: this bytegolf reads version {VERSION} of the format",
            got=f"version {version}",
            fix="update bytegolf; if that does not help, the file is damaged: get it again",
        )
    end = PRELUDE.size + length
    if length > MAX_HEADER_BYTES or end > len(data) - DIGEST_BYTES:
        raise ArtifactError(
            "length: the file is truncated inside its header, or the header's length is damaged",
            got=f"a header of {length:,} bytes in a file of {len(data):,}",
        )
    header = data[PRELUDE.size : end]
    if zlib.crc32(data[:_CHECKED_BY_CRC] + header) != checksum:
        raise ArtifactError("header: its checksum does not fit", got=f"crc32 {checksum:08x}")
    return end, header_json.parse(header)


def _checked(what: str, blob: bytes, crc32: str) -> bytes:
    if _crc(blob) != crc32:
        raise ArtifactError(f"{what} is damaged: its checksum does not fit", got=f"crc32 {_crc(blob)}")
    return blob


def _crc(blob: bytes) -> str:
    return f"{zlib.crc32(blob):08x}"
