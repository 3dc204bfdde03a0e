"""Hashes of every window of a text, and a sieve that tells soon which windows cannot be among the wanted.

The hash of a window of 8 bytes is that word, mixed; of a shorter one too, with zeros behind it. That of a longer
one is odd * hash(its beginning) + hash(its end), modulo 2^64: two windows of 8 bytes for up to 16, two of 16 for
up to 32, two of 32 for up to 64, which overlap when they must. So a window of 50 bytes costs four multiplications.
Equal windows have equal hashes; that two different ones of one length collide is as good as impossible.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

_WORD = 8
_BASES = tuple(map(np.uint64, (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)))
_ODD = np.uint64(0xD6E8FEB86659FD93)
_BLOCK = 1 << 15  # positions whose hashes fit in the nearest cache
_PORTION = 1 << 20
_DENSE = 4  # where a share of one in four is to be looked at, all are
_SLOTS = 8
_FEWEST_BITS = 16
_PART = 32  # bytes of the parts of a window whose least hash stands for it


class Text:
    """Texts back to back. Cost: a copy of them."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        self.size = int(self.ends[-1]) if len(texts) else 0
        joined = b"".join([*texts, bytes(_WORD)])
        self._words = np.ndarray((self.size,), dtype="<u8", buffer=joined, strides=(1,))

    def hashes(self, start: int, stop: int, length: int) -> Hashes:
        """Of the windows that begin at start..stop-1; the last must end with the texts or before."""
        hashes = _mixed(self._words[start : stop + max(0, length - _WORD)], length)
        for base, step in zip(_BASES, _steps(_WORD, length), strict=False):
            longer = hashes[:-step] * base
            longer += hashes[step:]
            hashes = longer
        return hashes

    def hashes_at(self, positions: Indices, length: int) -> Hashes:
        """Of the windows that begin at `positions`."""
        hashes = np.zeros(len(positions), dtype=np.uint64)
        for offset, factor in _terms(length):
            hashes += _mixed(self._words[positions + offset], length) * factor
        return hashes

    def minima(self, start: int, stop: int, length: int) -> Hashes:
        """Of the windows that begin at start..stop-1, the least hash of the 32-byte parts in each: its minimizer.

        Equal windows have equal ones, and so have most neighbours (Roberts et al. 2004,
        doi 10.1093/bioinformatics/bth408): of 50-byte windows about one in ten has another one than the last.
        """
        least = self.hashes(start, stop + length - _PART, _PART)
        for step in _steps(1, length - _PART + 1):
            least = np.minimum(least[:-step], least[step:])
        return least

    def inside(self, positions: Indices, length: int) -> npt.NDArray[np.bool_]:
        """Whether the windows that begin at `positions` lie inside one text."""
        inside: npt.NDArray[np.bool_] = (
            positions + length <= self.ends[np.searchsorted(self.ends, positions, side="right")]
        )
        return inside


class Sieve:
    """Where in a text windows begin that may be among the wanted ones. length: of them, in bytes.

    minima: the minimizers of the wanted windows, if they are many: a window with another one is not looked at.
    They are fewer than the windows, and stay in a nearer cache.
    """

    def __init__(self, length: int, wanted: Hashes, minima: Hashes | None) -> None:
        self._length, self._wanted = length, Filter(wanted)
        self._minima = (
            None if minima is None else Filter(minima * _ODD)
        )  # as they are, small ones are frequent
        self._idle = not len(wanted)

    def candidates(self, text: Text) -> Iterator[tuple[Indices, Hashes]]:
        """Where windows begin that may be among the wanted, and their hashes in order, in portions.

        Windows across two texts are among them.
        """
        count = 0 if self._idle else text.size - self._length + 1
        for start in range(0, count, _PORTION):
            positions, hashes = self._portion(text, start, min(start + _PORTION, count))
            order = np.argsort(hashes)
            yield positions[order], hashes[order]

    def _portion(self, text: Text, start: int, stop: int) -> tuple[Indices, Hashes]:
        if self._minima is not None:
            positions = self._with_wanted_minima(self._minima, text, start, stop)
            if len(positions) * _DENSE <= stop - start:
                hashes = text.hashes_at(positions, self._length)
                found = self._wanted.passing(hashes)
                return positions[found], hashes[found]
        where, which = [], []
        for first, last in _blocks(start, stop):
            hashes = text.hashes(first, last, self._length)
            found = self._wanted.passing(hashes)
            where.append(found + first)
            which.append(hashes[found])
        return np.concatenate(where), np.concatenate(which)

    def _with_wanted_minima(self, wanted: Filter, text: Text, start: int, stop: int) -> Indices:
        where, which = [], []
        for first, last in _blocks(start, stop):
            starts, least = _runs(text.minima(first, last, self._length))
            where.append(starts + first)
            which.append(least)
        starts = np.concatenate(where)
        passing = wanted.passing(np.concatenate(which) * _ODD)
        sizes = np.diff(np.append(starts, stop))[passing]
        before = np.cumsum(sizes) - sizes
        positions: Indices = np.repeat(starts[passing] - before, sizes) + np.arange(sizes.sum())
        return positions


class Filter:
    """Is a hash among the wanted ones? Two looks say no to 98 of 100 that are not, and the first one to 89.

    Each look is at one of 8 to 16 bits for every wanted hash: at the place that the top bits of the hash name, and
    of its product with a constant.
    """

    def __init__(self, wanted: Hashes) -> None:
        bits = max(_FEWEST_BITS, (_SLOTS * len(wanted)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._first, self._second = (np.zeros(1 << bits - 3, dtype=np.uint8) for _ in range(2))
        for start in range(0, len(wanted), _BLOCK):
            part = wanted[start : start + _BLOCK]
            for bits_of, hashes in ((self._first, part), (self._second, part * _ODD)):
                slots = hashes >> self._shift
                bit = np.uint8(1) << (slots & np.uint64(7)).astype(np.uint8)
                np.bitwise_or.at(bits_of, (slots >> np.uint64(3)).view(np.int64), bit)

    def passing(self, hashes: Hashes) -> Indices:
        """Indices of those that may be wanted."""
        found = self._set(self._first, hashes)
        return found[self._set(self._second, hashes[found] * _ODD)]

    def _set(self, bits: npt.NDArray[np.uint8], hashes: Hashes) -> Indices:
        """Which of `hashes` have their bit set."""
        slots = hashes >> self._shift
        which = slots.astype(np.uint8)
        which &= np.uint8(7)
        slots >>= np.uint64(3)
        passed = bits.take(slots.view(np.int64))
        passed >>= which
        passed &= np.uint8(1)
        return np.flatnonzero(passed.view(np.bool_))


def window_hashes(texts: Sequence[bytes], length: int) -> tuple[Hashes, npt.NDArray[np.int32]]:
    """Hashes of every `length`-byte window that lies inside one text, and the index of the text each lies in.

    Cost: about 50 ns per byte; 12 bytes of memory per byte, twice that for a moment.
    """
    text = Text(texts)
    count = max(0, text.size - length + 1)
    hashes = [np.empty(0, dtype=np.uint64)]
    for start, stop in _blocks(0, count):
        hashes.append(text.hashes(start, stop, length))
    sizes = np.diff(text.ends, prepend=0)
    inside = np.maximum(sizes - length + 1, 0)
    # Windows that begin in a text: those inside it, then those that reach beyond; the last text has none of these.
    counts = np.stack([inside, sizes - inside], axis=1).ravel()
    keep = np.repeat(np.tile([True, False], len(texts)), counts)[:count]
    owners = np.repeat(np.arange(len(texts), dtype=np.int32), inside)
    return np.concatenate(hashes)[keep], owners


def window_minima(texts: Sequence[bytes], length: int) -> Hashes:
    """The minimizers of the windows that lie inside one text, each once, and perhaps some others."""
    text = Text(texts)
    count = max(0, text.size - length + 1)
    found = [np.empty(0, dtype=np.uint64)]
    for start, stop in _blocks(0, count):
        found.append(_runs(text.minima(start, stop, length))[1])
    return np.unique(np.concatenate(found))


def _runs(values: Hashes) -> tuple[Indices, Hashes]:
    """Where runs of one value begin, and their values."""
    starts = np.append(0, np.flatnonzero(values[1:] != values[:-1]) + 1)
    return starts, values[starts]


def _blocks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, _BLOCK):
        yield first, min(first + _BLOCK, stop)


def _steps(width: int, length: int) -> Iterator[int]:
    """By how much windows of `width` are moved and joined with themselves until they are `length` long."""
    while width < length:
        step = min(width, length - width)
        yield step
        width += step


def _terms(length: int) -> list[tuple[int, np.uint64]]:
    """Offsets of the words of a window, each with its factor in the hash."""
    terms = [(0, 1)]
    for base, step in zip(_BASES, _steps(_WORD, length), strict=False):
        terms = [(at, factor * int(base)) for at, factor in terms] + [(at + step, f) for at, f in terms]
    return [(at, np.uint64(factor & ((1 << 64) - 1))) for at, factor in terms]


def _mixed(words: Hashes, length: int) -> Hashes:
    base = _BASES[0]
    mixed = words * base if length >= _WORD else (words & np.uint64((1 << 8 * length) - 1)) * base
    mixed ^= mixed >> np.uint64(32)
    return mixed
