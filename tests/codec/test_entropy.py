"""Laws of the symbol coder: lossless, near the entropy, safe on any bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bytegolf.codec.entropy import (
    decode_halves,
    decode_symbols,
    encode_halves,
    encode_symbols,
    split_section,
)
from bytegolf.errors import ArtifactError

RANGES = st.sampled_from([(-127, 127), (-32, 31), (-16, 15), (0, 255), (5, 5), (0, 1)])


@st.composite
def streams(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Symbols of a drawn spread around a drawn centre, from constant through bell to uniform."""
    lo, hi = draw(RANGES)
    n = draw(st.sampled_from([0, 1, 2, 7, 100, 3000]))
    spread = draw(st.sampled_from([0.0, 0.3, 3.0, 30.0, 1e3]))
    centre = draw(st.integers(lo, hi))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return np.clip(np.rint(rng.normal(centre, spread, n)), lo, hi).astype(np.int32), lo, hi


def entropy_bits(symbols: np.ndarray) -> float:
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / symbols.size)).sum())


@given(streams())
def test_what_is_encoded_is_decoded(stream: tuple[np.ndarray, int, int]) -> None:
    symbols, lo, hi = stream
    assert np.array_equal(decode_symbols(encode_symbols(symbols, lo, hi), symbols.size, lo, hi), symbols)


@given(hnp.arrays(np.int32, st.integers(0, 200), elements=st.integers(-32, 31)))
def test_any_int6_stream_survives(symbols: np.ndarray) -> None:
    assert np.array_equal(decode_symbols(encode_symbols(symbols, -32, 31), symbols.size, -32, 31), symbols)


@given(streams())
def test_no_stream_is_larger_than_its_raw_symbols_and_a_few_bytes(
    stream: tuple[np.ndarray, int, int],
) -> None:
    symbols, lo, hi = stream
    raw_bytes = symbols.size * np.log2(hi - lo + 1) / 8
    assert len(encode_symbols(symbols, lo, hi)) <= raw_bytes * 1.0001 + 9


@pytest.mark.parametrize(
    ("lo", "hi", "table_bytes"),
    [(-127, 127, 130), (-32, 31, 60), (-16, 15, 40)],
    ids=["int8", "int6", "int5"],
)
@pytest.mark.parametrize("n", [128 * 128, 512 * 512])
def test_gaussian_codes_cost_their_entropy_and_a_small_table(
    lo: int, hi: int, table_bytes: int, n: int
) -> None:
    symbols = np.clip(np.rint(np.random.default_rng(n).normal(0, hi / 3, n)), lo, hi).astype(np.int32)
    overhead = len(encode_symbols(symbols, lo, hi)) - entropy_bits(symbols) / 8
    # The table and the coder's last word, and what the 24-bit probabilities round away.
    assert 0 < overhead < table_bytes + 2e-4 * n / 8


def test_empty_and_constant_streams_cost_next_to_nothing() -> None:
    assert encode_symbols(np.zeros(0, dtype=np.int32), -32, 31) == b""
    assert len(encode_symbols(np.full(1_000_000, 7), -32, 31)) == 3


def test_symbols_outside_their_range_are_refused() -> None:
    with pytest.raises(ArtifactError, match=r"within -32\.\.31"):
        encode_symbols(np.array([32]), -32, 31)


@given(st.binary(max_size=60), st.sampled_from([0, 1, 5, 1000]), RANGES)
def test_any_bytes_decode_within_the_range_or_raise(blob: bytes, n: int, limits: tuple[int, int]) -> None:
    lo, hi = limits
    try:
        symbols = decode_symbols(blob, n, lo, hi)
    except ArtifactError:
        return
    assert symbols.shape == (n,)
    assert ((symbols >= lo) & (symbols <= hi)).all()


@given(streams(), st.data())
def test_a_damaged_stream_decodes_within_the_range_or_raises(
    stream: tuple[np.ndarray, int, int], data: st.DataObject
) -> None:
    symbols, lo, hi = stream
    blob = bytearray(encode_symbols(symbols, lo, hi) or b"\x00")
    blob[data.draw(st.integers(0, min(len(blob) - 1, 80)))] ^= data.draw(st.integers(1, 255))
    blob = blob[: data.draw(st.integers(0, len(blob)))]
    test_any_bytes_decode_within_the_range_or_raise.hypothesis.inner_test(bytes(blob), symbols.size, (lo, hi))


BELL = np.clip(np.rint(np.random.default_rng(0).normal(0, 9, 500)), -32, 31).astype(np.int32)


@pytest.mark.parametrize(
    ("blob", "n", "why"),
    [
        (b"", 1, "empty"),
        (b"\x10\x00\x00", 0, "follow an empty stream"),
        (encode_symbols(np.array([3, 3]), -32, 31) + b"\x00", 2, "follow a constant stream"),
        (encode_symbols(BELL, -32, 31) + b"\x01\x02\x03\x04" * 3, 500, "longer than its symbols"),
        (encode_symbols(BELL, -32, 31) + b"\x01", 500, "broken words"),
        (encode_symbols(BELL, -32, 31)[:10], 500, "does not end"),
        (b"\x10\x3f\x01", 5, "outside their range"),
        (b"\x10\xff\xff\xff\xff\xff\xff", 5, "does not end"),
        (b"\x20\x00\x01\x70\x00\x00\x00\x00", 5, "sum to their total"),
        (b"\x20\x00\x01\x43\x40\x00\x00\x00\x00", 5, "count outside its range"),
        (b"\x01" + b"\x00" * 8, 5, "unknown table"),
        (b"\x00" + b"\xff" * 8, 5, "does not fit its table"),
    ],
)
def test_damage_is_told_by_its_kind(blob: bytes, n: int, why: str) -> None:
    with pytest.raises(ArtifactError, match=why):
        decode_symbols(blob, n, -32, 31)


def test_a_section_longer_than_its_blob_is_damage() -> None:
    assert split_section(b"\x02abc", 0) == (b"ab", b"c")
    with pytest.raises(ArtifactError, match="longer than the blob"):
        split_section(b"\x04abc", 0)


@given(hnp.arrays(np.uint16, st.integers(0, 300), elements=st.integers(0, 65535)))
def test_16_bit_words_survive_and_never_grow_by_more_than_the_flag(words: np.ndarray) -> None:
    blob = encode_halves(words)
    assert np.array_equal(decode_halves(blob, words.size), words)
    assert len(blob) <= 1 + 2 * words.size


@given(st.binary(max_size=60), st.integers(0, 40))
def test_any_bytes_decode_to_16_bit_words_or_raise(blob: bytes, n: int) -> None:
    try:
        words = decode_halves(blob, n)
    except ArtifactError:
        return
    assert words.shape == (n,)
    assert words.dtype == np.uint16


def test_the_layout_is_frozen() -> None:
    symbols = np.array([0, 1, 0, -1, 0, 2, 0, 0, -2, 0, 1, -1, 0, 0, 1, 0])
    golden = encode_symbols(symbols, -32, 31)
    assert golden.hex() == "311e0449bc7442cb83"
    assert np.array_equal(decode_symbols(golden, symbols.size, -32, 31), symbols)
