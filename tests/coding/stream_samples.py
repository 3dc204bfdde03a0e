"""Texts, streams made of them with the fake coder, and streams taken apart and put together wrongly."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fake_coder import Fake

from bytegolf.coding.container import Block, Header, Lengths, Reader, header_bytes, record_bytes
from bytegolf.coding.stream import Summary, Work, compress, decompress, decompress_range

RECIPE = Fake()
ODD = [
    b"",
    b"\0",
    b"x",
    bytes(300),
    bytes(range(256)),
    b"\xff\xfe\x80 broken \xc3(",
    "▁▁ ▁a\u2581 größer 漢字".encode(),
    b"one\r\ntwo\rthree\n\r\n",
    random.Random(0).randbytes(1000),
    b"the same words again and again, " * 40,
]


class Pipe(io.RawIOBase):
    """A source that cannot seek and gives what it likes: `most` bytes at a time."""

    def __init__(self, data: bytes, most: int = 1 << 30) -> None:
        self._file, self._most = io.BytesIO(data), most

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(min(size, self._most) if size >= 0 else self._most)

    def seekable(self) -> bool:
        return False


class Counting(io.BytesIO):
    """A source that knows how much of it was read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def packed(data: bytes, recipe: Fake = RECIPE, **options: Any) -> bytes:
    sink = io.BytesIO()
    compress(io.BytesIO(data), sink, recipe, **options)
    return sink.getvalue()


def unpacked(stream: bytes, recipe: Fake = RECIPE, work: Work = Work()) -> bytes:
    sink = io.BytesIO()
    reader = Reader(io.BytesIO(stream))
    decompress(
        reader, sink, replace(recipe, context=reader.header.context, stride=reader.header.stride), work=work
    )
    return sink.getvalue()


def part_of(stream: bytes, start: int, length: int | None, **options: Any) -> tuple[bytes, Summary]:
    sink = io.BytesIO()
    summary = decompress_range(Reader(io.BytesIO(stream)), sink, RECIPE, start, length, **options)
    return sink.getvalue(), summary


@dataclass(frozen=True)
class Parts:
    """A stream taken apart: to be changed with `replace` and joined again, lengths written anew."""

    header: Header
    blocks: list[Block]

    @classmethod
    def of(cls, stream: bytes) -> Parts:
        reader = Reader(io.BytesIO(stream))
        return cls(reader.header, list(reader.blocks()))

    def joined(self, blocks: Sequence[Block] | None = None) -> bytes:
        lengths = Lengths(self.header.block)
        data = header_bytes(self.header) + (self.header.embedded or b"")
        for b in self.blocks if blocks is None else blocks:
            data += record_bytes(lengths, b.size, b.tokens, b.coded, b.crc32, b.last) + b.payload
        return data
