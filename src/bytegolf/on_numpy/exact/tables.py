"""Integer tables of exp, tanh, sigmoid, sine and cosine, made without libm: the same on every machine.

A seed value (exp(-1/1024), an angle's sine) comes from `decimal`, whose functions are correctly rounded; the
rest follows by products of fixed-point integers of 128 bits. So each entry is specified to the last bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NAT = 1024  # logits and scores are counted in 1/1024 nat
CAP_STEPS, CAP_REACH = (
    1 << 13,
    8,
)  # tanh is tabulated at k / CAP_STEPS up to CAP_REACH; beyond, it is 1 - 2e-7
ANGLE_BITS = 40  # of the sines and cosines
SPAN = 256  # positions between the coarse angles

_BITS = 128
_ONE = 1 << _BITS
_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999)


@lru_cache(maxsize=8)
def exp_table(bits: int) -> Floats:
    """e_n = rint(2^bits exp(-n / NAT)) for n = 0, 1, ..., down to the first 0, which is the last entry."""
    with localcontext(_CONTEXT):
        ratio = _fixed((Decimal(-1) / NAT).exp())
    half, power, values = 1 << (_BITS - 1), _ONE, [1 << bits]
    while values[-1]:
        power = power * ratio >> _BITS
        values.append((power * (1 << bits) + half) >> _BITS)
    return _frozen(values, np.float64)


@lru_cache(maxsize=4)
def cap_table(cap: float) -> NDArray[np.int64]:
    """c_k = floor(cap NAT tanh(k / CAP_STEPS) + 1/2) for k = 0 .. CAP_REACH CAP_STEPS, mirrored to -k before
    it.

    int64. Entry k + CAP_REACH CAP_STEPS belongs to x = k cap / CAP_STEPS; cap tanh(x / cap) is counted in 1 /
    NAT.
    """
    with localcontext(_CONTEXT):
        ratio = _fixed((Decimal(-2) / CAP_STEPS).exp())
    numerator, denominator = cap.as_integer_ratio()
    power, values = _ONE, []
    for _ in range(CAP_REACH * CAP_STEPS + 1):  # tanh y = (1 - q) / (1 + q), q = exp(-2 y)
        top, bottom = 2 * NAT * numerator * (_ONE - power), denominator * (_ONE + power)
        values.append((top + bottom) // (2 * bottom))
        power = power * ratio >> _BITS
    return _frozen([*(-v for v in reversed(values[1:])), *values], np.int64)


def sigmoid(x: Floats) -> Floats:
    """rint(2^30 / (1 + exp(-x))) / 2^30 of each element."""
    with localcontext(_CONTEXT):
        # beyond 64 it is 0 or 1; exp of what a gate may hold would overflow
        values = [(1 << 30) / (1 + (-Decimal(v)).exp()) for v in x.clip(-64.0, 64.0).ravel().tolist()]
        whole = [int(v.to_integral_value()) for v in values]
    return np.ldexp(np.array(whole, np.float64).reshape(x.shape), -30)


@lru_cache(maxsize=8)
def angles(base: float, rotated: int) -> Angles:
    """The angles of that base, made once: all layers of a model share them."""
    return Angles(base, rotated)


class Angles:
    """cos and sin of t base^(-2i/r), i < r / 2, for positions t = 0, 1, ...

    With t = SPAN a + b both come from tables of SPAN a and b by the addition theorem, one IEEE operation at a
    time: cos = cos_a cos_b - sin_a sin_b, sin = sin_a cos_b + cos_a sin_b. The tables are multiples of
    2^-ANGLE_BITS.
    """

    def __init__(self, base: float, rotated: int) -> None:
        with localcontext(_CONTEXT):
            turns = [Decimal(base) ** (Decimal(-2 * i) / rotated) for i in range(rotated // 2)]
            self._turn = [(_fixed(c), _fixed(s)) for c, s in map(_cos_sin, turns)]
        fine = self._powers(self._turn, [(_ONE, 0)] * len(self._turn), SPAN + 1)
        self._stride = fine[SPAN]
        self._fine = _cosines(fine[:SPAN])
        self._next = [(_ONE, 0)] * len(self._turn)
        self._cos = self._sin = np.empty((0, len(self._turn)))

    def at(self, first: int, count: int) -> tuple[Floats, Floats]:
        """(cos, sin) of positions first .. first + count - 1, each (count, r / 2). What was asked for is kept."""
        cos, sin, (cos_b, sin_b) = [self._cos], [self._sin], self._fine
        for _ in range(-((len(self._cos) - (first + count)) // SPAN)):
            cos_a, sin_a = _cosines([self._next])
            cos.append(cos_a * cos_b - sin_a * sin_b)
            sin.append(sin_a * cos_b + cos_a * sin_b)
            self._next = _turned(self._next, self._stride)
        if len(cos) > 1:
            self._cos, self._sin = np.concatenate(cos), np.concatenate(sin)
        return self._cos[first : first + count], self._sin[first : first + count]

    def tables(self) -> list[Floats]:
        """What `at` is made of, for `digest`."""
        return [*self._fine, *_cosines([self._stride])]

    @staticmethod
    def _powers(
        turn: list[tuple[int, int]], start: list[tuple[int, int]], count: int
    ) -> list[list[tuple[int, int]]]:
        powers = [start]
        while len(powers) < count:
            powers.append(_turned(powers[-1], turn))
        return powers


def digest(tables: Iterable[NDArray[np.float64] | NDArray[np.int64]]) -> bytes:
    """sha256 of the tables as little-endian float64, each preceded by its length as u64."""
    found = hashlib.sha256()
    for table in tables:
        found.update(table.size.to_bytes(8, "little") + table.astype("<f8").tobytes())
    return found.digest()


def _turned(z: list[tuple[int, int]], by: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [
        ((c * d - s * e) >> _BITS, (c * e + s * d) >> _BITS) for (c, s), (d, e) in zip(z, by, strict=True)
    ]


def _cosines(rows: list[list[tuple[int, int]]]) -> tuple[Floats, Floats]:
    shift, half = _BITS - ANGLE_BITS, 1 << (_BITS - ANGLE_BITS - 1)
    whole = np.array([[[(v + half) >> shift for v in z] for z in row] for row in rows], np.float64)
    whole = np.ldexp(whole.reshape(len(rows), -1, 2), -ANGLE_BITS)
    return np.ascontiguousarray(whole[..., 0]), np.ascontiguousarray(whole[..., 1])


def _cos_sin(angle: Decimal) -> tuple[Decimal, Decimal]:
    """By their series; 0 < angle <= 1."""
    cos, sin, term, n = Decimal(0), Decimal(0), Decimal(1), 0
    while abs(term) > Decimal(10) ** -55:
        cos += term
        sin += term * angle / (n + 1)
        term = -term * angle * angle / ((n + 1) * (n + 2))
        n += 2
    return cos, sin


def _fixed(value: Decimal) -> int:
    return int((value * _ONE).to_integral_value())


def _frozen(values: list[int], dtype: Any) -> NDArray[Any]:
    table = np.array(values, dtype)
    table.setflags(write=False)
    return table
