"""Training on MLX: mixed precision, clipping, optimizers by role, averages, on one device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Train
from bytegolf.model.backend import Ids, StepResult
from bytegolf.model.spec import manifest
from bytegolf.on_mlx.averaging import Averager
from bytegolf.on_mlx.device import choose_precision, compiles
from bytegolf.on_mlx.optim.groups import Optimizers

if TYPE_CHECKING:
    from bytegolf.on_mlx.backend import MlxBackend

# Steps that a GPU may hold while the host goes on: enough that it never waits, few enough to stop in time.
STEPS_AHEAD = 2
CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_ has it

Arrays = dict[str, mx.array]
GradientOf = Callable[[mx.array, mx.array], tuple[mx.array, Arrays]]
Update = Callable[[Arrays, mx.array], None]


class MlxTrainer:
    """A `model.backend.Trainer`.

    MLX computes nothing before somebody wants it. On a GPU `begin` only hands work over, and `finish` waits.
    """

    def __init__(self, backend: MlxBackend, train: Train) -> None:
        self.backend, self.train = backend, train
        place = backend.mlx_device
        self.ahead = 0 if place.type == mx.cpu else STEPS_AHEAD
        self.dtype, reason = choose_precision(train.precision, place)
        backend.precision = {mx.bfloat16: "bf16", mx.float32: "fp32"}[self.dtype]
        backend.notes.append(f"training in {backend.precision}: {reason}")
        roles = manifest(backend.model).roles()
        self.optimizers = Optimizers(backend.gpt.named(), roles, train, self.dtype)
        self.average = Averager(backend.gpt, train.averaging)
        self.compiled = compiles(train.compile, place)
        self._gradients, self._update = self._functions()
        if self.compiled:
            backend.notes.append("compiled by mx.compile")
            # Captured as inputs and as outputs: a function that captures only the model it was traced with goes on
            # with the weights it had then, and trains nothing.
            held = [backend.gpt.state, self.optimizers.arrays, _random()]
            self._gradients = mx.compile(self._gradients, inputs=held, outputs=held)
            self._update = mx.compile(self._update, inputs=held, outputs=held)
        self._begun: deque[tuple[mx.array, mx.array]] = deque()

    def _functions(self) -> tuple[GradientOf, Update]:
        gpt, dtype, optimizers = self.backend.gpt, self.dtype, self.optimizers

        def loss(weights: Arrays, ids_BT: mx.array, share: mx.array) -> mx.array:
            gpt.take(weights)
            return gpt.nll(ids_BT[:, :-1], ids_BT[:, 1:], dtype).mean() * share

        differentiated = mx.value_and_grad(loss)

        def gradients(ids_BT: mx.array, share: mx.array) -> tuple[mx.array, Arrays]:
            """A part's share of the mean loss, and the gradient of that."""
            weights = gpt.named()
            value, found = differentiated(weights, ids_BT, share)
            gpt.take(weights)
            return value, found

        def update(found: Arrays, factor: mx.array) -> None:
            clipped = {name: gradient * factor for name, gradient in found.items()}
            gpt.take(optimizers.update(clipped, gpt.named()))

        return gradients, update

    def step(self, batch: Ids, multiplier: float, step: int) -> StepResult:
        self.begin(batch, multiplier, step)
        return self.finish()

    def begin(self, batch: Ids, multiplier: float, step: int) -> None:
        loss, gradients = self._loss_and_gradients(batch)
        norm = norm_of(gradients)
        factor = clip_factor(norm, self.train.clip)
        # Where looking does not cost anything, a step that diverged leaves the weights of the last good one.
        if self.ahead or bool(mx.isfinite(norm) & mx.isfinite(loss)):
            self.optimizers.schedule(multiplier, step)
            self._update(gradients, factor)
            self.average.after_step(multiplier, step)
        mx.async_eval(loss, norm, self._held())  # type: ignore[no-untyped-call]
        self._begun.append((loss, norm))

    def _loss_and_gradients(self, batch: Ids) -> tuple[mx.array, Arrays]:
        """Mean loss of the rows and its gradient, as many rows at a time as may be."""
        ids_BT, rows = put(batch), len(batch)
        at_once = self.train.rows_at_a_time(rows, self.backend.model.context)
        loss, gradients = mx.array(0.0), Arrays()
        for first in range(0, rows, at_once):
            part = ids_BT[first : first + at_once]
            value, found = self._gradients(part, mx.array(part.shape[0] / rows))
            loss = loss + value
            gradients = {n: gradients[n] + g for n, g in found.items()} if first else found
            if at_once < rows:
                mx.eval(loss, gradients)  # else the parts would all stand in memory, waiting to be computed
        return loss, gradients

    def finish(self) -> StepResult:
        loss, norm = self._begun.popleft()
        if not self._begun:
            mx.eval(self._held())
        return StepResult(float(np.array(loss)), float(np.array(norm)))

    def _held(self) -> list[Any]:
        return [self.backend.gpt.named(), self.optimizers.arrays, self.average.average]

    def use_averaged(self) -> bool:
        return self.average.use()

    def peak_bytes(self) -> int:
        return mx.get_peak_memory()

    def state(self) -> dict[str, NDArray[Any]]:
        assert not self._begun, "a state lies between two steps"
        parts: dict[str, Mapping[str, NDArray[Any]]] = {
            "weights": self.backend.weights(),
            "optimizer": self.optimizers.state(),
            "average": self.average.state(),
            "random": {"mlx": np.array(_random()[0])},
        }
        return {f"{part}/{name}": value for part, arrays in parts.items() for name, value in arrays.items()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        parts: dict[str, dict[str, NDArray[Any]]] = {
            "weights": {},
            "optimizer": {},
            "average": {},
            "random": {},
        }
        for key, array in state.items():
            part, _, name = key.partition("/")
            parts[part][name] = array
        self.backend.load(parts["weights"])
        self.optimizers.load_state(parts["optimizer"])
        self.average.load_state(parts["average"])
        if "mlx" in parts["random"]:  # a run that began on another backend has none
            _random()[0][...] = mx.array(parts["random"]["mlx"])
        mx.eval(self._held())


def _random() -> Any:
    """MLX's random state: the key is its one entry, an array that is written in place."""
    return mx.random.state


def norm_of(arrays: Arrays) -> mx.array:
    """The L2 norm of all elements together."""
    return mx.sqrt(sum((mx.square(array).sum() for array in arrays.values()), start=mx.array(0.0)))


def clip_factor(norm: mx.array, clip: float) -> mx.array:
    """What brings a gradient of that norm down to `clip`, at most 1; 0 clips nothing."""
    return mx.minimum(clip / (norm + CLIP_EPS), 1.0) if clip else mx.array(1.0)


def put(ids: Ids) -> mx.array:
    """Token ids on the device: 32 bits are enough for them and cost less."""
    return mx.array(ids.astype(np.int32))
