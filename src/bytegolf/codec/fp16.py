"""fp16: every weight rounded to IEEE half precision (11 significant bits, magnitudes up to 65504)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bytegolf.codec import gaussian
from bytegolf.codec.base import Integers, check_finite
from bytegolf.codec.entropy import decode_halves, encode_halves
from bytegolf.codec.row_scales import matrix_shape
from bytegolf.errors import ArtifactError


class Fp16:
    """The halves' bits, rotated left by one: exponent and first mantissa bits above, the rest and the sign below.

    The upper bytes of such words lie close together for weights of one size, whatever their signs, and
    `entropy.encode_halves` codes them. Measured: 13.5 bits a weight for a gaussian embedding, 11.4 for a
    vector of gains around 1, 8 bytes in all for a vector of ones. Weights below 6e-5 lose precision (subnormal
    halves), and below 3e-8 become 0.
    """

    name = "fp16"
    flawed = False

    def encode(self, weights: NDArray[np.float32]) -> bytes:
        """The blob. Raises ArtifactError when a weight is not finite or rounds beyond 65504."""
        check_finite(weights)
        with np.errstate(over="ignore"):
            halves = weights.astype(np.float16)
        if not np.isfinite(halves).all():
            raise ArtifactError(
                "fp16 holds magnitudes up to 65504",
                got=f"{np.abs(weights).max():g}",
                fix="store this role with int8, or find out why the weight grew so large",
            )
        bits = halves.view(np.uint16)
        return encode_halves(bits << np.uint16(1) | bits >> np.uint16(15))

    def decode(self, blob: bytes, shape: Sequence[int]) -> NDArray[np.float32]:
        """The tensor, float32. Raises ArtifactError when the blob is damaged or of another shape."""
        words = decode_halves(blob, math.prod(shape))
        halves = (words >> np.uint16(1) | words << np.uint16(15)).view(np.float16)
        if not np.isfinite(halves).all():
            raise ArtifactError("fp16 blobs hold finite values only", got="an infinity or not a number")
        return halves.astype(np.float32).reshape(tuple(shape))

    def integers(self, blob: bytes, shape: Sequence[int]) -> Integers:
        """Every half is a multiple of 2^-24; a row's scale is the largest power of two that all of it shares."""
        matrix = self.decode(blob, shape).reshape(matrix_shape(shape)).astype(np.float64)
        codes = np.ldexp(matrix, 24).astype(np.int64)
        shared = np.bitwise_or.reduce(codes, axis=1)
        lowest = np.where(shared == 0, 1, shared & -shared)
        return Integers(codes // lowest[:, None], np.ldexp(lowest.astype(np.float64), -24))

    def nbytes(self, weights: NDArray[np.float32]) -> int:
        """len(encode(weights)); costs one encoding."""
        return len(self.encode(weights))

    def expected_bytes(self, shape: Sequence[int], std: float, pruned: float = 0.0) -> float:
        """The size law: two coded planes of 1 + n (H(upper byte) + H(lower byte)) / 8 bytes and their tables, or
        1 + 2 n raw bytes when that is less.

        Assumes independent N(0, std^2); the words' distribution is exact, from the normal density between the
        neighbours of each half. Vectors around another mean, such as gains around 1, take less.
        """
        n = math.prod(shape)
        if std == 0:
            return float(self.nbytes(np.zeros(n, dtype=np.float32)))
        upper = gaussian.half_limits() / std
        positive = gaussian.mass(np.append(0.0, upper[:-1]), upper, pruned)
        words = np.zeros(1 << 16)
        words[: 2 * positive.size : 2] = positive  # bits << 1, the sign below
        words[1 : 2 * positive.size : 2] = positive
        if pruned:  # a pruned weight is +0
            words[0] += pruned
        return gaussian.half_bytes(words, n)
