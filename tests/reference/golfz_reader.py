"""A decoder of .golfz files in plain Python, written from docs/format_golfz.md and docs/exact.md.

`decode` gives the text of a file. Anything that the pages tell a reader to refuse raises GolfzError, and its
message begins with the part or the block.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from reference.exact_model import ExactModel, Row, model_of
from reference.golf_reader import GolfError, read
from reference.range_decoder import RangeDecoder
from reference.tokenizer_reader import Tokenizer, decode_ids, decode_tokenizer

MAGIC = bytes.fromhex("89 47 7A")
BLOCK = 131_072


class GolfzError(ValueError):
    """A file that must be refused. The message begins with the part: the header, the model, block n, the end."""


def need(condition: object, what: str) -> None:
    if not condition:
        raise GolfzError(what)


@dataclass(frozen=True)
class Header:
    """What stands before the blocks; `end` is where they begin."""

    model: bytes
    coder: bytes
    context: int
    stride: int
    block: int
    embedded: bytes | None
    end: int


@dataclass(frozen=True)
class Block:
    """A record and its payload."""

    offset: int
    raw: int
    tokens: int
    crc32: int
    payload: bytes

    @property
    def stored(self) -> bool:
        return len(self.payload) == self.raw


# Numbers


def crc16(data: bytes) -> int:
    """CRC-16/IBM-3740."""
    value = 0xFFFF
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ (0x1021 if value & 0x8000 else 0)) & 0xFFFF
    return value


def read_varint(data: bytes, at: int, part: str) -> tuple[int, int]:
    """The number at byte `at`, and where it ends."""
    value = 0
    for place in range(9):
        need(at < len(data), f"{part}: truncated")
        byte, at = data[at], at + 1
        value |= (byte & 127) << 7 * place
        if byte < 128:
            need(byte or not place, f"{part}: a number is not in its shortest form")
            return value, at
    raise GolfzError(f"{part}: a number of more than 9 bytes")


def unzigzag(value: int) -> int:
    """The signed number d of `2 d`, `-2 d - 1`."""
    return -(value + 1) // 2 if value % 2 else value // 2


def unround(value: int) -> int:
    """(2 h + 1) 2^z of 32 h + z; 0, which no range admits, where h is too large."""
    h, z = divmod(value, 32)
    return (2 * h + 1) << z if h < 1 << 31 else 0


# The frame


def read_header(data: bytes) -> Header:
    """The header, checked in the order of the page."""
    need(data[:3] == MAGIC, "header: magic")
    need(len(data) > 3, "header: truncated")
    version, flags = data[3] >> 4, data[3] & 15
    need(version == 1, "header: version")
    need(len(data) >= 16, "header: truncated")
    context, at = read_varint(data, 16, "header")
    stride, at = read_varint(data, at, "header")
    block, at = read_varint(data, at, "header") if flags & 2 else (17, at)  # 131,072 is 2^17
    length, at = read_varint(data, at, "header") if flags & 1 else (0, at)
    need(at + 2 <= len(data), "header: truncated")
    need(crc16(data[:at]) == int.from_bytes(data[at : at + 2], "little"), "header: checksum")
    need(flags < 4, "header: flags")
    context, stride, block, at = unround(context), unround(stride), unround(block), at + 2
    need(1 <= context <= 1 << 24 and 1 <= stride <= context, "header: context and stride")
    need(1 <= block <= 1 << 24 and (block == BLOCK) == (not flags & 2), "header: block size")
    need(not flags & 1 or 1 <= length <= 1 << 31, "header: the model's length")
    embedded = None
    if flags & 1:
        need(at + length <= len(data), "the embedded model: truncated")
        embedded, at = data[at : at + length], at + length
        need(hashlib.sha256(embedded).digest()[:8] == data[4:12], "the embedded model: another one")
    return Header(data[4:12], data[12:16], context, stride, block, embedded, at)


def read_blocks(data: bytes, header: Header) -> list[Block]:
    """Every block, up to the end of the file."""
    blocks: list[Block] = []
    at, offset, last = header.end, 0, False
    of_coded, of_tokens = (5, 32), (5, 16)
    while not last:
        part = f"block {len(blocks)}"
        first, at = read_varint(data, at, part)
        raw = header.block
        if first % 2:
            second, at = read_varint(data, at, part)
            need(second, f"{part}: an empty field")
            raw, last = header.block - second // 2, bool(second % 2)
        need(raw >= 0 and (raw or (last and not blocks)), f"{part}: its bytes of text")
        coded = raw * of_coded[0] // of_coded[1] + unzigzag(first // 2)
        need(0 <= coded <= raw, f"{part}: its bytes")
        tokens = 0
        if coded < raw:
            third, at = read_varint(data, at, part)
            tokens = raw * of_tokens[0] // of_tokens[1] + unzigzag(third)
            need(1 <= tokens <= 4 * raw, f"{part}: its tokens")
            of_tokens = tokens, raw
        need(at + 4 + coded <= len(data), f"{part}: truncated")
        crc32 = int.from_bytes(data[at : at + 4], "little")
        at += 4 + coded
        blocks.append(Block(offset, raw, tokens, crc32, data[at - coded : at]))
        offset, of_coded = offset + raw, (coded, raw)
    need(at == len(data), "the end: bytes follow the last block")
    return blocks


# The text


@cache
def open_model(golf: bytes) -> tuple[ExactModel, Tokenizer, bytes]:
    """The model and the tokenizer of a .golf file, and the identity of their coder."""
    try:
        file = read(golf)
        exact, tokenizer = model_of(file), decode_tokenizer(file.tokenizer)
    except (GolfError, KeyError, TypeError, IndexError) as error:
        raise GolfzError(f"the model: {error!r}") from error
    need((len(tokenizer.pieces), 0) == (exact.vocab_size, exact.bos), "the model: its tokenizer")
    return exact, tokenizer, hashlib.sha256(hashlib.sha256(golf).digest() + exact.identity()).digest()


def decode(data: bytes, model: bytes | None = None) -> bytes:
    """The text of a file; `model` is the .golf file, where it is not embedded."""
    header = read_header(data)
    golf = header.embedded or model
    if golf is None:
        raise GolfzError("the model: none")
    need(hashlib.sha256(golf).digest()[:8] == header.model, "the model: another one")
    exact, tokenizer, coder = open_model(golf)
    need(coder[:4] == header.coder, "the coder: another arithmetic")
    text, before = b"", 0
    for number, block in enumerate(read_blocks(data, header)):
        part = block.payload
        if not block.stored:
            try:
                part = decode_payload(block, header, exact, tokenizer)
            except ValueError as error:
                raise GolfzError(f"block {number}: {error}") from error
        need(len(part) == block.raw, f"block {number}: another number of bytes")
        before = zlib.crc32(block.offset.to_bytes(8, "little") + part, before)
        need(before == block.crc32, f"block {number}: checksum")
        text += part
    return text


def decode_payload(block: Block, header: Header, exact: ExactModel, tokenizer: Tokenizer) -> bytes:
    """The text of a block whose payload holds tokens."""
    decoder, row, tokens = RangeDecoder(block.payload, "big"), Row(exact), [exact.bos]
    frequencies, left = row.read(exact.bos), 8.0 * len(block.payload) + 96
    for target in range(1, block.tokens + 1):
        tokens.append(decoder.decode([0, *accumulate(frequencies)]))
        left -= 24 - math.log2(frequencies[tokens[-1]])
        if left <= 0:
            raise ValueError("more tokens than the payload holds")
        # Target S + (k - 1) s + 1 is the first that sees the row from token k s on.
        k, beyond = divmod(target - header.context, header.stride)
        if target == block.tokens:
            break
        if k >= 0 and beyond == 0:
            start, row = (k + 1) * header.stride, Row(exact)
            for token in tokens[start:]:
                frequencies = row.read(token)
        else:
            frequencies = row.read(tokens[-1])
    return decode_ids(tokenizer, tokens)
