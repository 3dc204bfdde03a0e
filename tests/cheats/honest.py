"""Honest predictors of bytes, in both forms: the controls of the battery, and what the cheats are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

END = 256
SIZE = 257


class Counts:
    """p(symbol | previous) from counts so far: (n[previous, symbol] + p0 / 2) / (n[previous] + 1/2)."""

    def __init__(self) -> None:
        self.pairs = np.zeros((SIZE, SIZE))
        self.single = np.full(SIZE, 1 / SIZE)

    def learn(self, previous: int, symbol: int) -> None:
        self.pairs[previous, symbol] += 1
        self.single[symbol] += 1

    def distribution(self, previous: int) -> np.ndarray:
        row = self.pairs[previous] + 0.5 * self.single / self.single.sum()
        return row / row.sum()


class Streaming:
    """Adaptive pairs, each document on its own."""

    def begin(self, document: int) -> None:
        self.counts, self.previous = Counts(), END

    def probabilities(self) -> np.ndarray:
        return self.counts.distribution(self.previous)

    def observe(self, symbol: int) -> None:
        self.counts.learn(self.previous, symbol)
        self.previous = symbol


class CarriesOver(Streaming):
    """The same, learning across documents and saying so."""

    carries_over = True

    def __init__(self) -> None:
        self.counts, self.previous = Counts(), END

    def begin(self, document: int) -> None:
        pass


class WholeText:
    """The whole stream at once; honest all the same. Cheats overrule `costs`."""

    def counts_before(self, tokens: np.ndarray) -> Counts:
        """What it knows before it begins."""
        return Counts()

    def costs(self, tokens: np.ndarray) -> np.ndarray:
        counts, nats = self.counts_before(tokens), []
        for previous, symbol in zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True):
            if previous == END:
                counts = self.counts_before(tokens)
            nats.append(-np.log(counts.distribution(previous)[symbol]))
            counts.learn(previous, symbol)
        return np.array(nats)

    def score(self, tokens: np.ndarray, write: Callable[[int, np.ndarray], None]) -> None:
        write(0, self.costs(tokens))


class WholeTextShown(WholeText):
    """Shows its distributions too."""

    def distributions(self, tokens: np.ndarray, targets: list[int]) -> np.ndarray:
        counts, rows = Counts(), {}
        for target, (previous, symbol) in enumerate(
            zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True)
        ):
            if previous == END:
                counts = Counts()
            if target in targets:
                rows[target] = counts.distribution(previous)
            counts.learn(previous, symbol)
        return np.stack([rows[target] for target in targets])


class InLanes:
    """Three documents at a time, each by a predictor of its own."""

    lanes = 3

    def begin(self, documents: list[int]) -> None:
        self.each = [Streaming() for _ in documents]
        for number, one in zip(documents, self.each, strict=True):
            one.begin(number)

    def probabilities(self) -> np.ndarray:
        return np.stack([one.probabilities() for one in self.each])

    def observe(self, symbols: np.ndarray) -> None:
        for one, symbol in zip(self.each, symbols.tolist(), strict=True):
            if symbol >= 0:
                one.observe(symbol)


HONEST = [Streaming, CarriesOver, InLanes, WholeText, WholeTextShown]
