"""The .golfz file: coded blocks of a text, framed so that nothing damaged, cut, moved or added passes for it.

Layout (integers little-endian, varints unsigned LEB128 in their shortest form; docs/format_golfz.md: every byte):

    header   magic 89 47 7A, a byte of version and flags, 8 bytes of the sha256 of the .golf file, 4 bytes of the
             coder's identity, context and stride as round numbers, so the block size unless it is 128 KiB, the
             length of the embedded model if there is one, crc16 of all that; then the embedded model
    block    coded length; for the last block and those that are not full, which of it holds, and by how much;
             tokens (not when stored); crc32 of the block's offset in the text and its bytes, continued from the
             record before; then the payload

The record of the last block is the end record: a file without one was cut, and nothing may follow its payload.
A block whose coded length is its raw length is stored as it is. Lengths are written as differences to what the
block before suggests: a record takes 8 bytes where plain varints would take 11, and header and records of five
blocks 63.

A writer needs no seeking and a reader only goes forward, so both work on pipes. A reader believes nothing: every
length is compared with its limit before it is used, and payloads are read piece by piece as they really come, so
that the block (or the model) being read takes at most twice the bytes that the file has of it, plus 64 KiB.
"""

from __future__ import annotations

import binascii
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol

from bytegolf.coding.block import Coded, StreamError
from bytegolf.coding.fields import (
    Fields,
    Source,
    from_round_number,
    from_zigzag,
    round_number,
    varint,
    zigzag,
)

MAGIC = b"\x89Gz"
VERSION = 1
EMBEDS = 1  # the model stands between the header and the first block
OTHER_BLOCK = 2  # the block size is not the default and stands in the header
MODEL_BYTES, ARITHMETIC_BYTES, HEADER_CRC_BYTES, CRC_BYTES = 8, 4, 2, 4
DEFAULT_BLOCK, MAX_BLOCK = 128 << 10, 16 << 20
MAX_CONTEXT = 1 << 24
MAX_MODEL = 1 << 31
MAX_TEXT = 1 << 62
# A token stands for a byte or more, but for marks (capitals, documents) that stand for none.
MAX_TOKENS_PER_BYTE = 4
# What the first block is compared with: 3.2 bytes a token and 1.25 bits per byte, as small models have on text.
FIRST_TOKENS, FIRST_CODED = (5, 16), (5, 32)
_GOLF = b"\x89GO"


class Sink(Protocol):
    """What a writer writes to, front to back."""

    def write(self, data: bytes, /) -> int: ...


@dataclass(frozen=True)
class Header:
    """model: first 8 bytes of the sha256 of the .golf file. arithmetic: first 4 of the coder's identity.

    context, stride: how the model reads, in tokens. block: the most raw bytes that a block has.
    embedded: the .golf file itself, where it travels along.
    """

    model: bytes
    arithmetic: bytes
    context: int
    stride: int
    block: int = DEFAULT_BLOCK
    embedded: bytes | None = None


@dataclass(frozen=True)
class Block:
    """One block as the file has it. number counts from 1; offset and size: its bytes in the raw text.

    tokens: 0 for a block stored as it is. payload: empty for a block that was skipped. before: the crc32 of the
    record before, 0 in the first.
    """

    number: int
    offset: int
    size: int
    tokens: int
    coded: int
    crc32: int
    last: bool
    before: int
    payload: bytes = b""

    @property
    def stored(self) -> bool:
        return self.coded == self.size


class Lengths:
    """What the blocks so far suggest for the next one: both sides keep it, and only differences are written."""

    def __init__(self, full: int) -> None:
        """full: the most raw bytes that a block has."""
        self.full = full
        self._tokens, self._coded = FIRST_TOKENS, FIRST_CODED

    def coded(self, size: int) -> int:
        """Payload bytes to expect of a block of `size` raw bytes."""
        return self._coded[0] * size // self._coded[1]

    def tokens(self, size: int) -> int:
        return self._tokens[0] * size // self._tokens[1]

    def learn(self, size: int, tokens: int, coded: int) -> None:
        if size == 0:
            return
        self._coded = (coded, size)
        if coded != size:
            self._tokens = (tokens, size)


class Writer:
    """Writes the header at once and then one block after the other; `written` counts the bytes of the file."""

    def __init__(self, sink: Sink, header: Header) -> None:
        self._sink, self._header, self._lengths = sink, header, Lengths(header.block)
        self.written = self.offset = self.number = self._crc32 = 0
        self._ended = False
        self._put(header_bytes(header))
        if header.embedded is not None:
            self._put(header.embedded)

    def add(self, raw: bytes, coded: Coded | None, last: bool) -> Block:
        """Write the next block: coded, or as it is where there is no `coded` or it saves nothing.

        Raises ValueError for a block that is too large, that comes after the last, or that is empty and not alone.
        """
        size = len(raw)
        if self._ended or size > self._header.block or (size == 0 and not (last and self.number == 0)):
            raise ValueError(f"block {self.number + 1} of {size} bytes cannot stand here")
        tokens, payload = 0, raw
        if coded is not None and len(coded.payload) < size and 0 < coded.tokens <= token_limit(size):
            tokens, payload = coded.tokens, coded.payload
        before, crc32 = self._crc32, checksum(self._crc32, self.offset, raw)
        self._put(record_bytes(self._lengths, size, tokens, len(payload), crc32, last))
        self._put(payload)
        self.number += 1
        block = Block(self.number, self.offset, size, tokens, len(payload), crc32, last, before)
        self.offset += size
        self._crc32 = crc32
        self._ended = last
        return block

    def _put(self, data: bytes) -> None:
        self._sink.write(data)
        self.written += len(data)


class Reader:
    """Reads and checks the header at once; `blocks` walks the rest. Errors name the part that is wrong."""

    def __init__(self, source: Source) -> None:
        self._input = Fields(source)
        self.header = _read_header(self._input)
        self.offset = 0  # bytes of text in the blocks so far

    @property
    def position(self) -> int:
        """Bytes of the file that were read or skipped."""
        return self._input.position

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Every block in order, once; those that end at or before byte `start` of the text without their payload.

        Raises StreamError, naming the block, at the first thing that no writer writes: a file that was cut and
        bytes after the end are such things. What was yielded before has good lengths, no more: see `check`.
        """
        lengths, number, last, crc32 = Lengths(self.header.block), 0, False, 0
        while not last:
            number += 1
            block = _read_record(self._input, lengths, number, self.offset, crc32)
            crc32 = block.crc32
            part = f"block {number}"
            if self.offset + block.size <= start and not block.last:
                self._input.skip(block.coded, part)
            else:
                block = replace(block, payload=self._input.take(block.coded, part))
            self.offset, last = self.offset + block.size, block.last
            yield block
        if self._input.more():
            raise StreamError("the end record: other bytes follow the last block")


def check(block: Block, raw: bytes | None) -> bytes:
    """`raw`, when it is the text of the block. Raises StreamError naming the block: for None (no encoder wrote the
    payload), another length, or another checksum, which a block in another's place has too."""
    part = f"block {block.number}"
    where = f"bytes {block.offset:,} to {block.offset + block.size:,} of the text"
    if raw is None:
        raise StreamError(f"{part} is damaged: no encoder writes such a payload", got=where)
    if len(raw) != block.size or checksum(block.before, block.offset, raw) != block.crc32:
        raise StreamError(f"{part} is damaged or not in its place: its checksum does not fit", got=where)
    return raw


def checksum(before: int, offset: int, raw: bytes) -> int:
    """crc32 over the block's offset in the text (u64 little-endian), then its bytes, continued from `before`.

    The offset finds blocks that were swapped, dropped or repeated, the crc32 of the record before those of another
    file that happen to be in the right place.
    """
    return zlib.crc32(raw, zlib.crc32(offset.to_bytes(8, "little"), before))


def token_limit(size: int) -> int:
    return MAX_TOKENS_PER_BYTE * size


def header_bytes(header: Header) -> bytes:
    """The header without the embedded model. Raises ValueError for what no reader accepts."""
    if (
        not (1 <= header.stride <= header.context <= MAX_CONTEXT and 1 <= header.block <= MAX_BLOCK)
        or len(header.model) != MODEL_BYTES
        or len(header.arithmetic) != ARITHMETIC_BYTES
        or (header.embedded is not None and not 1 <= len(header.embedded) <= MAX_MODEL)
    ):
        raise ValueError("no reader accepts such a header")
    flags, numbers = 0, [round_number(header.context), round_number(header.stride)]
    if header.block != DEFAULT_BLOCK:
        flags |= OTHER_BLOCK
        numbers.append(round_number(header.block))
    if header.embedded is not None:
        flags |= EMBEDS
        numbers.append(len(header.embedded))
    data = MAGIC + bytes([VERSION << 4 | flags]) + header.model + header.arithmetic
    data += b"".join(varint(number) for number in numbers)
    return data + _header_crc(data)


def record_bytes(lengths: Lengths, size: int, tokens: int, coded: int, crc32: int, last: bool) -> bytes:
    """The record before a payload of `coded` bytes; `lengths` learns it. tokens are not written when stored."""
    missing = lengths.full - size
    data = varint(zigzag(coded - lengths.coded(size)) << 1 | (last or missing != 0))
    if last or missing:
        data += varint(missing << 1 | last)
    if coded != size:
        data += varint(zigzag(tokens - lengths.tokens(size)))
    lengths.learn(size, tokens, coded)
    return data + crc32.to_bytes(CRC_BYTES, "little")


def _header_crc(data: bytes) -> bytes:
    """CRC-16/IBM-3740: enough here, since a header that passed by chance still names another model or coder."""
    return binascii.crc_hqx(data, 0xFFFF).to_bytes(HEADER_CRC_BYTES, "little")


def _read_header(source: Fields) -> Header:
    _read_magic(source)
    version = source.take(1, "header")
    if version[0] >> 4 != VERSION:
        raise StreamError(
            f"version: this bytegolf reads version {VERSION} of the format",
            got=f"version {version[0] >> 4}",
            fix="update bytegolf; if that does not help, the file is damaged: get it again",
        )
    flags = version[0] & 0xF
    ids = source.take(MODEL_BYTES + ARITHMETIC_BYTES, "header")
    seen, values = MAGIC + version + ids, []
    for _ in range(2 + bool(flags & OTHER_BLOCK) + bool(flags & EMBEDS)):
        value, data = source.varint("header")
        values.append(value)
        seen += data
    if source.take(HEADER_CRC_BYTES, "header") != _header_crc(seen):
        raise StreamError("header: its checksum does not fit")
    if flags & ~(EMBEDS | OTHER_BLOCK):
        _refuse("it has flags that this version does not know", f"{flags:#x}")
    size = values.pop() if flags & EMBEDS else 0
    context, stride, block = _settings(values)
    model, arithmetic = ids[:MODEL_BYTES], ids[MODEL_BYTES:]
    embedded = _read_model(source, size, model) if flags & EMBEDS else None
    return Header(model, arithmetic, context, stride, block, embedded)


def _settings(values: list[int]) -> tuple[int, int, int]:
    """Context, stride and block size, each in its range."""
    try:
        context, stride, *given = (from_round_number(value) for value in values)
    except ValueError as error:
        _refuse("a number is too large", error)
    if not 1 <= stride <= context <= MAX_CONTEXT:
        _refuse(f"its stride must be in 1..context, its context at most {MAX_CONTEXT:,}", (stride, context))
    if given and (given[0] > MAX_BLOCK or given[0] == DEFAULT_BLOCK):
        _refuse(f"a block size that it names must be at most {MAX_BLOCK:,}, not the default", given[0])
    return context, stride, given[0] if given else DEFAULT_BLOCK


def _read_magic(source: Fields) -> None:
    """Byte by byte, since a file of another kind may be shorter than the magic."""
    found = b""
    while len(found) < len(MAGIC) and (byte := source.more()):
        found += byte
        if not MAGIC.startswith(found) and not _GOLF.startswith(found):
            break
    if found == _GOLF:
        raise StreamError(
            "magic: not a .golfz file", got="a .golf file", fix="the model comes first: MODEL, then INPUT"
        )
    if not found or not MAGIC.startswith(found):
        raise StreamError("magic: not a .golfz file", got=found.hex(" ") or "an empty file")
    if found != MAGIC:
        raise StreamError("header: the file is truncated inside it", got=f"{len(found)} bytes")


def _read_model(source: Fields, size: int, model: bytes) -> bytes:
    part = "the embedded model"
    if not 1 <= size <= MAX_MODEL:
        raise StreamError(f"{part}: it must have 1 to {MAX_MODEL:,} bytes", got=f"{size:,}")
    embedded = source.take(size, part)
    if hashlib.sha256(embedded).digest()[:MODEL_BYTES] != model:
        raise StreamError(f"{part} is damaged: its sha256 is not the one that the header names")
    return embedded


def _read_record(source: Fields, lengths: Lengths, number: int, offset: int, before: int) -> Block:
    part = f"block {number}"
    first = source.more()
    if not first:
        after = f"block {number - 1}" if number > 1 else "the header"
        raise StreamError(f"the end record is missing: the file is truncated after {after}")
    value, _ = source.varint(part, first)
    ending = source.varint(part)[0] if value & 1 else 0
    size, last = lengths.full - (ending >> 1), bool(ending & 1)
    empty = size == 0 and not (last and number == 1)
    if size < 0 or empty or bool(value & 1) != (ending > 0) or offset + size > MAX_TEXT:
        raise StreamError(
            f"{part} is damaged: no block of this file has such a length", got=f"{size:,} bytes"
        )
    coded = from_zigzag(value >> 1) + lengths.coded(size)
    if not 0 <= coded <= size:
        raise StreamError(f"{part} is damaged: its payload cannot have such a length", got=f"{coded:,} bytes")
    tokens = 0
    if coded != size:
        tokens = from_zigzag(source.varint(part)[0]) + lengths.tokens(size)
        if not 1 <= tokens <= token_limit(size):
            raise StreamError(f"{part} is damaged: it cannot have so many tokens", got=f"{tokens:,}")
    lengths.learn(size, tokens, coded)
    crc32 = int.from_bytes(source.take(CRC_BYTES, part), "little")
    return Block(number, offset, size, tokens, coded, crc32, last, before)


def _refuse(rule: str, got: object) -> NoReturn:
    raise StreamError(f"header: {rule}", got=got)
