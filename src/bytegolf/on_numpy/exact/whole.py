"""Whole numbers on planned grids: the bound of every sum is proven when a model is loaded.

A real x is carried as X = rint(2^b x). The finer the grid (the larger b), the closer to the float model; b is the
largest for which the sum of magnitudes stays at or below 2^53, at most FINEST. Bounds are worst cases over all
inputs: from the stored codes, the widths and the clamps, nothing is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bytegolf.artifact.format import StoredTensor
from bytegolf.errors import ArtifactError
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.ops import EPS, Floats

FINEST = 16  # bits behind the point of what goes into a matrix
COARSEST = 6  # fewer would cost more than a percent: refused
# FEW rows or less go through a matrix of WIDE columns or more faster by panels of PANEL: BLAS copies nothing. More
# rows are faster through the whole, so both are kept.
FEW, WIDE, PANEL = 8, 1024, 128
SLACK = 1 + 2.0**-16  # bounds are raised by this: for rounded arithmetic, and for x rounded to its grid


@dataclass(frozen=True)
class Stored:
    """One tensor of the artifact: codes int64 (rows, cols), scales float64 (rows,), weight = scale * code."""

    name: str
    shape: tuple[int, ...]
    codes: NDArray[np.int64]
    scales: Floats

    @classmethod
    def of(cls, tensor: StoredTensor) -> Stored:
        whole = tensor.integers()
        return cls(tensor.name, tensor.shape, whole.codes, whole.scales)

    def values(self) -> Floats:
        """The weights, float64, in their shape: one IEEE multiplication each."""
        return (self.codes * self.scales[:, None]).reshape(self.shape)

    def largest(self) -> float:
        """max |weight|."""
        return float(np.abs(self.values()).max(initial=0.0))


Tensors = dict[str, Stored]


def pow2(bits: int) -> float:
    """2^bits, exactly."""
    return math.ldexp(1.0, bits)


def power_of_two(bound: float) -> float:
    """A power of two above `bound`, at most 2 SLACK times as large, at least 2^-30. No logarithm: libms differ."""
    return pow2(math.frexp(max(bound * SLACK, pow2(-31)))[1])


def grid(magnitudes: float, name: str, least: int = COARSEST, most: int = FINEST) -> int:
    """The finest b <= most with magnitudes * 2^b <= 2^53, `magnitudes` a bound on the sum of |terms| at b = 0.

    Raises ArtifactError, naming the tensor, when b would fall below `least`.
    """
    bits = min(most, 53 - math.frexp(max(magnitudes * SLACK, pow2(-900)))[1])
    if bits < least or not math.isfinite(magnitudes):
        raise ArtifactError(
            f"tensor {name}: its sums cannot be exact",
            got=f"magnitudes up to {magnitudes:.3g}, which leave {bits} bits behind the point; {least} are needed",
            fix="store it with fewer bits (pack.codecs, int8 for fp16), or train a model with smaller weights",
        )
    return bits


def square_grid(bound: float, length: int, name: str, least: int = COARSEST, most: int = 30) -> int:
    """The finest b <= most for which `length` squares of |x| <= bound, in units of 2^-2b, sum to at most 2^53."""
    return grid(bound * bound * length, name, 2 * least, 2 * most) // 2


class Linear:
    """y = W x of one or several matrices with the same input, from their codes.

    X = rint(2^b x), clamped to |x| <= limit; y_r = (2^-b scale_r) * sum_c code_rc X_c. The sum of magnitudes is at
    most 2^b limit max_r sum_c |code_rc|, at most 2^53 by the choice of b. x (N, cols) -> y (N, rows).

    bound: the proven limit of |y|, a row for itself: scale_r min(limit sum |code|, norm |code|_2), where `norm`
    bounds the Euclidean norm of x.
    """

    def __init__(
        self,
        ops: Ops,
        tensors: list[Stored],
        limit: float,
        clamp: bool,
        norm: float = math.inf,
        given: float = 1.0,
    ) -> None:
        self._ops = ops
        codes = np.concatenate([t.codes for t in tensors]).astype(np.float64)
        scales = np.concatenate([t.scales for t in tensors])
        sums = [float(np.abs(t.codes).sum(axis=1).max(initial=0)) for t in tensors]
        limit = power_of_two(limit)
        self.bits = min(grid(s * limit, t.name) for s, t in zip(sums, tensors, strict=True))
        self._step = pow2(self.bits) * given
        self._most = limit * pow2(self.bits) if clamp else None
        self._codes, self._panels = ops.array(codes.T), None
        if len(codes) >= WIDE and len(codes) % PANEL == 0:
            self._panels = ops.array(codes.reshape(-1, PANEL, codes.shape[1]).swapaxes(1, 2))
        self._factors = ops.array(np.ldexp(scales, -self.bits))
        rounding = math.sqrt(codes.shape[1]) * pow2(-self.bits)
        worst = np.abs(codes).sum(axis=1) * limit
        if norm < math.inf:  # a row of zeros times an infinite norm would be no number
            worst = np.minimum(worst, _lengths(codes) * (norm + rounding))
        self.row_bounds = scales * worst * SLACK
        self.bound = float(self.row_bounds.max(initial=0.0))

    def in_units(self, units: Floats) -> None:
        """Give every row r of y times units[r], powers of two."""
        self._factors = self._factors * self._ops.array(units)

    def __call__(self, x: Array) -> Array:
        x = self._ops.rint(x * self._step)
        if self._most is not None:
            x = self._ops.clip(x, -self._most, self._most)
        if self._panels is not None and x.shape[0] <= FEW:
            return (x @ self._panels).swapaxes(0, 1).reshape(x.shape[0], -1) * self._factors
        return (x @ self._codes) * self._factors


def _lengths(codes: Floats) -> Floats:
    """A bound on the Euclidean norm of each row, from sums that are exact whatever the size of the codes."""
    shift = max(0, math.frexp(float(np.abs(codes).max(initial=0.0)))[1] - 20)
    small = np.ceil(np.ldexp(np.abs(codes), -shift))
    return np.asarray(np.ldexp(np.sqrt((small * small).sum(axis=1)), shift))


class Norm:
    """x / sqrt(mean(x^2) + 2^-23) over the last axis, of x given as X = 2^bits x in whole numbers.

    The result is at most sqrt(length) in magnitude and in Euclidean norm.
    """

    def __init__(self, ops: Ops, length: int, bits: int) -> None:
        self._ops, self._eps = ops, math.ldexp(EPS, 2 * bits)
        self._length = ops.array(np.array([float(length)]))

    def __call__(self, x: Array) -> Array:
        return x / self._ops.sqrt(self._ops.dot(x, x) / self._length + self._eps)[..., None]


LOWEST, HIGHEST = -100, 200  # the exponents of a token's largest component for which there are grids


class FloatingNorm:
    """x / sqrt(mean(x^2) + 2^-23) over the last axis of any x below 2^HIGHEST: each row has a grid of its own.

    With e the exponent of a row's largest |x|: X = rint(x 2^(K - e)), |X| <= 2^K, and length 2^2K <= 2^53. So no
    size of x is lost, and none is clamped. The result is bounded as that of `Norm`.
    """

    def __init__(self, ops: Ops, length: int) -> None:
        self._ops = ops
        most = square_grid(1.0, length, "of the residual stream")
        self._units = ops.array(np.ldexp(1.0, most - np.arange(LOWEST, HIGHEST + 1)))
        self._length = ops.array(np.array([float(length)]))

    def __call__(self, x: Array) -> Array:
        ops = self._ops
        unit = ops.gather(self._units, ops.exponent(ops.max(abs(x))) - LOWEST)
        x = ops.rint(x * unit[..., None])
        return x / ops.sqrt(ops.dot(x, x) / self._length + unit * unit * EPS)[..., None]
