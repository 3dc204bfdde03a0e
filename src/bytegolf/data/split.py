"""Which documents are held out: whole groups by a hash of their name, less what training has seen anyway.

A file-wise split of source code lets a model score well on text it has nearly seen. So a group goes to one side
as a whole, and a held-out document that shares too many of its 50-byte shingles with training moves there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bytegolf.data.corpora import Document
from bytegolf.errors import DataError

HELD_OUT_ONE_IN = 12
SHINGLE_BYTES = 50
NEAR_DUPLICATE_SHARE = 0.2

_CHUNK_BYTES = 1 << 24  # training text is hashed in chunks of this size: 16 bytes of memory per byte
_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Split:
    """Both sides in corpus order, and what the near-duplicate rule moved from held-out to training."""

    train: list[Document]
    held_out: list[Document]
    moved: list[Document]
    near_duplicate_share: float


def split(documents: Sequence[Document], near_duplicate_share: float = NEAR_DUPLICATE_SHARE) -> Split:
    """Hold out the groups with sha256(name) mod 12 == 0, then move near duplicates to training.

    When the hash leaves a side empty, the groups with the smallest hashes are held out: one in twelve, at least
    one. A held-out document then moves if more than `near_duplicate_share` of its 50-byte shingles (counted
    with repetition) occur anywhere in the training text, or, below 50 bytes, if it occurs there verbatim; this
    repeats until nothing moves. Afterwards a group has documents on both sides only if some of it moved.

    Cost: about 0.2 s per MB of training text, 16 bytes of memory per held-out byte.
    Raises DataError if there are fewer than two groups or if every held-out document is a near duplicate.
    """
    groups = {document.group for document in documents}
    if len(groups) < 2:
        raise DataError(
            "the text must come in at least two groups, one to train on and one to hold out",
            got=f"{len(documents)} documents in {len(groups)} groups",
            fix="give more text: a larger file, a folder of files or a .jsonl",
        )
    held_out_groups = _held_out_groups(groups)
    held_out = [document.group in held_out_groups for document in documents]
    at_first = list(held_out)
    fresh = [document for document in documents if document.group not in held_out_groups]
    shingles = _HeldOutShingles(documents, held_out)
    while fresh:
        shingles.mark(fresh)
        moving = [i for i in shingles.near_duplicates(near_duplicate_share) if held_out[i]]
        for i in moving:
            held_out[i] = False
        fresh = [documents[i] for i in moving]
    if not any(held_out):
        raise DataError(
            "some held-out text must be new to the training text",
            got=f"{sum(at_first)} held-out documents, all of them near duplicates",
            fix="give text that repeats itself less, or raise the near-duplicate share",
        )
    return Split(
        train=[d for d, out in zip(documents, held_out, strict=True) if not out],
        held_out=[d for d, out in zip(documents, held_out, strict=True) if out],
        moved=[d for d, before, out in zip(documents, at_first, held_out, strict=True) if before and not out],
        near_duplicate_share=near_duplicate_share,
    )


def _held_out_groups(groups: set[str]) -> set[str]:
    rank = {g: int.from_bytes(hashlib.sha256(g.encode("utf-8", "surrogateescape")).digest()) for g in groups}
    chosen = {g for g in groups if rank[g] % HELD_OUT_ONE_IN == 0}
    if not chosen or chosen == groups:
        count = max(1, len(groups) // HELD_OUT_ONE_IN)
        chosen = set(sorted(groups, key=lambda g: (rank[g], g))[:count])
    return chosen


class _HeldOutShingles:
    """The shingles of the held-out documents, each with a flag: does it occur in training?

    A document shorter than a shingle is one shingle of its own length, so lengths 1..50 are kept apart.
    """

    def __init__(self, documents: Sequence[Document], held_out: Sequence[bool]) -> None:
        by_length: dict[int, list[int]] = {}
        for i, document in enumerate(documents):
            if held_out[i]:
                by_length.setdefault(min(SHINGLE_BYTES, len(document.data)), []).append(i)
        self._tables = [
            _Table(length, indices, [documents[i].data for i in indices])
            for length, indices in sorted(by_length.items())
        ]

    def mark(self, training: Sequence[Document]) -> None:
        """Flag every held-out shingle that occurs in `training`."""
        for chunk in _chunks(training):
            for table in self._tables:
                table.mark(window_hashes(chunk, table.length)[0])

    def near_duplicates(self, share: float) -> list[int]:
        """Indices of the documents whose share of flagged shingles is above `share`."""
        return sorted(i for table in self._tables for i in table.above(share))


class _Table:
    """All shingles of one length, sorted, with the document that each came from."""

    def __init__(self, length: int, indices: list[int], texts: list[bytes]) -> None:
        self.length, self._indices = length, indices
        hashes, owner = window_hashes(texts, length)
        order = np.argsort(hashes)
        self._hashes, self._owner = hashes[order], owner[order]
        self._seen = np.zeros(len(hashes), dtype=bool)
        self._total = np.bincount(owner, minlength=len(texts))

    def mark(self, hashes: Hashes) -> None:
        if not len(hashes):
            return
        hashes.sort()
        at = np.searchsorted(hashes, self._hashes)
        self._seen |= hashes[np.minimum(at, len(hashes) - 1)] == self._hashes

    def above(self, share: float) -> list[int]:
        seen = np.bincount(self._owner, weights=self._seen, minlength=len(self._indices))
        return [self._indices[i] for i in np.flatnonzero(seen > share * self._total)]


def _chunks(documents: Sequence[Document]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for document in documents:
        chunk.append(document.data)
        size += len(document.data)
        if size >= _CHUNK_BYTES:
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
