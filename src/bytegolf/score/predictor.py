"""The contract of a score: a predictor learns a symbol only after its distribution for it was recorded.

The referee holds the text. For each symbol it asks for the probabilities of all that could come, writes down the
cost of the one that does come, and only then shows it. What fits this interface cannot look ahead, cannot leave a
symbol out, and cannot score one twice; the scores of `bytegolf score` come from faster paths that are tested
against it.

A text is a stream of symbols in which one, `end`, ends a document (for a model: BOS, which begins the next one).
The first symbol of the stream is an `end` that is given; every later symbol is a target, the ends too: a scorer
that is not told where documents end has to pay for it. The last document needs no end: the stream ends with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bytegolf.model.backend import Backend
from bytegolf.model.scored import Scores

Floats = NDArray[np.float64]
Symbols = NDArray[np.int64]
See = Callable[[int, Floats], None]  # target, its distribution before the target is known


class Predictor(Protocol):
    """Anything that predicts the next symbol."""

    def begin(self, document: int) -> None:
        """Document number `document` (0, 1, ..) begins: the end of the one before was observed."""
        ...

    def probabilities(self) -> NDArray[np.floating]:
        """(V,) probabilities of the next symbol: none negative, their sum 1. Asking twice changes nothing."""
        ...

    def observe(self, symbol: int) -> None:
        """The next symbol was this one."""
        ...


class LanePredictor(Protocol):
    """The same contract for several documents at a time, which know nothing of each other."""

    def begin(self, documents: Sequence[int]) -> None:
        """Lane i begins document documents[i]."""
        ...

    def probabilities(self) -> NDArray[np.floating]:
        """(lanes, V) probabilities of the next symbol of each lane."""
        ...

    def observe(self, symbols: Symbols) -> None:
        """(lanes,) what came in each lane; -1 in a lane whose document is over."""
        ...


def drive(
    predictor: Predictor, tokens: NDArray[np.integer], end: int, see: See = lambda target, p: None
) -> Floats:
    """Costs (targets,) in nats of tokens[1:] as the predictor's own probabilities give them.

    tokens[0] is the `end` that is given. `see` gets each target and its distribution. Raises ScoringError for a
    target with probability 0 or above 1, IndexError for a symbol outside the distribution.
    """
    scores = Scores(tokens)
    for target, p in shown(predictor, tokens, end):
        see(target, p)
        scores.write(target, cost(p, tokens[target + 1])[None])
    return scores.complete()


def drive_lanes(
    predictor: LanePredictor,
    tokens: NDArray[np.integer],
    end: int,
    lanes: int,
    see: See = lambda target, p: None,
) -> Floats:
    """As `drive`, up to `lanes` documents at a time."""
    scores = Scores(tokens)
    for target, p in shown_in_lanes(predictor, tokens, end, lanes):
        see(target, p)
        scores.write(target, cost(p, tokens[target + 1])[None])
    return scores.complete()


def cost(p: Floats, symbol: np.integer | int) -> NDArray[np.float64]:
    """-ln p[symbol], a number without shape; inf for probability 0, nan for none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(-np.log(p[symbol]) + 0.0)


def shown(predictor: Predictor, tokens: NDArray[np.integer], end: int) -> Iterator[tuple[int, Floats]]:
    """Each target of tokens[1:] with its distribution; only when that is taken is the symbol shown."""
    document = 0
    predictor.begin(document)
    for target, symbol in enumerate(np.asarray(tokens).tolist()[1:]):
        yield target, np.array(predictor.probabilities(), np.float64)
        predictor.observe(symbol)
        if symbol == end:
            document += 1
            predictor.begin(document)


def shown_in_lanes(
    predictor: LanePredictor, tokens: NDArray[np.integer], end: int, lanes: int
) -> Iterator[tuple[int, Floats]]:
    """Each target with its distribution, `lanes` documents at a time: their first targets, their second, .."""
    ids = np.asarray(tokens, np.int64)
    starts = sorted({0, *np.flatnonzero(ids[:-1] == end).tolist()})
    spans = list(enumerate(pairwise([*starts, len(ids) - 1])))
    for group in (spans[i : i + lanes] for i in range(0, len(spans), lanes)):
        predictor.begin([number for number, _ in group])
        for step in range(max(stop - first for _, (first, stop) in group)):
            p = np.array(predictor.probabilities(), np.float64)
            targets = [first + step if first + step < stop else -1 for _, (first, stop) in group]
            for lane, target in enumerate(targets):
                if target >= 0:
                    yield target, p[lane]
            predictor.observe(np.array([ids[t + 1] if t >= 0 else -1 for t in targets]))


class ModelPredictor:
    """A backend behind the contract: the windows of numeric.windows.plan, one forward for every symbol.

    Cost: a forward of up to `context` tokens a symbol. This is the definition that score.passes is tested against.
    """

    def __init__(
        self, backend: Backend, *, bos_id: int, context: int, stride: int, isolated: bool = False
    ) -> None:
        self.backend, self.isolated = backend, isolated
        self.context, self.stride = context, stride
        self.bos_id = bos_id
        self.ids: list[int] = []

    def begin(self, document: int) -> None:
        if self.isolated or document == 0:
            self.ids = [self.bos_id]

    def probabilities(self) -> Floats:
        target = len(self.ids) - 1
        start = 0 if target < self.context else ((target - self.context) // self.stride + 1) * self.stride
        logits = self.backend.next_logits(np.asarray(self.ids[start:], np.int64)).astype(np.float64)
        weights = np.exp(logits - logits.max())
        return np.asarray(weights / weights.sum())

    def observe(self, symbol: int) -> None:
        self.ids.append(symbol)
