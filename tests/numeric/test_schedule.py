"""Laws of the learning-rate curve and of the momentum ramp."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.numeric.bpb import bits_per_byte
from bytegolf.numeric.schedule import half_cosine, ramp, trapezoid, warmdown

shares = st.floats(0, 1)
CURVES = st.tuples(st.floats(0, 0.99), shares, shares).filter(lambda c: c[0] + c[1] <= 1)


@given(shares, CURVES)
def test_the_multiplier_stays_between_0_and_1(p: float, curve: tuple[float, float, float]) -> None:
    assert 0.0 <= trapezoid(p, *curve) <= 1.0


@given(shares, shares, CURVES)
def test_it_rises_then_rests_then_falls(p: float, q: float, curve: tuple[float, float, float]) -> None:
    warmup, warmdown, floor = curve
    p, q = sorted((p, q))
    low, high = trapezoid(p, *curve), trapezoid(q, *curve)
    if q < warmup:
        assert low <= high
    if warmup <= p <= 1 - warmdown:
        assert low == 1.0
    if p >= max(warmup, 1 - warmdown):
        assert low >= high >= floor or warmdown == 0


@given(CURVES)
def test_it_ends_at_its_floor(curve: tuple[float, float, float]) -> None:
    assert trapezoid(1.0, *curve) == (curve[2] if curve[1] else 1.0)
    assert trapezoid(1.5, *curve) == trapezoid(1.0, *curve)


def test_the_curve_in_full() -> None:
    points = {0.0: 0.0, 0.05: 0.5, 0.1: 1.0, 0.6: 1.0, 0.8: 0.6, 0.9: 0.4, 1.0: 0.2}
    assert {p: trapezoid(p, 0.1, 0.4, 0.2) for p in points} == pytest.approx(points)
    uncapped = {0: 1.0, 18800: 1.0, 19100: 0.75, 19400: 0.5, 19999: 1 / 1200}
    assert {s: trapezoid(s / 20000, 0, 1200 / 20000, 0) for s in uncapped} == pytest.approx(uncapped)


# (step, milliseconds elapsed of 600,000, warm-down steps) -> multiplier
CAPPED = {
    (13000, 565_000, 1200): 0.67109145,
    (12500, 545_000, 1200): 1.0,
    (5900, 479_700, 3000): 0.49320409,
    (7000, 568_971, 3000): 0.12724902,
    (10000, 572_534, 6000): 0.07995449,
    (1, 221.58, 3000): 0.90227,
    (9000, 600_000, 3000): 0.0,
    (9000, 600_050, 3000): 0.0,
    (0, 0, 1200): 1.0,
}


@pytest.mark.parametrize(("step", "elapsed", "steps"), CAPPED)
def test_the_published_warm_down_under_a_budget_of_time(step: int, elapsed: float, steps: int) -> None:
    found = warmdown(600_000 - elapsed, elapsed / max(step, 1), steps)
    assert found == pytest.approx(CAPPED[step, elapsed, steps], abs=6e-6)


def test_the_published_warm_down_under_a_budget_of_steps() -> None:
    points = {0: 1.0, 18799: 1.0, 18800: 1.0, 19100: 0.75, 19400: 0.5, 19999: 1 / 1200}
    assert {s: warmdown(20_000 - s, 1, 1200) for s in points} == pytest.approx(points)
    assert warmdown(50, 1, 3000) == pytest.approx(50 / 3000)  # a short run falls from its first step


@pytest.mark.parametrize(
    ("start", "end", "steps", "points"),
    [
        (0.85, 0.95, 500, {0: 0.85, 1: 0.8502, 250: 0.90, 500: 0.95, 9999: 0.95}),
        (0.92, 0.99, 1500, {0: 0.92, 750: 0.955, 1500: 0.99}),
        (0.85, 0.99, 500, {250: 0.92}),
        (0.85, 0.95, 0, {0: 0.95, 1: 0.95}),
    ],
)
def test_the_momentum_ramps_of_the_published_systems(
    start: float, end: float, steps: int, points: dict[int, float]
) -> None:
    assert {step: ramp(step, start, end, steps) for step in points} == pytest.approx(points, abs=1e-12)


@given(st.integers(0, 100), st.integers(0, 100), shares, shares)
def test_a_ramp_stays_between_its_ends(step: int, steps: int, start: float, end: float) -> None:
    assert min(start, end) - 1e-12 <= ramp(step, start, end, steps) <= max(start, end) + 1e-12


@given(st.floats(0, 1e9), st.integers(1, 10**9))
def test_bits_per_byte_are_nats_over_ln_2_and_bytes(nats: float, n_bytes: int) -> None:
    assert bits_per_byte(nats, n_bytes) == pytest.approx(nats / 0.6931471805599453 / n_bytes)
    assert bits_per_byte(n_bytes * math.log(2), n_bytes) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("mean_nats", "bpb"), [(1.99082671, 1.17907971), (2.01799411, 1.19516978), (math.log(1024), 4.10521)]
)
def test_published_losses_give_the_published_bits_per_byte(mean_nats: float, bpb: float) -> None:
    assert bits_per_byte(mean_nats * 62_021_632, 151_080_363) == pytest.approx(bpb, abs=6e-6)


@pytest.mark.parametrize("n_bytes", [0, -1])
def test_no_bytes_no_bits_per_byte(n_bytes: int) -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        bits_per_byte(1.0, n_bytes)


@given(st.integers(0, 50), st.integers(1, 40))
def test_the_half_cosine_falls_from_one_through_a_half_to_zero(step: int, steps: int) -> None:
    assert half_cosine(0, steps) == 1.0
    assert half_cosine(step, 0) == 1.0
    assert half_cosine(steps, 2 * steps) == pytest.approx(0.5)
    assert half_cosine(step, steps) >= half_cosine(step + 1, steps) >= 0.0
    assert (half_cosine(step, steps) == 0.0) == (step >= steps)
