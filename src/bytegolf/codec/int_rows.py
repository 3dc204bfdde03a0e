"""int8, int6, int5: rows of whole numbers times one scale a row, the numbers at their empirical entropy.

A tensor is seen as (rows, cols) = reshape(shape[0], -1); a vector is one row, a scalar one row of one.

    m_r     = max_c |w_rc|
    scale_r = fp16(m_r / hi * 2^-e) * 2^e                        hi = 127, 31, 15
    q_rc    = clip(rint(w_rc / scale_r), lo, hi)                 half to even; lo = -127, -32, -16
    w'_rc   = scale_r * q_rc                                     |w' - w| <= scale_r / 2

Scales are stored as row_scales.py says: one exponent e a tensor, 11 bits a scale, fewer for a row whose scale is
below 2^-28 of the largest; a row whose scale rounds to 0 is stored as zeros, and so is an all-zero row.

The published int8 raises every scale to at least 1/127, and one system its int6 and int5 scales to 1/31 and 1/15:
a row of small weights then gets a coarse absolute step or vanishes (that system lost 0.07 bpb in packing). int8,
int6 and int5 have no such floor; the codecs whose names end in `_floor` do, so that its price can be measured.

Blob: the scales (`RowScales.join`), the codes (`entropy.encode_symbols`). Sources: Parameter Golf PR 102 and
PR 162 (int6), and its record 2026-03-20_10L_Int5MLP_MuonWD04_SWA50 (int5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bytegolf.codec import gaussian
from bytegolf.codec.base import Integers
from bytegolf.codec.entropy import decode_symbols, encode_symbols
from bytegolf.codec.row_scales import RowScales, expected_bytes, matrix_of, matrix_shape, tensor_of


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
        quantized, scales = self._quantize(weights)
        return scales.join(encode_symbols(quantized.codes, self.lo, self.hi))

    def decode_quantized(self, blob: bytes, shape: Sequence[int]) -> Quantized:
        """The same codes and scales, bit for bit. Raises ArtifactError when the blob is damaged."""
        rows, cols = matrix_shape(shape)
        scales, codes_blob = RowScales.split(blob, rows)
        codes = decode_symbols(codes_blob, rows * cols, self.lo, self.hi)
        return Quantized(codes.astype(np.int8).reshape(rows, cols), scales.values)

    def decode(self, blob: bytes, shape: Sequence[int]) -> NDArray[np.float32]:
        """quantize(weights).dequantize(), bit for bit, in the given shape. Raises ArtifactError when damaged."""
        with np.errstate(over="ignore"):
            return tensor_of(self.decode_quantized(blob, shape).dequantize(), shape)

    def integers(self, blob: bytes, shape: Sequence[int]) -> Integers:
        """The codes and scales in the blob. Raises ArtifactError when it is damaged."""
        quantized = self.decode_quantized(blob, shape)
        return Integers(quantized.codes.astype(np.int64), quantized.scales.astype(np.float64))

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
        rows, cols = matrix_shape(shape)
        if std == 0 or rows * cols == 0:
            return float(self.nbytes(np.zeros(shape, dtype=np.float32)))
        peaks = gaussian.RowPeaks.of(cols)
        inner = self._clipped(peaks, cols)
        steps = np.maximum(inner / self.hi, self.floor / std)
        given = _code_probabilities(self.lo, self.hi, peaks.largest, steps, cols, pruned)
        mixed = given.mean(axis=0)
        whole, apart = float(gaussian.entropy_bits(mixed)), float(gaussian.entropy_bits(given).mean())
        codes = gaussian.symbol_bytes(mixed, rows * cols, whole - (whole - apart) / rows)
        least = self.floor * self.hi / std
        scales = expected_bytes(rows, std / self.hi, lambda x: gaussian.peak_cdf(x, cols) * (x >= least))
        return scales + codes

    def _clipped(self, peaks: gaussian.RowPeaks, cols: int) -> NDArray[np.float64]:
        """What stands for the largest in the scale: the quantile lies `beyond` places below it."""
        if self.clip_quantile is None:
            return peaks.largest
        beyond = (1 - self.clip_quantile) * (cols - 1)
        if beyond > 1:  # far more weights a row than any model has: the quantile scatters little
            return np.full_like(peaks.largest, gaussian.tail_inverse(np.asarray(1 - self.clip_quantile)))
        return peaks.largest - beyond * (peaks.largest - peaks.second)

    def _quantize(self, weights: NDArray[np.float32]) -> tuple[Quantized, RowScales]:
        matrix = matrix_of(weights)
        peaks = np.abs(matrix).max(axis=1, initial=0.0).astype(np.float64)
        if self.clip_quantile is not None and matrix.size:
            peaks = np.quantile(np.abs(matrix).astype(np.float64), self.clip_quantile, axis=1)
        ideal = np.maximum(peaks / self.hi, self.floor)
        scales = RowScales.nearest(ideal)
        if self.clip_quantile is None:
            quotients = scales.divide(matrix)
        else:  # as published: clip, and divide by the scale before its rounding
            alive = np.where(scales.values > 0, ideal, np.inf)[:, None]
            quotients = (np.clip(matrix, -peaks[:, None], peaks[:, None]) / alive).astype(np.float32)
        codes = np.clip(np.rint(quotients), self.lo, self.hi).astype(np.int8)
        return Quantized(codes, scales.values), scales


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
