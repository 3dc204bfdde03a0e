"""The frame of a .golfz file: every byte of it has a meaning, and what no writer writes is refused."""

from __future__ import annotations

import hashlib
import io
import re
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_samples import Counting, Parts, Pipe, packed

from bytegolf.coding.block import Coded, StreamError
from bytegolf.coding.container import (
    DEFAULT_BLOCK,
    MAGIC,
    MAX_BLOCK,
    MAX_CONTEXT,
    Block,
    Header,
    Lengths,
    Reader,
    Writer,
    _header_crc,
    check,
    checksum,
    header_bytes,
    record_bytes,
)
from bytegolf.coding.fields import Fields, from_round_number, from_zigzag, round_number, varint, zigzag

HEADER = Header(bytes(range(8)), b"abcd", 8192, 1024)
MODEL = b"a model, or what passes for one here"
SMALL = replace(HEADER, block=96)
EMBEDDING = replace(HEADER, model=hashlib.sha256(MODEL).digest()[:8], embedded=MODEL)


def read(data: bytes) -> list[Block]:
    return list(Reader(io.BytesIO(data)).blocks())


def refused(data: bytes) -> str:
    with pytest.raises(StreamError) as error:
        read(data)
    return str(error.value)


@given(st.integers(0, (1 << 63) - 1))
def test_a_varint_comes_back_and_is_the_shortest(number: int) -> None:
    data = varint(number)
    assert Fields(io.BytesIO(data)).varint("x") == (number, data)
    assert len(data) == max(1, -(-number.bit_length() // 7))


@pytest.mark.parametrize("data", [b"\x80\x00", b"\xff\x80\x00", b"\x80" * 9 + b"\x01", b"\x80", b""])
def test_a_varint_that_is_cut_too_long_or_too_large_is_refused(data: bytes) -> None:
    with pytest.raises(StreamError, match=r"^part"):
        Fields(io.BytesIO(data)).varint("part")


@given(st.integers(-(1 << 40), 1 << 40), st.integers(1, (1 << 32) - 1))
def test_signed_and_round_numbers_come_back(signed: int, number: int) -> None:
    assert from_zigzag(zigzag(signed)) == signed
    assert zigzag(signed) >= 0
    assert from_round_number(round_number(number)) == number


def test_powers_of_two_take_one_byte() -> None:
    assert [varint(round_number(1 << k)) for k in range(25)] == [bytes([k]) for k in range(25)]


def crc16(data: bytes) -> int:
    """CRC-16/IBM-3740 from its definition: x^16 + x^12 + x^5 + 1, highest bit first, from FFFF."""
    value = 0xFFFF
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = value << 1 ^ (0x11021 if value & 0x8000 else 0)
    return value


@given(st.binary(max_size=50))
def test_the_checksum_of_a_header_is_the_one_of_the_books(data: bytes) -> None:
    assert _header_crc(data) == crc16(data).to_bytes(2, "little")
    assert crc16(b"123456789") == 0x29B1


def test_the_smallest_file_is_frozen() -> None:
    sink = io.BytesIO()
    Writer(sink, HEADER).add(b"", None, last=True)
    expected = "89 47 7a 10 00 01 02 03 04 05 06 07 61 62 63 64 0d 0a 41 32 01 81 80 10 69 df 22 65"
    assert sink.getvalue().hex(" ") == expected
    assert checksum(0, 0, b"") == 0x6522DF69


def test_a_block_is_frozen() -> None:
    sink = io.BytesIO()
    writer = Writer(sink, replace(HEADER, block=96, context=100, stride=100))
    writer.add(b"a" * 96, Coded(30, b"0123456789abcdef"), last=False)
    writer.add(b"b" * 3, Coded(2, b"x"), last=True)
    data = sink.getvalue()
    assert data[3] == 0x12
    assert data[16:21].hex(" ") == "82 03 82 03 25"
    # 16 - 96 * 5/32 = 1 and 30 - 96 * 5/16 = 0; then 1 - 3 * 16/96 = 1, 93 bytes missing, 2 - 3 * 30/96 = 2
    assert data[23:29].hex(" ") == "04 00 " + checksum(0, 0, b"a" * 96).to_bytes(4, "little").hex(" ")
    assert (
        data[45:].hex(" ")
        == "05 bb 01 04 "
        + checksum(checksum(0, 0, b"a" * 96), 96, b"bbb").to_bytes(4, "little").hex(" ")
        + " 78"
    )


@given(
    st.integers(1, MAX_CONTEXT),
    st.integers(1, MAX_CONTEXT),
    st.integers(1, MAX_BLOCK),
    st.binary(min_size=8, max_size=8),
    st.none() | st.just(MODEL),
)
def test_a_header_comes_back(a: int, b: int, block: int, model: bytes, embedded: bytes | None) -> None:
    header = Header(EMBEDDING.model if embedded else model, b"1234", max(a, b), min(a, b), block, embedded)
    data = header_bytes(header) + (embedded or b"")
    assert Reader(io.BytesIO(data)).header == header
    assert Reader(Pipe(data, most=3)).header == header


LENGTHS = st.lists(
    st.tuples(st.integers(36_000, 43_000), st.integers(16_400, 20_400)), min_size=5, max_size=5
)


@given(LENGTHS, st.integers(60_000, 131_000))
def test_the_framing_of_five_blocks_of_text_is_at_most_64_bytes(
    lengths: list[tuple[int, int]], last: int
) -> None:
    sink = io.BytesIO()
    writer = Writer(sink, HEADER)
    payload = 0
    for i, (tokens, coded) in enumerate(lengths):
        size = last if i == 4 else DEFAULT_BLOCK
        tokens, coded = tokens * size // DEFAULT_BLOCK, coded * size // DEFAULT_BLOCK
        writer.add(bytes(size), Coded(tokens, bytes(coded)), last=i == 4)
        payload += coded
    assert len(sink.getvalue()) == writer.written
    assert writer.written - payload <= 64


ROWS = st.tuples(
    st.integers(1, 96), st.integers(1, 4), st.integers(0, 96), st.integers(0, (1 << 32) - 1), st.booleans()
)


@given(st.lists(ROWS, min_size=1, max_size=8))
def test_any_records_come_back(rows: list[tuple[int, int, int, int, bool]]) -> None:
    parts, lengths = header_bytes(SMALL), Lengths(96)
    expected: list[Block] = []
    offset, before = 0, 0
    for number, (size, tokens, coded, crc32, full) in enumerate(rows, 1):
        size = 96 if full else size
        coded = min(coded, size)
        tokens = 0 if coded == size else tokens * size
        last = number == len(rows)
        parts += record_bytes(lengths, size, tokens, coded, crc32, last) + bytes(coded)
        expected.append(Block(number, offset, size, tokens, coded, crc32, last, before, bytes(coded)))
        offset, before = offset + size, crc32
    assert read(parts) == expected
    assert list(Reader(Pipe(parts, most=5)).blocks()) == expected
    skipped = list(Reader(io.BytesIO(parts)).blocks(start=1 << 40))
    assert skipped == [replace(block, payload=b"") for block in expected[:-1]] + expected[-1:]


def test_a_file_is_walked_without_reading_what_is_skipped() -> None:
    stream = packed(bytes(range(256)) * 400, block=10_000)
    source = Counting(stream)
    blocks = list(Reader(source).blocks(start=1 << 40))
    assert len(blocks) == 11
    assert source.taken < len(stream) - sum(block.coded for block in blocks[:-1]) + 20


def remade(header: Header, old: bytes, new: bytes) -> bytes:
    """The header with other bytes in it and a checksum that fits."""
    data = header_bytes(header)[:-2]
    assert data.count(old) == 1
    data = data.replace(old, new)
    return data + _header_crc(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "magic: not a .golfz file; got an empty file"),
        (b"\x89Gx", "magic: not a .golfz file; got 89 47 78"),
        (b"plain text", "magic: not a .golfz file; got 70"),
        (b"\x89GOLF\r\n\x1a", "magic: not a .golfz file; got a .golf file"),
        (b"\x89G", "header: the file is truncated"),
        (MAGIC, "header: the file is truncated"),
        (MAGIC + b"\x20", "version: .*version 1 of the format; got version 2"),
        (header_bytes(HEADER)[:-1], "header: the file is truncated"),
        (header_bytes(HEADER)[:-1] + b"\0", "header: its checksum"),
        (remade(HEADER, b"z\x10", b"z\x14"), "header: it has flags that this version does not know; got 0x4"),
        (remade(HEADER, b"\x0d\x0a", b"\x0a\x0d"), "header: its stride must be in 1..context"),
        (remade(HEADER, b"\x0d\x0a", b"\x19\x0a"), "header: its stride .* at most 16,777,216"),
        (remade(HEADER, b"\x0d\x0a", varint(1 << 40) + b"\x0a"), "header: a number is too large"),
        (remade(replace(HEADER, block=96), b"\x0a\x25", b"\x0a\x19"), "header: a block size .* 16,777,216"),
        (
            remade(replace(HEADER, block=96), b"\x0a\x25", b"\x0a\x11"),
            "header: a block size .* not the default",
        ),
        (remade(EMBEDDING, b"\x24", varint(1 << 32)), "the embedded model: it must have"),
        (remade(EMBEDDING, b"\x24", b"\x00"), "the embedded model: it must have"),
        (header_bytes(EMBEDDING) + MODEL[:-1], "the embedded model: the file is truncated"),
        (header_bytes(EMBEDDING) + MODEL[:-1] + b"!", "the embedded model is damaged: its sha256"),
    ],
)
def test_a_header_that_no_writer_writes_is_refused_by_name(data: bytes, says: str) -> None:
    assert re.match(says, refused(data))


def record(size: int, tokens: int, coded: int, last: bool) -> bytes:
    return header_bytes(replace(HEADER, block=96)) + record_bytes(Lengths(96), size, tokens, coded, 0, last)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            header_bytes(SMALL) + varint(1) + varint(97 << 1 | 1),
            "block 1 is damaged: no block .* length; got -1",
        ),
        (header_bytes(SMALL) + varint(1) + varint(96 << 1), "block 1 is damaged: no block .* length; got 0"),
        (header_bytes(SMALL) + varint(1) + varint(0), "block 1 is damaged: no block .* length; got 96"),
        (record(96, 30, 97, False), "block 1 is damaged: its payload cannot have such a length; got 97"),
        (record(96, 30, -1, False), "block 1 is damaged: its payload cannot have such a length; got -1"),
        (record(96, 385, 10, False), "block 1 is damaged: it cannot have so many tokens; got 385"),
        (record(96, 0, 10, False), "block 1 is damaged: it cannot have so many tokens; got 0"),
        (record(96, 30, 10, False) + bytes(9), "block 1: the file is truncated"),
        (record(96, 30, 10, False) + bytes(10), "the end record is missing: .* after block 1"),
        (header_bytes(HEADER), "the end record is missing: .* after the header"),
        (record(96, 30, 10, True) + bytes(11), "the end record: other bytes follow"),
    ],
)
def test_a_record_that_no_writer_writes_is_refused_by_name(data: bytes, says: str) -> None:
    assert re.match(says, refused(data)), refused(data)


def test_an_empty_last_block_after_others_is_refused() -> None:
    lengths = Lengths(96)
    data = header_bytes(replace(HEADER, block=96)) + record_bytes(lengths, 96, 9, 0, 0, False)
    assert "block 2 is damaged" in refused(data + record_bytes(lengths, 0, 0, 0, 0, True))


def test_a_small_file_with_large_promises_takes_no_memory() -> None:
    large = header_bytes(replace(HEADER, block=MAX_BLOCK)) + record_bytes(
        Lengths(MAX_BLOCK), MAX_BLOCK, MAX_BLOCK, MAX_BLOCK - 1, 0, False
    )
    model = remade(EMBEDDING, b"\x24", varint(1 << 31))
    tracemalloc.start()
    try:
        for data in (large, model):
            tracemalloc.reset_peak()
            assert "truncated" in refused(data + bytes(1000))
            assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()


def test_blocks_out_of_order_are_not_written() -> None:
    writer = Writer(io.BytesIO(), replace(HEADER, block=4))
    for raw, last in ((b"", False), (b"abcde", True), (b"abcde", False)):
        with pytest.raises(ValueError, match="cannot stand here"):
            writer.add(raw, None, last)
    writer.add(b"abcd", None, last=False)
    with pytest.raises(ValueError, match="cannot stand here"):
        writer.add(b"", None, last=True)
    writer.add(b"a", None, last=True)
    with pytest.raises(ValueError, match="cannot stand here"):
        writer.add(b"", None, last=True)


@pytest.mark.parametrize(
    "header",
    [
        replace(HEADER, model=b"short"),
        replace(HEADER, arithmetic=b"too long"),
        replace(HEADER, stride=8193),
        replace(HEADER, stride=0),
        replace(HEADER, block=MAX_BLOCK + 1),
        replace(HEADER, block=0),
        replace(HEADER, context=MAX_CONTEXT + 1),
        replace(HEADER, embedded=b""),
    ],
)
def test_a_header_that_no_reader_accepts_is_not_written(header: Header) -> None:
    with pytest.raises(ValueError, match="no reader accepts"):
        Writer(io.BytesIO(), header)


@pytest.mark.parametrize("tokens", [0, 4 * 50 + 1, 1 << 70])
def test_a_block_of_impossible_tokens_is_stored(tokens: int) -> None:
    sink = io.BytesIO()
    assert Writer(sink, HEADER).add(b"a" * 50, Coded(tokens, b"x"), last=True).stored
    (block,) = read(sink.getvalue())
    assert check(block, block.payload) == b"a" * 50


def test_parts_that_are_joined_again_are_the_stream() -> None:
    for stream in (packed(b"abc" * 100, block=50), packed(b""), packed(bytes(9))):
        if stream:
            assert Parts.of(stream).joined() == stream
