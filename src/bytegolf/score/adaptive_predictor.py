"""Test-time training behind the streaming contract: the definition that score.adaptive is tested against.

A symbol is learnt from when it was shown, and it is shown when its distribution was recorded.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np

from bytegolf.config.adaptation import FullWeights, LoraAdaptation
from bytegolf.model.backend import Backend
from bytegolf.model.scored import Scored, Scores
from bytegolf.numeric.windows import document_window
from bytegolf.score.predictor import Floats, ModelPredictor, cost


class _Graded:
    """The symbols of a text so far and their costs, handed out chunk by chunk."""

    def __init__(self, first_symbol: int, chunk: int) -> None:
        self.ids, self.costs, self.chunk = [first_symbol], list[float](), chunk

    def add(self, p: Floats, symbol: int) -> Scored | None:
        """The chunk that is complete with this symbol, or None."""
        self.costs.append(float(cost(p, symbol)))
        self.ids.append(symbol)
        first = len(self.costs) - self.chunk
        if len(self.costs) % self.chunk:
            return None
        return Scores(np.array(self.ids)).write(first, np.array(self.costs[first:]))


class AdaptivePredictor(ModelPredictor):
    """A backend whose weights learn from each chunk of the stream. A context manager, like the adapter inside.

    Cost: a forward of up to `context` tokens a symbol, and the training.
    """

    def __init__(
        self,
        backend: Backend,
        adaptation: FullWeights,
        *,
        bos_id: int,
        context: int,
        stride: int,
        isolated: bool = False,
    ) -> None:
        super().__init__(backend, bos_id=bos_id, context=context, stride=stride, isolated=isolated)
        self.adapter = backend.adapter(adaptation)
        self.graded = _Graded(bos_id, adaptation.chunk)
        self.p: Floats = np.empty(0)

    def __enter__(self) -> Self:
        self.adapter.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.adapter.__exit__(kind, error, trace)

    def probabilities(self) -> Floats:
        self.p = super().probabilities()  # the adapter's weights are the backend's own for the time being
        return self.p

    def observe(self, symbol: int) -> None:
        super().observe(symbol)
        scored = self.graded.add(self.p, symbol)
        if scored is not None:
            self.adapter.adapt(scored)


class DocumentPredictor:
    """A backend with a low-rank change that each document learns by itself."""

    def __init__(self, backend: Backend, adaptation: LoraAdaptation, *, bos_id: int, context: int) -> None:
        self.adapter = backend.document_adapter(adaptation, context)
        self.bos_id, self.context, self.chunk = bos_id, context, adaptation.chunk

    def begin(self, document: int) -> None:
        self.adapter.begin(1)
        self.graded = _Graded(self.bos_id, self.chunk)

    def probabilities(self) -> Floats:
        target = len(self.graded.costs)
        window = document_window(target // self.chunk, self.chunk, self.context)
        ids = np.array([self.graded.ids[window.start :]])
        log_p = self.adapter.log_probabilities(ids, [0], 1)[0, 0]
        p: Floats = np.exp(log_p.astype(np.float64))
        self.p = p
        return p

    def observe(self, symbol: int) -> None:
        scored = self.graded.add(self.p, symbol)
        if scored is not None:
            self.adapter.adapt({0: scored})
