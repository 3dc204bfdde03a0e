"""int8, int6, int5: rows of whole numbers times one scale a row, the numbers at their empirical entropy.

A tensor is seen as (rows, cols) = reshape(shape[0], -1); a vector is one row, a scalar one row of one.

    m_r     = max_c |w_rc|
    scale_r = fp16(m_r / hi * 2^-e) * 2^e                        hi = 127, 31, 15
    q_rc    = clip(rint(w_rc / scale_r), lo, hi)                 half to even; lo = -127, -32, -16
    w'_rc   = scale_r * q_rc                                     |w' - w| <= scale_r / 2

One exponent e a tensor keeps small rows alive where fp16 alone (6e-5 to 65504) would lose them: e is 0 unless a
non-zero row's scale would be subnormal or overflow, and then puts the largest scale into [2^14, 2^15). Scales down
to 2^-28 of the largest then keep all 11 bits (and the bound above), smaller ones fewer; a row whose scale still
rounds to 0 is stored as zeros, and so is an all-zero row. The published int8 raises every scale to at least 1/127,
and one system its int6 and int5 scales to 1/31 and 1/15: a row of small weights then gets a coarse absolute step
or vanishes (that system lost 0.07 bpb in packing). int8, int6 and int5 have no such floor; the codecs whose names
end in `_floor` do, so that its price can be measured.

Blob: i8 e, varint length of the scales, the scales' fp16 bits (`entropy.encode_halves`), the codes
(`entropy.encode_symbols`). Sources: Parameter Golf PR 102 and PR 162 (int6), and its record
2026-03-20_10L_Int5MLP_MuonWD04_SWA50 (int5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bytegolf.codec import gaussian
from bytegolf.codec.base import check_finite
from bytegolf.codec.entropy import (
    decode_halves,
    decode_symbols,
    encode_halves,
    encode_symbols,
    join_section,
    split_section,
    varint_bytes,
)
from bytegolf.errors import ArtifactError

_SMALLEST, _LARGEST = 2.0**-14, 65504.0  # normal fp16
_EXPONENTS = range(-100, 113)  # scale and product stay normal float32 numbers over all of fp16
_LIMIT = 2.0**126


@dataclass(frozen=True)
class Quantized:
    """The stored form of a tensor: codes int8 (rows, cols) and scales float32 (rows,)."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]

    def dequantize(self) -> NDArray[np.float32]:
        """scales[r] * codes[r, c], float32 (rows, cols): one IEEE multiplication a weight."""
        return self.codes.astype(np.float32) * self.scales[:, None]


class IntRows:
    """The codec for one width: `lo` and `hi` bound the codes."""

    name: str
    lo: int
    hi: int
    flawed = False
    clip_quantile: float | None = None  # of |w| in a row, in place of the largest
    floor: float = 0.0  # least scale

    def quantize(self, weights: NDArray[np.float32]) -> Quantized:
        """Codes and scales as the blob will hold them. Raises ArtifactError when a weight is not finite."""
        return self._quantize(weights)[0]

    def encode(self, weights: NDArray[np.float32]) -> bytes:
        """The blob. Raises ArtifactError when a weight is not finite. Cost: about 80 ns a weight."""
        quantized, exponent, halves = self._quantize(weights)
        head = exponent.to_bytes(1, "little", signed=True)
        codes = encode_symbols(quantized.codes, self.lo, self.hi)
        return head + join_section(encode_halves(halves.view(np.uint16)), codes)

    def decode_quantized(self, blob: bytes, shape: Sequence[int]) -> Quantized:
        """The same codes and scales, bit for bit. Raises ArtifactError when the blob is damaged."""
        rows, cols = _matrix_shape(shape)
        exponent = int.from_bytes(blob[:1], "little", signed=True)
        scales_blob, codes_blob = split_section(blob, 1)
        halves = decode_halves(scales_blob, rows).view(np.float16)
        if exponent not in _EXPONENTS or not np.isfinite(halves).all() or np.signbit(halves).any():
            raise ArtifactError(
                "row scales must be finite and not negative, their exponent within -100..112", got="others"
            )
        codes = decode_symbols(codes_blob, rows * cols, self.lo, self.hi)
        return Quantized(codes.astype(np.int8).reshape(rows, cols), _unscale(halves, exponent))

    def decode(self, blob: bytes, shape: Sequence[int]) -> NDArray[np.float32]:
        """quantize(weights).dequantize(), bit for bit, in the given shape. Raises ArtifactError when damaged."""
        return self.decode_quantized(blob, shape).dequantize().reshape(tuple(shape))

    def nbytes(self, weights: NDArray[np.float32]) -> int:
        """len(encode(weights)); costs one encoding."""
        return len(self.encode(weights))

    def expected_bytes(self, shape: Sequence[int], std: float, pruned: float = 0.0) -> float:
        """The size law: rows * cols codes at the entropy of their mixture, and one scale a row.

        Assumes independent N(0, std^2). With M the largest of a row in units of std, (2 Phi(x) - 1)^cols its
        distribution, and s = max(M / hi, floor / std) the step:

            P(q = k | M) = 1/cols [k = rint(M / s)] + (1 - 1/cols) P(s (k - 1/2) < Z <= s (k + 1/2) | |Z| < M)

        (the first term halved between k and -k; `clip_quantile` takes M towards the second largest). One
        histogram serves all rows, so the codes cost H(E_M P) bits; with few rows it knows something of each M,
        down to E_M H(P) for one row: H = H(E P) - (H(E P) - E H(P)) / rows. Without a floor std only shifts the
        scales. One row's own bytes scatter around the law by 1 to 3 %, R rows' by that / sqrt(R).
        """
        rows, cols = _matrix_shape(shape)
        if std == 0 or rows * cols == 0:
            return float(self.nbytes(np.zeros(shape, dtype=np.float32)))
        peaks = gaussian.RowPeaks.of(cols)
        inner = self._clipped(peaks, cols)
        steps = np.maximum(inner / self.hi, self.floor / std)
        given = _code_probabilities(self.lo, self.hi, peaks.largest, steps, cols, pruned)
        mixed = given.mean(axis=0)
        whole, apart = float(gaussian.entropy_bits(mixed)), float(gaussian.entropy_bits(given).mean())
        codes = gaussian.symbol_bytes(mixed, rows * cols, whole - (whole - apart) / rows)
        scales = self._expected_scale_bytes(rows, cols, std)
        return 1 + varint_bytes(round(scales)) + scales + codes

    def _clipped(self, peaks: gaussian.RowPeaks, cols: int) -> NDArray[np.float64]:
        """What stands for the largest in the scale: the quantile lies `beyond` places below it."""
        if self.clip_quantile is None:
            return peaks.largest
        beyond = (1 - self.clip_quantile) * (cols - 1)
        if beyond > 1:  # far more weights a row than any model has: the quantile scatters little
            return np.full_like(peaks.largest, gaussian.tail_inverse(np.asarray(1 - self.clip_quantile)))
        return peaks.largest - beyond * (peaks.largest - peaks.second)

    def _expected_scale_bytes(self, rows: int, cols: int, std: float) -> float:
        """encode_halves of the scales; a power of two that would keep them normal changes no mantissa."""
        unit = std / self.hi
        while unit < 2.0**-9:  # the smallest scale is some way below one std / hi
            unit *= 2.0
        floor = self.floor * unit * self.hi / std
        limits = gaussian.half_limits()
        below = gaussian.peak_cdf(limits / unit, cols) * (limits >= floor)
        words = np.zeros(1 << 16)
        words[: limits.size] = np.diff(below, prepend=0.0)
        return gaussian.half_bytes(words, rows)

    def _quantize(self, weights: NDArray[np.float32]) -> tuple[Quantized, int, NDArray[np.float16]]:
        check_finite(weights)
        matrix = np.asarray(weights, dtype=np.float32).reshape(_matrix_shape(weights.shape))
        peaks = np.abs(matrix).max(axis=1, initial=0.0).astype(np.float64)
        if peaks.max(initial=0.0) > _LIMIT:
            raise ArtifactError("weights must stay below 2^126", got=f"{peaks.max():g}")
        if self.clip_quantile is not None and matrix.size:
            peaks = np.quantile(np.abs(matrix).astype(np.float64), self.clip_quantile, axis=1)
        ideal = np.maximum(peaks / self.hi, self.floor)
        exponent = _exponent(ideal)
        halves = np.ldexp(ideal, -exponent).astype(np.float16)
        scales = _unscale(halves, exponent)
        # An all-zero row may divide by anything: its codes are 0, and must be 0 too where the scale died.
        divisors = np.where(scales > 0, scales, np.float32(np.inf))
        if self.clip_quantile is not None:  # as published: clip, then divide by the scale before its rounding
            matrix = np.clip(matrix, -peaks[:, None], peaks[:, None])
            divisors = np.where(scales > 0, ideal, np.inf)
        codes = np.clip(np.rint(matrix / divisors[:, None]), self.lo, self.hi).astype(np.int8)
        return Quantized(codes, scales), exponent, halves


class Int8(IntRows):
    """255 levels a row: 7.4 bits a gaussian weight."""

    name, lo, hi = "int8", -127, 127


class Int6(IntRows):
    """64 levels a row: 5.4 bits a gaussian weight."""

    name, lo, hi = "int6", -32, 31


class Int5(IntRows):
    """32 levels a row: 4.4 bits a gaussian weight."""

    name, lo, hi = "int5", -16, 15


class Int8Clip(Int8):
    """int8 whose rows are clipped at the quantile 0.9999984 of |w|: the published int8 without its floor.

    The quantile interpolates between the two largest values of a row, so it shaves a little off the largest.
    """

    name, flawed, clip_quantile = "int8_clip", True, 0.9999984


class Int8ClipFloor(Int8Clip):
    """int8 of the Parameter Golf baseline: clipped, and no scale below 1/127, so small rows get a coarse step."""

    name, floor = "int8_clip_floor", 1 / 127


class Int6ClipFloor(Int6):
    """int6 of PR 354: clipped, and no scale below 1/31: a row of weights below 1/62 becomes zero."""

    name, flawed, clip_quantile, floor = "int6_clip_floor", True, 0.9999984, 1 / 31


class Int5ClipFloor(Int5):
    """int5 of PR 354: clipped, and no scale below 1/15: a row of weights below 1/30 becomes zero."""

    name, flawed, clip_quantile, floor = "int5_clip_floor", True, 0.9999984, 1 / 15


def _matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def _code_probabilities(
    lo: int, hi: int, peaks: gaussian.Floats, steps: gaussian.Floats, cols: int, pruned: float
) -> gaussian.Floats:
    """P(q = k | M) for k = lo..hi, shape (peaks, hi - lo + 1); `pruned` as in `Codec.expected_bytes`."""
    edges = np.arange(lo, hi + 2) - 0.5
    edges[[0, -1]] = -np.inf, np.inf  # what lies beyond is clipped to lo and hi
    limits = np.clip(steps[:, None] * edges, -peaks[:, None], peaks[:, None])
    inside = gaussian.mass(limits[:, :-1], limits[:, 1:], pruned)
    given: gaussian.Floats = (1 - 1 / cols) * inside / np.maximum(inside.sum(axis=1, keepdims=True), 1e-300)
    at = np.clip(np.rint(peaks / steps), 0, hi).astype(int)
    row = np.arange(len(peaks))
    np.add.at(given, (row, at - lo), 0.5 / cols)
    np.add.at(given, (row, -at - lo), 0.5 / cols)
    return given


def _exponent(ideal: NDArray[np.float64]) -> int:
    """The tensor's power of two: 0 where fp16 holds every non-zero scale as a normal number."""
    scales = ideal[ideal > 0]
    if scales.size == 0:
        return 0
    with np.errstate(over="ignore"):
        halves = scales.astype(np.float16)
    if halves.min() >= _SMALLEST and halves.max() <= _LARGEST:
        return 0
    largest = math.frexp(float(scales.max()))[1]
    return min(max(largest - 15, _EXPONENTS[0]), _EXPONENTS[-1])


def _unscale(halves: NDArray[np.float16], exponent: int) -> NDArray[np.float32]:
    """halves * 2^exponent, exact in float32."""
    return np.ldexp(halves.astype(np.float32), exponent)
