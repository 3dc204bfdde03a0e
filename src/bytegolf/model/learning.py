"""Test-time training without arithmetic: which rows of a graded text each step reads, and where LoRA starts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from bytegolf.errors import TrainingDivergedError
from bytegolf.model.backend import Ids
from bytegolf.model.scored import Scored, next_graded

SEED = 0  # of A: the same for every document, so that no document depends on which others there are

Part = tuple[Ids, Ids]  # inputs (B, T) and targets (B, T)


def epoch_steps(tokens: Ids, context: int, rows: int) -> Iterator[list[Part]]:
    """The rows of each step of one epoch over tokens (n + 1,); full rows stacked, a short one by itself."""
    ids, targets = tokens[:-1], tokens[1:]
    for first in range(0, len(ids), rows * context):
        x, y = (part[first : first + rows * context] for part in (ids, targets))
        full = len(x) // context * context
        parts = [
            (x[:full].reshape(-1, context), y[:full].reshape(-1, context)),
            (x[None, full:], y[None, full:]),
        ]
        yield [part for part in parts if part[0].size]


def check_finite(loss: float, chunk: int) -> None:
    """Raises TrainingDivergedError when the loss of a step on chunk `chunk` left the finite numbers."""
    if not math.isfinite(loss):
        raise TrainingDivergedError(
            "the loss of test-time training must stay finite",
            got=f"{loss} in chunk {chunk}",
            where="score.adaptation",
            fix="lower score.adaptation.lr, or clip the gradient: score.adaptation.clip",
        )


class GradedWindows:
    """The newest `context` tokens of every document that is learnt from, out of the chunks that were graded."""

    def __init__(self, context: int) -> None:
        self.context = context
        self._tokens: dict[int, Ids] = {}
        self._ends: dict[int, int] = {}

    def take(self, scored: Mapping[int, Scored]) -> list[tuple[list[int], Ids, int]]:
        """(documents, their windows (n, T + 1), targets of the chunk at the end of each), by equal lengths.

        Raises TypeError for what is not graded and ScoringError for a chunk out of order, before anything changes.
        """
        chunks = {d: next_graded(chunk, self._ends.get(d)) for d, chunk in scored.items()}
        alike: dict[tuple[int, int], list[int]] = {}  # by the lengths of window and chunk
        for document, chunk in chunks.items():
            before = self._tokens.get(document, chunk.tokens[:1])
            self._tokens[document] = np.concatenate((before, chunk.tokens[1:]))[-self.context - 1 :]
            self._ends[document] = chunk.end
            if len(chunk.nats):
                sizes = len(self._tokens[document]) - 1, len(chunk.nats)
                alike.setdefault(sizes, []).append(document)
        return [
            (documents, np.stack([self._tokens[document] for document in documents]), last)
            for (_, last), documents in alike.items()
        ]


def first_factors(shapes: list[tuple[int, int]], rank: int) -> list[NDArray[np.float64]]:
    """A (rank, inputs) of each matrix (outputs, inputs): U(-1/sqrt(inputs), 1/sqrt(inputs)).

    The same for every backend: 53 bits of two words of MT19937 each, which is what torch.rand in float64 gives
    after manual_seed(SEED).
    """
    random = np.random.RandomState(SEED)
    found = []
    for _, inputs in shapes:
        words = random.randint(0, 1 << 32, (rank, inputs, 2), np.uint32).astype(np.uint64)
        bits = (words[..., 0] << np.uint64(32) | words[..., 1]) & np.uint64((1 << 53) - 1)
        found.append((2 * bits.astype(np.float64) * 2.0**-53 - 1) * inputs**-0.5)
    return found
