"""The tables of the exact arithmetic, against other ways to the same numbers; and their bytes, for ever."""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.on_numpy.exact.engine import VERSION, Exact
from bytegolf.on_numpy.exact.tables import (
    ANGLE_BITS,
    CAP_REACH,
    CAP_STEPS,
    NAT,
    SPAN,
    Angles,
    cap_table,
    digest,
    exp_table,
    sigmoid,
)
from exact_samples import packed
from model_samples import miniature

CENTRE = CAP_REACH * CAP_STEPS


def exp_by_series(numerator: int, denominator: int) -> Decimal:
    """exp of a fraction: its power series at a 1,024th, ten times squared; 70 digits."""
    with localcontext() as context:
        context.prec, context.Emin = 70, -999_999
        x, total, term, n = Decimal(numerator) / denominator / 1024, Decimal(0), Decimal(1), 0
        while term and term.adjusted() > -70:
            total, n = total + term, n + 1
            term = term * x / n
        for _ in range(10):
            total *= total
        return +total


def nearest(value: Decimal) -> int:
    return math.floor(value + Decimal("0.5"))


@pytest.mark.parametrize("bits", [20, 36])
def test_exponentials(bits: int) -> None:
    table = exp_table(bits)
    assert (table[0], table[-1]) == (2.0**bits, 0.0)
    assert table[-2] == 1.0
    assert (np.diff(table) <= 0).all()
    assert (
        np.abs(table - np.ldexp(np.exp(-np.arange(len(table)) / NAT), bits)) <= 0.5 + 2.0 ** (bits - 50)
    ).all()
    for n in [1, 2, 3, 1023, 1024, 7777, len(table) - 2, len(table) - 1]:
        assert table[n] == nearest(exp_by_series(-n, NAT) * 2**bits)


@pytest.mark.parametrize("cap", [0.5, 1.0, 15.0, 30.0, 1000.0, 0.1])
def test_softcaps(cap: float) -> None:
    table = cap_table(cap)
    assert table.dtype == np.int64
    assert len(table) == 2 * CENTRE + 1
    assert table[CENTRE] == 0
    assert (table == -table[::-1]).all()
    assert (np.diff(table) >= 0).all()
    assert abs(table[-1] - cap * NAT) <= 0.5 + cap * NAT * 3e-7
    reals = cap * NAT * np.tanh((np.arange(len(table)) - CENTRE) / CAP_STEPS)
    assert (np.abs(table - reals) <= 0.5 + cap * 1e-9).all()
    for k in [1, 2, 100, 8191, 8192, 20_000, CENTRE]:
        q = exp_by_series(-2 * k, CAP_STEPS)
        with localcontext() as context:
            context.prec = 70
            assert table[CENTRE + k] == nearest(Decimal(cap) * NAT * (1 - q) / (1 + q))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_sigmoids(values: list[float]) -> None:
    values = sorted(values)
    found = sigmoid(np.array(values))
    assert (np.diff(found) >= 0).all()
    assert (found + sigmoid(-np.array(values)) == 1.0).all()
    assert (found * 2**30 == np.rint(found * 2**30)).all()
    for value, share in zip(values, found.tolist(), strict=True):
        limited = max(-500.0, min(500.0, value))
        assert abs(share - 1 / (1 + math.exp(-limited))) <= 2.0**-31 * 1.0001


def test_sigmoids_are_rounded_to_the_nearest() -> None:
    for k in range(-40, 41):
        e = exp_by_series(-k, 4)
        with localcontext() as context:
            context.prec = 70
            assert sigmoid(np.array([k / 4]))[0] == nearest(2**30 / (1 + e)) / 2**30
    assert sigmoid(np.zeros((2, 3))).tolist() == [[0.5] * 3] * 2


@settings(max_examples=20)
@given(
    st.sampled_from([(10_000.0, 8), (10_000.0, 2), (500.0, 6), (1e6, 4)]),
    st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 300)), min_size=1, max_size=5),
)
def test_angles_do_not_depend_on_the_order_of_requests(
    kind: tuple[float, int], requests: list[tuple[int, int]]
) -> None:
    angles, fresh = Angles(*kind), Angles(*kind).at(0, 1800)
    for first, count in requests:
        for found, whole in zip(angles.at(first, count), fresh, strict=True):
            assert found.shape == (count, kind[1] // 2)
            assert np.array_equal(found, whole[first : first + count])


@pytest.mark.parametrize(("base", "rotated"), [(10_000.0, 16), (500.0, 6), (1e6, 2)])
def test_angles_are_those_of_the_rotary_embedding(base: float, rotated: int) -> None:
    cos, sin = Angles(base, rotated).at(0, 2000)
    theta = np.arange(2000)[:, None] * base ** (-2.0 * np.arange(rotated // 2) / rotated)
    assert np.abs(cos - np.cos(theta)).max() <= 2.0**-38
    assert np.abs(sin - np.sin(theta)).max() <= 2.0**-38
    assert (cos[0] == 1.0).all()
    assert (sin[0] == 0.0).all()


def test_angles_stay_on_the_circle_for_a_million_positions() -> None:
    first = 1_000_000 - SPAN
    angles = Angles(10_000.0, 4)
    cos, sin = angles.at(first, SPAN + 1)
    assert np.abs(cos * cos + sin * sin - 1).max() <= 2.0**-38
    theta = np.arange(first, first + SPAN + 1)[:, None] * np.array([1.0, 0.01])
    assert np.abs(cos - np.cos(theta)).max() <= 2.0**-32  # theta itself is off by 2^-33
    assert np.abs(sin - np.sin(theta)).max() <= 2.0**-32


def test_the_grid_of_the_fine_angles() -> None:
    for table in Angles(10_000.0, 8).tables():
        assert (np.ldexp(table, ANGLE_BITS) == np.rint(np.ldexp(table, ANGLE_BITS))).all()


def sha256(table: np.ndarray) -> str:
    return hashlib.sha256(table.astype("<f8").tobytes()).hexdigest()[:16]


GOLDEN = {
    "exp 20": "2ab6038bdd94923c",
    "exp 36": "eaa68fca385f8ce4",
    "cap 0.5": "1a2cc3d87ca978f8",
    "cap 15": "a58b770ca4ca5ec0",
    "cap 30": "b15b22804afdb9a9",
    "sigmoid": "9b998aaad53f44c3",
    "cos": "cf726e51e785b853",
    "sin": "683eeaaab5cd71ae",
    "angles": "637a518d8e62087d",
    "identity": "7c35acb0490dd86d",
}


def test_nobody_changes_a_table_unknowingly() -> None:
    """These are part of what a compressed file means. When one changes, VERSION must too."""
    model, weights = miniature(("bigram_hash", "smear_lerp"))
    cos, sin = Angles(10_000.0, 16).at(0, 1000)
    found = {
        "exp 20": sha256(exp_table(20)),
        "exp 36": sha256(exp_table(36)),
        "cap 0.5": sha256(cap_table(0.5)),
        "cap 15": sha256(cap_table(15.0)),
        "cap 30": sha256(cap_table(30.0)),
        "sigmoid": sha256(sigmoid(np.arange(-300, 301) / 16)),
        "cos": sha256(cos),
        "sin": sha256(sin),
        "angles": digest(Angles(10_000.0, 16).tables()).hex()[:16],
        "identity": Exact(model, packed(model, weights, "int8").tensors).identity().hex()[:16],
    }
    assert VERSION == 1
    assert found == GOLDEN
