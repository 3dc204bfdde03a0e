"""Any bytes come back, whatever the work is divided by, and the file is the same file."""

from __future__ import annotations

import io
import os
import random
import tracemalloc
from dataclasses import replace
from itertools import accumulate, dropwhile, pairwise, zip_longest

import pytest
from fake_coder import GOLF, Fake
from hypothesis import example, given
from hypothesis import strategies as st
from stream_samples import ODD, RECIPE, Parts, Pipe, packed, part_of, unpacked

from bytegolf.coding.block import StreamError
from bytegolf.coding.container import DEFAULT_BLOCK, Reader
from bytegolf.coding.stream import (
    Work,
    compress,
    compress_documents,
    cut_bytes,
    cut_documents,
    decompress,
    decompress_range,
)
from bytegolf.coding.workers import spread

TEXTS = st.binary(max_size=200) | st.text("ab c", max_size=400).map(str.encode) | st.sampled_from(ODD)


@given(TEXTS, st.integers(1, 300), st.integers(1, 5), st.integers(1, 7))
def test_any_bytes_come_back_whatever_block_and_lanes(
    data: bytes, block: int, lanes: int, other: int
) -> None:
    stream = packed(data, block=block, work=Work(lanes))
    assert stream == packed(data, block=block, work=Work(other))
    assert unpacked(stream, work=Work(other)) == data


@pytest.mark.parametrize("data", ODD)
@pytest.mark.parametrize("block", [1, 7, 256, DEFAULT_BLOCK])
def test_odd_bytes_come_back(data: bytes, block: int) -> None:
    assert unpacked(packed(data, block=block)) == data


@given(TEXTS, st.integers(1, 100), st.integers(1, 50))
def test_pipes_that_give_little_at_a_time_change_nothing(data: bytes, block: int, most: int) -> None:
    sink, back = io.BytesIO(), io.BytesIO()
    compress(Pipe(data, most), sink, RECIPE, block=block)
    assert sink.getvalue() == packed(data, block=block)
    decompress(Reader(Pipe(sink.getvalue(), most)), back, RECIPE)
    assert back.getvalue() == data


@given(TEXTS, st.integers(1, 100), st.integers(0, 500), st.none() | st.integers(0, 500))
@example(b"abcdef", 3, 3, 3)
@example(b"", 3, 0, 0)
def test_a_range_is_a_slice_and_decodes_only_its_blocks(
    data: bytes, block: int, start: int, length: int | None
) -> None:
    stream = packed(data, block=block)
    end = len(data) if length is None else start + length
    if max(start, end) > len(data):
        with pytest.raises(
            StreamError, match=f"a range must lie inside the text, which has {len(data)} bytes"
        ):
            part_of(stream, start, length)
        return
    found, summary = part_of(stream, start, length, work=Work(2))
    assert found == data[start:end]
    assert summary.blocks <= len(range(start // block, -(-end // block))) + 1
    piped = io.BytesIO()
    decompress_range(Reader(Pipe(stream)), piped, RECIPE, start, length)
    assert piped.getvalue() == found


def test_a_range_needs_no_block_but_its_own() -> None:
    parts = Parts.of(packed(random.Random(1).randbytes(1000), block=100))
    stream = parts.joined([b if b.number == 4 else replace(b, payload=bytes(b.coded)) for b in parts.blocks])
    assert part_of(stream, 310, 50)[0] == random.Random(1).randbytes(1000)[310:360]
    with pytest.raises(StreamError, match="block 5 is damaged"):
        part_of(stream, 310, 91)


@given(st.lists(st.binary(max_size=30), max_size=12), st.integers(1, 40), st.integers(1, 4))
def test_documents_come_back_joined(documents: list[bytes], block: int, lanes: int) -> None:
    sink = io.BytesIO()
    summary = compress_documents(documents, sink, RECIPE, block=block, work=Work(lanes))
    assert unpacked(sink.getvalue()) == b"".join(documents)
    assert summary.raw == sum(map(len, documents))


@given(st.lists(st.binary(max_size=30), max_size=12), st.integers(1, 40))
def test_the_coder_knows_where_documents_begin_and_only_long_ones_are_cut(
    documents: list[bytes], block: int
) -> None:
    texts = list(cut_documents(documents, block))
    documents = [document for document in documents if document]
    ends = list(accumulate(map(len, documents)))
    begins = [end - len(document) for document, end in zip(documents, ends, strict=True)]
    assert b"".join(text.data for text in texts) == b"".join(documents)
    at, told = 0, []
    for text, following in zip_longest(texts, texts[1:]):
        end = at + len(text.data)
        assert 0 < len(text.data) <= block
        told += [at + start for start in (0, *text.starts) if start or at in begins]
        if following is not None and end in begins:
            assert len(text.data) + len(documents[begins.index(end)]) > block, "there was room for one more"
        elif following is not None:
            assert len(text.data) == block, "only what is longer than a block is cut"
        at = end
    assert told == begins
    for begin, document in zip(begins, documents, strict=True):
        cuts = [
            cut for cut in accumulate(len(text.data) for text in texts) if 0 < cut - begin < len(document)
        ]
        assert cuts == list(range(begin + block, begin + len(document), block))


@pytest.mark.parametrize(
    "size", [0, 1, 2, 1000, DEFAULT_BLOCK - 1, DEFAULT_BLOCK, DEFAULT_BLOCK + 1, 1_000_000]
)
@pytest.mark.parametrize("recipe", [RECIPE, Fake("none")])
def test_noise_grows_by_less_than_a_thousandth_and_64_bytes(size: int, recipe: Fake) -> None:
    data = random.Random(size).randbytes(size)
    sink = io.BytesIO()
    summary = compress(io.BytesIO(data), sink, recipe)
    assert summary.file == len(sink.getvalue()) < size + size / 1000 + 64
    assert summary.stored == summary.blocks
    assert unpacked(sink.getvalue(), recipe) == data


def test_the_summary_counts_what_is_in_the_file() -> None:
    data = b"words and words " * 100 + random.Random(2).randbytes(400)
    sink = io.BytesIO()
    summary = compress(io.BytesIO(data), sink, RECIPE, block=400, embed=GOLF)
    blocks = Parts.of(sink.getvalue()).blocks
    assert (summary.raw, summary.blocks, summary.stored) == (2000, 5, 1)
    assert summary.payload == sum(len(block.payload) for block in blocks)
    assert summary.tokens == sum(block.tokens for block in blocks) == 4 * 134
    assert summary.bits == 8 * sum(len(block.payload) for block in blocks[:-1])
    assert (summary.embedded, summary.file) == (len(GOLF), len(sink.getvalue()) - len(GOLF))
    assert summary.bits_per_byte == 8 * summary.file / 2000
    back = decompress(Reader(io.BytesIO(sink.getvalue())), io.BytesIO(), RECIPE)
    assert back == replace(summary, bits=0.0)
    assert Reader(io.BytesIO(sink.getvalue())).header.embedded == GOLF


def test_progress_goes_up_to_the_whole() -> None:
    seen: list[int] = []
    stream = packed(bytes(1000), block=90, work=Work(3), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1000
    seen.clear()
    decompress(Reader(io.BytesIO(stream)), io.BytesIO(), RECIPE, work=Work(2), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1000


def test_memory_does_not_grow_with_the_text() -> None:
    block, work = 50_000, Work(2)

    class Endless(io.RawIOBase):
        left = 400 * block

        def read(self, size: int = -1, /) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return os.urandom(size)

        def seekable(self) -> bool:
            return False

    class Nowhere:
        def write(self, data: bytes, /) -> int:
            return len(data)

    tracemalloc.start()
    try:
        compress(Endless(), Nowhere(), Fake("none"), block=block, work=work)
        assert tracemalloc.get_traced_memory()[1] < 6 * work.blocks * block + 2 * (2 << 20)
    finally:
        tracemalloc.stop()


def test_another_model_and_other_arithmetic_are_different_errors() -> None:
    stream = packed(b"text " * 100)
    with pytest.raises(StreamError, match="compressed with another model") as error:
        unpacked(stream, Fake(golf=b"\x89GOLF another"))
    assert RECIPE.model[:8].hex() in str(error.value)
    with pytest.raises(StreamError, match="compressed with other arithmetic"):
        unpacked(stream, Fake(version=2))
    with pytest.raises(ValueError, match="reads otherwise"):
        decompress(Reader(io.BytesIO(stream)), io.BytesIO(), Fake(stride=512))


@pytest.mark.parametrize("work", [(0, 1), (1, 0), (-1, 1)])
def test_no_work_is_refused(work: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="a lane and a thread"):
        Work(*work)


@given(st.lists(st.integers(0, 9), max_size=50), st.integers(1, 20))
def test_blocks_are_shared_out_evenly_and_large_ones_to_shares_with_few(
    sizes: list[int], shares: int
) -> None:
    pieces = spread(sizes, shares)
    assert sorted(i for piece in pieces for i in piece) == list(range(len(sizes)))
    assert all(piece == sorted(piece) for piece in pieces)
    assert len(pieces) == min(len(sizes), shares)
    assert not pieces or max(map(len, pieces)) - min(map(len, pieces)) <= 1
    for before, after in pairwise(pieces):
        assert len(before) <= len(after)
        assert min(sizes[i] for i in before) >= max(sizes[i] for i in after)


@given(st.integers(1, 5 << 20), st.sampled_from([5_000, 100_000, DEFAULT_BLOCK, 1 << 20, 3 << 20]))
@example((3 << 20) + 1, 3 << 20)
@example((4 << 20) + 1, 1 << 20)
def test_what_is_left_of_a_text_is_cut_evenly_and_fills_the_lanes(length: int, block: int) -> None:
    sizes = [len(text.data) for text in cut_bytes(io.BytesIO(bytes(length)), block)]
    assert sum(sizes) == length
    assert max(sizes) <= block
    tail = list(dropwhile(lambda size: size == block, sizes))
    assert max(tail, default=0) - min(tail, default=0) <= 1
    assert len(tail) <= -(-sum(tail) // block) or min(tail) >= max(64 << 10, block // 2)
    if block >= DEFAULT_BLOCK and sum(tail) >= 8 * block:
        assert len(tail) >= 16  # no lane is left empty
