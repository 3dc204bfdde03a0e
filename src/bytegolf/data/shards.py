"""Token shards, the file format of Parameter Golf (and of modded-nanogpt before it).

A header of 256 little-endian int32 (magic, version, number of tokens, zeros) and then the tokens as little-endian
uint16: 1024 + 2 n bytes.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from bytegolf.errors import DataError
from bytegolf.files import write_atomically

MAGIC = 20240520
VERSION = 1
HEADER_BYTES = 1024
MAX_TOKENS = (1 << 31) - 1

_CHUNK_TOKENS = 1 << 22


def write_shard(path: str | os.PathLike[str], ids: npt.NDArray[np.integer]) -> None:
    """Write `ids` (n,) as one shard, under a temporary name first.

    Raises DataError if there are 2^31 tokens or more, or an id does not fit in 16 bits.
    """
    path = Path(path)
    if ids.ndim != 1 or len(ids) > MAX_TOKENS:
        raise DataError(f"a shard holds one row of at most {MAX_TOKENS} tokens", got=f"shape {ids.shape}")
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) <= 0xFFFF:
        got = f"{int(ids.min())}..{int(ids.max())}"
        raise DataError("a shard holds ids in 0..65535", got=got, where=str(path))
    write_atomically(path, _header(len(ids)), ids.astype("<u2").tobytes())


class ShardWriter:
    """Writes a stream of tokens as shards of `shard_tokens`, stem_000000.bin and on; the last may hold fewer.

    The files get their names at once, so the folder must be one that nobody reads yet.
    """

    def __init__(self, folder: Path, stem: str, shard_tokens: int) -> None:
        self._folder, self._stem, self._limit = folder, stem, shard_tokens
        self._file: BinaryIO | None = None
        self._count = 0
        self.shards: list[tuple[str, int, str]] = []  # name, tokens, sha256 of the file

    def add(self, ids: npt.NDArray[np.uint16]) -> None:
        """The next tokens (n,)."""
        start = 0
        while start < len(ids):
            if self._file is None:
                self._file = self._path().open("wb")
                self._file.write(bytes(HEADER_BYTES))
            part = ids[start : start + self._limit - self._count]
            self._file.write(part.astype("<u2").data)
            self._count += len(part)
            start += len(part)
            if self._count == self._limit:
                self.close()

    def close(self) -> None:
        """Finish the shard at hand. Its sha256 is that of what is on the disk."""
        if self._file is None:
            return
        self._file.seek(0)
        self._file.write(_header(self._count))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        with self._path().open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.shards.append((self._path().name, self._count, digest))
        self._file, self._count = None, 0

    def _path(self) -> Path:
        return self._folder / f"{self._stem}_{len(self.shards):06d}.bin"


def open_shard(path: str | os.PathLike[str], vocab_size: int) -> npt.NDArray[np.uint16]:
    """The tokens (n,) of a shard, mapped into memory and read-only.

    Cost: reads the file once, to compare every id with the vocabulary.
    Raises DataError as `map_shard` does, or if an id is beyond the vocabulary (naming the first).
    """
    ids = map_shard(path)
    for start in range(0, len(ids), _CHUNK_TOKENS):
        chunk = ids[start : start + _CHUNK_TOKENS]
        if int(chunk.max()) >= vocab_size:
            index = start + int(np.argmax(chunk >= vocab_size))
            raise DataError(
                f"every token id must be below the vocabulary size {vocab_size}",
                got=f"id {int(ids[index])} at token {index}",
                where=str(path),
                fix="use the tokenizer and the vocabulary size that the shard was written with",
            )
    return ids


def map_shard(path: str | os.PathLike[str]) -> npt.NDArray[np.uint16]:
    """The tokens (n,) of a shard, mapped into memory and read-only; only its header is read.

    Raises DataError if the file is missing, is no shard, or has another version or length.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = np.frombuffer(file.read(HEADER_BYTES), dtype=np.uint8)
    except OSError as error:
        raise DataError("the shard must be readable", got=str(error), where=str(path)) from error
    if len(header) < HEADER_BYTES:
        rule = f"a shard starts with a header of {HEADER_BYTES} bytes"
        raise _broken(path, rule, f"a file of {len(header)} bytes")
    magic, version, count = (int(value) for value in header.view("<i4")[:3])
    if magic != MAGIC:
        raise _broken(path, f"a shard starts with the magic number {MAGIC}", magic)
    if version != VERSION:
        raise _broken(path, f"the version of a shard must be {VERSION}", version)
    if count < 0 or size != HEADER_BYTES + 2 * count:
        expected = f"a shard of {count} tokens has {HEADER_BYTES + 2 * count} bytes"
        raise _broken(path, expected, f"{size} bytes")
    if count == 0:
        return np.empty(0, dtype=np.uint16)
    ids: npt.NDArray[np.uint16] = np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES, shape=(count,))
    return ids


def _header(count: int) -> bytes:
    header = np.zeros(HEADER_BYTES // 4, dtype="<i4")
    header[:3] = MAGIC, VERSION, count
    return header.tobytes()


def _broken(path: Path, rule: str, got: object) -> DataError:
    return DataError(rule, got=got, where=str(path), fix="build or download this shard again")
