"""Laws of ecsq with steps that the caller chooses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.codec.ecsq import Ecsq, row_rms
from bytegolf.codec.row_scales import RowScales, matrix_shape
from bytegolf.errors import ArtifactError

CODEC = Ecsq()
SHAPES = st.sampled_from([(), (0,), (1,), (7,), (3, 0), (0, 3), (5, 4), (40, 16), (3, 2, 2)])


@st.composite
def weights_and_steps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian rows of drawn sizes, some zero, with steps from a thousandth to eight times the largest rms."""
    shape = draw(SHAPES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = np.ldexp(rng.normal(size=shape), draw(st.integers(-30, 30))).astype(np.float32)
    rms = row_rms(weights)
    if len(shape) > 1:
        weights = weights * (rng.random((shape[0], *[1] * (len(shape) - 1))) > 0.1).astype(np.float32)
    unit = rms.max(initial=0.0) or 1.0
    steps = unit * 2.0 ** rng.uniform(-10, 3, rms.shape)
    return weights, np.full_like(steps, steps.mean()) if steps.size and draw(st.booleans()) else steps


@given(drawn=weights_and_steps())
def test_a_blob_decodes_to_the_lattice_without_being_told_the_steps(
    drawn: tuple[np.ndarray, np.ndarray],
) -> None:
    weights, steps = drawn
    lattice, blob = CODEC.quantize_at(weights, steps), CODEC.encode_at(weights, steps)
    decoded = CODEC.decode(blob, weights.shape)
    assert decoded.shape == weights.shape
    assert decoded.tobytes() == lattice.dequantize().tobytes()
    stored = CODEC.decode_lattice(blob, weights.shape)
    assert np.array_equal(stored.multiples, lattice.multiples)
    assert stored.steps.values.tobytes() == lattice.steps.values.tobytes()


@given(drawn=weights_and_steps())
def test_steps_are_those_asked_for_and_weights_within_half_of_them(
    drawn: tuple[np.ndarray, np.ndarray],
) -> None:
    weights, steps = drawn
    lattice = CODEC.quantize_at(weights, steps)
    matrix = weights.reshape(lattice.multiples.shape).astype(np.float64)
    stored = lattice.steps.values.astype(np.float64)
    assert np.allclose(stored, steps, rtol=2.0**-10, atol=0)
    assert (np.abs(lattice.dequantize() - matrix) <= stored[:, None] * 0.500001).all()


@given(drawn=weights_and_steps())
def test_what_was_decoded_is_stored_again_as_it_is_at_the_same_steps(
    drawn: tuple[np.ndarray, np.ndarray],
) -> None:
    weights, steps = drawn
    blob = CODEC.encode_at(weights, steps)
    assert CODEC.encode_at(CODEC.decode(blob, weights.shape), steps) == blob


@given(drawn=weights_and_steps(), tiny=st.sampled_from([0.0, 1e-300, 1e-30]))
def test_steps_too_small_for_a_table_become_the_finest_that_fit(
    drawn: tuple[np.ndarray, np.ndarray], tiny: float
) -> None:
    weights, _ = drawn
    weights = np.ldexp(weights, 40)
    decoded = CODEC.decode(CODEC.encode_at(weights, np.full(row_rms(weights).shape, tiny)), weights.shape)
    matrix, stored = (a.reshape(matrix_shape(weights.shape)) for a in (weights, decoded))
    peaks = np.abs(matrix).max(axis=1, initial=0.0)
    error = np.abs(stored - matrix).max(axis=1, initial=0.0)
    assert (error <= peaks / 16_000 * 0.51).all()


def test_huge_weights_and_huge_steps_stay_finite() -> None:
    weights = np.array([[2.0**126, -(2.0**125), 1.0]], dtype=np.float32)
    for step in (0.0, 2.0**120, 1e300):
        assert np.isfinite(CODEC.decode(CODEC.encode_at(weights, np.array([step])), (1, 3))).all()
    with pytest.raises(ArtifactError, match=r"below 2\^126"):
        CODEC.encode(weights * 2)


def test_a_lone_outlier_of_a_long_row_is_cut_at_sixteen_rms_and_a_short_row_never() -> None:
    weights = np.random.default_rng(0).normal(size=(2, 4096)).astype(np.float32)
    weights[0, 0] = -1000
    rms = row_rms(weights)
    decoded = CODEC.decode(CODEC.encode(weights), weights.shape)
    assert decoded[0, 0] == pytest.approx(-16 * rms[0], abs=rms[0] / 8)
    assert np.abs(decoded[1] - weights[1]).max() <= rms[1] / 16 * 1.001
    short = np.zeros((1, 256), dtype=np.float32)
    short[0, 7] = 5
    assert CODEC.decode(CODEC.encode(short), short.shape)[0, 7] == pytest.approx(5, rel=1e-2)


def test_half_the_step_costs_one_bit_a_weight_and_equal_steps_next_to_nothing() -> None:
    weights = np.random.default_rng(1).normal(size=(512, 64)).astype(np.float32)
    sizes = [len(CODEC.encode_at(weights, np.full(512, 2.0**-k))) for k in (2, 3, 4)]
    bits = 8 * np.diff(sizes) / weights.size
    assert np.allclose(bits, 1, atol=0.01)
    assert 8 * sizes[1] / weights.size < 2.05 + 3 + 0.03, (
        "the entropy of a gaussian at an eighth of its deviation"
    )
    steps = CODEC.quantize_at(weights, np.full(512, 0.125)).steps
    assert len(steps.join(b"")) <= 10


def test_the_default_step_is_an_eighth_of_the_rms_of_the_row() -> None:
    weights = np.random.default_rng(2).normal(size=(8, 64)).astype(np.float32) * np.arange(1, 9)[:, None]
    stored = CODEC.decode_lattice(CODEC.encode(weights.astype(np.float32)), weights.shape).steps.values
    assert np.allclose(stored, np.sqrt((weights**2).mean(axis=1)) / 8, rtol=1e-3)


@pytest.mark.parametrize("steps", [[1.0], [1.0, -1.0], [1.0, np.nan], [np.inf, 1.0]])
def test_steps_that_are_none_are_the_callers_bug(steps: list[float]) -> None:
    with pytest.raises(ValueError, match="steps must be finite"):
        CODEC.encode_at(np.ones((2, 2), dtype=np.float32), np.array(steps))


def test_a_blob_whose_weights_would_overflow_is_refused() -> None:
    codes = CODEC.quantize_at(np.ones((1, 2), dtype=np.float32), np.array([0.01]))
    steps = RowScales(112, np.array([65504], dtype=np.float16))
    with pytest.raises(ArtifactError, match="finite weights"):
        CODEC.decode(type(codes)(steps, codes.multiples).to_bytes(), (1, 2))
