"""What the floors above ask of a model that runs. Each backend on floor 2 is one implementation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class StepResult:
    """One optimizer step: mean loss in nats per token, L2 norm of the gradient before clipping."""

    loss: float
    grad_norm: float


class Trainer(Protocol):
    """Optimizer state around a backend's weights."""

    def step(self, batch: Ids, multiplier: float, step: int) -> StepResult:
        """One step on batch (rows, T + 1), learning rates times `multiplier`; `step` counts from 0."""
        ...

    def use_averaged(self) -> bool:
        """Put the averaged weights in place of the last ones; False when the run keeps no average."""
        ...


class Backend(Protocol):
    """A model with weights on a device."""

    device: str
    precision: str
    notes: list[str]

    def load(self, weights: Mapping[str, Floats]) -> None:
        """Take float32 weights by manifest name; names and shapes must match exactly."""
        ...

    def weights(self) -> dict[str, Floats]:
        """The weights by manifest name, float32, on the host."""
        ...

    def nll(self, ids: Ids, targets: Ids) -> Floats:
        """Negative log-likelihood in nats of targets (B, T) after inputs ids (B, T), in float32."""
        ...

    def next_logits(self, ids: Ids) -> Floats:
        """Logits (V,) of the token that follows ids (T,)."""
        ...

    def trainer(self, train: Any) -> Trainer:
        """Optimizers for the weights, as config.schema.Train describes them."""
        ...
