"""Laws of every registered codec, and the published examples of the integer ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bytegolf import registry
from bytegolf.codec import base
from bytegolf.codec.entropy import encode_symbols
from bytegolf.codec.int_rows import Int5, Int6, Int8, IntRows
from bytegolf.codec.prune import magnitude_prune
from bytegolf.codec.row_scales import RowScales
from bytegolf.errors import ArtifactError, ConfigError

NAMES = registry.names("codec")
INTS = [Int8(), Int6(), Int5()]
# The default step of ecsq follows a row's rms, which rounding moves: its steps are its own matter (test_ecsq.py).
REPEATABLE = [name for name in NAMES if name != "ecsq"]
SHAPES = st.sampled_from([(), (0,), (1,), (7,), (3, 0), (0, 3), (5, 4), (40, 16), (3, 2, 2)])


@st.composite
def tensors(draw: st.DrawFn, exponents: tuple[int, int] = (-9, 4)) -> np.ndarray:
    """Gaussian tensors whose rows differ in size by drawn powers of two; some rows are zero."""
    shape = draw(SHAPES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = draw(st.tuples(st.integers(*exponents), st.integers(*exponents)).map(sorted))
    values = rng.normal(size=shape).astype(np.float32)
    rows = values.reshape(shape[0] if len(shape) > 1 else 1, -1) if values.size else values
    if values.size:
        factors = np.ldexp(np.float32(1), rng.integers(low, high + 1, rows.shape[0]))
        rows *= factors[:, None] * (rng.random((rows.shape[0], 1)) > 0.1)
    return values


@pytest.mark.parametrize("name", NAMES)
@given(weights=tensors())
def test_decode_gives_the_shape_and_the_stored_values(name: str, weights: np.ndarray) -> None:
    codec = base.get(name)
    blob = codec.encode(weights)
    decoded = codec.decode(blob, weights.shape)
    assert (codec.name, decoded.shape, decoded.dtype) == (name, weights.shape, np.float32)
    assert codec.nbytes(weights) == len(blob)


@pytest.mark.parametrize("name", REPEATABLE)
@given(weights=tensors())
def test_what_was_decoded_is_stored_again_as_it_is(name: str, weights: np.ndarray) -> None:
    codec = base.get(name)
    decoded = codec.decode(codec.encode(weights), weights.shape)
    again = codec.decode(codec.encode(decoded), weights.shape)
    assert np.allclose(again, decoded, rtol=2e-3, atol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    with pytest.raises(ArtifactError, match="only finite weights"):
        base.get(name).encode(np.array([[1.0, bad]], dtype=np.float32))


@pytest.mark.parametrize("name", NAMES)
@given(weights=tensors(), data=st.data())
def test_damaged_blobs_and_other_shapes_decode_to_finite_values_or_raise(
    name: str, weights: np.ndarray, data: st.DataObject
) -> None:
    codec = base.get(name)
    blob = bytearray(codec.encode(weights))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(0, 255))
    damaged = bytes(blob[: data.draw(st.integers(0, len(blob)))])
    shape = data.draw(SHAPES)
    try:
        decoded = codec.decode(damaged, shape)
    except ArtifactError:
        return
    assert decoded.shape == shape
    assert np.isfinite(decoded).all()


@pytest.mark.parametrize("name", NAMES)
@given(blob=st.binary(max_size=80), shape=SHAPES)
def test_any_bytes_decode_to_finite_values_or_raise(name: str, blob: bytes, shape: tuple[int, ...]) -> None:
    try:
        decoded = base.get(name).decode(blob, shape)
    except ArtifactError:
        return
    assert np.isfinite(decoded).all()


@pytest.mark.parametrize("codec", INTS, ids=lambda codec: codec.name)
@given(weights=tensors((-60, 60)))
def test_decoding_is_bit_identical_to_dequantizing(codec: IntRows, weights: np.ndarray) -> None:
    quantized, blob = codec.quantize(weights), codec.encode(weights)
    stored = codec.decode_quantized(blob, weights.shape)
    assert stored.codes.dtype == np.int8
    assert np.array_equal(stored.codes, quantized.codes)
    assert stored.scales.tobytes() == quantized.scales.tobytes()
    expected = quantized.dequantize().reshape(weights.shape)
    assert codec.decode(blob, weights.shape).tobytes() == expected.tobytes()


@pytest.mark.parametrize("codec", INTS, ids=lambda codec: codec.name)
@given(weights=tensors((-10, 10)), shift=st.integers(-85, 95))
def test_every_weight_is_within_half_a_step_at_any_size(
    codec: IntRows, weights: np.ndarray, shift: int
) -> None:
    weights = np.ldexp(weights, shift)
    quantized = codec.quantize(weights)
    error = np.abs(quantized.dequantize().astype(np.float64) - weights.reshape(quantized.codes.shape))
    assert (error <= quantized.scales[:, None] * 0.500001).all()
    peaks = np.abs(weights.reshape(quantized.codes.shape)).max(axis=1, initial=0)
    assert np.array_equal(quantized.scales == 0, peaks == 0), "a row died, or a zero row got a scale"
    assert np.allclose(quantized.scales * codec.hi, peaks, rtol=2.0**-11, atol=0)


@pytest.mark.parametrize("codec", INTS, ids=lambda codec: codec.name)
@given(weights=tensors((-9, 4)))
def test_the_exponent_is_zero_while_fp16_holds_every_scale(codec: IntRows, weights: np.ndarray) -> None:
    rows = weights.reshape(codec.quantize(weights).codes.shape)
    peaks = np.abs(rows).max(axis=1, initial=0)
    scales = (peaks / codec.hi).astype(np.float16)
    if (scales[peaks > 0] >= 2.0**-14).all():
        assert codec.encode(weights)[0] == 0
        assert np.array_equal(codec.quantize(weights).scales, scales.astype(np.float32))


@pytest.mark.parametrize("codec", INTS, ids=lambda codec: codec.name)
def test_rows_too_small_beside_their_tensor_fade_but_stay_finite(codec: IntRows) -> None:
    weights = np.array([[1e20, -1e20], [1e8, 5e7], [1e-20, 0]], dtype=np.float32)
    decoded = codec.decode(codec.encode(weights), weights.shape)
    assert np.abs(decoded - weights).max(axis=1).tolist() <= [1e18, 1e8, 1e-20]
    assert decoded[2].tolist() == [0, 0]


def test_weights_at_the_edges_of_float32_are_held_or_refused() -> None:
    tiny = np.full((1, 3), 1e-44, dtype=np.float32)
    assert Int6().decode(Int6().encode(tiny), (1, 3)).tolist() == [[0, 0, 0]]
    large = np.full((1, 3), 2.0**126, dtype=np.float32)
    assert np.allclose(Int6().decode(Int6().encode(large), (1, 3)), large, rtol=1e-3)
    with pytest.raises(ArtifactError, match=r"below 2\^126"):
        Int6().encode(large * 2)


W = np.array([[0.5, -0.25, 0.125, -0.0625], [2, -1, 0.3, -2], [0.01, -0.02, 0.003, 0]], dtype=np.float32)


@pytest.mark.parametrize(("at", "value"), [(0, 0x71), (0, 0x80), (4, 0xA4), (4, 0x7C)])
def test_exponents_and_scales_that_no_encoder_writes_are_refused(at: int, value: int) -> None:
    blob = bytearray(Int6().encode(W))
    assert blob[2:5].hex() == "002124", "raw scales, the first of them 0x2421"
    blob[at] = value
    with pytest.raises(ArtifactError, match="scales must be finite"):
        Int6().decode(bytes(blob), W.shape)


@pytest.mark.parametrize("codec", INTS, ids=lambda codec: codec.name)
def test_a_scale_beyond_float32_is_refused(codec: IntRows) -> None:
    """The largest exponent and the largest half are each fine; together they are 2^128."""
    scales = RowScales(112, np.array([65504.0], dtype=np.float16))
    with np.errstate(over="ignore"):
        blob = scales.join(encode_symbols(np.array([[1, codec.hi]]), codec.lo, codec.hi))
    with pytest.raises(ArtifactError, match="finite weights"):
        codec.decode(blob, (1, 2))


def test_int6_gives_the_published_codes_and_scales() -> None:
    quantized = Int6().quantize(W)
    assert quantized.codes.tolist() == [[31, -16, 8, -4], [31, -16, 5, -31], [16, -31, 5, 0]]
    assert np.allclose(
        quantized.scales, [0.0161285400390625, 0.06451416015625, 0.0006451606750], rtol=1e-9, atol=0
    )
    assert np.allclose(
        quantized.dequantize()[0], [0.49998474, -0.25805664, 0.12902832, -0.06451416], rtol=1e-7
    )


def test_int5_gives_the_published_codes_and_scales() -> None:
    quantized = Int5().quantize(W)
    assert quantized.codes.tolist() == [[15, -8, 4, -2], [15, -8, 2, -15], [8, -15, 2, 0]]
    assert np.allclose(quantized.scales, [0.0333251953, 0.1333007812, 0.0013332367], rtol=1e-7, atol=0)


def test_int8_keeps_small_rows_that_the_published_floor_coarsens() -> None:
    """The published int8 gives row 2 the codes 1, -3, 0, 0 (scale 1/127); row 1 is the same in both."""
    quantized = Int8().quantize(W)
    assert quantized.codes.tolist() == [[127, -64, 32, -16], [127, -64, 19, -127], [64, -127, 19, 0]]
    assert quantized.scales[1] == np.float32(0.0157470703125)


def test_the_published_clip_and_floors_give_the_published_codes() -> None:
    """Rows 0 and 2 of int8 stand on the floor 1/127; of int6 and int5 whole rows fall to zero."""
    int8 = base.get("int8_clip_floor").quantize(W)
    assert int8.codes.tolist() == [[63, -32, 16, -8], [127, -64, 19, -127], [1, -3, 0, 0]]
    assert np.allclose(int8.scales, [0.0078735352, 0.0157470703, 0.0078735352], rtol=1e-8, atol=0)
    int6, int5 = (base.get(f"int{bits}_clip_floor").quantize(W) for bits in (6, 5))
    assert int6.scales.tolist() == [np.float16(1 / 31), np.float16(2 / 31), np.float16(1 / 31)]
    assert int5.scales.tolist() == [np.float16(1 / 15), np.float16(2 / 15), np.float16(1 / 15)]
    assert not int6.codes[2, [0, 2, 3]].any()
    assert not int5.codes[2].any()


def test_the_clip_interpolates_between_the_two_largest_of_a_row() -> None:
    clip = np.quantile(np.abs(W[0]).astype(np.float64), 0.9999984)
    assert clip == pytest.approx(0.49999881, abs=2e-8)
    assert base.get("int8_clip").quantize(W).scales[0] == np.float16(clip / 127)


def test_pruning_zeroes_what_is_below_the_quantile_of_the_whole_tensor() -> None:
    values = (np.arange(1, 101) / 100).astype(np.float32).reshape(10, 10)
    pruned = magnitude_prune(values * np.where(np.eye(10, dtype=bool), -1, 1).astype(np.float32), 0.03)
    assert np.quantile(values.astype(np.float64), 0.03) == pytest.approx(0.0397, abs=1e-7)
    assert sorted(values[pruned == 0].tolist()) == pytest.approx([0.01, 0.02, 0.03])
    assert np.count_nonzero(pruned) == 97


def test_halves_round_to_even() -> None:
    codes = Int6().quantize(np.array([31, 0.5, 1.5, 2.5, -0.5, -1.5], dtype=np.float32)).codes
    assert codes.tolist() == [[31, 0, 2, 2, 0, -2]]


@given(hnp.arrays(np.float32, st.integers(0, 60), elements=st.floats(-65504, 65504, width=32)))
def test_fp16_stores_exactly_the_nearest_halves(weights: np.ndarray) -> None:
    decoded = base.get("fp16").decode(base.get("fp16").encode(weights), weights.shape)
    assert decoded.tobytes() == weights.astype(np.float16).astype(np.float32).tobytes()


def test_fp16_refuses_what_rounds_to_infinity() -> None:
    with pytest.raises(ArtifactError, match="65504"):
        base.get("fp16").encode(np.array([65520], dtype=np.float32))
    assert base.get("fp16").nbytes(np.array([65519], dtype=np.float32)) == 3


def test_codes_cost_less_than_their_packed_bits_and_scales_less_than_two_bytes() -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(0, 0.05, (256, 128)) * np.exp(rng.normal(0, 0.06, (256, 1)))
    bits = {c.name: 8 * c.nbytes(weights.astype(np.float32)) / weights.size for c in INTS}
    assert bits["int8"] < 7.65
    assert bits["int6"] < 5.61
    assert bits["int5"] < 4.57


def test_an_unknown_codec_is_named_with_the_closest() -> None:
    with pytest.raises(ConfigError, match="int6"):
        base.get("int66")


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        ("fp16", "000070016800600158008001789a6901803e423f4a4a340000"),
        ("int8", "000700081c08242909000f1f3fffb93855ffe7a7b89000000000"),
        ("int6", "0007002124212c491100fd1c0afda96fb7050000a859"),
        ("int5", "00070044284430761500a2ef28fae7f4af3d"),
        ("ecsq", "0007009c280832c71540f17f1c6ad6d3569a1a296d6d585de4c4f2d3630634"),
    ],
)
def test_the_blobs_are_frozen(name: str, golden: str) -> None:
    assert base.get(name).encode(W).hex() == golden
