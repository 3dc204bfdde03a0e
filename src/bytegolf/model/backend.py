"""What the floors above ask of a model that runs. Each backend on floor 2 is one implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bytegolf.model.scored import Scored
from bytegolf.model.world import World

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class StepResult:
    """One optimizer step: mean loss in nats per token of this rank's rows, L2 norm of the gradient of all rows
    before clipping.
    """

    loss: float
    grad_norm: float


class Trainer(Protocol):
    """Optimizer state around a backend's weights.

    ahead: how many steps may have begun without being finished; the device is then never without work.
    compiled: whether the first step compiles something.
    """

    ahead: int
    compiled: bool

    def step(self, batch: Ids, multiplier: float, step: int) -> StepResult:
        """`begin` and `finish`."""
        ...

    def begin(self, batch: Ids, multiplier: float, step: int) -> None:
        """One step on batch (rows, T + 1), learning rates times `multiplier`; `step` counts from 0.

        batch: this rank's rows; every rank has as many.
        """
        ...

    def finish(self) -> StepResult:
        """What came of the oldest step that has begun and is not finished; waits for it."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """All that the next step depends on beside its batch: weights, optimizers, average, random numbers.

        No step may be unfinished. Every rank calls it, and all get the same.
        """
        ...

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from there, bit for bit on one CPU process, in a world of any size."""
        ...

    def peak_bytes(self) -> int:
        """The most memory so far: of the device on CUDA, else of the process."""
        ...

    def use_averaged(self) -> bool:
        """Put the averaged weights in place of the last ones; False when the run keeps no average."""
        ...


class Adapter(Protocol):
    """Weights of one pass over a text. A context manager: on leaving, the backend has its own weights again."""

    def nll(self, ids: Ids, targets: Ids, last: int | None = None) -> Floats:
        """As Backend.nll, with the weights as they are now."""
        ...

    def log_probabilities(self, ids: Ids, last: int | None = None) -> Floats:
        """As Backend.log_probabilities, with the weights as they are now."""
        ...

    def adapt(self, scored: Scored) -> None:
        """Learn from a chunk that has its score."""
        ...

    def __enter__(self) -> Adapter: ...

    def __exit__(self, *error: object) -> None: ...


class DocumentAdapter(Protocol):
    """A low-rank change of some weights for each of several documents; the backend's own weights stay."""

    def begin(self, documents: int) -> None:
        """Forget what was learnt; documents 0, 1, .. begin, all with the same start."""
        ...

    def nll(self, ids: Ids, targets: Ids, documents: Sequence[int], last: int | None = None) -> Floats:
        """As Backend.nll; row b is read with the change that belongs to documents[b]."""
        ...

    def log_probabilities(self, ids: Ids, documents: Sequence[int], last: int | None = None) -> Floats:
        """As Backend.log_probabilities, row by row like `nll`."""
        ...

    def adapt(self, scored: Mapping[int, Scored]) -> None:
        """One step for each document given, on its newest chunk after as much of its text as the context holds.

        The chunks of a document come in order, without gaps.
        """
        ...


class Backend(Protocol):
    """A model with weights on a device."""

    library: str  # the tensor library it computes with, which is its name in the registry too
    device: str
    hardware: str  # what the device is called, for people
    precision: str
    notes: list[str]
    world: World

    def load(self, weights: Mapping[str, Floats]) -> None:
        """Take float32 weights by manifest name; names and shapes must match exactly."""
        ...

    def weights(self) -> dict[str, Floats]:
        """The weights by manifest name, float32, on the host."""
        ...

    def nll(self, ids: Ids, targets: Ids, last: int | None = None) -> Floats:
        """Negative log-likelihood in nats of targets (B, T) after inputs ids (B, T), in float32.

        With `last` those of the last positions only, (B, last), the same to rounding and cheaper: what no
        scored position sees is not computed.
        """
        ...

    def log_probabilities(self, ids: Ids, last: int | None = None) -> Floats:
        """ln p (B, T or last, V) of the token after each position of ids (B, T), from the arithmetic of `nll`."""
        ...

    def next_logits(self, ids: Ids) -> Floats:
        """Logits (V,) of the token that follows ids (T,)."""
        ...

    def trainer(self, train: Any) -> Trainer:
        """Optimizers for the weights, as config.schema.Train describes them."""
        ...

    def peak_flops(self) -> float | None:
        """Operations per second that the device has by its data sheet, in the precision of training."""
        ...

    def adapter(self, adaptation: Any) -> Adapter:
        """Weights that learn from graded text, as a kind of config.adaptation but "lora" describes it."""
        ...

    def document_adapter(self, adaptation: Any, context: int) -> DocumentAdapter:
        """Changes learnt for each document on its own, by kind "lora"; windows hold `context` tokens."""
        ...
