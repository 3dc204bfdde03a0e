"""How much of a text occurs elsewhere: the hashes of all its 50-byte windows, looked for in the other text.

The split uses it to move near duplicates to training, a referee to show that none is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np

from bytegolf.data.windows import Hashes, Indices, Sieve, Text, window_hashes, window_minima

SHINGLE_BYTES = 50
NEAR_DUPLICATE_SHARE = 0.2
CHUNK_BYTES = 1 << 24  # the other text is looked through in chunks of about this size

_ANCHORS = (8, 4)
_STALE = 8  # a finder forgets what it found once that is a share of one in eight


class Shingles:
    """The shingles of some texts, each with a flag: does it occur in the text that was marked?

    A text shorter than a shingle is one shingle of its own length, so lengths 1..50 are kept apart; an empty one
    has none. Cost: 16 bytes of memory per byte, three times that while it is made.
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

    def wanted(self) -> list[Wanted]:
        """What a `Finder` needs, in any process."""
        return [table.wanted for table in self._tables]

    def flag(self, found: Sequence[Indices]) -> None:
        """Flag what a finder of `wanted()` found."""
        for table, indices in zip(self._tables, found, strict=True):
            table.flags[indices] = True

    def mark(self, others: Iterable[bytes]) -> None:
        """Flag every shingle that lies inside one of `others`. Cost: that of a `Finder`."""
        for chunk in _chunks(others):
            self.flag(self._finder.find(chunk))

    @cached_property
    def _finder(self) -> Finder:
        return Finder(self.wanted())

    def near_duplicates(self, share: float) -> list[int]:
        """Indices of the texts whose share of flagged shingles, counted with repetition, is above `share`."""
        return sorted(i for table in self._tables for i in table.above(share))

    @property
    def total(self) -> int:
        """Number of shingles, with repetition."""
        return sum(len(table.owner) for table in self._tables)

    @property
    def seen(self) -> int:
        """Number of flagged shingles, with repetition."""
        return sum(int(np.count_nonzero(table.flags[table.which])) for table in self._tables)


class Wanted:
    """Shingles of one length to look for. hashes: sorted, each once. anchors: hashes of what each begins with.

    The anchor of a shingle of 8..49 bytes is its first 8, of 4..7 its first 4; of a shorter one it is the whole.
    So one look at a text tells where shingles of many lengths may begin. Those of 50 bytes, which overlap, have
    their minimizers instead, each once.
    """

    def __init__(self, length: int, hashes: Hashes, anchors: Hashes) -> None:
        self.length, self.hashes, self.anchors = length, hashes, anchors

    @property
    def anchor_bytes(self) -> int:
        return anchor_bytes(self.length)

    @property
    def is_anchor(self) -> bool:
        """Whether each shingle is looked for as a whole."""
        return self.anchor_bytes == self.length


def anchor_bytes(length: int) -> int:
    return length if length == SHINGLE_BYTES else next((n for n in _ANCHORS if n <= length), length)


class Finder:
    """Finds shingles in any text, and each about once: what was found is forgotten bit by bit.

    Cost: about 35 ns per byte of text where 50-byte shingles alone are wanted; with shorter ones of all lengths
    two to four times that.
    """

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        anchors = sorted({one.anchor_bytes for one in wanted})
        self._count = len(wanted)
        self._groups = [
            _Group(size, [(i, one) for i, one in enumerate(wanted) if one.anchor_bytes == size])
            for size in anchors
        ]

    def find(self, texts: Sequence[bytes]) -> list[Indices]:
        """For each of `wanted`, indices of hashes of windows that lie inside one of the texts.

        All that these texts are the first to hold, and perhaps some that earlier ones held too.
        """
        text = Text(texts)
        found: list[Indices] = [np.empty(0, dtype=np.int64)] * self._count
        for group in self._groups:
            for i, indices in group.find(text):
                found[i] = indices
        return found


class _Group:
    """Shingles whose anchors have one size."""

    def __init__(self, size: int, wanted: list[tuple[int, Wanted]]) -> None:
        self._searches = [_Search(i, one) for i, one in wanted]
        self._size = size
        self._minima = wanted[0][1].anchors if size == SHINGLE_BYTES else None
        self._refresh()

    def _refresh(self) -> None:
        anchors = [search.anchors for search in self._searches]
        hashes = anchors[0] if len(anchors) == 1 else np.concatenate(anchors)
        self._sieve = Sieve(self._size, hashes, self._minima)
        self._fresh = sum(len(search.hashes) for search in self._searches)

    def find(self, text: Text) -> Iterator[tuple[int, Indices]]:
        here = [np.zeros(len(search.hashes), dtype=bool) for search in self._searches]
        for positions, hashes in self._sieve.candidates(text):
            for seen, search in zip(here, self._searches, strict=True):
                seen[search.at(text, positions, hashes)] = True
        for seen, search in zip(here, self._searches, strict=True):
            yield search.index, search.names[seen].astype(np.int64)
            search.found |= seen
        forgotten = sum(int(np.count_nonzero(search.found)) for search in self._searches)
        if forgotten * _STALE > self._fresh:
            for search in self._searches:
                search.forget()
            self._refresh()


class _Search:
    """What is still looked for of one `Wanted`. names: its indices there."""

    def __init__(self, index: int, wanted: Wanted) -> None:
        self.index, self.length = index, wanted.length
        self.hashes, self._anchors = wanted.hashes, None if wanted.is_anchor else wanted.anchors
        self._begins = None if self._anchors is None else np.unique(self._anchors)
        self.names = np.arange(len(self.hashes), dtype=np.int32)
        self.found = np.zeros(len(self.hashes), dtype=bool)

    @property
    def anchors(self) -> Hashes:
        return self.hashes if self._anchors is None else self._anchors

    def at(self, text: Text, positions: Indices, anchors: Hashes) -> Indices:
        """Indices into `hashes` of what begins at `positions`, with repetition. anchors: its hashes, in order."""
        if not len(self.hashes):
            return positions[:0]
        hashes = anchors
        if self._begins is not None:
            first = np.searchsorted(anchors, self._begins)
            last = np.searchsorted(anchors, self._begins, side="right")
            positions = np.concatenate([positions[i:j] for i, j in zip(first, last, strict=True)])
            positions = positions[positions + self.length <= text.size]
            hashes = text.hashes_at(positions, self.length)
        # Neighbours among the anchors are neighbours in the table, and so in memory.
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        same = np.flatnonzero(self.hashes[at] == hashes)
        found: Indices = at[same[text.inside(positions[same], self.length)]]
        return found

    def forget(self) -> None:
        keep = ~self.found
        self.hashes, self.names = self.hashes[keep], self.names[keep]
        if self._anchors is not None:
            self._anchors = self._anchors[keep]
            self._begins = np.unique(self._anchors)
        self.found = self.found[keep]


class _Table:
    """All shingles of one length in the order of their hashes: the text that each came from, which hash it has."""

    def __init__(self, length: int, indices: list[int], texts: list[bytes]) -> None:
        self._indices = indices
        hashes, owner = window_hashes(texts, length)
        self._total = np.bincount(owner, minlength=len(texts))
        order = np.argsort(hashes)
        hashes = hashes[order]
        first = np.append(True, hashes[1:] != hashes[:-1])
        self.owner = owner[order]
        self.which = np.cumsum(first, dtype=np.int32) - np.int32(1)
        anchors = hashes[first]
        if length == SHINGLE_BYTES:
            anchors = window_minima(texts, length)
        elif anchor_bytes(length) != length:  # a text is one shingle here, so its anchor is where it begins
            begins = [text[: anchor_bytes(length)] for text in texts]
            anchors = window_hashes(begins, anchor_bytes(length))[0][order][first]
        self.wanted = Wanted(length, hashes[first], anchors)
        self.flags = np.zeros(len(self.wanted.hashes), dtype=bool)

    def above(self, share: float) -> list[int]:
        seen = np.bincount(self.owner[self.flags[self.which]], minlength=len(self._indices))
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
