"""Hashes of every window of a text, and a filter that tells at once which windows cannot be among the wanted.

The hash of a window of n bytes, n >= 8: its 8-byte words at 0, 8, 16, .. and n - 8, each mixed, are the digits
of a number to the base of an odd constant, modulo 2^64. A shorter window is one mixed word, with zeros behind it.
Equal windows have equal hashes; two different ones of one length collide with probability about 2^-64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

_WORD = 8
_BASE = np.uint64(0x9E3779B97F4A7C15)
_ODD = np.uint64(0xD6E8FEB86659FD93)
_BLOCK = 1 << 15  # positions whose hashes fit in the nearest cache
_MATCHED_TOGETHER = 1 << 20
_SLOTS = 8  # of the filter for each hash: one position in nine passes that should not


class Text:
    """Texts back to back. Cost: a copy of them."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        self.size = int(self.ends[-1]) if len(texts) else 0
        joined = b"".join([*texts, bytes(_WORD)])
        self._words = np.ndarray((self.size,), dtype="<u8", buffer=joined, strides=(1,))

    def hashes(self, start: int, stop: int, length: int) -> Hashes:
        """Of the windows that begin at start..stop-1; the last must end with the texts or before."""
        mixed = _mixed(self._words[start : stop + max(0, length - _WORD)], length)
        return _hash(lambda offset: mixed[offset : offset + stop - start], length)

    def hashes_at(self, positions: Indices, length: int) -> Hashes:
        """Of the windows that begin at `positions`."""
        return _hash(lambda offset: _mixed(self._words[positions + offset], length), length)

    def inside(self, positions: Indices, length: int) -> Indices:
        """Those of `positions` whose windows lie inside one text."""
        positions = positions[positions + length <= self.size]
        ends = self.ends[np.searchsorted(self.ends, positions, side="right")]
        return positions[positions + length <= ends]


class Filter:
    """A bit for every value that the top bits of a hash can take: is one of the wanted hashes like that?"""

    def __init__(self, length: int, wanted: Hashes) -> None:
        bits = max(10, (_SLOTS * len(wanted)).bit_length())
        self._length, self._shift = length, np.uint64(64 - bits)
        slots = np.zeros(1 << bits, dtype=bool)
        slots[(wanted >> self._shift).view(np.int64)] = True
        self._bits = np.packbits(slots, bitorder="little")
        self._idle = not len(wanted)

    def positions(self, text: Text) -> Iterator[Indices]:
        """Where windows begin that may be among the wanted, in portions; also some across two texts."""
        count = 0 if self._idle else text.size - self._length + 1
        portion: list[Indices] = []
        for start in range(0, count, _BLOCK):
            hashes = text.hashes(start, min(start + _BLOCK, count), self._length)
            hashes >>= self._shift
            passed = self._bits[(hashes >> np.uint64(3)).view(np.int64)]
            passed >>= (hashes & np.uint64(7)).astype(np.uint8)
            passed &= 1
            portion.append(np.flatnonzero(passed) + start)
            if start + _BLOCK >= count or (start + _BLOCK) % _MATCHED_TOGETHER == 0:
                yield np.concatenate(portion)
                portion = []


def window_hashes(texts: Sequence[bytes], length: int) -> tuple[Hashes, Indices]:
    """Hashes of every `length`-byte window that lies inside one text, and the index of the text each lies in.

    Cost: about 30 ns per byte; 24 bytes of memory per byte while it works, 16 after.
    """
    text = Text(texts)
    count = max(0, text.size - length + 1)
    blocks = [text.hashes(s, min(s + _BLOCK, count), length) for s in range(0, count, _BLOCK)]
    hashes = np.concatenate([np.empty(0, dtype=np.uint64), *blocks])
    sizes = np.diff(text.ends, prepend=0)
    left = np.repeat(text.ends, sizes)[:count] - np.arange(count)  # bytes to the end of the text
    inside = left >= length
    return hashes[inside], np.repeat(np.arange(len(texts)), sizes)[:count][inside]


def _mixed(words: Hashes, length: int) -> Hashes:
    mixed = words * _BASE if length >= _WORD else (words & np.uint64((1 << 8 * length) - 1)) * _BASE
    mixed ^= mixed >> np.uint64(29)
    mixed *= _ODD
    mixed ^= mixed >> np.uint64(32)
    return mixed


def _hash(word: Callable[[int], Hashes], length: int) -> Hashes:
    """word(k): the mixed words k bytes behind each start."""
    hashes = word(0).copy()
    offsets = [*range(_WORD, length - _WORD, _WORD), length - _WORD] if length > _WORD else []
    for offset in offsets:
        hashes *= _BASE
        hashes += word(offset)
    return hashes
