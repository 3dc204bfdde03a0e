"""Costs that know what comes later, or what belongs to another document."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from cheats.honest import END, SIZE, Counts, WholeText, WholeTextShown


def learnt(tokens: np.ndarray) -> Counts:
    counts = Counts()
    for previous, symbol in zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True):
        counts.learn(previous, symbol)
    return counts


class Bidirectional(WholeText):
    """Attention without its mask: a position sees the symbol behind its target (PR 1608 had .905 that way)."""

    caught_by = "T2"

    def costs(self, tokens: np.ndarray) -> np.ndarray:
        nats, behind = super().costs(tokens), np.append(tokens[2:], END)
        known = tokens[1:] <= behind  # a bit about the target that only its successor tells
        return nats - np.where(known, 0.3, -0.3)


class TrainThenScore(WholeText):
    """Test-time training on all of the text, then the score (PR 489, PRs 672, 1376, 1485 and many others)."""

    caught_by = "T2"

    def counts_before(self, tokens: np.ndarray) -> Counts:
        return learnt(tokens)


class ChunkThenScore(WholeText):
    """Trains on each chunk before it scores it: nothing beyond the chunk is known, and that is enough."""

    caught_by = "T2"
    chunk = 50

    def costs(self, tokens: np.ndarray) -> np.ndarray:
        nats = []
        for begin in range(0, len(tokens) - 1, self.chunk):
            part = tokens[begin : begin + self.chunk + 1]
            counts = learnt(part)
            pairs = zip(part[:-1].tolist(), part[1:].tolist(), strict=True)
            nats += [-np.log(counts.distribution(a)[b]) for a, b in pairs]
        return np.array(nats)


class TwoPassMinimum(WholeText):
    """The lower cost of two passes, of which the second knows the text (PR 573: three passes)."""

    caught_by = "T5"

    def costs(self, tokens: np.ndarray) -> np.ndarray:
        counts = learnt(tokens)
        pairs = zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True)
        second = np.array([-np.log(counts.distribution(a)[b]) for a, b in pairs])
        return np.minimum(super().costs(tokens), second)


class DocumentLengths(WholeTextShown):
    """Reads all document lengths first, and so knows for nothing where each ends (PR 1855 sorts by them)."""

    caught_by = "T3"

    def distributions(self, tokens: np.ndarray, targets: list[int]) -> np.ndarray:
        rows = super().distributions(tokens, targets)
        over = (tokens[1:] == END)[targets]
        rows[:, END] = np.where(over, 99 * rows[:, :END].sum(1), 1e-9)
        return rows / rows.sum(1, keepdims=True)

    def costs(self, tokens: np.ndarray) -> np.ndarray:
        rows = self.distributions(tokens, list(range(len(tokens) - 1)))
        return -np.log(rows[np.arange(len(rows)), tokens[1:]])


class GlobalStatistics(WholeText):
    """Begins each document with the frequencies of the whole text, as if they came with the model."""

    caught_by = "T5"

    def counts_before(self, tokens: np.ndarray) -> Counts:
        counts = Counts()
        counts.single = np.bincount(tokens, minlength=SIZE) + 1 / SIZE
        return counts


class LengthSorted(WholeText):
    """Adapts from document to document, the longest first: an order that no decoder can know."""

    caught_by = "T5"
    carries_over = True

    def costs(self, tokens: np.ndarray) -> np.ndarray:
        borders = [*np.flatnonzero(tokens == END).tolist(), len(tokens) - 1]
        spans = list(pairwise(borders))
        counts, nats = Counts(), np.zeros(len(tokens) - 1)
        for begin, end in sorted(spans, key=lambda span: span[0] - span[1]):
            for t in range(begin, end):
                nats[t] = -np.log(counts.distribution(int(tokens[t]))[tokens[t + 1]])
                counts.learn(int(tokens[t]), int(tokens[t + 1]))
        return nats


class SmearAcrossDocuments(WholeText):
    """The gate mixes the last symbol of a document into the first of the next (PR 1797, mended in 1851).

    It says that documents are on their own.
    """

    caught_by = "T4"

    def costs(self, tokens: np.ndarray) -> np.ndarray:
        nats = super().costs(tokens)
        first = np.flatnonzero(tokens[1:-1] == END) + 1
        return nats + np.bincount(first, 0.2 * (tokens[first - 1] % 2) - 0.1, minlength=len(nats))
