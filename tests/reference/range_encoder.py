"""The range encoder of docs/format.md in whole numbers alone: what a writer in another language has to do."""

from __future__ import annotations

TOP, WORDS = 2**64, 2**32


class RangeEncoder:
    """Symbols -> words of 32 bits."""

    def __init__(self) -> None:
        self._words: list[int] = []
        self._lower, self._range = 0, TOP - 1
        self._held, self._first = 0, 0  # words that a carry may still raise; the first of them

    def encode(self, left: int, right: int) -> None:
        """Append the symbol whose share of 2^24 is left .. right; right > left."""
        scale = self._range >> 24
        before = self._lower
        self._lower = (self._lower + scale * left) % TOP
        self._range = scale * (right - left)
        if self._held and self._lower + self._range < TOP:
            self._release(carry=self._lower < before)
        if self._range < WORDS:
            word = self._lower >> 32
            self._lower = (self._lower << 32) % TOP
            self._range <<= 32
            if self._held:
                self._held += 1
            elif self._lower + self._range < TOP:
                self._words.append(word)
            else:
                self._held, self._first = 1, word

    def finish(self) -> bytes:
        """The words, little-endian, with the one or two that end the stream; none for no symbols."""
        if self._range == TOP - 1:
            return b""
        point = (self._lower + WORDS - 1) % TOP
        if self._held:
            self._release(carry=point < self._lower)
        self._words.append(point >> 32)
        if (self._lower + self._range) % TOP >> 32 == point >> 32:
            self._words.append(0)
        return b"".join(word.to_bytes(4, "little") for word in self._words)

    def _release(self, carry: bool) -> None:
        self._words += [self._first + carry] + [0 if carry else WORDS - 1] * (self._held - 1)
        self._held = 0
