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
_SLOTS = 8  # of the filter for each hash: one position in nine passes that should not, or fewer
_FEWEST_BITS = 16


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

    def inside(self, positions: Indices, length: int) -> npt.NDArray[np.bool_]:
        """Whether the windows that begin at `positions` lie inside one text."""
        inside: npt.NDArray[np.bool_] = (
            positions + length <= self.ends[np.searchsorted(self.ends, positions, side="right")]
        )
        return inside


class Filter:
    """A bit for every value that the top bits of a hash can take: is one of the wanted hashes like that?"""

    def __init__(self, length: int, wanted: Hashes) -> None:
        bits = max(_FEWEST_BITS, (_SLOTS * len(wanted)).bit_length())
        self._length, self._shift = length, np.uint64(64 - bits)
        self._bits = np.zeros(1 << bits - 3, dtype=np.uint8)
        for start in range(0, len(wanted), _BLOCK):
            slots = wanted[start : start + _BLOCK] >> self._shift
            bit = np.uint8(1) << (slots & np.uint64(7)).astype(np.uint8)
            np.bitwise_or.at(self._bits, (slots >> np.uint64(3)).view(np.int64), bit)
        self._idle = not len(wanted)

    def candidates(self, text: Text) -> Iterator[tuple[Indices, Hashes]]:
        """Where windows begin that may be among the wanted, and their hashes in order, in portions.

        Windows across two texts are among them.
        """
        count = 0 if self._idle else text.size - self._length + 1
        where: list[Indices] = []
        which: list[Hashes] = []
        for start in range(0, count, _BLOCK):
            hashes = text.hashes(start, min(start + _BLOCK, count), self._length)
            slots = hashes >> self._shift
            passed = self._bits[(slots >> np.uint64(3)).view(np.int64)]
            passed >>= (slots & np.uint64(7)).astype(np.uint8)
            passed &= 1
            found = np.flatnonzero(passed)
            where.append(found + start)
            which.append(hashes[found])
            if start + _BLOCK >= count or (start + _BLOCK) % _MATCHED_TOGETHER == 0:
                positions, hashes = np.concatenate(where), np.concatenate(which)
                order = np.argsort(hashes)
                yield positions[order], hashes[order]
                where, which = [], []


def window_hashes(texts: Sequence[bytes], length: int) -> tuple[Hashes, npt.NDArray[np.int32]]:
    """Hashes of every `length`-byte window that lies inside one text, and the index of the text each lies in.

    Cost: about 50 ns per byte; 12 bytes of memory per byte, twice that for a moment.
    """
    text = Text(texts)
    count = max(0, text.size - length + 1)
    hashes, owners = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int32)]
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        positions = np.arange(start, stop)
        inside = text.inside(positions, length)
        hashes.append(text.hashes(start, stop, length)[inside])
        owners.append(np.searchsorted(text.ends, positions[inside], side="right").astype(np.int32))
    return np.concatenate(hashes), np.concatenate(owners)


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
