"""Training batches as a pure function of (seed, step): resuming needs a number, not a state."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from bytegolf.errors import DataError


class Batches:
    """Windows of context + 1 tokens in a random order that any step can be asked for.

    An epoch cuts the tokens at a random offset into disjoint windows of `context` inputs, each followed by the one
    token that is only a target, and permutes them (Philox, key = (seed, epoch)). Batch b holds the windows
    b * rows, .., b * rows + rows - 1 of the endless sequence of epochs, so a batch may straddle two of them.
    Every epoch has the same number of windows, at most one less than fit.

    tokens: (n,) uint16. context, rows: at least 1. seed: 0 <= seed < 2^64.
    Raises DataError if the tokens do not fill one window.
    """

    def __init__(self, tokens: npt.NDArray[np.uint16], context: int, rows: int, seed: int) -> None:
        if len(tokens) < context + 1:
            raise DataError(
                f"a context of {context} needs at least {context + 1} tokens",
                got=f"{len(tokens)} tokens",
                fix="give more text or a shorter context",
            )
        self.tokens, self.context, self.rows, self.seed = tokens, context, rows, seed
        self.windows_per_epoch = max(1, len(tokens) // context - 1)
        self._starts = functools.lru_cache(maxsize=2)(self._starts_of)  # a pure function, kept for speed

    def batch(self, step: int) -> npt.NDArray[np.int64]:
        """(rows, context + 1): columns 0..context-1 are inputs, columns 1..context their targets."""
        positions = step * self.rows + np.arange(self.rows)
        epochs, places = np.divmod(positions, self.windows_per_epoch)
        starts = np.empty(self.rows, dtype=np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            starts[here] = self._starts(int(epoch))[places[here]]
        windows: npt.NDArray[np.uint16] = self.tokens[starts[:, None] + np.arange(self.context + 1)]
        return windows.astype(np.int64)

    def _starts_of(self, epoch: int) -> npt.NDArray[np.int64]:
        generator = np.random.Generator(np.random.Philox(key=np.array([self.seed, epoch], dtype=np.uint64)))
        slack = len(self.tokens) - self.windows_per_epoch * self.context  # the last window needs its target
        offset = generator.integers(min(self.context, slack))
        starts: npt.NDArray[np.int64] = offset + self.context * generator.permutation(self.windows_per_epoch)
        return starts
