"""A tensor as rows, and one factor a row: fp16 under one power of two a tensor. What int_rows and ecsq share.

A tensor is seen as (rows, cols) = reshape(shape[0], -1); a vector is one row, a scalar one row of one.

One exponent e a tensor keeps small rows alive where fp16 alone (6e-5 to 65504) would lose them: e is 0 unless a
non-zero row's factor would be subnormal or overflow, and then puts the largest into [2^14, 2^15). Factors down to
2^-28 of the largest then keep all 11 bits, smaller ones fewer, and some round to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bytegolf.codec import gaussian
from bytegolf.codec.base import check_finite
from bytegolf.codec.entropy import decode_halves, encode_halves, join_section, split_section, varint_bytes
from bytegolf.codec.gaussian import Floats
from bytegolf.errors import ArtifactError

LIMIT = 2.0**126  # of a weight: what is rebuilt from it stays finite
_SMALLEST, _LARGEST = 2.0**-14, 65504.0  # normal fp16
_EXPONENTS = range(-100, 113)  # factors stay normal float32 numbers over all of fp16


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """(rows, cols) of a tensor of that shape."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def matrix_of(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """`weights` as float32 (rows, cols). Raises ArtifactError for one that is not finite or above 2^126."""
    check_finite(weights)
    matrix = np.asarray(weights, dtype=np.float32).reshape(matrix_shape(weights.shape))
    peak = float(np.abs(matrix).max(initial=0.0))
    if peak > LIMIT:
        raise ArtifactError("weights must stay below 2^126", got=f"{peak:g}")
    return matrix


def tensor_of(matrix: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """The inverse of `matrix_of` for what a blob holds. Raises ArtifactError when factor times code overflowed."""
    if not np.isfinite(matrix).all():
        raise ArtifactError("factors times codes must be finite weights", got="others")
    return matrix.reshape(tuple(shape))


@dataclass(frozen=True)
class RowScales:
    """halves[r] * 2^exponent, one factor a row; halves is fp16 (rows,), finite, no sign bit."""

    exponent: int
    halves: NDArray[np.float16]

    @classmethod
    def nearest(cls, ideal: NDArray[np.float64]) -> RowScales:
        """The closest that can be stored; `ideal` (rows,), each 0..2^126."""
        exponent = _exponent(ideal)
        return cls(exponent, np.ldexp(ideal, -exponent).astype(np.float16))

    @property
    def values(self) -> NDArray[np.float32]:
        """The factors, exact in float32, (rows,)."""
        return np.ldexp(self.halves.astype(np.float32), self.exponent)

    def divide(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """matrix / factor, row by row; 0 where the factor is 0 (an all-zero row may divide by anything)."""
        divisors: NDArray[np.float32] = np.where(self.values > 0, self.values, np.float32(np.inf))
        quotients: NDArray[np.float32] = matrix / divisors[:, None]
        return quotients

    def join(self, codes: bytes) -> bytes:
        """i8 exponent, varint length of the fp16 bits, these bits (`entropy.encode_halves`), then `codes`."""
        head = self.exponent.to_bytes(1, "little", signed=True)
        return head + join_section(encode_halves(self.halves.view(np.uint16)), codes)

    @classmethod
    def split(cls, blob: bytes, rows: int) -> tuple[RowScales, bytes]:
        """The inverse of `join`. Raises ArtifactError for factors that no encoder writes."""
        exponent = int.from_bytes(blob[:1], "little", signed=True)
        section, codes = split_section(blob, 1)
        halves = decode_halves(section, rows).view(np.float16)
        if exponent not in _EXPONENTS or not np.isfinite(halves).all() or np.signbit(halves).any():
            raise ArtifactError(
                "row scales must be finite and not negative, their exponent within -100..112", got="others"
            )
        return cls(exponent, halves), codes


def expected_bytes(rows: int, unit: float, below: Callable[[Floats], Floats]) -> float:
    """The size law of `RowScales.join(b"")`: `rows` independent factors unit * X with P(X <= x) = below(x).

    The exponent that keeps small factors normal moves no mantissa, so powers of two in `unit` do not count.
    """
    while unit < 2.0**-9:  # the smallest factor is some way below one unit
        unit *= 2.0
    while unit > 2.0**9:
        unit /= 2.0
    limits = gaussian.half_limits()
    words = np.zeros(1 << 16)
    words[: limits.size] = np.diff(below(limits / unit), prepend=0.0)
    size = gaussian.half_bytes(words, rows)
    return 1 + varint_bytes(round(size)) + size


def _exponent(ideal: NDArray[np.float64]) -> int:
    """The tensor's power of two: 0 where fp16 holds every non-zero factor as a normal number."""
    factors = ideal[ideal > 0]
    if factors.size == 0:
        return 0
    with np.errstate(over="ignore"):
        halves = factors.astype(np.float16)
    if halves.min() >= _SMALLEST and halves.max() <= _LARGEST:
        return 0
    largest = math.frexp(float(factors.max()))[1]
    return min(max(largest - 15, _EXPONENTS[0]), _EXPONENTS[-1])
