"""Test-time training of the weights themselves: SGD or AdamW on each chunk of a text once it was scored.

One optimizer lives over the whole text (PR 549, the first legal record of this kind). Shapes: B rows, T positions.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx.optimizers import Optimizer

from bytegolf.config.adaptation import AdamWAdaptation, FullWeights, SgdAdaptation
from bytegolf.model.adapted import trained_tensors
from bytegolf.model.backend import Floats, Ids
from bytegolf.model.learning import Part, check_finite, epoch_steps
from bytegolf.model.scored import Scored, next_graded
from bytegolf.numeric.schedule import half_cosine
from bytegolf.on_mlx.backend import MlxBackend
from bytegolf.on_mlx.trainer import Arrays, clip_factor, norm_of, put


class Full:
    """A `model.backend.Adapter`: within `with`, the backend's weights learn from one text, from its start.

    Chunk c = 0, 1, .. is cut into rows of `model.context` targets and a short one; each of its targets is in one
    row of an epoch, and nothing outside the chunk is read. A step is the mean loss of `rows` rows, at the learning
    rate lr * half_cosine(c, decay_chunks). On leaving, with an error too, the weights are what they were, bit for
    bit. Cost: a copy of the weights, the optimizer's state, and 3 * epochs token forwards for each target.

    Raises ConfigError for words of `freeze` that fit nothing.
    """

    def __init__(self, backend: MlxBackend, adaptation: FullWeights) -> None:
        self.backend, self.adaptation = backend, adaptation
        self._trained = trained_tensors(backend.model, adaptation.freeze)
        self._optimizer: Optimizer | None = None
        self._chunk = self._end = 0
        self._before: Arrays = {}

    @abstractmethod
    def optimizer(self) -> Optimizer:
        """A new optimizer of the kind."""

    def __enter__(self) -> Self:
        assert self._optimizer is None, "an adapter is entered once at a time"
        self._chunk = self._end = 0
        self._before = self.backend.gpt.named()  # arrays do not change: an update puts others in their place
        self._optimizer = self.optimizer()
        self._optimizer.init({name: self._before[name] for name in self._trained})
        return self

    def __exit__(self, *error: object) -> None:
        self.backend.gpt.take(self._before)
        self._before, self._optimizer = {}, None

    def nll(self, ids: Ids, targets: Ids, last: int | None = None) -> Floats:
        return self.backend.nll(ids, targets, last)

    def log_probabilities(self, ids: Ids, last: int | None = None) -> Floats:
        return self.backend.log_probabilities(ids, last)

    def adapt(self, scored: Scored) -> None:
        """Learn from the next chunk.

        Raises TypeError for what is not graded, ScoringError for a chunk out of order, TrainingDivergedError when
        the loss leaves the finite numbers.
        """
        chunk = next_graded(scored, self._end)
        assert self._optimizer is not None, "an adapter learns only within its `with`"
        rate = self.adaptation.lr * half_cosine(self._chunk, self.adaptation.decay_chunks)
        self._end, self._chunk = chunk.end, self._chunk + 1
        if rate == 0:
            return
        self._optimizer.learning_rate = rate
        for _ in range(self.adaptation.epochs):
            for parts in epoch_steps(chunk.tokens, self.backend.model.context, self.adaptation.rows):
                self._step(self._optimizer, parts)

    def _step(self, optimizer: Optimizer, parts: list[Part]) -> None:
        gpt, targets = self.backend.gpt, sum(y_BT.size for _, y_BT in parts)
        held = gpt.named()
        weights = {name: held[name] for name in self._trained}

        def loss(trained: Arrays, x_BT: mx.array, y_BT: mx.array) -> mx.array:
            gpt.take(trained)
            return gpt.nll(x_BT, y_BT).sum() / targets

        total, gradients = 0.0, Arrays()
        for x_BT, y_BT in parts:
            value, found = mx.value_and_grad(loss)(weights, put(x_BT), put(y_BT))
            gradients = {n: gradients[n] + g for n, g in found.items()} if gradients else found
            gpt.take(weights)
            mx.eval(value, gradients)
            total += float(np.array(value))
        check_finite(total, self._chunk - 1)
        factor = clip_factor(norm_of(gradients), self.adaptation.clip)
        gradients = {name: factor * gradient for name, gradient in gradients.items()}
        gpt.take(optimizer.apply_gradients(gradients, weights))
        mx.eval(gpt.named(), optimizer.state)


class Sgd(Full):
    """buf <- momentum buf + g;  w <- w - lr buf."""

    adaptation: SgdAdaptation

    def optimizer(self) -> Optimizer:
        return optim.SGD(self.adaptation.lr, momentum=self.adaptation.momentum)


class AdamW(Full):
    """Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019)."""

    adaptation: AdamWAdaptation

    def optimizer(self) -> Optimizer:
        kind = self.adaptation
        return optim.AdamW(kind.lr, list(kind.betas), kind.eps, kind.weight_decay, bias_correction=True)
