"""Costs that come from no distribution."""

from __future__ import annotations

import numpy as np

from cheats.honest import END, SIZE, Counts, Streaming, WholeText, WholeTextShown


class HashedCache(Streaming):
    """An n-gram cache in few buckets, read for one symbol at a time: the ratios of two buckets sum to anything.

    Parameter Golf PRs 779, 796, 900 and others; measured in 886 (sums of 277) and 1147.
    """

    caught_by = "T1"

    def begin(self, document: int) -> None:
        super().begin(document)
        self.context, self.joint = np.zeros(64), np.zeros(64)

    def probabilities(self) -> np.ndarray:
        bucket = (self.previous * 31 + np.arange(SIZE) * 17) % 64
        return (self.joint[bucket] + 0.5 / SIZE) / (self.context[self.previous % 64] + 0.5)

    def observe(self, symbol: int) -> None:
        self.context[self.previous % 64] += 1
        self.joint[(self.previous * 31 + symbol * 17) % 64] += 1
        super().observe(symbol)


class ByteSpread(Streaming):
    """Each byte of a word gets p(word)^(1/n), mixed with byte counts: no distribution of a byte (PR 1905)."""

    caught_by = "T1"

    def probabilities(self) -> np.ndarray:
        p = self.counts.distribution(self.previous)
        return 0.5 * p ** (1 / 3) + 0.5 * p


class NegativeProbabilities(Streaming):
    """A correction that sums to zero, and takes some symbols below it."""

    caught_by = "T1"

    def probabilities(self) -> np.ndarray:
        p = self.counts.distribution(self.previous)
        return p + 0.01 * (p > np.median(p)) - 0.01 * (p > np.median(p)).sum() / SIZE


class AnotherVector(WholeTextShown):
    """Shows a proper distribution and charges by a sharper one: 'temperature' that is never normalised."""

    caught_by = "T1"

    def costs(self, tokens: np.ndarray) -> np.ndarray:
        return 0.7 * super().costs(tokens)


class UnnormalisedCosts(WholeText):
    """The same without showing anything: only trying every target finds it."""

    caught_by = "T1"

    def costs(self, tokens: np.ndarray) -> np.ndarray:
        return 0.7 * super().costs(tokens)


class TargetInGate(WholeTextShown):
    """A gate that looks at the target: letters are predicted by the letter expert (PRs 1420, 1967).

    Each distribution sums to 1, and there is another one for every target.
    """

    caught_by = "T3"

    def sharpened(self, p: np.ndarray, target: int) -> np.ndarray:
        family = np.arange(SIZE) // 32 == target // 32
        q = np.where(family, 4 * p, p)
        return q / q.sum()

    def distributions(self, tokens: np.ndarray, targets: list[int]) -> np.ndarray:
        rows = super().distributions(tokens, targets)
        return np.stack([self.sharpened(p, int(tokens[t + 1])) for t, p in zip(targets, rows, strict=True)])

    def costs(self, tokens: np.ndarray) -> np.ndarray:
        counts, nats = Counts(), []
        for previous, symbol in zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True):
            if previous == END:
                counts = Counts()
            nats.append(-np.log(self.sharpened(counts.distribution(previous), symbol)[symbol]))
            counts.learn(previous, symbol)
        return np.array(nats)


class TargetInGateHidden(WholeText):
    """The same gate in evaluation code that shows no distributions (PR 776)."""

    caught_by = "T1"

    costs = TargetInGate.costs
    sharpened = TargetInGate.sharpened


class Certain(Streaming):
    """Everything is certain: each symbol has probability 1."""

    caught_by = "T16"

    def probabilities(self) -> np.ndarray:
        return np.ones(SIZE)
