"""Test-time training of the weights themselves: SGD or AdamW on each chunk of a text once it was scored.

One optimizer lives over the whole text (PR 549, the first legal record of this kind). Shapes: B rows, T positions.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import torch

from bytegolf.config.adaptation import AdamWAdaptation, FullWeights, SgdAdaptation
from bytegolf.model.adapted import trained_tensors
from bytegolf.model.backend import Floats, Ids
from bytegolf.model.learning import check_finite, epoch_steps
from bytegolf.model.scored import Scored, next_graded
from bytegolf.numeric.schedule import half_cosine
from bytegolf.on_torch.backend import TorchBackend

Part = tuple[torch.Tensor, torch.Tensor]  # inputs (B, T) and targets (B, T)


class Full:
    """A `model.backend.Adapter`: within `with`, the backend's weights learn from one text, from its start.

    Chunk c = 0, 1, .. is cut into rows of `model.context` targets and a short one; each of its targets is in one
    row of an epoch, and nothing outside the chunk is read. A step is the mean loss of `rows` rows, at the learning
    rate lr * half_cosine(c, decay_chunks). On leaving, with an error too, the weights are what they were, bit for
    bit. Cost: a copy of the weights, the optimizer's state, and 3 * epochs token forwards for each target.

    Raises ConfigError for words of `freeze` that fit nothing.
    """

    def __init__(self, backend: TorchBackend, adaptation: FullWeights) -> None:
        self.backend, self.adaptation = backend, adaptation
        self._trained = frozenset(trained_tensors(backend.model, adaptation.freeze))
        self._optimizer: torch.optim.Optimizer | None = None
        self._chunk = self._end = 0
        self._before: dict[str, tuple[torch.Tensor, torch.Tensor | None, bool]] = {}

    @abstractmethod
    def optimizer(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """A new optimizer of the kind."""

    def __enter__(self) -> Self:
        assert self._optimizer is None, "an adapter is entered once at a time"
        self._chunk = self._end = 0
        parameters = dict(self.backend.gpt.named_parameters())
        optimizer = self.optimizer([p for n, p in parameters.items() if n in self._trained])
        self._before = {n: (p.detach().clone(), p.grad, p.requires_grad) for n, p in parameters.items()}
        for name, parameter in parameters.items():
            parameter.grad = None
            parameter.requires_grad_(name in self._trained)
        self._optimizer = optimizer
        return self

    def __exit__(self, *error: object) -> None:
        with torch.no_grad():
            for name, parameter in self.backend.gpt.named_parameters():
                weights, gradient, requires_grad = self._before[name]
                parameter.copy_(weights)
                parameter.grad = gradient
                parameter.requires_grad_(requires_grad)
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
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for _ in range(self.adaptation.epochs):
            for parts in epoch_steps(chunk.tokens.copy(), self.backend.model.context, self.adaptation.rows):
                self._step(self._optimizer, [(self.backend._put(x), self.backend._put(y)) for x, y in parts])

    def _step(self, optimizer: torch.optim.Optimizer, parts: list[Part]) -> None:
        targets = sum(y_BT.numel() for _, y_BT in parts)
        total = 0.0
        for x_BT, y_BT in parts:
            loss: torch.Tensor = self.backend.gpt.nll(x_BT, y_BT).sum() / targets
            torch.autograd.backward(loss)
            total += float(loss.detach())
        check_finite(total, self._chunk - 1)
        if self.adaptation.clip:
            trained = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(trained, self.adaptation.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


class Sgd(Full):
    """buf <- momentum buf + g;  w <- w - lr buf."""

    adaptation: SgdAdaptation

    def optimizer(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=self.adaptation.lr, momentum=self.adaptation.momentum)


class AdamW(Full):
    """Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019)."""

    adaptation: AdamWAdaptation

    def optimizer(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        kind = self.adaptation
        return torch.optim.AdamW(
            parameters, lr=kind.lr, betas=kind.betas, eps=kind.eps, weight_decay=kind.weight_decay, fused=True
        )
