"""The append-only record of a scoring pass, and the only thing that test-time training may learn from.

A target gets its cost once. What was written comes back as `Scored`, which holds the graded tokens; an adapter
takes nothing else, so it cannot train on a token before its score stands.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from bytegolf.errors import UserError
from bytegolf.model.world import ALONE, World


class ScoringError(UserError):
    """A pass that scored a target twice, left one out, or gave a cost that is none."""


class Scored:
    """Targets [first, end) of a stream, graded. tokens (end - first + 1,): the input before them, then they.

    nats (end - first,): what they cost. Made by `Scores.write` alone.
    """

    __slots__ = ("first", "nats", "tokens")
    _seal: ClassVar[object] = object()

    def __init__(
        self, seal: object, first: int, tokens: NDArray[np.int64], nats: NDArray[np.float64]
    ) -> None:
        if seal is not Scored._seal:
            raise TypeError(
                "only Scores.write makes a Scored: targets are learnt from after they were scored"
            )
        self.first: Final = first
        self.tokens: Final = tokens
        self.nats: Final = nats

    @property
    def end(self) -> int:
        return self.first + len(self.nats)


def next_graded(chunk: object, end: int | None) -> Scored:
    """`chunk`, when it is graded and begins at target `end`; with end = None it may begin anywhere.

    What an adapter may learn from: graded chunks, in the order of the text, without gaps. Raises TypeError for
    anything but a Scored, ScoringError when it begins elsewhere.
    """
    if not isinstance(chunk, Scored):
        raise TypeError(f"adaptation learns from a Scored and from nothing else, not from {type(chunk)}")
    if end is not None and chunk.first != end:
        raise ScoringError(
            f"chunks are learnt from in order, without gaps: the next one begins at target {end}",
            got=f"a chunk that begins at target {chunk.first}",
        )
    return chunk


class Scores:
    """Costs of the targets tokens[1:], each written once; target t is tokens[t + 1].

    Raises ScoringError for a cost that is written twice, lies outside the text, is negative or no number.
    """

    def __init__(self, tokens: NDArray[np.integer]) -> None:
        self._tokens = np.array(tokens, np.int64)
        self._tokens.setflags(write=False)
        self._nats = np.zeros(max(0, len(self._tokens) - 1))
        self._times = np.zeros(len(self._nats), np.uint8)

    @property
    def targets(self) -> int:
        return len(self._nats)

    @property
    def written(self) -> int:
        """How many targets have their cost."""
        return int(np.count_nonzero(self._times))

    def write(self, first: int, nats: NDArray[np.floating]) -> Scored:
        """The costs of targets first, first + 1, ..; they can now be learnt from."""
        costs = np.array(nats, np.float64)
        end = first + len(costs)
        if costs.ndim != 1 or not 0 <= first <= end <= self.targets:
            raise ScoringError(
                f"costs must be those of the {self.targets} targets", got=f"targets {first} to {end}"
            )
        again = np.flatnonzero(self._times[first:end])
        if len(again):
            raise ScoringError("a target is scored only once", got=f"target {first + int(again[0])} again")
        wrong = np.flatnonzero(~(np.isfinite(costs) & (costs >= 0)))
        if len(wrong):
            at = int(wrong[0])
            raise ScoringError(
                "a cost is a finite number of nats, not negative", got=f"{costs[at]} for target {first + at}"
            )
        costs.setflags(write=False)
        self._nats[first:end] = costs
        self._times[first:end] = 1
        return Scored(Scored._seal, first, self._tokens[first : end + 1], costs)

    def complete(self, world: World = ALONE) -> NDArray[np.float64]:
        """All costs (targets,), those that the ranks of `world` wrote together.

        Raises ScoringError when a target has none, or one from two ranks.
        """
        nats, times = self._nats.copy(), self._times
        if world.size > 1:
            nats, times = world.total(nats), world.total(times.astype(np.float64)).astype(np.uint8)
        twice = np.flatnonzero(times > 1)
        if len(twice):
            raise ScoringError("a target is scored only once", got=f"target {int(twice[0])} by two ranks")
        missing = np.flatnonzero(times == 0)
        if len(missing):
            raise ScoringError(
                f"each of {self.targets} targets must be scored",
                got=f"{len(missing)} without a score, the first is target {int(missing[0])}",
            )
        return nats
