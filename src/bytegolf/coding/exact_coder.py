"""Blocks of text <-> payloads with a packed model in exact arithmetic (on_numpy/exact)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bytegolf.coding.block import Coded, Report, Text, nothing
from bytegolf.coding.range_coder import Decoder, Encoder
from bytegolf.data.tokenizer import Tokenizer
from bytegolf.errors import DataError
from bytegolf.model_file import ModelFile
from bytegolf.numeric.windows import plan
from bytegolf.on_numpy.exact.engine import TOTAL_BITS, Exact, State
from bytegolf.on_numpy.exact.ops import Ops

CHUNK = 128  # tokens a lane that are read at a time where they are known
TILE = 16  # of these, how many get their distributions at a time: what fits into the cache
TRIAL = 4096  # tokens after which a block that costs more than its bytes is given up
_SLACK_BITS = 96  # a decoder may run this far beyond its payload before it is called damaged

Ids = NDArray[np.int64]


def row_of(tokenizer: Tokenizer, text: Text) -> Ids:
    """The row of tokens that a block is read as: BOS before each of its documents."""
    bos = np.array([tokenizer.bos_id])
    cuts = pairwise([0, *text.starts, len(text.data)])
    parts = [part for begin, end in cuts for part in (bos, tokenizer.encode(text.data[begin:end]))]
    return np.concatenate(parts).astype(np.int64)


class ExactCoder:
    """The BlockCoder of a model file. A block is a row of tokens: BOS, which is not coded, then its text.

    Documents inside a block are parted by BOS, which is coded like any token. A token sees at most `context`
    tokens of its block, by windows that move by `stride` (numeric/windows.py). Raises as `Exact` does.
    """

    def __init__(self, file: ModelFile, context: int, stride: int, ops: Ops | None = None) -> None:
        self._tokenizer, self._context, self._stride = file.tokenizer, context, stride
        self._engine = Exact(file.config.model, file.artifact.tensors, ops)
        self.identity = hashlib.sha256(bytes.fromhex(file.sha256) + self._engine.identity()).digest()

    def encode(self, texts: Sequence[Text], report: Report = nothing) -> list[Coded | None]:
        """See BlockCoder. Cost: context / stride forwards a token, about 0.2 ms each for a million weights."""
        rows = [row_of(self._tokenizer, text) for text in texts]
        coded: list[Coded | None] = [Coded(0, b"")] * len(texts)
        lanes = {
            i: _Lane(row, text) for i, (row, text) in enumerate(zip(rows, texts, strict=True)) if len(row) > 1
        }
        for at, count, alive, x in self._forced(lanes):
            for first in range(0, count, TILE):
                extras = self._engine.numpy(self._engine.extras(x[:, first : first + TILE]))
                for lane, row_extras in zip(alive, extras, strict=True):
                    lanes[lane].write(at + first, row_extras)
            report(sum(min(count, lanes[lane].targets - at) for lane in alive))
        for i in lanes:
            coded[i] = lanes[i].finish()
        return coded

    def decode(self, blocks: Sequence[Coded], report: Report = nothing) -> list[bytes | None]:
        """See BlockCoder. Cost: a step of all lanes a token, and (context / stride - 1) forwards a token."""
        bos = self._tokenizer.bos_id
        longest = max((block.tokens for block in blocks), default=0)
        ids = np.full((len(blocks), 1), bos, np.int64)
        lanes = [_Reader(block) for block in blocks]
        alive = [i for i, block in enumerate(blocks) if block.tokens]
        for window in plan(longest, self._context, self._stride):
            alive = [i for i in alive if lanes[i].sound and blocks[i].tokens > window.first_scored]
            if not alive:
                break
            state = self._engine.start(len(alive))
            self._skip(state, ids[alive, window.start : window.first_scored])
            for t in range(window.first_scored, window.end):
                keep = [k for k, i in enumerate(alive) if lanes[i].sound and blocks[i].tokens > t]
                if len(keep) < len(alive):
                    alive = [alive[k] for k in keep]
                    if not alive:
                        break
                    state.keep(keep)
                x = self._engine.read(state, ids[alive, t : t + 1])
                extras = self._engine.numpy(self._engine.extras(x)).astype(np.float32)
                if t + 1 == ids.shape[1]:  # a file may claim any number of tokens: room comes as they do
                    ids = np.concatenate((ids, np.full((len(blocks), t + 1), bos, np.int64)), axis=1)
                for k, i in enumerate(alive):
                    ids[i, t + 1] = lanes[i].read(extras[k])
                report(len(alive))
        rows = [ids[i, : lane.tokens + 1] if lane.sound else None for i, lane in enumerate(lanes)]
        return [None if row is None else self._bytes(row) for row in rows]

    def _forced(self, lanes: dict[int, _Lane]) -> Iterator[tuple[int, int, list[int], NDArray[np.float64]]]:
        """Known rows through the model: (first target, count, lanes, stream (L, count, D)) in order."""
        longest = max((lane.targets for lane in lanes.values()), default=0)
        for window in plan(longest, self._context, self._stride):
            alive = [i for i, lane in lanes.items() if lane.open_at(window.first_scored)]
            if not alive:
                return
            state = self._engine.start(len(alive))
            self._skip(state, self._slice(lanes, alive, window.start, window.first_scored))
            for at in range(window.first_scored, window.end, CHUNK):
                keep = [k for k, i in enumerate(alive) if lanes[i].open_at(at)]
                if not keep:
                    break
                if len(keep) < len(alive):
                    alive = [alive[k] for k in keep]
                    state.keep(keep)
                end = min(at + CHUNK, window.end)
                yield at, end - at, alive, self._engine.read(state, self._slice(lanes, alive, at, end))

    def _skip(self, state: State, ids: Ids) -> None:
        """Read without predicting."""
        for at in range(0, ids.shape[1], CHUNK):
            self._engine.read(state, ids[:, at : at + CHUNK])

    @staticmethod
    def _slice(lanes: dict[int, _Lane], alive: list[int], start: int, end: int) -> Ids:
        """Tokens (L, end - start); behind the end of a row stands 0, which nothing before it sees."""
        ids = np.zeros((len(alive), end - start), np.int64)
        for row, i in zip(ids, alive, strict=True):
            known = lanes[i].row[start:end]
            row[: len(known)] = known
        return ids

    def _bytes(self, row: Ids) -> bytes | None:
        try:
            return self._tokenizer.decode(row)
        except DataError:
            return None  # tokens that no text encodes to


class _Lane:
    """One block on its way into bytes: row (targets + 1,) of tokens from BOS on."""

    def __init__(self, row: Ids, text: Text) -> None:
        self.row, self.targets = row, len(row) - 1
        self._encoder, self._bits, self._size = Encoder(), 0.0, len(text.data)
        self._given_up = False

    def open_at(self, target: int) -> bool:
        return not self._given_up and target < self.targets

    def write(self, at: int, extras: NDArray[np.float64]) -> None:
        """The distributions (T, V) of targets at, at + 1, ...; those behind the last target are ignored."""
        symbols = self.row[at + 1 : at + 1 + len(extras)]
        if self._given_up or not len(symbols):
            return
        extras = extras[: len(symbols)]
        self._encoder.encode(symbols, extras)
        taken = extras[np.arange(len(symbols)), symbols]
        self._bits += TOTAL_BITS * len(symbols) - float(np.log2(1.0 + taken).sum())
        done = at + len(symbols)
        if done >= TRIAL and self._bits > 8.0 * self._size * done / self.targets:
            self._given_up = True

    def finish(self) -> Coded | None:
        """The payload, with zeros behind it where a round number would end so early that it looked damaged."""
        if self._given_up:
            return None
        least = int(self._bits - _SLACK_BITS / 2) // 8 + 1
        return Coded(self.targets, self._encoder.finish().ljust(least, b"\0"), self._bits)


class _Reader:
    """One block on its way out of its bytes."""

    def __init__(self, block: Coded) -> None:
        self.tokens, self.sound = block.tokens, True
        self._decoder, self._left = Decoder(block.payload), 8.0 * len(block.payload) + _SLACK_BITS

    def read(self, extras: NDArray[np.float32]) -> int:
        """The next token, with the distribution (1, V). When the payload does not hold one: 0, and not `sound`."""
        try:
            symbol = self._decoder.decode(extras)
        except ValueError:
            self.sound = False
            return 0
        self._left -= TOTAL_BITS - math.log2(1.0 + float(extras[0, symbol]))
        self.sound = self._left > 0
        return symbol
