"""Training batches as a pure function of (seed, step): resuming needs a number, not a state.

An order says which windows of context + 1 tokens a step trains on. Every rank of a job asks for its own rows of
the same step, so the data do not depend on the number of ranks.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bytegolf import registry
from bytegolf.data.token_stream import TokenStream
from bytegolf.errors import ConfigError, DataError

# Parameter Golf cuts every step into this many slices, on however many GPUs (docs/scale.md).
PUBLISHED_SLICES = 8

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Rows of one step: ids (rows, T + 1), columns 0..T-1 inputs and 1..T their targets.

    starts: (documents, 2) row and column of every BOS among the inputs, where a document starts.
    """

    ids: Ids
    starts: Ids


class Order:
    """Where the windows of each step begin. context, rows: at least 1. seed: 0 <= seed < 2^64."""

    def __init__(self, tokens: int, context: int, rows: int, seed: int) -> None:
        if tokens < context + 1:
            raise DataError(
                f"a context of {context} needs at least {context + 1} tokens",
                got=f"{tokens} tokens",
                fix="give more text or a shorter context",
            )
        self.tokens, self.context, self.rows, self.seed = tokens, context, rows, seed

    @abstractmethod
    def starts(self, step: int) -> Ids:
        """First tokens (rows,) of the windows of a step."""

    def random(self, epoch: int) -> np.random.Generator:
        """The random numbers of one epoch (Philox, key = (seed, epoch))."""
        return np.random.Generator(np.random.Philox(key=np.array([self.seed, epoch], dtype=np.uint64)))


class _Epochs(Order):
    """Epochs of disjoint windows, each of `context` inputs and the one token that is only a target.

    An epoch cuts the tokens at a random offset and takes its windows in an order of its own. Step b trains on
    windows b * rows, .., b * rows + rows - 1 of the endless sequence of epochs, so a step may straddle two of
    them. Every epoch has the same number of windows, at most one less than fit.
    """

    def __init__(self, tokens: int, context: int, rows: int, seed: int) -> None:
        super().__init__(tokens, context, rows, seed)
        self.windows_per_epoch = max(1, tokens // context - 1)
        self._epoch = functools.lru_cache(maxsize=2)(self.epoch)  # a pure function, kept for speed

    def starts(self, step: int) -> Ids:
        positions = step * self.rows + np.arange(self.rows)
        epochs, places = np.divmod(positions, self.windows_per_epoch)
        starts = np.empty(self.rows, dtype=np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            offset, order = self._epoch(int(epoch))
            starts[here] = offset + self.context * order(places[here])
        return starts

    @abstractmethod
    def epoch(self, epoch: int) -> tuple[int, Callable[[Ids], Ids]]:
        """The offset of the first window, and the map from places in the epoch to windows, a permutation."""

    def offset(self, random: np.random.Generator) -> int:
        slack = self.tokens - self.windows_per_epoch * self.context  # the last window needs its target
        return int(random.integers(min(self.context, slack)))


class Shuffled(_Epochs):
    """Every permutation of the windows is as likely. Costs 8 bytes of memory per window."""

    def epoch(self, epoch: int) -> tuple[int, Callable[[Ids], Ids]]:
        random = self.random(epoch)
        offset = self.offset(random)
        order: Ids = random.permutation(self.windows_per_epoch)
        return offset, lambda places: order[places]


class Strided(_Epochs):
    """Place i of an epoch is window (first + i * stride) mod windows, `stride` coprime to the number of windows.

    Costs no memory, whatever the data. The stride is drawn again until any two of `APART` windows in a row lie at
    least 1 / SPREAD of the data apart: a step then takes its rows from all shards. Coprime strides over shards are
    what the later records of Parameter Golf load with (PR 726, 1060).
    """

    APART, SPREAD = 64, 256

    def epoch(self, epoch: int) -> tuple[int, Callable[[Ids], Ids]]:
        random, windows = self.random(epoch), self.windows_per_epoch
        offset, first = self.offset(random), int(random.integers(windows))
        stride = next(s for s in iter(lambda: int(random.integers(1, windows + 1)), None) if self.mixes(s))
        return offset, lambda places: (first + places * stride) % windows

    def mixes(self, stride: int) -> bool:
        windows = self.windows_per_epoch
        steps = np.arange(1, min(self.APART, windows)) * (stride % windows) % windows
        near = int(np.minimum(steps, windows - steps).min(initial=windows))
        return math.gcd(stride, windows) == 1 and near >= windows // self.SPREAD


class Published(Order):
    """The order of the Parameter Golf baseline: the tokens as they come, from the first shard on, again and again.

    A step takes 8 slices of rows / 8 windows and one token, one behind the other. The windows of a slice share
    their borders; the last token of a slice is a target only. So a step of n tokens moves on by n + 8, on 1, 2, 4
    or 8 GPUs. The seed has no say.
    """

    def __init__(self, tokens: int, context: int, rows: int, seed: int) -> None:
        super().__init__(tokens, context, rows, seed)
        if rows % PUBLISHED_SLICES:
            raise ConfigError(
                f"the published order cuts a step into {PUBLISHED_SLICES} slices of whole rows",
                got=f"rows = {rows}",
                where="train.rows",
                fix=f'use a multiple of {PUBLISHED_SLICES}, or -o train.order="shuffled"',
            )

    def starts(self, step: int) -> Ids:
        rows = np.arange(self.rows)
        slices = rows // (self.rows // PUBLISHED_SLICES)
        advance = self.rows * self.context + PUBLISHED_SLICES
        starts: Ids = (step * advance + rows * self.context + slices) % self.tokens
        return starts


class Batches:
    """The rows of every step in a given order.

    rank, size: which of how many equal parts of the rows; together they are the rows of one process.
    Raises DataError if the tokens do not fill one window, ConfigError if the rows cannot be divided.
    """

    def __init__(
        self, stream: TokenStream, order: Order, bos_id: int, *, rank: int = 0, size: int = 1
    ) -> None:
        if order.rows % size:
            fits = [n for n in range(1, order.rows + 1) if order.rows % n == 0]
            raise ConfigError(
                "every process trains on as many rows",
                got=f"{order.rows} rows for {size} processes",
                where="train.rows",
                fix=f"start one of {fits} processes, or set -o train.rows={-(-order.rows // size) * size}",
            )
        self.stream, self.order, self.bos_id = stream, order, bos_id
        self.part = slice(rank * (order.rows // size), (rank + 1) * (order.rows // size))

    @classmethod
    def of(
        cls,
        stream: TokenStream,
        *,
        order: str = "shuffled",
        context: int,
        rows: int,
        seed: int,
        bos_id: int = 0,
        rank: int = 0,
        size: int = 1,
    ) -> Batches:
        """By the name of the order, as `train.order` has it."""
        kind: type[Order] = registry.lookup("order", order)
        made = kind(len(stream), context, rows, seed)
        return cls(stream, made, bos_id, rank=rank, size=size)

    def batch(self, step: int) -> Batch:
        """This rank's rows of a step. Raises DataError for a token beyond the vocabulary."""
        ids = self.stream.windows(self.order.starts(step)[self.part], self.order.context + 1)
        return Batch(ids, np.argwhere(ids[:, :-1] == self.bos_id))
