"""The size law of every registered codec: what it expects of a Gaussian tensor is what the tensor takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf import registry
from bytegolf.codec import base, gaussian
from bytegolf.codec.entropy import coded_bits, encode_symbols
from bytegolf.codec.prune import magnitude_prune

NAMES = registry.names("codec")
STDS = st.sampled_from([0.005, 0.02, 0.11, 0.5, 2.0])
TOLERANCE = 0.005  # of the bytes
FEW_BYTES = 6.0  # a table, a word more or less
ROW_SCATTER = 0.028  # of one row's bytes: its largest weight, hence its step, is a matter of chance
SYMBOL_SCATTER = 1.5  # bits a weight, of -log2 p


def measured(name: str, shape: tuple[int, ...], std: float, pruned: float, seed: int, tensors: int) -> float:
    rng, codec = np.random.default_rng(seed), base.get(name)
    drawn = [rng.normal(0, std, shape).astype(np.float32) for _ in range(tensors)]
    return float(np.mean([codec.nbytes(magnitude_prune(w, pruned) if pruned else w) for w in drawn]))


def allowed(expected: float, shape: tuple[int, int], tensors: int) -> float:
    """Half a percent, a few bytes, and three times the scatter of the mean that chance alone explains."""
    rows, n = shape[0] * tensors, math.prod(shape) * tensors
    chance = ROW_SCATTER * expected / math.sqrt(rows) + SYMBOL_SCATTER / 8 * math.sqrt(n) / tensors
    return TOLERANCE * expected + FEW_BYTES + 3 * chance


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=5)
@given(
    shape=st.sampled_from([(3000, 40), (2048, 64), (512, 256), (128, 1000), (40, 4096), (7000, 16)]),
    std=STDS,
    pruned=st.sampled_from([0.0, 0.0, 0.03, 0.3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_large_tensors_are_within_half_a_percent(
    name: str, shape: tuple[int, int], std: float, pruned: float, seed: int
) -> None:
    expected = base.get(name).expected_bytes(shape, std, pruned)
    got = measured(name, shape, std, pruned, seed, 1)
    assert abs(got - expected) <= allowed(expected, shape, 1)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=7)
@given(
    shape=st.sampled_from(
        [(1, 700), (1, 4096), (16, 16), (64, 64), (5, 300), (300, 5), (100, 2), (128, 128)]
    ),
    std=STDS,
    pruned=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 2**32 - 1),
)
def test_small_tensors_are_within_what_chance_allows(
    name: str, shape: tuple[int, int], std: float, pruned: float, seed: int
) -> None:
    pruned = pruned if shape[1] >= 16 else 0.0  # in shorter rows pruning ties the weights of a row together
    expected = base.get(name).expected_bytes(shape, std, pruned)
    got = measured(name, shape, std, pruned, seed, 8)
    assert abs(got - expected) <= allowed(expected, shape, 8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (40, 16), (3, 2, 2), (0,), (0, 3), (3, 0)])
def test_every_shape_has_a_size_and_zeros_have_their_own(name: str, shape: tuple[int, ...]) -> None:
    codec = base.get(name)
    assert codec.expected_bytes(shape, 0.0) == codec.nbytes(np.zeros(shape, dtype=np.float32))
    n = math.prod(shape)
    assert 0 <= codec.expected_bytes(shape, 0.3) <= 2.2 * n + 3 * (shape[0] if shape else 1) + 12


@pytest.mark.parametrize("name", NAMES)
def test_pruning_saves_bytes_and_the_law_is_a_pure_function(name: str) -> None:
    law = base.get(name).expected_bytes
    sizes = [law((256, 128), 0.5, share) for share in (0.0, 0.4, 0.8)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes == [law((256, 128), 0.5, share) for share in (0.0, 0.4, 0.8)]


def test_fine_steps_cost_the_published_entropy() -> None:
    """H = 2.047 - log2(step / std) for a step well below std."""
    edges = (np.arange(-400, 402) - 0.5) * 0.05
    p = gaussian.mass(edges[:-1], edges[1:])
    assert float(gaussian.entropy_bits(p)) == pytest.approx(2.0471 - math.log2(0.05), abs=1e-3)


@pytest.mark.parametrize("cols", [1, 2, 30, 4096])
def test_row_peaks_are_quantiles_of_the_largest(cols: int) -> None:
    peaks = gaussian.RowPeaks.of(cols)
    drawn = np.sort(np.abs(np.random.default_rng(cols).normal(size=(4000, cols))), axis=1)
    assert np.all(np.diff(peaks.largest) > 0)
    assert peaks.largest.mean() == pytest.approx(drawn[:, -1].mean(), rel=0.02)
    assert gaussian.peak_cdf(peaks.largest, cols) == pytest.approx((np.arange(96) + 0.5) / 96, rel=1e-4)
    assert (peaks.second < peaks.largest).all()
    if cols > 2:  # the median of what is left of the largest, and its mean
        assert peaks.second.mean() == pytest.approx(drawn[:, -2].mean(), rel=0.05)


@given(st.floats(0, 10))
def test_the_normal_tail_is_that_of_the_error_function(x: float) -> None:
    exact = math.erfc(x / math.sqrt(2))
    assert float(gaussian.tail(np.asarray(x))) == pytest.approx(exact, rel=1e-5)
    assert float(gaussian.tail_inverse(np.asarray(exact))) == pytest.approx(x, abs=1e-4)


@given(st.floats(-4, 4), st.floats(0, 5), st.sampled_from([0.0, 0.2, 0.9]))
def test_mass_is_the_share_of_drawn_weights_between_its_limits(
    lower: float, width: float, pruned: float
) -> None:
    weights = magnitude_prune(DRAWN, pruned).astype(float)
    share = np.mean((weights > lower) & (weights <= lower + width))
    assert float(gaussian.mass(np.asarray(lower), np.asarray(lower + width), pruned)) == pytest.approx(
        share, abs=0.012
    )


DRAWN = np.random.default_rng(5).normal(size=20_000).astype(np.float32)


@given(st.sampled_from([1, 40, 400, 5000]), st.sampled_from([0.0, 0.2, 3.0, 50.0]), st.integers(0, 1 << 31))
def test_coded_bits_are_those_of_the_coder_to_a_word(n: int, spread: float, seed: int) -> None:
    symbols = np.clip(np.rint(np.random.default_rng(seed).normal(5, spread, n)), -32, 31).astype(np.int32)
    histogram = np.bincount(symbols + 32, minlength=64)
    assert abs(coded_bits(histogram) / 8 - len(encode_symbols(symbols, -32, 31))) <= 4
