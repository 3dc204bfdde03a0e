"""The range decoder of docs/format.md in whole numbers alone: no library, no floating point."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

PRECISION = 24  # cumulative frequencies end at 2^24
WORD, STATE = 32, 64  # bits


class RangeDecoder:
    """Symbols from `data`, whose words of 32 bits stand in `byteorder`; what lies beyond the end is zeros."""

    def __init__(self, data: bytes, byteorder: str = "little") -> None:
        self._data, self._at, self._byteorder = data, 0, byteorder
        self._lower, self._range = 0, 2**STATE - 1
        self._point = self._next_word() << WORD
        self._point |= self._next_word()

    def decode(self, cumulative: Sequence[int]) -> int:
        """The next symbol s, one of n: of its distribution cumulative = [0, .., 2^24], n + 1 whole numbers that
        never fall, s has the share cumulative[s] .. cumulative[s + 1]. Raises ValueError when no encoder wrote
        this.
        """
        scale = self._range >> PRECISION
        quantile = (self._point - self._lower) % 2**STATE // scale
        if quantile >= cumulative[-1]:
            raise ValueError("no encoder wrote these words")
        symbol = bisect_right(cumulative, quantile) - 1
        self._lower += scale * cumulative[symbol]
        self._range = scale * (cumulative[symbol + 1] - cumulative[symbol])
        if self._range < 2 ** (STATE - WORD):
            self._range <<= WORD
            self._lower <<= WORD
            self._point = (self._point << WORD | self._next_word()) % 2**STATE
        self._lower %= 2**STATE
        return symbol

    def is_spent(self) -> bool:
        """Whether every word was read and the rest of the last ones is what an encoder leaves behind."""
        unread = self._at < len(self._data)
        fresh = self._range == 2**STATE - 1
        return not unread and (fresh or (self._point - self._lower) % 2**STATE < 2 ** (WORD + 1) - 1)

    def _next_word(self) -> int:
        word = self._data[self._at : self._at + WORD // 8].ljust(WORD // 8, b"\0")
        self._at += WORD // 8
        return int.from_bytes(word, "little" if self._byteorder == "little" else "big")
