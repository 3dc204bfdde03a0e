"""ecsq, entropy-coded scalar quantization: whole multiples of a step a row, the multiples at their entropy.

    s_r     = fp16 of max(step_r, min(max_c |w_rc|, K rms_r) / 16000)      stored as row_scales.py says
    q_rc    = clip(rint(w_rc / s_r), -n_r, n_r)                             n_r = max(1, floor(K rms_r / s_r))
    w'_rc   = s_r q_rc                                                      |w' - w| <= s_r / 2 where not clipped

The step is a real number, so the size is a knob without notches: halving it costs one bit a weight. The blob holds
the steps, and reading asks for nothing else; equal steps in all rows cost 10 bytes. `encode` takes rms_r / 8,
which is 5.05 bits a gaussian weight; `encode_at` takes the steps that somebody has found (train/fill.py).

Unlike int6, whose largest weight of a row sets the step, here the largest sets nothing: the range of q costs only
a wider table. K = 16 bounds that table. A row of up to 256 weights cannot reach 16 rms, so the clip only ever
meets a lone outlier of a long row; that one is cut to 16 rms, where the table ends at 16 rms / s_r counts.

The lower bound on the steps keeps every q within 2^14, what a table can hold. At high rate, uniform steps
with an entropy coder stay within 0.25 bits a weight of the rate-distortion bound: H. Gish and J. Pierce,
Asymptotically efficient quantizing, 1968. Clipping at K standard deviations with the size as a knob: Parameter
Golf PR 1394.

Blob: the steps (`RowScales.join`), then q (`entropy.encode_symbols`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bytegolf.codec import gaussian
from bytegolf.codec.base import Integers
from bytegolf.codec.entropy import decode_symbols, encode_symbols
from bytegolf.codec.row_scales import LIMIT, RowScales, expected_bytes, matrix_of, matrix_shape, tensor_of

_MOST = (1 << 14) - 1  # of |q|: 2 * _MOST + 1 symbols fit into a table
_FINEST = 16_000.0  # bound / step; below _MOST, since fp16 may round a step down by 2^-11
_SIGMAS = 16.0
_DEFAULT = 1 / 8  # step / rms


@dataclass(frozen=True)
class Lattice:
    """The stored form of a tensor: steps (rows,) and multiples int32 (rows, cols)."""

    steps: RowScales
    multiples: NDArray[np.int32]

    def dequantize(self) -> NDArray[np.float32]:
        """steps[r] * multiples[r, c], float32 (rows, cols): one IEEE multiplication a weight."""
        return self.multiples.astype(np.float32) * self.steps.values[:, None]

    def to_bytes(self) -> bytes:
        """The blob. Cost: about 80 ns a weight."""
        return self.steps.join(encode_symbols(self.multiples, -_MOST, _MOST))


def row_rms(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """The root mean square of each row, (rows,); 0 for a row without columns. Raises ArtifactError like encode."""
    return _rms(matrix_of(weights))


def _rms(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    squares = np.square(matrix.astype(np.float64)).sum(axis=1)
    rms: NDArray[np.float64] = np.sqrt(squares / max(matrix.shape[1], 1))
    return rms


class Ecsq:
    """The codec; `encode_at` and `quantize_at` take the steps."""

    name = "ecsq"
    flawed = False

    def quantize_at(self, weights: NDArray[np.float32], steps: NDArray[np.float64]) -> Lattice:
        """The lattice point nearest to `weights`; steps (rows,), finite and not negative.

        Raises ArtifactError when a weight is not finite or above 2^126.
        """
        matrix = matrix_of(weights)
        rms = _rms(matrix)
        if steps.shape != rms.shape or not np.isfinite(steps).all() or (steps < 0).any():
            raise ValueError(f"steps must be finite, not negative and {rms.shape}; got {steps.shape}")
        peaks = np.minimum(np.abs(matrix).max(axis=1, initial=0.0), _SIGMAS * rms)
        stored = RowScales.nearest(np.clip(steps, peaks / _FINEST, LIMIT))
        values = stored.values.astype(np.float64)
        reach = np.divide(_SIGMAS * rms, values, out=np.zeros_like(rms), where=values > 0)
        most = np.clip(np.floor(reach), 1, _MOST)[:, None]
        return Lattice(stored, np.clip(np.rint(stored.divide(matrix)), -most, most).astype(np.int32))

    def encode_at(self, weights: NDArray[np.float32], steps: NDArray[np.float64]) -> bytes:
        """The blob of `quantize_at`. Encoding the decoded tensor at these steps gives it again, unless clipped."""
        return self.quantize_at(weights, steps).to_bytes()

    def encode(self, weights: NDArray[np.float32]) -> bytes:
        """The blob at rms_r / 8. Raises ArtifactError when a weight is not finite or above 2^126."""
        return self.encode_at(weights, row_rms(weights) * _DEFAULT)

    def decode_lattice(self, blob: bytes, shape: Sequence[int]) -> Lattice:
        """The same steps and multiples, bit for bit. Raises ArtifactError when the blob is damaged."""
        rows, cols = matrix_shape(shape)
        steps, codes = RowScales.split(blob, rows)
        return Lattice(steps, decode_symbols(codes, rows * cols, -_MOST, _MOST).reshape(rows, cols))

    def decode(self, blob: bytes, shape: Sequence[int]) -> NDArray[np.float32]:
        """quantize_at(weights, steps).dequantize(), bit for bit, in that shape. ArtifactError when damaged."""
        with np.errstate(over="ignore"):
            return tensor_of(self.decode_lattice(blob, shape).dequantize(), shape)

    def integers(self, blob: bytes, shape: Sequence[int]) -> Integers:
        """The multiples and steps in the blob. Raises ArtifactError when it is damaged."""
        lattice = self.decode_lattice(blob, shape)
        return Integers(lattice.multiples.astype(np.int64), lattice.steps.values.astype(np.float64))

    def nbytes(self, weights: NDArray[np.float32]) -> int:
        """len(encode(weights)); costs one encoding."""
        return len(self.encode(weights))

    def expected_bytes(self, shape: Sequence[int], std: float, pruned: float = 0.0) -> float:
        """The size law of `encode`: rows * cols multiples at H(q) bits and one step a row.

        Assumes independent N(0, std^2). q = rint(8 Z / rms), where Z / rms has the same distribution in all rows
        whatever their size (`gaussian.over_rms`); H is 5.05 bits for long rows. With `pruned`, Z / rms is taken
        as Z over its mean rms, which is good for rows of some dozen weights and more. No weight reaches 16 rms.
        """
        rows, cols = matrix_shape(shape)
        if std == 0 or rows * cols == 0:
            return float(self.nbytes(np.zeros(shape, dtype=np.float32)))
        rms = gaussian.RowRms.of(cols, pruned)
        most = math.ceil(_SIGMAS / _DEFAULT)
        limits = (np.arange(-most, most + 2, dtype=np.float64) - 0.5) * _DEFAULT
        if pruned:
            given = gaussian.mass(limits[:-1] * rms.level, limits[1:] * rms.level, pruned)
        else:
            given = np.diff(gaussian.over_rms(limits, cols))
        p = np.zeros(2 * _MOST + 1)
        p[_MOST - most : _MOST + most + 1] = given
        return expected_bytes(rows, std * rms.level * _DEFAULT, rms.cdf) + gaussian.symbol_bytes(
            p, rows * cols
        )
