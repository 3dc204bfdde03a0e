"""Symbol streams as docs/format.md has them: tables, uniform streams, and the whole numbers that floats become."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.codec.entropy import decode_symbols, encode_symbols
from bytegolf.errors import ArtifactError
from reference.golf_reader import RANGES, GolfError, boundaries, f32, read_symbols
from reference.range_encoder import RangeEncoder

LIMITS = sorted({*RANGES.values(), (0, 255)})


def golomb(value: int, order: int) -> str:
    code = value + (1 << order)
    return "0" * (code.bit_length() - order - 1) + f"{code:b}"


@settings(max_examples=100)
@given(st.data())
def test_of_streams_made_by_hand_both_say_the_same(data: st.DataObject) -> None:
    """Tables of every order, counts of zero, sums that miss, needless bytes in numbers, too few words or many."""
    total_log2, order = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 15))
    size = data.draw(st.integers(1, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    counts = rng.multinomial(1 << total_log2, rng.dirichlet(np.full(size, 0.4)))
    counts[data.draw(st.integers(0, size - 1))] += data.draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
    steps = np.diff(counts, prepend=0).tolist()
    bits = "".join(golomb(2 * step if step >= 0 else -2 * step - 1, order) for step in steps)
    bits += data.draw(st.sampled_from("01")) * (-len(bits) % 8)
    numbers = b"".join(
        bytes([value | 128, 128, 0]) if data.draw(st.booleans()) else bytes([value])
        for value in (data.draw(st.integers(0, 3)), size - 1)
    )
    words = data.draw(st.sampled_from([rng.bytes(size) for size in (0, 4, 8, 12, 3)] + [b"\xff" * 8]))
    table = int(bits, 2).to_bytes(len(bits) // 8) if size > 1 else b""
    stream = bytes([total_log2 << 4 | order]) + numbers + table + words
    n = data.draw(st.integers(1, 20))
    both_read(stream, n, -4, 3)
    both_read(b"\0" + words, n, -4, 3)
    both_read(bytes([order]) + words, n, 0, 0)
    both_read(stream[: data.draw(st.integers(0, len(stream)))], n if size > 1 else 0, -4, 3)


def both_read(stream: bytes, n: int, lo: int, hi: int) -> None:
    try:
        expected = decode_symbols(stream, n, lo, hi).tolist()
    except ArtifactError:
        with pytest.raises(GolfError):
            read_symbols(stream, n, lo, hi)
    else:
        assert read_symbols(stream, n, lo, hi) == expected


@pytest.mark.parametrize("zeros", [14, 15, 16, 17, 18, 19, 20, 21])
@pytest.mark.parametrize("size", [1, 5])
def test_of_long_numbers_both_say_the_same(zeros: int, size: int) -> None:
    """A code with many zeros before it, and a length that takes all its bytes to say 1."""
    bits = "0" * zeros + "1" * (zeros + 1)
    bits += "0" * (-len(bits) % 8)
    both_read(bytes([0xF0, 0, 1]) + int(bits, 2).to_bytes(len(bits) // 8), 3, -32, 31)
    for needless in range(size):
        both_read(bytes([0x10, *[0x80] * (needless + 1), 0, 0]), 3, -32, 31)


@pytest.mark.parametrize(("lo", "hi"), LIMITS)
@settings(max_examples=12)
@given(data=st.data())
def test_streams_with_every_table_and_without_are_read(lo: int, hi: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    spread, n = data.draw(st.sampled_from([0, 0.4, 3, 40, 4000])), data.draw(st.sampled_from([1, 2, 50, 700]))
    symbols = np.clip(np.rint(rng.normal((lo + hi) / 2, spread, n)), lo, hi).astype(np.int32)
    stream = encode_symbols(symbols, lo, hi)
    assert read_symbols(stream, n, lo, hi) == symbols.tolist()
    damaged = bytearray(stream)
    damaged[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    both_read(bytes(damaged), n, lo, hi)


@pytest.mark.parametrize(("lo", "hi"), LIMITS)
def test_the_symbols_of_a_uniform_stream_have_the_shares_that_the_page_gives(lo: int, hi: int) -> None:
    """Of at most 6,000 of them. Among the ranges are 255 and 32,767 values, where binary32 rounds."""
    size = hi - lo + 1
    bounds, encoder = boundaries([f32(1 / size)] * size), RangeEncoder()
    symbols = np.random.default_rng(size).permutation(size)
    symbols = np.unique([0, size - 1, *symbols[:6000]])
    for symbol in symbols:
        encoder.encode(bounds[symbol], bounds[symbol + 1])
    stream = b"\0" + encoder.finish()
    assert decode_symbols(stream, symbols.size, lo, hi).tolist() == (symbols + lo).tolist()
    assert read_symbols(stream, symbols.size, lo, hi) == (symbols + lo).tolist()


@given(st.integers(1, 15), st.integers(2, 300), st.integers(0, 2**32 - 1))
def test_the_whole_numbers_of_the_page_are_its_floats(total_log2: int, size: int, seed: int) -> None:
    """B_i = (r24(C_i (2^24 - N)) >> T) + i, with no float in it."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(1 << total_log2, rng.dirichlet(np.full(size, 0.3))).tolist()
    before = [sum(counts[:i]) * (2**24 - size) for i in range(size)]
    whole = [(r24(share) >> total_log2) + i for i, share in enumerate(before)]
    assert boundaries([count / (1 << total_log2) for count in counts]) == [*whole, 2**24]


def r24(value: int) -> int:
    low = max(value.bit_length() - 24, 0)
    kept, rest, middle = value >> low, value & (1 << low) - 1, 1 << low >> 1
    return (kept + (low > 0 and (rest > middle or (rest == middle and kept % 2 == 1)))) << low


def test_the_longest_code_that_a_table_can_hold_is_read() -> None:
    """Counts 0, 2^15, 0 at order 0: differences of 2^15 up and down, 16 zeros before each of the two codes."""
    bits = golomb(0, 0) + golomb(2 * 2**15, 0) + golomb(2 * 2**15 - 1, 0)
    assert bits.count("0" * 16) >= 2
    bits += "0" * (-len(bits) % 8)
    bounds, encoder = boundaries([0.0, 1.0, 0.0]), RangeEncoder()
    for index in (1, 0, 2):
        encoder.encode(bounds[index], bounds[index + 1])
    stream = bytes([15 << 4, 0, 2]) + int(bits, 2).to_bytes(len(bits) // 8) + encoder.finish()
    assert decode_symbols(stream, 3, -1, 1).tolist() == [0, -1, 1]
    assert read_symbols(stream, 3, -1, 1) == [0, -1, 1]


def test_uniform_boundaries_are_the_closed_forms_of_the_page() -> None:
    sizes = {hi - lo + 1 for lo, hi in LIMITS}
    assert sizes == {32, 64, 255, 256, 32_767}
    for size in sizes - {255, 32_767}:
        assert boundaries([1 / size] * size) == [i * 2**24 // size for i in range(size + 1)]
    assert boundaries([f32(1 / 255)] * 255) == [65_793 * i + (i >= 128) for i in range(256)]
    weight, total = f32(1 / 32_767), 0.0
    for _ in range(32_767):
        total = f32(total + weight)
    assert (weight.hex(), total.hex()) == ("0x1.0002000000000p-15", "0x1.fffc100000000p-1")
    assert f32((2**24 - 32_767) / total) == 16_744_952
