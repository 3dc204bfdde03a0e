"""Grids, norms and linear maps of docs/exact.md: sums are those of Python's whole numbers, all else of floats.

A tensor is `codes` (rows, cols) and `scales` (rows); its weights are the products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

from reference.golf_reader import TensorRow, decode_tensor, need

EPS = 2.0**-23
SLACK = 1 + 2.0**-16
Vector = list[float]


def exponent(x: float) -> int:
    """e with x = m 2^e, 1/2 <= m < 1."""
    return math.frexp(x)[1]


def above(x: float) -> float:
    """A power of two above x."""
    return 2.0 ** exponent(max(x * SLACK, 2.0**-31))


def grid(x: float, least: int = 6, most: int = 16) -> int:
    """Bits behind the point for terms whose magnitudes sum to at most x."""
    need(math.isfinite(x), "exact: a sum without bound")
    bits = min(most, 53 - exponent(max(x * SLACK, 2.0**-900)))
    need(bits >= least, "exact: a sum too large for its grid")
    return bits


def squares(x: float, n: int, least: int = 6) -> int:
    """Bits behind the point for n numbers of at most x that will be squared and summed."""
    return grid(x * x * n, 2 * least, 60) // 2


def whole(x: Sequence[float], factor: float) -> list[int]:
    """rint(x factor), an element at a time."""
    return [round(value * factor) for value in x]


def clamped(x: Sequence[float], low: float, high: float) -> Vector:
    return [min(max(value, low), high) for value in x]


def norm(x: Sequence[int], n: int, b: int) -> Vector:
    """X / sqrt(sum X^2 / n + EPS 2^2b): X whole numbers that stand for X 2^-b."""
    root = math.sqrt(float(sum(map(mul, x, x))) / n + EPS * 2.0 ** (2 * b))
    return [value / root for value in x]


@dataclass(frozen=True)
class Weights:
    """A tensor: weights are scale code, a row at a time."""

    codes: list[list[int]]
    scales: list[float]

    def row(self, r: int) -> Vector:
        return [self.scales[r] * code for code in self.codes[r]]

    def largest(self) -> float:
        """The largest |weight|."""
        return max(scale * max(map(abs, row)) for scale, row in zip(self.scales, self.codes, strict=True))


def weights_of(stored: TensorRow) -> Weights:
    """A stored tensor as a matrix; a vector is one row, and so is a scalar."""
    tensor = decode_tensor(stored)
    columns = math.prod(stored.shape[len(stored.shape) > 1 :])
    starts = range(0, len(tensor.values), columns)
    if stored.codec != "fp16":
        return Weights([tensor.integers[at : at + columns] for at in starts], tensor.factors)
    codes, scales = [], []
    for at in starts:
        row = [int(value * 2**24) for value in tensor.values[at : at + columns]]
        common = math.gcd(*row)
        power = common & -common or 1  # the largest power of two that divides them all
        codes.append([value // power for value in row])
        scales.append(power * 2.0**-24)
    return Weights(codes, scales)


class Linear:
    """linear(x; W, limit, norm, given) of matrices with one input; bounds[i]: the largest row bound of one."""

    def __init__(
        self,
        matrices: list[Weights],
        limit: float,
        norm: float | None = None,
        given: float = 1.0,
        clamp: bool = False,
    ) -> None:
        level = above(limit)
        lengths = [[sum(map(abs, row)) for row in one.codes] for one in matrices]
        self._b = min(grid(max(of_one) * level) for of_one in lengths)
        self._factor, self._back = 2.0**self._b * given, 2.0**-self._b
        self._most = int(level * 2.0**self._b) if clamp else None
        self._matrices = matrices
        biggest = max(abs(code) for one in matrices for row in one.codes for code in row)
        s = max(0, exponent(biggest) - 20)
        self.bounds = []
        for one, of_one in zip(matrices, lengths, strict=True):
            bounds = []
            for row, scale, length in zip(one.codes, one.scales, of_one, strict=True):
                reach = level * length
                if norm is not None:
                    root = math.sqrt(sum((-(-abs(code) >> s)) ** 2 for code in row))
                    reach = min(reach, 2.0**s * root * (norm + math.sqrt(len(row)) * self._back))
                bounds.append(scale * reach * SLACK)
            self.bounds.append(max(bounds))

    def __call__(self, x: Sequence[float]) -> list[Vector]:
        """One vector a matrix."""
        terms = whole(x, self._factor)
        if self._most is not None:
            terms = [min(max(term, -self._most), self._most) for term in terms]
        return [
            [
                float(sum(map(mul, terms, row))) * (scale * self._back)
                for row, scale in zip(one.codes, one.scales, strict=True)
            ]
            for one in self._matrices
        ]
