"""The size law: bytes of a coded tensor of independent N(0, std^2) weights, before there are any weights.

Every codec here ends in symbols under one static histogram, so its bytes follow from the symbols' distribution:

    n H(p) / 8 + table + last word,  H(p) = -sum p_k log2 p_k,  about 2.047 - log2(step / std) bits for fine steps

(the entropy of a normal density in bits is log2(std sqrt(2 pi e)) = 2.047 + log2(std); Parameter Golf PR 1394 uses
it to choose a step). Two things are added to that formula. Integer rows have no fixed step: it follows from the
largest of the n weights of a row, whose distribution is (2 Phi(x) - 1)^n, so p is a mixture over rows
(`RowPeaks`). And the real coder also pays for its table and for probabilities that were only counted
(`symbol_bytes`). All lengths below are in standard deviations of the weights unless a unit is named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bytegolf.codec.entropy import coded_bits, varint_bytes

Floats = NDArray[np.float64]

_FARTHEST, _POINTS = 12.0, 1 << 15  # P(|Z| > 12) = 4e-33; linear interpolation is good to 1e-6 of each tail
_QUANTILES = 96  # row peaks that stand for all rows
_DRAWS = 4  # histograms drawn to price the table


def tail(x: Floats) -> Floats:
    """P(|Z| > x) of a standard normal Z; 1 below 0 and 0 beyond 12."""
    grid, logs = _tail_table()
    return np.asarray(np.where(x >= _FARTHEST, 0.0, np.exp(np.interp(x, grid, logs))))


def tail_inverse(share: Floats) -> Floats:
    """The x with P(|Z| > x) = share, for 0 < share <= 1; at most 12."""
    grid, logs = _tail_table()
    return np.interp(-np.log(share), -logs, grid)


@lru_cache(maxsize=1)
def _tail_table() -> tuple[Floats, Floats]:
    grid = np.linspace(0.0, _FARTHEST, _POINTS)
    return grid, np.log([math.erfc(x / math.sqrt(2)) for x in grid])


def mass(lower: Floats, upper: Floats, pruned: float = 0.0) -> Floats:
    """P(lower < Z <= upper) after pruning: the `pruned` share of smallest |Z| is 0, as after `magnitude_prune`.

    Only the sign and size of the limits count, so they may be infinite; they broadcast.
    """
    lower, upper = np.broadcast_arrays(np.asarray(lower, dtype=float), np.asarray(upper, dtype=float))
    total = below(upper) - below(lower)
    if pruned:
        edge = tail_inverse(np.asarray(1 - pruned))
        low, high = np.clip(lower, -edge, edge), np.clip(upper, -edge, edge)
        total = total - (below(high) - below(low)) + pruned * ((lower < 0) & (upper >= 0))
    return np.maximum(total, 0.0)


def below(x: Floats) -> Floats:
    """Phi(x) = P(Z <= x)."""
    half = tail(np.abs(x)) / 2
    return np.where(x > 0, 1 - half, half)


@dataclass(frozen=True)
class RowPeaks:
    """Equally likely values of the largest |Z| of `cols` weights: quantiles of (2 Phi(x) - 1)^cols.

    largest: (_QUANTILES,) rising. second: the median of the second largest, given the largest; 0 for one column.
    """

    largest: Floats
    second: Floats

    @classmethod
    def of(cls, cols: int) -> RowPeaks:
        levels = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
        outside = -np.expm1(np.log(levels) / cols)  # 1 - level^(1/cols), without cancellation
        if cols == 1:
            return cls(tail_inverse(outside), np.zeros(_QUANTILES))
        inside = (1 - outside) * 0.5 ** (1 / (cols - 1))
        return cls(tail_inverse(outside), tail_inverse(1 - inside))


def peak_cdf(x: Floats, cols: int) -> Floats:
    """P(largest |Z| of `cols` <= x) = (1 - P(|Z| > x))^cols."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(cols * np.log1p(-np.minimum(tail(x), 1.0))))


@dataclass(frozen=True)
class RowRms:
    """The root mean square of the `cols` weights of a row, after pruning: level X with X about 1.

    By the cube-root law of Wilson and Hilferty (1931), X^(2/3) is nearly normal with mean 1 - 2 / (9 f) and
    variance 2 / (9 f); f = cols without pruning, and in general 2 cols m2^2 / (m4 - m2^2) for the moments m2 and
    m4 of one weight.
    """

    level: float
    freedom: float

    @classmethod
    def of(cls, cols: int, pruned: float = 0.0) -> RowRms:
        edge = float(tail_inverse(np.asarray(1 - pruned))) if pruned else 0.0
        kept, height = 1 - pruned, math.exp(-edge * edge / 2) * math.sqrt(2 / math.pi)
        second, fourth = kept + edge * height, 3 * kept + (edge**3 + 3 * edge) * height
        return cls(math.sqrt(second), 2 * cols * second**2 / (fourth - second**2))

    def cdf(self, x: Floats) -> Floats:
        """P(X <= x)."""
        mean, deviation = 1 - 2 / (9 * self.freedom), math.sqrt(2 / (9 * self.freedom))
        return np.where(x > 0, below((np.cbrt(x * x) - mean) / deviation), 0.0)


def over_rms(limits: Floats, cols: int) -> Floats:
    """P(Z / rms <= limit) for a weight and the rms of its own row of `cols`.

    The quotient is sqrt(cols) times a coordinate of a point on the unit sphere: sqrt(cols) sin(a), where the angle
    a has a density proportional to cos(a)^(cols - 2). Exact but for the integration.
    """
    if cols == 1:
        return np.where(limits >= 1, 1.0, np.where(limits >= -1, 0.5, 0.0))
    angles = np.linspace(-math.pi / 2, math.pi / 2, 1 << 14)
    middles = (angles[1:] + angles[:-1]) / 2
    summed = np.append(0.0, np.cumsum(np.cos(middles) ** (cols - 2)))
    at = np.arcsin(np.clip(limits / math.sqrt(cols), -1.0, 1.0))
    return np.asarray(np.interp(at, angles, summed / summed[-1]))


def entropy_bits(probabilities: Floats) -> Floats:
    """-sum p log2 p over the last axis."""
    safe = np.where(probabilities > 0, probabilities, 1.0)
    return np.asarray(-(safe * np.log2(safe)).sum(axis=-1))


def symbol_bytes(probabilities: Floats, n: int, bits: float | None = None) -> float:
    """Expected len(encode_symbols) of n independent symbols, one of probability p_k each; `probabilities` covers
    the whole range lo..hi, in order.

    The coder pays n H for the symbols, for its table, and less than that for a distribution that it counted on
    the symbols themselves. Table and gain are measured on drawn histograms (fixed seed, so the law is a pure
    function); their sum of -log2 p_k, which is n H on average, is taken out of each and n H put in its place, so
    the noise of the draws cancels. `bits` replaces H where the symbols are not independent. Cost: a few ms.
    """
    if n == 0:
        return 0.0
    p = probabilities / probabilities.sum()
    bits = float(entropy_bits(p)) if bits is None else bits
    surprise = -np.log2(np.where(p > 0, p, 1.0))
    stream = np.random.default_rng(0)
    drawn = [stream.multinomial(n, p) for _ in range(_DRAWS)]
    overhead = np.mean([coded_bits(histogram) - float(histogram @ surprise) for histogram in drawn])
    return float(n * bits + overhead) / 8


def half_bytes(probabilities: Floats, n: int) -> float:
    """Expected len(encode_halves) of n words; `probabilities` (65536,) is over the words' values."""
    grid = probabilities.reshape(256, 256)
    upper, lower = symbol_bytes(grid.sum(axis=1), n), symbol_bytes(grid.sum(axis=0), n)
    return 1 + min(2.0 * n, varint_bytes(round(upper)) + upper + lower)


@lru_cache(maxsize=1)
def half_limits() -> Floats:
    """The largest |w| that rounds to each of the halves 0, 2^-24, .., 65504, in this order; the last is inf."""
    values = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(float)
    return np.append((values[1:] + values[:-1]) / 2, np.inf)
