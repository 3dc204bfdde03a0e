"""What docs/format.md says of the range coder, held against the library that does it.

The bytes that bytegolf writes are constriction's. Everything here fails when a release of it codes differently.
"""

from __future__ import annotations

from itertools import accumulate, pairwise, product

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.range_decoder import RangeDecoder
from reference.range_encoder import RangeEncoder

Categorical = constriction.stream.model.Categorical
Encoder, Decoder = constriction.stream.queue.RangeEncoder, constriction.stream.queue.RangeDecoder
FAMILY = Categorical(perfect=False)
TOTAL = 1 << 24
SMALL = st.one_of(st.integers(2, 5), st.integers(2, 300))
SIZES = st.one_of(SMALL, st.sampled_from([1000, 4096, 65535, 65536]))


@st.composite
def frequencies(draw: st.DrawFn, size: int) -> np.ndarray:
    """Whole numbers of at least 1 that sum to 2^24, int64 (size,): from all equal to all but one 1."""
    free, rng = TOTAL - size, np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found = np.ones(size, dtype=np.int64)
    kind = draw(st.sampled_from(["peak", "two ends", "few", "spread", "even"]))
    if kind == "peak":
        found[draw(st.sampled_from([0, size - 1, size // 2]))] += free
    elif kind == "two ends":
        first = draw(st.integers(0, free))
        found[[0, -1]] += [first, free - first]
    elif kind == "few":
        places = rng.integers(0, size, min(size, 30))
        cuts = np.sort(rng.integers(0, free + 1, places.size - 1))
        np.add.at(found, places, np.diff(cuts, prepend=0, append=free))
    else:
        shares = rng.pareto(0.5, size) if kind == "spread" else np.ones(size)
        found += np.floor(shares / shares.sum() * free).astype(np.int64)
        found[rng.integers(size)] += TOTAL - found.sum()
    assert found.min() >= 1
    assert found.sum() == TOTAL
    return found


@st.composite
def messages(draw: st.DrawFn, sizes: st.SearchStrategy[int] = SMALL) -> tuple[np.ndarray, list[int]]:
    """A distribution a symbol, (n, size), and the symbols: likely ones, unlikely ones, or one held on a border."""
    size = draw(sizes)
    n = draw(st.integers(0, 24 if size < 1000 else 3))
    table = np.array([draw(frequencies(size)) for _ in range(n)], dtype=np.int64).reshape(n, size)
    way = draw(st.sampled_from(["likely", "any", "last", "border"]))
    if way == "border":
        return table, on_a_border(table, draw(st.integers(1, 2**32 - 1)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if way == "likely":
        return table, [int(rng.choice(size, p=row / TOTAL)) for row in table]
    return table, [size - 1 if way == "last" else int(rng.integers(size)) for _ in table]


def on_a_border(table: np.ndarray, border: int) -> list[int]:
    """Symbols whose intervals all hold border 2^32, of 2^64 at the start: no word after the first is settled."""
    symbols, lower, width, aim = [], 0, 2**64 - 1, border << 32
    for row in table:
        bounds, scale = cumulative(row), width >> 24
        quantile = min((aim - lower) // scale, TOTAL - 1)
        symbols.append(int(np.searchsorted(bounds, quantile, side="right")) - 1)
        lower += scale * bounds[symbols[-1]]
        width = scale * int(row[symbols[-1]])
        if width < 2**32:
            lower, width, aim = lower << 32, width << 32, aim << 32
    return symbols


def cumulative(row: np.ndarray) -> list[int]:
    return [0, *accumulate(row.tolist())]


def coded(table: np.ndarray, symbols: list[int], dtype: type = np.float32) -> np.ndarray:
    """Words uint32: the message under the weights f - 1, in one call."""
    encoder = Encoder()
    encoder.encode(np.array(symbols, dtype=np.int32), FAMILY, (table - 1).astype(dtype))
    return encoder.get_compressed()


@given(messages(SIZES))
def test_frequencies_less_one_are_coded_as_exactly_these_frequencies(
    message: tuple[np.ndarray, list[int]],
) -> None:
    table, symbols = message
    words = coded(table, symbols)
    decoder = RangeDecoder(words.astype("<u4").tobytes())
    assert [decoder.decode(cumulative(row)) for row in table] == symbols
    assert decoder.is_spent()
    assert Decoder(words).decode(FAMILY, (table - 1).astype(np.float32)).tolist() == symbols


@settings(max_examples=40)
@given(messages())
def test_the_page_describes_every_word_that_the_encoder_writes(
    message: tuple[np.ndarray, list[int]],
) -> None:
    table, symbols = message
    encoder = RangeEncoder()
    for row, symbol in zip(table, symbols, strict=True):
        bounds = cumulative(row)
        encoder.encode(bounds[symbol], bounds[symbol + 1])
    assert encoder.finish() == coded(table, symbols).astype("<u4").tobytes()


class Watched(RangeEncoder):
    """Keeps how many words were held back, and whether a carry reached them."""

    def __init__(self) -> None:
        super().__init__()
        self.releases: list[tuple[int, bool]] = []

    def _release(self, carry: bool) -> None:
        self.releases.append((self._held, carry))
        super()._release(carry)


def test_words_are_held_back_until_a_carry_is_decided_either_way() -> None:
    """One word and several, raised and not, while coding and at the end: all occur, and the words agree."""
    rng, coding, ending = np.random.default_rng(5), set(), set()
    for trial in range(120):
        table = 1 + rng.multinomial(TOTAL - 300, rng.dirichlet(np.ones(300), 13))
        symbols = on_a_border(table[: 4 + trial % 9], int(rng.integers(1, 2**32)))
        for tail in ([], [0], [299]):
            encoder, message = Watched(), symbols + tail
            for row, symbol in zip(table, message, strict=False):
                encoder.encode(*cumulative(row)[symbol : symbol + 2])
            settled = len(encoder.releases)
            assert encoder.finish() == coded(table[: len(message)], message).astype("<u4").tobytes()
            coding.update(encoder.releases[:settled])
            ending.update(encoder.releases[settled:])
    for seen in (coding, ending):
        assert {(held > 1, carry) for held, carry in seen} == set(product((False, True), repeat=2))


@settings(max_examples=40)
@given(messages())
def test_every_form_of_the_call_and_both_precisions_write_the_same_words(
    message: tuple[np.ndarray, list[int]],
) -> None:
    table, symbols = message
    words = coded(table, symbols).tolist()
    assert coded(table, symbols, np.float64).tolist() == words
    for lazy in (False, True):
        encoder = Encoder()
        for row, symbol in zip(table, symbols, strict=True):
            encoder.encode(symbol, Categorical((row - 1).astype(np.float32), lazy=lazy, perfect=False))
        assert encoder.get_compressed().tolist() == words


@given(st.data(), SIZES)
def test_every_boundary_is_a_whole_number_of_the_given_frequencies(data: st.DataObject, size: int) -> None:
    """Read from the coder's state after one symbol: lower = scale F_s, range = scale f_s, scale = 2^40 - 1."""
    row = data.draw(frequencies(size))
    bounds, model = cumulative(row), Categorical((row - 1).astype(np.float32), perfect=False)
    drawn = data.draw(st.lists(st.integers(0, size - 1), max_size=20))
    for symbol in {0, size - 1, int(row.argmax()), *drawn}:
        encoder = Encoder()
        encoder.encode(symbol, model)
        scale = 2**40 - 1
        assert encoder.pos() == (0, (scale * bounds[symbol], scale * int(row[symbol])))


@pytest.mark.parametrize(
    "other",
    [
        lambda f: Categorical(f.astype(np.float32), perfect=False),
        lambda f: Categorical((f / TOTAL).astype(np.float32), perfect=False),
        lambda f: Categorical((f - 1) / (TOTAL - f.size), perfect=False),
        lambda f: Categorical((f - 1).astype(np.float32), perfect=True),
    ],
    ids=["frequencies", "probabilities", "normalised in float64", "perfect"],
)
def test_other_spellings_of_the_same_frequencies_are_other_distributions(other) -> None:
    """So the spelling f - 1 is part of what makes whole numbers exact, and not a matter of taste."""
    f = np.random.default_rng(0).integers(1, 1000, 256)
    f[0] += TOTAL - f.sum()
    symbols = np.arange(256, dtype=np.int32)
    encoder = Encoder()
    encoder.encode(symbols, other(f))
    assert encoder.get_compressed().tolist() != coded(np.tile(f, (256, 1)), symbols.tolist()).tolist()


def test_what_the_library_refuses_and_what_it_lets_pass() -> None:
    for weights in ([5.0], [0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="not normalizable"):
            Categorical(np.array(weights, dtype=np.float32), perfect=False)
    for dtype in (np.float16, np.int64):
        with pytest.raises(TypeError):
            Categorical(np.array([1, 2], dtype=dtype), perfect=False)
    Categorical(np.array([-1.0, 3.0], dtype=np.float32), perfect=False)  # a negative weight passes unseen


def test_a_table_in_fortran_order_is_read_as_another_table() -> None:
    """No error comes of it: whoever calls must give C order."""
    table, symbols = np.array([[5, 3], [1, 2]], dtype=np.float32), np.array([0, 1], dtype=np.int32)
    words = []
    for weights in (table, np.asfortranarray(table), np.ascontiguousarray(table.T)):
        encoder = Encoder()
        encoder.encode(symbols, FAMILY, weights)
        words.append(encoder.get_compressed().tolist())
    assert words[0] != words[1] == words[2]


@settings(max_examples=40)
@given(messages(), st.integers(0, 40))
def test_zero_bytes_at_the_end_may_be_missing_or_too_many(
    message: tuple[np.ndarray, list[int]], more: int
) -> None:
    table, symbols = message
    data = coded(table, symbols).astype("<u4").tobytes()
    for stream in (data.rstrip(b"\0"), data + bytes(more)):
        decoder = RangeDecoder(stream)
        assert [decoder.decode(cumulative(row)) for row in table] == symbols
    whole = data.rstrip(b"\0")
    words = np.frombuffer(whole + bytes(-len(whole) % 4), dtype="<u4").astype(np.uint32)
    assert Decoder(words).decode(FAMILY, (table - 1).astype(np.float32)).tolist() == symbols


@settings(max_examples=40)
@given(messages(), st.data())
def test_the_state_says_which_numbers_decode(
    message: tuple[np.ndarray, list[int]], data: st.DataObject
) -> None:
    """Any number of [low, low + range), as big-endian bytes after `words` words, gives the symbols back."""
    table, symbols = message
    encoder = Encoder()
    encoder.encode(np.array(symbols, dtype=np.int32), FAMILY, (table - 1).astype(np.float32))
    words, (lower, width) = encoder.pos()
    size = 4 * words + 8
    sealed = encoder.get_compressed().astype(">u4").tobytes()[:size].ljust(size, b"\0")
    value = int.from_bytes(sealed, "big")
    low = value - (value - lower) % 2**64
    number = low + data.draw(st.sampled_from([0, width - 1]) | st.integers(0, width - 1))
    decoder = RangeDecoder(number.to_bytes(size, "big").rstrip(b"\0"), "big")
    assert [decoder.decode(cumulative(row)) for row in table] == symbols


@given(st.binary(max_size=40) | st.binary(max_size=9).map(lambda tail: b"\xff" * 8 + tail), st.data())
def test_any_words_decode_as_the_library_decodes_them(data: bytes, draw: st.DataObject) -> None:
    """Whatever the words: the same symbols, the same refusal, the same answer to whether all were used."""
    words = np.frombuffer(data + bytes(-len(data) % 4), dtype="<u4").astype(np.uint32)
    row = draw.draw(frequencies(draw.draw(st.integers(2, 9))))
    model, bounds = Categorical((row - 1).astype(np.float32), perfect=False), cumulative(row)
    reference, library = RangeDecoder(words.astype("<u4").tobytes()), Decoder(words)
    for _ in range(12):
        assert reference.is_spent() == library.maybe_exhausted()
        try:
            symbol = library.decode(model)
        except AssertionError:
            with pytest.raises(ValueError, match="no encoder"):
                reference.decode(bounds)
            return
        assert reference.decode(bounds) == symbol


@pytest.mark.parametrize("tail", [[], [0], [1], [0, 1, 1]])
def test_a_range_of_exactly_2_to_the_32_is_not_shifted_and_ends_in_two_words(tail: list[int]) -> None:
    rows = [[1, TOTAL - 1], [TOTAL - 1_048_593, 1_048_593], [2**20, TOTAL - 2**20]] + [[9, TOTAL - 9]] * len(
        tail
    )
    table, symbols = np.array(rows), [0, 1, 0, *tail]
    library, encoder = Encoder(), RangeEncoder()
    for place, (row, symbol) in enumerate(zip(table, symbols, strict=True)):
        library.encode(symbol, Categorical((row - 1).astype(np.float32), perfect=False))
        encoder.encode(*cumulative(row)[symbol : symbol + 2])
        assert (library.pos()[1][1] == 2**32) == (place == 2)
    data = encoder.finish()
    assert data == library.get_compressed().astype("<u4").tobytes()
    assert tail or data.endswith(bytes(4))
    decoder = RangeDecoder(data)
    assert [decoder.decode(cumulative(row)) for row in table] == symbols


def test_the_words_of_a_message_are_frozen() -> None:
    """Three distributions over 2, 3 and 4 symbols, the rarest symbols among them; then nothing at all."""
    encoder = RangeEncoder()
    rows = [[1, TOTAL - 1], [TOTAL - 2, 1, 1], [4, 3, 2, TOTAL - 9]]
    bounds = [[0, *accumulate(row)] for row in rows]
    library = Encoder()
    for row, bound, symbol in zip(rows, bounds, [0, 2, 1], strict=True):
        assert all(left < right for left, right in pairwise(bound))
        encoder.encode(bound[symbol], bound[symbol + 1])
        library.encode(symbol, Categorical(np.array(row, dtype=np.float64) - 1, perfect=False))
    data = encoder.finish()
    assert data == library.get_compressed().astype("<u4").tobytes()
    assert data.hex(" ", 4) == "ff000000 0100fffe 00fcff03"
    assert RangeEncoder().finish() == b"" == Encoder().get_compressed().tobytes()
