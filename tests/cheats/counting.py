"""Targets that are left out or counted again, bytes that nobody wrote, claims about another text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cheats.honest import END, SIZE, Streaming, WholeText

Write = Callable[[int, np.ndarray], None]


class TruncatedText(WholeText):
    """A validation shard that lost its end: 9.66 of 47.85 million tokens (PR 1923)."""

    caught_by = "T6"

    def score(self, tokens: np.ndarray, write: Write) -> None:
        write(0, self.costs(tokens)[: len(tokens) // 5])


class TailDropped(WholeText):
    """Only whole rows are scored: (n - 1) // 64 * 64 targets (PR 2078)."""

    caught_by = "T6"

    def score(self, tokens: np.ndarray, write: Write) -> None:
        write(0, self.costs(tokens)[: (len(tokens) - 1) // 64 * 64])


class TailScoredAgain(WholeText):
    """Sliding windows that go on to the last start: short ones score the tail again (PR 162; found in 1218)."""

    caught_by = "T6"
    context, stride = 64, 16

    def score(self, tokens: np.ndarray, write: Write) -> None:
        nats, targets = self.costs(tokens), len(tokens) - 1
        for start in range(0, targets, self.stride):
            end = min(start + self.context, targets)
            first = 0 if start == 0 else max(start, end - self.stride)
            write(first, nats[first:end])


class HeadNeverScored(WholeText):
    """Sliding windows of which even the first is scored at its end alone (PRs 102 and 489)."""

    caught_by = "T6"

    def score(self, tokens: np.ndarray, write: Write) -> None:
        write(48, self.costs(tokens)[48:])


class Rescored(WholeText):
    """Writes its scores, learns the text, and writes better ones over them (PRs 846, 853, 869 and others)."""

    caught_by = "T6"

    def score(self, tokens: np.ndarray, write: Write) -> None:
        nats = self.costs(tokens)
        write(0, nats)
        write(0, np.minimum(nats, 1.0))


class UnpleasantOnesOut(WholeText):
    """The dearest targets come out as no number, and a mean over numbers is all that is printed."""

    caught_by = "T6"

    def costs(self, tokens: np.ndarray) -> np.ndarray:
        nats = super().costs(tokens)
        return np.where(nats > 5, np.nan, nats)


class DoubleSpace(Streaming):
    """A table that has counted the leading space, and an evaluator that adds it again (PRs 1545, 1576)."""

    caught_by = "T7"

    def bytes_of(self, tokens: np.ndarray) -> np.ndarray:
        return np.where(tokens[1:] == END, 0, 1) + (tokens[1:] == ord(" "))


class ReplacementCharacter(Streaming):
    """A byte that is no character is decoded to U+FFFD, and that has three (PR 1143; mended in 1314)."""

    caught_by = "T7"

    def bytes_of(self, tokens: np.ndarray) -> np.ndarray:
        return np.where(tokens[1:] == END, 0, np.where(tokens[1:] >= 128, 3, 1))


class EndsHaveBytes(Streaming):
    """Control symbols get a byte each, like all others."""

    caught_by = "T7"

    def bytes_of(self, tokens: np.ndarray) -> int:
        return len(tokens) - 1


class CaseFolded(Streaming):
    """An easier text: everything in small letters (PRs 1578, 1585; ruling in 1604)."""

    caught_by = "T7"

    def encode(self, document: bytes) -> list[int]:
        return list(document.lower())


class PrefixClaimed(Streaming):
    """A score of the first part, printed as the score (PR 354; PPM on the first millions in 1835)."""

    caught_by = "T7"

    def claim(self) -> dict[str, Any]:
        return {"bpb": 1.0, "bytes": 1000}


class AnotherText(Streaming):
    """A score of some other validation text."""

    caught_by = "T7"

    def claim(self) -> dict[str, Any]:
        return {"sha256": "0" * 64}


class Racy(Streaming):
    """Workers share a counter, and what is learnt depends on who is first (PR 1855)."""

    caught_by = "T12"

    def probabilities(self) -> np.ndarray:
        p = super().probabilities()
        share = 0.1 * np.random.default_rng().random()
        return (1 - share) * p + share / SIZE
