"""How much of a text occurs elsewhere: the hashes of all its 50-byte windows, looked up in the other text's.

The split uses it to move near duplicates to training, a referee to show that none is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

SHINGLE_BYTES = 50
NEAR_DUPLICATE_SHARE = 0.2
CHUNK_BYTES = 1 << 24  # the other text is hashed in chunks of about this size, at 30 bytes of memory per byte

_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)

Hashes = npt.NDArray[np.uint64]


class Shingles:
    """The shingles of some texts, each with a flag: does it occur in the text that was marked?

    A text shorter than a shingle is one shingle of its own length, so lengths 1..50 are kept apart; an empty one
    has none. Cost: 17 bytes of memory per byte, three times that while it is made.
    """

    def __init__(self, texts: Sequence[bytes]) -> None:
        by_length: dict[int, list[int]] = {}
        for i, text in enumerate(texts):
            if text:
                by_length.setdefault(min(SHINGLE_BYTES, len(text)), []).append(i)
        self._tables = [
            _Table(length, indices, [texts[i] for i in indices])
            for length, indices in sorted(by_length.items())
        ]

    def mark(self, others: Iterable[bytes]) -> None:
        """Flag every shingle that lies inside one of `others`. Cost: about 0.2 s per MB of them and length."""
        for chunk in _chunks(others):
            for table in self._tables:
                table.mark(window_hashes(chunk, table.length)[0])

    def near_duplicates(self, share: float) -> list[int]:
        """Indices of the texts whose share of flagged shingles, counted with repetition, is above `share`."""
        return sorted(i for table in self._tables for i in table.above(share))

    @property
    def total(self) -> int:
        """Number of shingles, with repetition."""
        return sum(len(table.seen) for table in self._tables)

    @property
    def seen(self) -> int:
        """Number of flagged shingles, with repetition."""
        return sum(int(np.count_nonzero(table.seen)) for table in self._tables)


class _Table:
    """All shingles of one length, sorted, with the text that each came from."""

    def __init__(self, length: int, indices: list[int], texts: list[bytes]) -> None:
        self.length, self._indices = length, indices
        hashes, owner = window_hashes(texts, length)
        order = np.argsort(hashes)
        self._hashes, self._owner = hashes[order], owner[order]
        self.seen = np.zeros(len(hashes), dtype=bool)
        self._total = np.bincount(owner, minlength=len(texts))

    def mark(self, hashes: Hashes) -> None:
        if not len(hashes):
            return
        hashes.sort()
        at = np.searchsorted(hashes, self._hashes)
        self.seen |= hashes[np.minimum(at, len(hashes) - 1)] == self._hashes

    def above(self, share: float) -> list[int]:
        seen = np.bincount(self._owner, weights=self.seen, minlength=len(self._indices))
        return [self._indices[i] for i in np.flatnonzero(seen > share * self._total)]


def _chunks(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Texts together, and long ones apart in pieces that overlap so that no window is lost."""
    chunk: list[bytes] = []
    size = 0
    for text in texts:
        for start in range(0, len(text), CHUNK_BYTES):
            piece = text[start : start + CHUNK_BYTES + SHINGLE_BYTES - 1]
            chunk.append(piece)
            size += len(piece)
            if size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk


def window_hashes(texts: Sequence[bytes], length: int) -> tuple[Hashes, npt.NDArray[np.intp]]:
    """64-bit hashes of every `length`-byte window that lies inside one text, and the text each lies in.

    The hash of a window of n + m bytes is mixed from the hashes of its first n and its last m bytes, so windows
    of 2, 4, 8, .. bytes come by doubling, and any length from its binary digits: 50 = 32 + 16 + 2. Equal windows
    have equal hashes; two different ones collide with probability about 2^-64.
    Cost: O(bytes * log(length)), vectorised.
    """
    joined = np.frombuffer(b"".join(texts), dtype=np.uint8)
    sizes = np.array([len(text) for text in texts], dtype=np.intp)
    if len(joined) < length:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.intp)
    power = joined.astype(np.uint64) + np.uint64(1)  # hashes of windows of `width` bytes, at every start
    power *= _ODD
    width, done = 1, 0
    result: Hashes | None = None
    while True:
        if length & width:
            result = (
                power if result is None else _mix(power[: len(joined) - done - width + 1], result[width:])
            )
            done += width
        if width * 2 > length:
            break
        power = _mix(power[:-width], power[width:])
        width *= 2
    assert result is not None
    ends = np.repeat(np.cumsum(sizes), sizes)[: len(result)]
    inside = np.arange(length, length + len(result)) <= ends
    owner = np.repeat(np.arange(len(texts)), sizes)[: len(result)]
    return result[inside], owner[inside]


def _mix(left: Hashes, right: Hashes) -> Hashes:
    mixed = left * _ODD
    mixed ^= mixed >> _SHIFT
    mixed += right
    mixed *= _ODD
    mixed ^= mixed >> _SHIFT
    return mixed
