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

from collections.abc import Callable, Sequence
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
    document = 0
    predictor.begin(document)
    for target, symbol in enumerate(np.asarray(tokens).tolist()[1:]):
        p = np.array(predictor.probabilities(), np.float64)
        see(target, p)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores.write(target, -np.log(p[symbol : symbol + 1]) + 0.0)
        predictor.observe(symbol)
        if symbol == end:
            document += 1
            predictor.begin(document)
    return scores.complete()


def drive_lanes(predictor: LanePredictor, documents: Sequence[NDArray[np.integer]]) -> list[Floats]:
    """Costs of each document's targets document[1:], all documents at a time, one lane each."""
    longest = max((len(document) for document in documents), default=0)
    streams = np.full((len(documents), longest), -1, np.int64)
    for lane, document in enumerate(documents):
        streams[lane, : len(document)] = document
    books = [Scores(document) for document in documents]
    predictor.begin(range(len(documents)))
    for target in range(longest - 1):
        p = np.array(predictor.probabilities(), np.float64)
        symbols = streams[:, target + 1]
        for lane in np.flatnonzero(symbols >= 0).tolist():
            books[lane].write(target, -np.log(p[lane, symbols[lane]])[None])
        predictor.observe(symbols)
    return [book.complete() for book in books]


class ModelPredictor:
    """A backend behind the contract: the windows of score.windows.plan, one forward for every symbol.

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
