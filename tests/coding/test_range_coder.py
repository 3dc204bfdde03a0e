"""The range coder against one in whole numbers of any size; the bytes it ends with are the shortest there are."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.coding.range_coder import Decoder, Encoder

TOTAL = 1 << 24


@st.composite
def distributions(draw: st.DrawFn, symbols: int, count: int) -> np.ndarray:
    """extras (count, V): flat, peaked, or with one symbol that has nearly all of it."""
    rng, free = np.random.default_rng(draw(st.integers(0, 1 << 16))), TOTAL - symbols
    rows = []
    for _ in range(count):
        kind = draw(st.sampled_from(["flat", "peaked", "one", "random"]))
        shares = (
            np.ones(symbols) if kind == "flat" else rng.random(symbols) ** (50 if kind == "peaked" else 1)
        )
        extras = np.zeros(symbols) if kind == "one" else np.floor(shares / shares.sum() * (free - symbols))
        extras[rng.integers(symbols)] += free - extras.sum()
        rows.append(extras)
    return np.array(rows)


@st.composite
def streams(draw: st.DrawFn, most: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """(symbols, extras): drawn from the distributions, or the unlikely ones, or always the same."""
    symbols, count = draw(st.sampled_from([2, 3, 17, 257, 1024])), draw(st.integers(0, most))
    extras = (
        draw(distributions(symbols, min(count, 8)))[np.arange(count) % 8] if count else np.zeros((0, symbols))
    )
    rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    kind = draw(st.sampled_from(["drawn", "uniform", "likely", "first", "last"]))
    if kind == "drawn":
        taken = [int(rng.choice(symbols, p=(1 + row) / TOTAL)) for row in extras]
    elif kind == "likely":
        taken = extras.argmax(axis=1).tolist()
    else:
        taken = rng.integers(symbols, size=count).tolist()
        taken = {"first": [0] * count, "last": [symbols - 1] * count}.get(kind, taken)
    return np.array(taken, np.int64), extras


def coded(taken: np.ndarray, extras: np.ndarray) -> bytes:
    encoder = Encoder()
    encoder.encode(taken, extras)
    return encoder.finish()


def decoded(payload: bytes, extras: np.ndarray) -> list[int]:
    decoder = Decoder(payload)
    return [decoder.decode(row[None].astype(np.float32)) for row in extras]


def interval(taken: np.ndarray, extras: np.ndarray) -> tuple[int, int, int]:
    """(low, span, bits): streams that begin with the bits of [low, low + span) decode to these symbols.

    The range coder of the books, without words and carries: low is a whole number of any size.
    """
    low, span, bits = 0, (1 << 64) - 1, 64
    for symbol, row in zip(taken.tolist(), extras, strict=True):
        below, unit = int(row[:symbol].sum()) + symbol, span >> 24
        low, span = low + unit * below, unit * (1 + int(row[symbol]))
        if span < 1 << 32:
            low, span, bits = low << 32, span << 32, bits + 32
    return low, span, bits


@given(streams())
def test_what_goes_in_comes_out(stream: tuple[np.ndarray, np.ndarray]) -> None:
    taken, extras = stream
    payload = coded(taken, extras)
    assert decoded(payload, extras) == taken.tolist()
    assert decoded(payload + b"\0\0\0", extras) == taken.tolist()  # what lies beyond the end counts as zeros
    assert not payload.endswith(b"\0")


@given(streams(), st.lists(st.integers(0, 60), max_size=4))
def test_pieces_give_the_bytes_of_the_whole(stream: tuple[np.ndarray, np.ndarray], cuts: list[int]) -> None:
    taken, extras = stream
    encoder = Encoder()
    borders = sorted({0, len(taken), *(cut for cut in cuts if cut < len(taken))})
    for begin, end in itertools.pairwise(borders):
        encoder.encode(taken[begin:end], extras[begin:end])
    assert encoder.finish() == coded(taken, extras)


@given(streams())
def test_the_payload_is_the_shortest_number_in_the_interval(stream: tuple[np.ndarray, np.ndarray]) -> None:
    """By the interval of another coder: the payload lies in it, and no shorter string of bytes does."""
    taken, extras = stream
    low, span, bits = interval(taken, extras)
    payload = coded(taken, extras)
    at = int.from_bytes(payload, "big") << max(0, bits - 8 * len(payload))
    assert 8 * len(payload) <= bits
    assert low <= at < low + span
    if payload:
        unit = 1 << bits - 8 * (len(payload) - 1)
        assert -(-low // unit) * unit >= low + span


@settings(max_examples=15)
@given(streams(most=6))
def test_no_shorter_string_decodes(stream: tuple[np.ndarray, np.ndarray]) -> None:
    """By trying them all, where there are few."""
    taken, extras = stream
    payload, wanted = coded(taken, extras), taken.tolist()
    for size in range(min(len(payload), 2)):
        for shorter in itertools.product(range(256), repeat=size):
            assert decoded_or_none(bytes(shorter), extras) != wanted
    if len(payload) > 2:
        for last in range(256):
            assert decoded_or_none(payload[:-2] + bytes([last]), extras) != wanted


def decoded_or_none(payload: bytes, extras: np.ndarray) -> list[int] | None:
    try:
        return decoded(payload, extras)
    except ValueError:
        return None


@given(streams())
def test_the_payload_has_the_bits_of_the_symbols(stream: tuple[np.ndarray, np.ndarray]) -> None:
    """Never two bytes more, whatever the stream. It may be shorter, when a round number lies in the interval."""
    taken, extras = stream
    bits = TOTAL.bit_length() - 1 - np.log2(1 + extras[np.arange(len(taken)), taken])
    assert 8 * len(coded(taken, extras)) <= bits.sum() + 16


@pytest.mark.parametrize("last", [0, 4])
@settings(max_examples=20)
@given(st.binary(min_size=1, max_size=6), distributions(5, 40))
def test_a_carry_runs_through_words_of_ones(last: int, near: bytes, extras: np.ndarray) -> None:
    """Symbols whose intervals all hold one round number: `low` is that number less a little, 7f ff ff ff ...,
    and the coder must hold those words back. Then a symbol tips the number to one side."""
    number = b"\x80" + near
    flat = np.tile([TOTAL - 5 - 4.0 * (TOTAL // 5), *[TOTAL / 5 // 1] * 4], (9, 1))
    taken = np.array([*decoded(number, extras), *[last] * 9])
    extras = np.concatenate((extras, flat))
    payload = coded(taken, extras)
    assert decoded(payload, extras) == taken.tolist()
    low, span, bits = interval(taken, extras)
    assert low <= int.from_bytes(payload, "big") << max(0, bits - 8 * len(payload)) < low + span


def test_words_of_ones_are_held_back_at_all() -> None:
    """What the test above relies on: without the symbols that tip it, the stream is its round number."""
    extras = np.random.default_rng(0).integers(0, TOTAL // 8, (200, 4)).astype(np.float64)
    extras = np.concatenate((extras, TOTAL - 5 - extras.sum(axis=1, keepdims=True)), axis=1)
    taken = np.array(decoded(b"\x80", extras))
    low, _, bits = interval(taken, extras)
    assert low.to_bytes(bits // 8, "big").startswith(b"\x7f" + b"\xff" * 12)
    assert coded(taken, extras) == b"\x80"
    for tip in (0, 4):
        once = np.append(taken, [tip] * 9), np.concatenate((extras, extras[:9]))
        payload = coded(*once)
        assert len(payload) > 12
        assert decoded(payload, once[1]) == once[0].tolist()
        assert payload.startswith((b"\x80" + bytes(11), b"\x7f" + b"\xff" * 11))


@given(st.binary(max_size=40), distributions(5, 12))
def test_any_bytes_decode_to_something_or_are_refused(payload: bytes, extras: np.ndarray) -> None:
    """Without an exception of another kind, and far beyond their end."""
    found = decoded_or_none(payload, np.tile(extras, (10, 1)))
    assert found is None or all(0 <= symbol < 5 for symbol in found)


def test_a_long_stream_loses_less_than_a_bit_in_ten_thousand() -> None:
    rng = np.random.default_rng(0)
    extras = np.floor(rng.dirichlet(np.full(50, 0.3), 4000) * (TOTAL - 200))
    extras[:, 0] += TOTAL - 50 - extras.sum(axis=1)
    taken = np.array([int(rng.choice(50, p=(1 + row) / TOTAL)) for row in extras])
    bits = float((24 - np.log2(1 + extras[np.arange(4000), taken])).sum())
    assert math.isclose(8 * len(coded(taken, extras)), bits, rel_tol=1e-4, abs_tol=16)
