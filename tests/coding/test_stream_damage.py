"""A stream that was altered gives an error that names the place, or the right bytes: never other bytes."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise

import pytest
from fake_coder import GOLF
from stream_samples import RECIPE, Parts, packed, unpacked

from bytegolf.coding import workers
from bytegolf.coding.block import StreamError
from bytegolf.coding.container import Block, Reader, _header_crc, checksum
from bytegolf.coding.fields import varint
from bytegolf.coding.stream import Work, decompress

TEXT = b"the same words again, " * 9 + random.Random(3).randbytes(90) + b"and a last line that is short\n"
STREAM = packed(TEXT, block=80)
STREAMS = {
    TEXT: STREAM,
    TEXT + b"!": packed(TEXT + b"!", block=80, embed=GOLF),
    b"ab" * 80: packed(b"ab" * 80, block=80),
    b"one block": packed(b"one block"),
    b"": packed(b""),
}
FUZZED = 10_000


@pytest.fixture(autouse=True)
def _no_thread_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking every loaded library for its threads takes longer than all else here."""
    monkeypatch.setattr(workers, "threadpool_limits", lambda _: nullcontext())


def outcome(stream: bytes, text: bytes, work: Work = Work(2)) -> str | None:
    """The error, or None when the text came back; what was written before an error begins the text."""
    sink = io.BytesIO()
    try:
        reader = Reader(io.BytesIO(stream))
        recipe = replace(RECIPE, context=reader.header.context, stride=reader.header.stride)
        decompress(reader, sink, recipe, work=work)
    except StreamError as error:
        assert text.startswith(sink.getvalue()), "wrong bytes were written"
        return str(error)
    assert sink.getvalue() == text, "wrong bytes and no error"
    return None


def part_at(position: int) -> str:
    """What an error must name when the byte at `position` of STREAM is altered."""
    header = len(STREAM) - sum(len(record) for record in records(STREAM))
    if position < 3:
        return "magic: "
    if position < header:
        return "version: |header: "
    at = header
    for number, part in enumerate(records(STREAM), 1):
        at += len(part)
        if position < at:
            # A changed length moves what follows; a changed end lets other bytes follow, or a record be missing.
            return rf"block {number}\b|block {number + 1}\b|the end record"
    raise AssertionError("behind the end")


def records(stream: bytes) -> list[bytes]:
    """The stream without its header, cut into records with their payloads."""
    source = io.BytesIO(stream)
    reader = Reader(source)
    cuts = [reader.position, *(reader.position for _ in reader.blocks())]
    cuts[-1] = len(stream)
    return [stream[a:b] for a, b in pairwise(cuts)]


@pytest.mark.parametrize("flip", [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF])
def test_every_altered_byte_is_an_error_that_names_the_broken_part(flip: int) -> None:
    found = 0
    for position in range(len(STREAM)):
        altered = bytearray(STREAM)
        altered[position] ^= flip
        error = outcome(bytes(altered), TEXT)
        if (
            error is not None
        ):  # what the coder does not look at in a payload may change, and the bytes are right
            assert re.match(part_at(position), error), (position, error)
            found += 1
    assert found > len(STREAM) - 20


def test_every_value_of_every_byte_is_an_error_or_the_text() -> None:
    stream, text = STREAMS[b"one block"], b"one block"
    for position in range(len(stream)):
        for value in range(256):
            altered = stream[:position] + bytes([value]) + stream[position + 1 :]
            error = outcome(altered, text)
            assert altered != stream or error is None, (position, value)


@pytest.mark.parametrize("text", STREAMS, ids=len)
def test_every_truncation_is_an_error(text: bytes) -> None:
    stream = STREAMS[text]
    ends = len(stream) - sum(map(len, records(stream)))
    between = set()
    for record in records(stream):
        between.add(ends)
        ends += len(record)
    for length in range(len(stream)):
        error = outcome(stream[:length], text)
        assert error is not None
        if length in between:
            assert error.startswith("the end record is missing")
        elif length > 0:
            assert "truncated" in error


def test_every_missing_and_every_added_byte_is_an_error() -> None:
    for position in range(len(STREAM) + 1):
        assert outcome(STREAM[:position] + b"\0" + STREAM[position:], TEXT) is not None
        assert (
            position == len(STREAM) or outcome(STREAM[:position] + STREAM[position + 1 :], TEXT) is not None
        )


def moved(blocks: list[Block]) -> Iterator[tuple[str, list[Block]]]:
    """Blocks in other places, their records rewritten so that lengths fit: only checksums can tell."""
    for i in range(len(blocks) - 2):
        yield f"block {i + 1} ", [*blocks[:i], blocks[i + 1], blocks[i], *blocks[i + 2 :]]
        yield f"block {i + 1} ", [*blocks[:i], *blocks[i + 1 :]]
        yield f"block {i + 2} ", [*blocks[: i + 1], blocks[i], *blocks[i + 1 :]]


def test_swapped_dropped_and_repeated_blocks_are_found() -> None:
    parts = Parts.of(STREAM)
    assert len(parts.blocks) == 4
    cases = list(moved(parts.blocks))
    for names, blocks in cases:
        error = outcome(parts.joined(blocks), TEXT)
        assert error is not None
        assert error.startswith(names), (error, names)
    assert len(cases) == 6


def test_blocks_of_another_text_are_found_though_they_are_in_their_place() -> None:
    first, second = (Parts.of(packed(text, block=80)) for text in (TEXT, b"\0" * 80 + TEXT))
    mixed = first.joined([*second.blocks[:2], *first.blocks[2:]])
    error = str(outcome(mixed, b"\0" * 80 + TEXT))
    assert error.startswith("block 3 is damaged or not in its place")


def test_the_first_damaged_block_is_named_though_a_later_one_was_met_before() -> None:
    parts = Parts.of(STREAM)
    wrong = [replace(b, crc32=b.crc32 ^ (b.number == 2)) for b in parts.blocks]
    stream = parts.joined(wrong)[:-5]
    for work in (Work(1), Work(2), Work(9)):
        assert str(outcome(stream, TEXT, work)).startswith("block 2 is damaged")


def test_good_blocks_before_the_damage_are_written() -> None:
    sink = io.BytesIO()
    with pytest.raises(StreamError, match="block 4: the file is truncated"):
        decompress(Reader(io.BytesIO(STREAM[:-1])), sink, RECIPE, work=Work(9))
    assert sink.getvalue() == TEXT[: len(TEXT) * 3 // 4]


def altered_bytes(stream: bytes, chance: random.Random) -> bytes:
    data = bytearray(stream)
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.randrange(len(data) + 1)
        size = chance.choice([1, 1, 2, 4, 30])
        match chance.randrange(5):
            case 0:
                data[at : at + size] = chance.randbytes(len(data[at : at + size]))
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = chance.randbytes(size)
            case 3:
                data[at:at] = data[chance.randrange(len(data) + 1) :][:size]
            case _:
                data[at : at + size] = b"\xff" * len(data[at : at + size])
    return bytes(data)


def altered_header(stream: bytes, chance: random.Random) -> bytes:
    """Other numbers and ids in the header, with a checksum that fits."""
    reader = Reader(io.BytesIO(stream))
    body = stream[reader.position - len(reader.header.embedded or b"") :]
    numbers = [
        varint(chance.choice([0, 3, 7, 37, 1 << chance.randrange(62)])) for _ in range(chance.randrange(5))
    ]
    ids = altered_bytes(stream[4:16], chance) if chance.random() < 0.3 else stream[4:16]
    head = stream[:3] + bytes([0x10 | chance.randrange(16)]) + ids + b"".join(numbers)
    return head + _header_crc(head) + body


def altered_blocks(stream: bytes, chance: random.Random) -> bytes:
    """Records that are whole, with wrong values, in the wrong place, or of another stream."""
    parts = Parts.of(stream)
    blocks = list(parts.blocks)
    for _ in range(chance.choice([1, 2])):
        i, j = chance.randrange(len(blocks)), chance.randrange(len(blocks))
        old = blocks[i]
        match chance.randrange(6):
            case 0:
                blocks[i], blocks[j] = blocks[j], blocks[i]
            case 1:
                blocks[i] = replace(old, tokens=max(0, old.tokens + chance.choice([-1, 1, 7, 1 << 20, -9])))
            case 2:
                blocks[i] = replace(old, payload=altered_bytes(old.payload, chance))
            case 3:
                blocks[i] = replace(old, size=chance.randrange(81), last=chance.random() < 0.5)
            case 4:
                blocks[i] = replace(
                    old, coded=chance.randrange(90), payload=chance.randbytes(chance.randrange(90))
                )
            case _:
                blocks.insert(j, replace(old, last=chance.random() < 0.5))
    return parts.joined(blocks)


@pytest.mark.parametrize("alter", [altered_bytes, altered_header, altered_blocks])
def test_ten_thousand_damaged_streams(alter: Callable[[bytes, random.Random], bytes]) -> None:
    chance, refused, rounds = random.Random(alter.__name__), 0, FUZZED // 3 + 1
    texts = list(STREAMS)
    for _ in range(rounds):
        text = chance.choice(texts)
        refused += outcome(alter(STREAMS[text], chance), text) is not None
    assert refused > 0.5 * rounds


def test_a_forged_checksum_is_the_forgers_own_text() -> None:
    """What no format can know: with all checksums computed anew, it is a good file of another text."""
    parts = Parts.of(packed(b"a" * 80 + b"b" * 80, block=80))
    shorter = replace(parts.blocks[0], last=True)
    assert unpacked(parts.joined([shorter])) == b"a" * 80
    assert shorter.crc32 == checksum(0, 0, b"a" * 80)
