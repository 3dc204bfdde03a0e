"""The range coder of constriction, driven by whole numbers, and the shortest bytes that end its stream.

A distribution is given as frequencies f_i >= 1 that sum to 2^24, less one each: `extras` f_i - 1. That is
exactly how `Categorical(perfect=False)` reads its weights: it gives every symbol 1 and shares 2^24 - n by the
weights, which here already sum to 2^24 - n, so its factor is 1 and its sums are whole numbers below 2^24,
exact in float32. The bytes are the big-endian words of the coder; whatever lies beyond their end counts as
zeros.
"""

from __future__ import annotations

import constriction
import numpy as np
from numpy.typing import NDArray

_FAMILY = constriction.stream.model.Categorical(perfect=False)
_STATE_BYTES = 8
_PADDING = bytes(3 * 4)


class Encoder:
    """Symbols -> bytes."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: NDArray[np.integer], extras: NDArray[np.floating]) -> None:
        """Symbols (n,), the k-th with the distribution extras[k] of (n, V)."""
        weights = np.ascontiguousarray(extras, dtype=np.float32)
        self._coder.encode(np.ascontiguousarray(symbols, dtype=np.int32), _FAMILY, weights)

    def finish(self) -> bytes:
        """The shortest bytes that decode to the symbols.

        The coder's state says which numbers do: those in [low, low + span), counted from its last bit. Of
        these the one with the most zero bytes at its end is taken, and the zeros are left out.
        """
        words, (lower, span) = self._coder.pos()
        size = 4 * words + _STATE_BYTES
        written = self._coder.get_compressed().astype(">u4").tobytes()
        value = int.from_bytes(written[:size].ljust(size, b"\0"), "big")
        low: int = value - (value - lower) % (1 << 64)
        for zeros in range(_STATE_BYTES, -1, -1):
            shortest = -(-low >> 8 * zeros) << 8 * zeros
            if shortest < low + span:
                return shortest.to_bytes(size, "big").rstrip(b"\0")
        raise AssertionError("an interval holds its lower end")


class Decoder:
    """Bytes -> symbols, one at a time."""

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(-len(data) % 4) + _PADDING
        words = np.frombuffer(padded, ">u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def decode(self, extras: NDArray[np.float32]) -> int:
        """The next symbol, with the distribution extras (1, V). Raises ValueError when no encoder wrote this."""
        try:
            return int(self._coder.decode(_FAMILY, extras)[0])
        except AssertionError as error:
            raise ValueError("no encoder wrote this") from error
