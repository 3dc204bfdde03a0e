"""The tables of docs/exact.md in whole numbers: exp, the cap of the logits, sigmoid, and the turns of RoPE."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import cache

ONE_BITS = 128
ONE = 1 << ONE_BITS
CAP_END = 65_536


def to_fixed(x: Decimal) -> int:
    """rint(ONE x); x has at most the 60 digits of its making."""
    with localcontext() as context:
        context.prec = 120
        return int((x * ONE).to_integral_value())  # ties to even


def exp_seed(numerator: int, denominator: int) -> int:
    """rint(ONE exp(numerator / denominator))."""
    with localcontext() as context:
        context.prec = 60
        return to_fixed((Decimal(numerator) / denominator).exp())


@cache
def exp_table(bits: int) -> list[int]:
    """exp_P[n] = rint(2^P exp(-n / 1024)) up to the first 0."""
    seed, p, table = exp_seed(-1, 1024), ONE, [1 << bits]
    while table[-1]:
        p = p * seed >> ONE_BITS
        table.append(((p << bits) + ONE // 2) >> ONE_BITS)
    return table


@cache
def cap_table(c: float) -> list[int]:
    """cap_c[k] = floor(1024 c tanh(k / 8192) + 1/2), k = 0 .. 65536."""
    a, b = c.as_integer_ratio()
    seed, q, table = exp_seed(-2, 8192), ONE, []
    for _ in range(CAP_END + 1):
        table.append((2048 * a * (ONE - q) + b * (ONE + q)) // (2 * b * (ONE + q)))
        q = q * seed >> ONE_BITS
    return table


def sigmoid(x: float) -> float:
    """rint(2^30 / (1 + exp(-x))) / 2^30, x clamped to +-64."""
    with localcontext() as context:
        context.prec = 60
        value = 2**30 / (1 + Decimal(-min(max(x, -64.0), 64.0)).exp())
        return int(value.to_integral_value()) / 2**30


def cos_and_sin(w: Decimal) -> tuple[Decimal, Decimal]:
    """cos w and sin w by their series, 0 <= w <= 1; good to more than 55 digits."""
    with localcontext() as context:
        context.prec = 75
        sums, term, n = [Decimal(0), Decimal(0)], Decimal(1), 0
        while abs(term) > Decimal("1e-74"):
            sums[n % 2] += -term if n // 2 % 2 else term
            n += 1
            term = term * w / n
        return sums[0], sums[1]


Turn = tuple[int, int]


def product(one: Turn, other: Turn) -> Turn:
    """Two turns, one after the other."""
    (c, s), (d, e) = one, other
    return (c * d - s * e) >> ONE_BITS, (c * e + s * d) >> ONE_BITS


def rounded(turn: Turn) -> tuple[float, float]:
    """(cos, sin) to 40 bits."""
    c, s = ((x + (1 << 87)) >> 88 for x in turn)
    return math.ldexp(c, -40), math.ldexp(s, -40)


class Angle:
    """cos and sin of t w_i for positions t = 256 a + b; w_i = base^(-2 i / dims)."""

    def __init__(self, base: float, dims: int, i: int) -> None:
        with localcontext() as context:
            context.prec = 60
            w = Decimal(base) ** (Decimal(-2 * i) / dims)
        cos, sin = cos_and_sin(w)
        turn = to_fixed(cos), to_fixed(sin)
        fine = [(ONE, 0)]
        for _ in range(255):
            fine.append(product(fine[-1], turn))
        self._stride = product(fine[-1], turn)
        self.fine, self.stride = [rounded(one) for one in fine], rounded(self._stride)
        self._coarse: list[Turn] = [(ONE, 0)]

    def at(self, t: int) -> tuple[float, float]:
        """(cos_t, sin_t)."""
        a, b = divmod(t, 256)
        while a >= len(self._coarse):
            self._coarse.append(product(self._coarse[-1], self._stride))
        (ca, sa), (cb, sb) = rounded(self._coarse[a]), self.fine[b]
        return ca * cb - sa * sb, sa * cb + ca * sb


@cache
def angles(base: float, dims: int) -> list[Angle]:
    """One angle for each pair of turned dimensions."""
    return [Angle(base, dims, i) for i in range(dims // 2)]


def turn_tables(base: float, dims: int) -> list[list[float]]:
    """All C_b, all S_b, b = 0 .. 255, the angles i side by side within a b; then those of the stride."""
    found = angles(base, dims)
    fine = [[angle.fine[b][part] for b in range(256) for angle in found] for part in (0, 1)]
    return [*fine, *([angle.stride[part] for angle in found] for part in (0, 1))]
