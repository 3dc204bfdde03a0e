"""The tokens of a split as one row, mapped into memory from as many shards as there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bytegolf.errors import DataError

Tokens = npt.NDArray[np.uint16]


class TokenStream:
    """Shards end to end, read only where they are asked for.

    shards: (n_i,) uint16 each, none of them empty. names: what an error calls them. vocab_size: every id read is
    compared with it, so a shard that went bad in the middle of an epoch is an error and no index of an embedding.
    """

    def __init__(self, shards: Sequence[Tokens], names: Sequence[str | Path], vocab_size: int) -> None:
        self.shards, self.names, self.vocab_size = list(shards), list(names), vocab_size
        self.ends = np.cumsum([len(shard) for shard in shards], dtype=np.int64)

    @classmethod
    def of(cls, tokens: Tokens, vocab_size: int = 1 << 16) -> TokenStream:
        """Tokens that are in memory."""
        return cls([tokens], ["the tokens in memory"], vocab_size)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def windows(self, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
        """(n, length): the tokens from each of `starts` (n,) on; behind the last token comes the first.

        Raises DataError, naming shard and token, for an id beyond the vocabulary.
        """
        found = np.empty((len(starts), length), dtype=np.int64)
        for row, start in zip(found, starts.tolist(), strict=True):
            at = 0
            while at < length:
                at += self._copy(row[at:], (start + at) % len(self))
        if found.size and int(found.max()) >= self.vocab_size:
            row_at, column = (int(i) for i in np.argwhere(found >= self.vocab_size)[0])
            raise self._damaged((int(starts[row_at]) + column) % len(self), int(found[row_at, column]))
        return found

    def _copy(self, target: npt.NDArray[np.int64], position: int) -> int:
        """Fill `target` from `position` up to its own end or that of the shard; returns how many came."""
        shard = int(np.searchsorted(self.ends, position, side="right"))
        offset = position - (int(self.ends[shard - 1]) if shard else 0)
        piece = self.shards[shard][offset : offset + len(target)]
        target[: len(piece)] = piece
        return len(piece)

    def _damaged(self, position: int, value: int) -> DataError:
        shard = int(np.searchsorted(self.ends, position, side="right"))
        offset = position - (int(self.ends[shard - 1]) if shard else 0)
        return DataError(
            f"every token id must be below the vocabulary size {self.vocab_size}",
            got=f"id {value} at token {offset}",
            where=self.names[shard],
            fix="the shard is damaged: build or download it again; a run goes on with `bytegolf train --resume`",
        )
